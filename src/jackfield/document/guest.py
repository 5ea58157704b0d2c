"""Read the guest's side: an ``<interface>`` or the interfaces of a ``<domain>``.

A guest says which network it wants, never how a host makes it: on ``type='network'`` whatever
belongs to the host (``mode``, ``dev``, ``bridge``, PCI addresses) is refused with the reason, so
that the guest starts on every host that has a network of that name.
"""

from __future__ import annotations

from jackfield.document.bandwidth import read_bandwidth
from jackfield.document.virtualport import parse_uuid, read_virtualport
from jackfield.document.vlan import read_vlan
from jackfield.document.xml import Element, fail, line_of, parse, typed, yes_no
from jackfield.errors import DocumentError
from jackfield.model.guest import Guest, GuestInterface
from jackfield.model.values import MacAddress, NetworkName, Text

__all__ = ["read_guest", "read_interface"]

_HOST_ATTRIBUTES = {
    "mode": "the mode belongs to the host's network",
    "dev": "the uplink belongs to the host's network",
    "bridge": "the bridge belongs to the host's network",
    "path": "the socket belongs to the host's network",
    "address": "the address belongs to the host's network",
    "managed": "how a function is handed over belongs to the host's network",
}
_HOST_ELEMENTS = {
    "address": "the PCI function belongs to the host's network",
    "interface": "uplinks belong to the host's network",
    "pf": "uplinks belong to the host's network",
}


def read_guest(text: str | bytes) -> Guest:
    """Read a ``<domain>`` or a lone ``<interface>``; raises :class:`DocumentError`."""
    root = parse(text)
    if root.tag == "interface":
        return Guest(interfaces=(read_interface(root),))
    if root.tag != "domain":
        raise DocumentError(
            f"the root element is <{root.tag}>",
            line=line_of(root),
            hint="expected <domain> or <interface>",
        )
    name = root.findtext("name")
    uuid = root.findtext("uuid")
    try:
        return Guest(
            name=Text(name) if name else None,
            uuid=parse_uuid(uuid) if uuid else None,
            interfaces=tuple(read_interface(one) for one in root.iterfind("devices/interface")),
        )
    except ValueError as error:
        raise DocumentError(f"<domain>: {error}", line=line_of(root)) from None


def read_interface(element: Element) -> GuestInterface:
    """Read one ``<interface>``; of other types than ``network`` only the type and the MAC."""
    kind = element.get("type")
    if not kind:
        fail(element, "lacks its attribute 'type'", hint="use type='network'")
    mac_element = element.find("mac")
    mac = None if mac_element is None else typed(mac_element, "address", MacAddress)
    if mac is not None and mac_element is not None and mac.is_multicast:
        fail(mac_element, f"has address='{mac}', which is a multicast address")
    if kind != "network":
        return GuestInterface(kind=kind, mac=mac)
    source = element.find("source")
    if source is None or not source.get("network"):
        fail(element, "has type='network' but no <source network='…'/>")
    _refuse_host(source)
    port = element.find("port")
    bandwidth = element.find("bandwidth")
    vlan = element.find("vlan")
    virtualport = element.find("virtualport")
    return GuestInterface(
        network=typed(source, "network", NetworkName),
        portgroup=typed(source, "portgroup", Text),
        mac=mac,
        virtualport=None if virtualport is None else read_virtualport(virtualport),
        vlan=None if vlan is None else read_vlan(vlan),
        bandwidth=None if bandwidth is None else read_bandwidth(bandwidth, floor=True),
        trust_guest_rx_filters=yes_no(element, "trustGuestRxFilters"),
        isolated=None if port is None else yes_no(port, "isolated"),
    )


def _refuse_host(source: Element) -> None:
    for name, reason in _HOST_ATTRIBUTES.items():
        # A running guest's document says where it was put: portid and the bridge of the moment.
        if name == "bridge" and source.get("portid"):
            continue
        if name in source.attrib:
            fail(
                source,
                f"has network='{source.get('network')}' and {name}='{source.get(name)}': {reason}",
                hint="remove it here; each host says it in its own <network>",
            )
    for child in source:
        reason = _HOST_ELEMENTS.get(child.tag, "")
        if reason:
            fail(
                child,
                f"is in the <source> of network='{source.get('network')}': {reason}",
                hint="remove it here; each host says it in its own <network>",
            )
