"""Network ports: libvirt's ``<networkport>``, byte for byte, and our plug ``vde``.

See https://libvirt.org/formatnetworkport.html.
"""

from __future__ import annotations

import re

from jackfield.document.bandwidth import read_bandwidth, write_bandwidth
from jackfield.document.forward import read_driver
from jackfield.document.uplink import device, pci_attributes, read_pci_address
from jackfield.document.virtualport import (
    parse_uuid,
    read_uuid,
    read_virtualport,
    write_virtualport,
)
from jackfield.document.vlan import read_vlan, write_vlan
from jackfield.document.xml import (
    Element,
    choice,
    escape,
    fail,
    line_of,
    parse,
    required,
    typed,
    yes_no,
)
from jackfield.errors import DocumentError
from jackfield.model.network import MacTableManager
from jackfield.model.port import (
    BridgePlug,
    DirectPlug,
    HostdevPlug,
    NetworkPlug,
    Owner,
    Plug,
    Port,
    VdePlug,
)
from jackfield.model.values import InterfaceName, MacAddress, Text

__all__ = ["read_port", "write_port"]

_ID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
# What is no white space alone, no markup, and the same in every encoding that a parser may guess.
_WORDS = r"[!-%'-;=?-~](?:[ -%'-;=?-~]*)"
_STATION = r"[0-9a-f][02468ace](?::[0-9a-f]{2}){5}"
_GAP = r"[ \t\r\n]*"
_PLAIN = re.compile(
    rf"""{_GAP}<networkport>
    {_GAP}<uuid>(?P<uuid>{_ID})</uuid>
    {_GAP}<owner>
    {_GAP}<name>(?P<name>{_WORDS})</name>
    {_GAP}<uuid>(?P<owner>{_ID})</uuid>
    {_GAP}</owner>
    (?:{_GAP}<group>(?P<group>{_WORDS})</group>)?
    {_GAP}<mac\ address=(?P<quote>['"])(?P<mac>{_STATION})(?P=quote)\ ?/>
    {_GAP}</networkport>{_GAP}""",
    re.VERBOSE | re.ASCII,
)
"""The document of a guest without special wishes, as libvirt's QEMU driver writes it.

Most documents are so, each time a guest starts, and a parser takes several times longer.
"""

_MANAGERS = {manager.value: manager for manager in MacTableManager}
_DIRECT_MODES = {mode: mode for mode in ("vepa", "private", "bridge", "passthrough")}


def read_port(text: str | bytes) -> Port:
    """Read a ``<networkport>``; raises :class:`DocumentError` naming line and element."""
    plain = _PLAIN.fullmatch(text) if isinstance(text, str) else None
    if plain is not None:
        uuid, name, owner, group, mac = plain.group("uuid", "name", "owner", "group", "mac")
        return Port(
            uuid=parse_uuid(uuid),
            owner=Owner(name=Text(name), uuid=parse_uuid(owner)),
            mac=MacAddress(mac),
            group=None if group is None else Text(group),
        )
    return _read_any(text)


def _read_any(text: str | bytes) -> Port:
    """Read a ``<networkport>`` of any shape."""
    root = parse(text)
    if root.tag != "networkport":
        raise DocumentError(
            f"the root element is <{root.tag}>", line=line_of(root), hint="expected <networkport>"
        ).in_libvirt(f"expecting root element of 'networkport', not '{root.tag}'", domain=5)
    parts = _children(root)
    mac = parts.get("mac")
    if mac is None:
        raise _lacks(root, "<mac>", _first_missing(root) or "mac")
    required(mac, "address")
    address = typed(mac, "address", MacAddress)
    if address is not None and address.is_multicast:
        fail(mac, f"has address='{address}', which is a multicast address")
    uuid, group = parts.get("uuid"), parts.get("group")
    virtualport, bandwidth = parts.get("virtualport"), parts.get("bandwidth")
    vlan, options = parts.get("vlan"), parts.get("port")
    filters, plug = parts.get("rxfilters"), parts.get("plug")
    try:
        return Port(
            uuid=None if uuid is None or not uuid.text else read_uuid(uuid),
            owner=_read_owner(root, parts.get("owner")),
            mac=address,
            group=Text(group.text) if group is not None and group.text else None,
            virtualport=None if virtualport is None else read_virtualport(virtualport),
            bandwidth=None if bandwidth is None else read_bandwidth(bandwidth, floor=True),
            vlan=None if vlan is None else read_vlan(vlan),
            isolated=None if options is None else yes_no(options, "isolated"),
            trust_guest_rx_filters=None if filters is None else yes_no(filters, "trustGuest"),
            plug=None if plug is None else _read_plug(plug),
        )
    except ValueError as error:
        fail(root, f"is wrong: {error}")


def _children(element: Element) -> dict[str, Element]:
    """Return the first child of each name, found in one walk: a port is read for each guest."""
    found: dict[str, Element] = {}
    for one in element:
        found.setdefault(one.tag, one)
    return found


def _lacks(element: Element, what: str, told: str) -> DocumentError:
    """Return the error that ``what`` is missing; libvirt calls it ``told``, and its own error."""
    return DocumentError(f"<{element.tag}> lacks its {what}", line=line_of(element)).in_libvirt(
        f"network port has no {told}", code=1
    )


def _first_missing(root: Element) -> str | None:
    """Return what libvirt finds missing first."""
    for path, told in (
        ("uuid", "uuid"),
        ("owner/name", "owner name"),
        ("owner/uuid", "owner UUID"),
    ):
        if not root.findtext(path):
            return told
    return None


def _read_owner(root: Element, owner: Element | None) -> Owner:
    if owner is None:
        raise _lacks(root, "<owner>", "owner name")
    parts = _children(owner)
    name, uuid = (None if (one := parts.get(key)) is None else one.text for key in ("name", "uuid"))
    if not name or not uuid:
        raise _lacks(owner, "<name> or <uuid>", "owner UUID" if name else "owner name")
    try:
        return Owner(name=Text(name), uuid=read_uuid(parts["uuid"]))
    except ValueError as error:
        fail(owner, f"is wrong: {error}")


def _bridge(element: Element) -> InterfaceName:
    required(element, "bridge")
    name = typed(element, "bridge", InterfaceName)
    assert name is not None
    return name


def _read_network(element: Element) -> Plug:
    manager = choice(element, "macTableManager", _MANAGERS)
    return NetworkPlug(bridge=_bridge(element), mac_table_manager=manager)


def _read_bridge(element: Element) -> Plug:
    manager = choice(element, "macTableManager", _MANAGERS)
    return BridgePlug(bridge=_bridge(element), mac_table_manager=manager)


def _read_direct(element: Element) -> Plug:
    required(element, "mode")
    mode = choice(element, "mode", _DIRECT_MODES)
    assert mode is not None
    return DirectPlug(dev=device(element), mode=mode)


def _read_hostdev(element: Element) -> Plug:
    address = element.find("address")
    if address is None:
        fail(element, "lacks its <address>")
    driver = element.find("driver")
    chosen = None if driver is None else read_driver(driver)
    return HostdevPlug(
        address=read_pci_address(address),
        managed=yes_no(element, "managed"),
        driver=None if chosen is None else chosen.name,
        model=None if chosen is None else chosen.model,
    )


def _read_vde(element: Element) -> Plug:
    required(element, "path")
    path = typed(element, "path", Text)
    assert path is not None
    return VdePlug(path=path)


_PLUGS = {
    "network": _read_network,
    "bridge": _read_bridge,
    "direct": _read_direct,
    "hostdev-pci": _read_hostdev,
    "vde": _read_vde,
}


def _read_plug(element: Element) -> Plug | None:
    kind = required(element, "type")
    if kind == "none":
        return None
    read = _PLUGS.get(kind)
    if read is None:
        fail(element, f"has type='{kind}': allowed are 'none', {', '.join(map(repr, _PLUGS))}")
    return read(element)


def write_port(port: Port) -> str:
    """Return the ``<networkport>`` of ``port``."""
    out = ["<networkport>\n"]
    if port.uuid is not None:
        out.append(f"  <uuid>{port.uuid}</uuid>\n")
    if port.owner is not None:
        out.append(
            f"  <owner>\n    <name>{escape(port.owner.name)}</name>\n"
            f"    <uuid>{port.owner.uuid}</uuid>\n  </owner>\n"
        )
    if port.group is not None:
        out.append(f"  <group>{escape(port.group)}</group>\n")
    if port.mac is not None:
        out.append(f"  <mac address='{port.mac}'/>\n")
    if port.virtualport is not None:
        write_virtualport(out, "  ", port.virtualport)
    if port.bandwidth is not None:
        write_bandwidth(out, "  ", port.bandwidth)
    if port.vlan is not None:
        write_vlan(out, "  ", port.vlan)
    if port.isolated is not None:
        out.append(f"  <port isolated='{'yes' if port.isolated else 'no'}'/>\n")
    if port.trust_guest_rx_filters is not None:
        trusted = "yes" if port.trust_guest_rx_filters else "no"
        out.append(f"  <rxfilters trustGuest='{trusted}'/>\n")
    if port.plug is not None:
        _write_plug(out, port.plug)
    out.append("</networkport>\n")
    return "".join(out)


def _write_plug(out: list[str], plug: Plug) -> None:
    if isinstance(plug, NetworkPlug | BridgePlug):
        kind = "network" if isinstance(plug, NetworkPlug) else "bridge"
        manager = plug.mac_table_manager
        shown = "" if manager is None else f" macTableManager='{manager.value}'"
        out.append(f"  <plug type='{kind}' bridge='{plug.bridge}'{shown}/>\n")
    elif isinstance(plug, DirectPlug):
        out.append(f"  <plug type='direct' dev='{plug.dev}' mode='{plug.mode}'/>\n")
    elif isinstance(plug, VdePlug):
        out.append(f"  <plug type='vde' path='{escape(plug.path)}'/>\n")
    else:
        managed = "" if plug.managed is None else f" managed='{'yes' if plug.managed else 'no'}'"
        out.append(f"  <plug type='hostdev-pci'{managed}>\n")
        if plug.driver is not None or plug.model is not None:
            name = "" if plug.driver is None else f" name='{plug.driver}'"
            model = "" if plug.model is None else f" model='{escape(plug.model)}'"
            out.append(f"    <driver{name}{model}/>\n")
        out.append(f"    <address{pci_attributes(plug.address)}/>\n  </plug>\n")
