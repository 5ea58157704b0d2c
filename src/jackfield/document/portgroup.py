"""Portgroups: ``<portgroup>``, with Jackfield's ``count`` and own uplinks."""

from __future__ import annotations

from jackfield.document.bandwidth import read_bandwidth, write_bandwidth
from jackfield.document.filter import read_filter, write_exemption, write_filter
from jackfield.document.uplink import read_uplinks, write_uplinks
from jackfield.document.virtualport import read_virtualport, write_virtualport
from jackfield.document.vlan import read_vlan, write_vlan
from jackfield.document.xml import Element, escape, integer, required, typed, yes_no
from jackfield.model.network import Portgroup
from jackfield.model.values import Text

__all__ = ["read_portgroup", "write_portgroup"]


def read_portgroup(element: Element, fallback: Text | None = None) -> Portgroup:
    """Read a ``<portgroup>``; ``fallback`` is the name of one that has none."""
    if fallback is None:
        required(element, "name")
    port = element.find("port")
    bandwidth = element.find("bandwidth")
    vlan = element.find("vlan")
    virtualport = element.find("virtualport")
    anti_spoofing, addresses = read_filter(element)
    return Portgroup(
        name=typed(element, "name", Text) or fallback or Text(""),
        default=bool(yes_no(element, "default")),
        count=integer(element, "count"),
        trust_guest_rx_filters=yes_no(element, "trustGuestRxFilters"),
        anti_spoofing=anti_spoofing,
        guest_addresses=addresses,
        uplinks=read_uplinks(element, ("interface", "address", "pf")),
        virtualport=None if virtualport is None else read_virtualport(virtualport),
        vlan=None if vlan is None else read_vlan(vlan),
        bandwidth=None if bandwidth is None else read_bandwidth(bandwidth),
        isolated=None if port is None else yes_no(port, "isolated"),
    )


def write_portgroup(out: list[str], indent: str, portgroup: Portgroup) -> None:
    """Append the ``<portgroup>`` of ``portgroup``."""
    head = f"{indent}<portgroup name='{escape(portgroup.name)}'"
    if portgroup.default:
        head += " default='yes'"
    if portgroup.count is not None:
        head += f" count='{portgroup.count}'"
    if portgroup.trust_guest_rx_filters is not None:
        head += f" trustGuestRxFilters='{'yes' if portgroup.trust_guest_rx_filters else 'no'}'"
    head += write_exemption(portgroup.anti_spoofing)
    out.append(head + ">\n")
    inner = indent + "  "
    write_uplinks(out, inner, portgroup.uplinks)
    if portgroup.vlan is not None:
        write_vlan(out, inner, portgroup.vlan)
    if portgroup.virtualport is not None:
        write_virtualport(out, inner, portgroup.virtualport)
    if portgroup.bandwidth is not None:
        write_bandwidth(out, inner, portgroup.bandwidth)
    if portgroup.isolated is not None:
        out.append(f"{inner}<port isolated='{'yes' if portgroup.isolated else 'no'}'/>\n")
    write_filter(out, inner, portgroup.anti_spoofing, portgroup.guest_addresses)
    out.append(f"{indent}</portgroup>\n")
