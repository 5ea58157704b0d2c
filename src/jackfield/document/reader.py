"""Read a ``<network>``, of either dialect or any mixture that does not contradict itself.

``read_network`` is the only way from XML to a :class:`~jackfield.model.network.Network`.  Like
libvirt's parser it ignores elements and attributes it does not know (the schema refuses them)
and takes the first of elements that may stand only once.
"""

from __future__ import annotations

from uuid import UUID

from jackfield.document.address import read_route, read_subnet
from jackfield.document.bandwidth import read_bandwidth
from jackfield.document.filter import read_filter
from jackfield.document.forward import (
    read_driver,
    read_forward_uplinks,
    read_mode,
    read_nat,
    read_port_forward,
)
from jackfield.document.metadata import metadata_of
from jackfield.document.names import read_dns, read_domain
from jackfield.document.portgroup import read_portgroup
from jackfield.document.rules import check
from jackfield.document.uplink import read_uplinks
from jackfield.document.virtualport import read_uuid, read_virtualport
from jackfield.document.vlan import read_vlan
from jackfield.document.vpn import read_vpn
from jackfield.document.xml import (
    Element,
    choice,
    fail,
    integer,
    line_of,
    parse,
    required,
    typed,
    yes_no,
)
from jackfield.errors import DocumentError
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, MacTableManager, Network, Portgroup, Vde
from jackfield.model.uplink import Uplink
from jackfield.model.values import InterfaceName, MacAddress, NameTemplate, NetworkName, Text
from jackfield.model.virtualport import VirtualPort, VirtualPortType

__all__ = ["DNSMASQ_NAMESPACE", "read_network", "read_network_element"]

DNSMASQ_NAMESPACE = "http://libvirt.org/schemas/network/dnsmasq/1.0"

_OPTIONS = f"{{{DNSMASQ_NAMESPACE}}}options"
_OPTION = f"{{{DNSMASQ_NAMESPACE}}}option"
_MANAGERS = {manager.value: manager for manager in MacTableManager}
_ON_OFF = {"on": True, "off": False}
_ANY_NAME = "virbr%d"
"""What libvirt makes a bridge's name of where the document says nothing."""
_SWITCHED = frozenset({VirtualPortType.OPENVSWITCH, VirtualPortType.MIDONET})


def read_network(text: str | bytes, *, uuid: UUID | None = None) -> Network:
    """Read the ``<network>`` in ``text``; raises :class:`DocumentError` naming line and element.

    The result is canonical: whatever the spelling, equal meaning gives equal values.  ``uuid`` is
    for a document that has none.
    """
    root = parse(text)
    if root.tag != "network":
        raise DocumentError(
            f"the root element is <{root.tag}>", line=line_of(root), hint="expected <network>"
        ).in_libvirt(f"expecting root element of 'network', not '{root.tag}'", domain=5)
    if root.get("type") is not None:
        fail(
            root,
            f"has type='{root.get('type')}', an older form",
            hint="jackfield convert turns it into the present one",
        )
    return read_network_element(root, text, uuid)


def read_network_element(root: Element, text: str | bytes, uuid: UUID | None = None) -> Network:
    """Read the element ``root`` of the document ``text``; ``uuid`` is for one without."""
    parts: dict[str, Element] = {}
    subnets: list[Element] = []
    routes: list[Element] = []
    groups: list[Element] = []
    for part in root:
        tag = part.tag
        if tag == "ip":
            subnets.append(part)
        elif tag == "portgroup":
            groups.append(part)
        elif tag == "route":
            routes.append(part)
        else:
            parts.setdefault(tag, part)
    forward = parts.get("forward")
    bridge = parts.get("bridge")
    vpn = parts.get("vpn")
    portgroups = _read_portgroups(groups)
    virtualport = parts.get("virtualport")
    port = parts.get("port")
    fields: dict[str, object] = {
        "name": _read_name(root, parts.get("name")),
        "portgroups": portgroups,
        "subnets": tuple(map(read_subnet, subnets)),
        "routes": tuple(map(read_route, routes)),
        "ipv6": bool(yes_no(root, "ipv6")),
        "uuid": uuid,
    }
    if virtualport is not None:
        fields["virtualport"] = read_virtualport(virtualport, need_type=True)
    if root.attrib:
        fields["trust_guest_rx_filters"] = yes_no(root, "trustGuestRxFilters")
    if root.attrib or "filterref" in parts:
        fields["anti_spoofing"], fields["guest_addresses"] = read_filter(root)
    if (one := parts.get("uuid")) is not None and one.text:
        fields["uuid"] = read_uuid(one)
    if (one := parts.get("title")) is not None and one.text:
        if "\n" in one.text:
            fail(one, "holds a line break; a title is one line")
        fields["title"] = one.text
    if (one := parts.get("description")) is not None and one.text:
        fields["description"] = one.text
    if "metadata" in parts:
        fields["metadata"] = metadata_of(text)
    if (one := parts.get("domain")) is not None:
        fields["domain"] = read_domain(one)
    if (one := parts.get("dns")) is not None:
        fields["dns"] = read_dns(one)
    if (one := parts.get("bandwidth")) is not None:
        fields["bandwidth"] = read_bandwidth(one)
    if (one := parts.get("vlan")) is not None:
        fields["vlan"] = read_vlan(one)
    if port is not None:
        fields["isolated"] = yes_no(port, "isolated")
    if (one := parts.get("mac")) is not None:
        fields["mac"] = _read_mac(one)
    if (one := parts.get("mtu")) is not None:
        fields["mtu"] = integer(one, "size", 68, 65535)
    if vpn is not None:
        fields["vpn"] = read_vpn(vpn)
    if (one := parts.get("vde")) is not None:
        fields["vde"] = Vde(group=typed(one, "group", Text))
    if _OPTIONS in parts:
        # libvirt takes those of every such element.
        fields["dnsmasq_options"] = tuple(map(_read_option, root.iterfind(f"{_OPTIONS}/{_OPTION}")))

    uplinks = () if forward is None else read_forward_uplinks(forward)
    mode = read_mode(forward)
    if mode is None:
        mode = _tell_bridge_from_macvtap(
            forward, bridge, vpn, uplinks, fields.get("virtualport"), portgroups
        )
    if forward is not None and len(forward):
        mode = _read_forward_parts(forward, mode, fields)
    mode = _read_proxy(parts.get("proxy"), mode, fields)
    if bridge is not None:
        uplinks = _read_bridge(bridge, mode, uplinks, fields)
    elif mode.is_routed:
        fields["bridge"] = Bridge()
    if mode is Mode.HOSTDEV:
        managed = None if forward is None else yes_no(forward, "managed")
        fields["managed"] = bool(managed)
    # The classes of the fields were checked one by one; ``Network`` itself checks nothing.
    network = Network(mode=mode, uplinks=uplinks, **fields)  # type: ignore[arg-type]

    def line_of_part(name: str, index: int) -> int | None:
        found = root.findall(name)
        return line_of(found[index] if len(found) > index else root)

    check(network, line_of_part)
    return network


def _read_name(root: Element, element: Element | None) -> NetworkName:
    if element is None or not element.text:
        raise DocumentError("<network> lacks its <name>", line=line_of(root)).in_libvirt(
            "missing name information", code=21
        )
    try:
        return NetworkName(element.text)
    except ValueError as error:
        fail(element, f"is wrong: {error}")


def _read_mac(element: Element) -> MacAddress | None:
    mac = typed(element, "address", MacAddress)
    if mac is not None and mac.is_multicast:
        fail(element, f"has address='{mac}', which is a multicast address")
    return mac


def _read_option(element: Element) -> Text:
    required(element, "value")
    value = typed(element, "value", Text)
    assert value is not None
    return value


def _read_portgroups(elements: list[Element]) -> tuple[Portgroup, ...]:
    """Read the portgroups; those without a name get the lowest free ``portgroupN``."""
    if not elements:
        return ()
    taken = {name for one in elements if (name := one.get("name"))}
    groups = []
    number = 0
    for one in elements:
        fallback: Text | None = None
        if not one.get("name"):
            while f"portgroup{number}" in taken:
                number += 1
            fallback = Text(f"portgroup{number}")
            number += 1
        groups.append(read_portgroup(one, fallback))
    return tuple(groups)


def _tell_bridge_from_macvtap(
    forward: Element | None,
    bridge: Element | None,
    vpn: Element | None,
    uplinks: tuple[Uplink, ...],
    virtualport: object,
    portgroups: tuple[Portgroup, ...],
) -> Mode:
    """Return which of the two libvirt's ``mode='bridge'`` means."""
    named = bridge is not None and bool(bridge.get("name"))
    if named and uplinks:
        assert forward is not None
        assert bridge is not None
        fail(
            forward,
            f"has mode='bridge' and uplinks, and <bridge> has name='{bridge.get('name')}'",
            hint="for macvtap leave the bridge out; for a bridge that Jackfield makes put the "
            "uplinks into <bridge><uplinks>, or say mode='bridge-brctl'",
        )
    if bridge is not None and (
        named or "macTableManager" in bridge.attrib or bridge.find("uplinks") is not None
    ):
        return Mode.BRIDGE
    if vpn is not None:
        return Mode.BRIDGE
    if not uplinks and any(
        isinstance(one, VirtualPort) and one.type in _SWITCHED
        for one in (virtualport, *(group.virtualport for group in portgroups))
    ):
        return Mode.BRIDGE
    return Mode.MACVTAP_BRIDGE


def _read_forward_parts(forward: Element, mode: Mode, fields: dict[str, object]) -> Mode:
    forwards = []
    for part in forward:
        if part.tag == "nat":
            if mode is not Mode.NAT:
                fail(part, f"is in a <forward> of mode {mode.value}; it belongs to mode='nat'")
            fields["nat"] = read_nat(part)
        elif part.tag == "driver":
            fields["driver"] = read_driver(part)
        elif part.tag == "portForward":
            forwards.append(read_port_forward(part))
        elif part.tag == "proxy":
            mode = _read_proxy(part, mode, fields)
    if forwards:
        fields["port_forwards"] = tuple(forwards)
    return mode


def _read_proxy(element: Element | None, mode: Mode, fields: dict[str, object]) -> Mode:
    """Read a ``<proxy>``, which turns libvirt's ``mode='route'`` into SUBNET."""
    if element is None:
        if mode is Mode.SUBNET and "proxy_arp" not in fields:
            fields["proxy_arp"] = fields["proxy_ndp"] = True
        return mode
    arp, ndp = yes_no(element, "arp"), yes_no(element, "ndp")
    if mode not in (Mode.ROUTE, Mode.SUBNET):
        if arp or ndp:
            fail(element, f"is in a network of mode {mode.value}; it belongs to mode='route'")
        return mode
    if mode is Mode.SUBNET and not arp and not ndp and element.attrib:
        fail(element, "turns off both ARP and NDP, without which mode='subnet' is nothing")
    if arp or ndp:
        fields["proxy_arp"], fields["proxy_ndp"] = bool(arp), bool(ndp)
        return Mode.SUBNET
    return mode


def _bridge_name(text: str) -> InterfaceName | NameTemplate | None:
    """Return the name, or what one is to be made of; ``None`` for any free name."""
    if text == _ANY_NAME:
        return None
    return NameTemplate(text) if "%" in text else InterfaceName(text)


def _read_bridge(
    element: Element, mode: Mode, uplinks: tuple[Uplink, ...], fields: dict[str, object]
) -> tuple[Uplink, ...]:
    """Read the ``<bridge>`` and return the uplinks, its own ones included."""
    named = typed(element, "name", _bridge_name)
    name = named if isinstance(named, InterfaceName) else None
    template = named if isinstance(named, NameTemplate) else None
    inner = element.find("uplinks") if len(element) else None
    if mode.is_routed:
        if inner is not None:
            fail(inner, f"is in a network of mode {mode.value}; a managed bridge has mode='bridge'")
        if name is not None and len(element.attrib) == 1:
            fields["bridge"] = Bridge(name=name)
            return uplinks
        stp = choice(element, "stp", _ON_OFF)
        fields["bridge"] = Bridge(
            name=name,
            template=template,
            stp=True if stp is None else stp,
            delay=integer(element, "delay") or 0,
            zone=typed(element, "zone", Text),
            mac_table_manager=choice(element, "macTableManager", _MANAGERS),
        )
        return uplinks
    for attribute in ("stp", "delay", "zone"):
        if (element.get(attribute) or "0") != "0":
            fail(
                element,
                f"has {attribute}='{element.get(attribute)}', which is for isolated, nat, route, "
                f"open and subnet, not for {mode.value}",
            )
    if mode is not Mode.BRIDGE:
        if named is not None or inner is not None:
            fail(element, f"is in a network of mode {mode.value}, which has no bridge")
        return uplinks
    mtu: int | None = None
    if inner is not None:
        mtu = integer(inner, "mtu", 68, 65535)
        own = read_uplinks(inner, ("interface", "address", "pf"))
        if uplinks and own and own != uplinks:
            fail(inner, "lists other uplinks than <forward>")
        uplinks = own or uplinks
        if not uplinks:
            fail(inner, "lists no uplink")
    manager = choice(element, "macTableManager", _MANAGERS)
    if named is not None or mtu is not None or manager is not None:
        fields["bridge"] = Bridge(
            name=name, template=template, uplinks_mtu=mtu, mac_table_manager=manager
        )
    return uplinks
