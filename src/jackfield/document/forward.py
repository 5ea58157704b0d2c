"""Forwarding: ``<forward>`` with its uplinks, ``<nat>`` and ``<portForward>``, and the mode.

The mode is what ``layer`` and ``mode`` say together; only libvirt's ``mode='bridge'`` and
``mode='route'`` need a look at the rest of the document.
"""

from __future__ import annotations

from collections.abc import Sequence

from jackfield.document.address import address_text, parse_address
from jackfield.document.uplink import device, read_uplinks
from jackfield.document.xml import Element, escape, fail, integer, required, typed, yes_no
from jackfield.model.address import Address
from jackfield.model.mode import Layer, Mode
from jackfield.model.network import ForwardTarget, Nat, Network, PciDriver, PortForward
from jackfield.model.uplink import DeviceUplink, PhysicalFunction, Uplink, describe
from jackfield.model.values import InterfaceName, MacAddress, Text

__all__ = [
    "AMBIGUOUS_BRIDGE",
    "read_driver",
    "read_forward_uplinks",
    "read_mode",
    "read_nat",
    "read_port_forward",
    "write_forward",
]

AMBIGUOUS_BRIDGE = "bridge"
"""libvirt's ``mode='bridge'``: a bridge or macvtap, as the rest of the document says."""

_MODES: dict[str, Mode] = {
    "none": Mode.ISOLATED,
    "nat": Mode.NAT,
    "route": Mode.ROUTE,
    "open": Mode.OPEN,
    "subnet": Mode.SUBNET,
    "bridge-brctl": Mode.BRIDGE,
    "bridge-macvtap": Mode.MACVTAP_BRIDGE,
    "vepa": Mode.VEPA,
    "private": Mode.PRIVATE,
    "passthrough": Mode.PASSTHROUGH,
    "passthru": Mode.PASSTHROUGH,
    "hostdev": Mode.HOSTDEV,
}
_LAYERS = {layer.value: layer for layer in Layer}
_ALLOWED = ", ".join(map(repr, sorted([*_MODES, AMBIGUOUS_BRIDGE])))


def read_mode(element: Element | None) -> Mode | None:
    """Return the mode of a ``<forward>``; ``None`` for the ambiguous ``mode='bridge'``."""
    if element is None:
        return Mode.ISOLATED
    text = element.get("mode")
    spelled = element.get("layer")
    layer: Layer | None = None
    if spelled is not None:
        layer = _LAYERS.get(spelled)
        if layer is None:
            fail(element, f"has layer='{spelled}': allowed are 'network', 'link'")
    if not text:
        if layer is Layer.LINK:
            fail(element, "has layer='link' without a mode", hint="say which, as mode='vepa'")
        return Mode.NAT
    if text == AMBIGUOUS_BRIDGE:
        if layer is Layer.NETWORK:
            fail(element, "has layer='network' and mode='bridge', a mode of the link layer")
        return None
    mode = _MODES.get(text)
    if mode is None:
        fail(element, f"has mode='{text}': allowed are {_ALLOWED}")
    if layer is not None and mode.layer is not layer:
        fail(
            element,
            f"has layer='{layer.value}' and mode='{text}', a mode of the {mode.layer.value} layer",
        )
    return mode


def read_forward_uplinks(element: Element) -> tuple[Uplink, ...]:
    """Read the uplinks of a ``<forward>``; its ``dev`` is the first of them."""
    listed: tuple[Uplink, ...] = ()
    if len(element):
        listed = read_uplinks(element, ("interface", "address", "pf"))
    kinds = {type(uplink) for uplink in listed}
    if len(kinds) > 1:
        # A live libvirt document lists a physical function and the functions it expands to.
        functions = tuple(one for one in listed if isinstance(one, PhysicalFunction))
        if not functions:
            fail(element, "mixes <interface> and <address>: use one of them")
        listed = functions
    if PhysicalFunction in kinds and len(listed) > 1:
        fail(element, "has more than one <pf>")
    further: tuple[DeviceUplink, ...] = ()
    if len(element):
        further = tuple(DeviceUplink(dev=device(one)) for one in element.iterchildren("uplink"))
    dev = typed(element, "dev", InterfaceName)
    if dev is not None:
        if kinds - {DeviceUplink}:
            fail(element, f"has dev='{dev}' together with <address> or <pf>")
        first = DeviceUplink(dev=dev)
        if listed and listed[0] != first:
            fail(
                element,
                f"has dev='{dev}', but its first <interface> is {describe(listed[0])}",
                hint="dev= is the same as the first interface; give one of them",
            )
        listed = listed or (first,)
    if further and kinds - {DeviceUplink}:
        fail(element, "has <uplink> together with <address> or <pf>")
    uplinks = (*listed, *further)
    if further and len(set(uplinks)) != len(uplinks):
        fail(element, "lists an uplink a second time")
    return uplinks


def read_driver(element: Element) -> PciDriver | None:
    """Read the ``<driver>`` of PCI uplinks."""
    name = element.get("name")
    if name not in (None, "kvm", "vfio", "xen"):
        fail(element, f"has name='{name}': allowed are 'vfio', 'kvm', 'xen'")
    driver = PciDriver(name=name, model=typed(element, "model", Text))
    return None if driver == PciDriver() else driver


def _range(
    element: Element, start: Address | None, end: Address | None
) -> tuple[Address | None, Address | None]:
    if start is None and end is None:
        return None, None
    start = start or end
    end = end or start
    assert start is not None
    assert end is not None
    if start.version != 4 or end.version != 4:
        fail(element, "is for IPv4 addresses")
    if int(start) > int(end):
        fail(element, f"has start='{start}' after end='{end}'")
    # libvirt compares all but the last 16 bits.
    if int(end) >> 16 != int(start) >> 16:
        fail(element, f"from '{start}' to '{end}' differs in more than the last 16 bits")
    return start, end


def read_nat(element: Element) -> Nat | None:
    """Read a ``<nat>``; one that changes nothing says nothing."""
    first: Address | None = None
    last: Address | None = None
    low: int | None = None
    high: int | None = None
    addresses = element.findall("address")
    ports = element.findall("port")
    if len(addresses) > 1 or len(ports) > 1:
        fail(element, "has more than one <address> or <port>")
    for one in addresses:
        first, last = _range(
            one, typed(one, "start", parse_address), typed(one, "end", parse_address)
        )
    for one in ports:
        low, high = integer(one, "start", 0, 65535), integer(one, "end", 0, 65535)
        if low is None or high is None or low > high:
            fail(one, "needs start= and end=, with start not above end")
    nat = Nat(
        ipv6=yes_no(element, "ipv6"),
        address_start=first,
        address_end=last,
        port_start=low,
        port_end=high,
    )
    return None if nat == Nat() else nat


def read_port_forward(element: Element) -> PortForward:
    """Read a ``<portForward>``: ports of the host that lead to a guest."""
    protocol = required(element, "proto")
    if protocol not in ("tcp", "udp"):
        fail(element, f"has proto='{protocol}': allowed are 'tcp', 'udp'")
    ports = element.find("range")
    target = element.find("target")
    if ports is None or target is None:
        fail(element, "needs a <range start='…'/> and a <target/>")
    required(ports, "start")
    start = integer(ports, "start", 1, 65535) or 0
    end = integer(ports, "end", start, 65535) or start
    to = integer(ports, "to", 1, 65535) or start
    if to + end - start > 65535:
        fail(ports, f"leads beyond port 65535 with to='{to}'")
    mac = typed(target, "mac", MacAddress)
    name = typed(target, "name", Text)
    ip = typed(target, "ip", parse_address)
    if sum(value is not None for value in (mac, name, ip)) != 1:
        fail(target, "needs exactly one of mac, name and ip")
    address = typed(element, "address", parse_address)
    if address is not None and ip is not None and address.version != ip.version:
        fail(element, f"has address='{address}' of another family than its target '{ip}'")
    return PortForward(
        protocol=protocol,
        start=start,
        end=end,
        to=to,
        target=ForwardTarget(mac=mac, name=name, ip=ip),
        address=address,
        dev=typed(element, "dev", InterfaceName),
    )


def write_forward(head: str, network: Network, uplinks: Sequence[str], *, proxy: bool) -> str:
    """Return the ``<forward>`` that begins with ``head``: what both dialects write alike.

    ``uplinks`` are the elements of its uplinks; ``<proxy>`` is written only if ``proxy`` says so.
    """
    if network.mode is Mode.HOSTDEV:
        head += " managed='yes'" if network.managed else " managed='no'"
    out: list[str] = []
    if network.driver is not None:
        _write_driver(out, "    ", network.driver)
    if network.nat is not None:
        _write_nat(out, "    ", network.nat)
    out += uplinks
    if proxy:
        arp, ndp = ("yes" if on else "no" for on in (network.proxy_arp, network.proxy_ndp))
        out.append(f"    <proxy arp='{arp}' ndp='{ndp}'/>\n")
    for forward in network.port_forwards:
        _write_port_forward(out, "    ", forward)
    if not out:
        return f"{head}/>\n"
    return f"{head}>\n{''.join(out)}  </forward>\n"


def _write_driver(out: list[str], indent: str, driver: PciDriver) -> None:
    """Append the ``<driver>`` of ``driver``."""
    name = "" if driver.name is None else f" name='{driver.name}'"
    model = "" if driver.model is None else f" model='{escape(driver.model)}'"
    out.append(f"{indent}<driver{name}{model}/>\n")


def _write_nat(out: list[str], indent: str, nat: Nat) -> None:
    """Append the ``<nat>`` of ``nat``."""
    ipv6 = "" if nat.ipv6 is None else f" ipv6='{'yes' if nat.ipv6 else 'no'}'"
    parts = []
    if nat.address_start is not None and nat.address_end is not None:
        start, end = address_text(nat.address_start), address_text(nat.address_end)
        parts.append(f"{indent}  <address start='{start}' end='{end}'/>\n")
    if nat.port_start is not None:
        parts.append(f"{indent}  <port start='{nat.port_start}' end='{nat.port_end}'/>\n")
    if parts:
        out.append(f"{indent}<nat{ipv6}>\n")
        out.extend(parts)
        out.append(f"{indent}</nat>\n")
    else:
        out.append(f"{indent}<nat{ipv6}/>\n")


def _write_port_forward(out: list[str], indent: str, forward: PortForward) -> None:
    """Append the ``<portForward>`` of ``forward``."""
    head = f"{indent}<portForward proto='{forward.protocol}'"
    if forward.address is not None:
        head += f" address='{address_text(forward.address)}'"
    if forward.dev is not None:
        head += f" dev='{forward.dev}'"
    end = "" if forward.end == forward.start else f" end='{forward.end}'"
    to = "" if forward.to == forward.start else f" to='{forward.to}'"
    target = forward.target
    if target.mac is not None:
        where = f"mac='{target.mac}'"
    elif target.name is not None:
        where = f"name='{escape(target.name)}'"
    else:
        where = "" if target.ip is None else f"ip='{address_text(target.ip)}'"
    out.append(
        f"{head}>\n"
        f"{indent}  <range start='{forward.start}'{end}{to}/>\n"
        f"{indent}  <target {where}/>\n"
        f"{indent}</portForward>\n"
    )
