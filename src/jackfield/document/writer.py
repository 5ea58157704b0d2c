"""What both dialects write alike: everything of a ``<network>`` but forward and bridge.

The order of elements, the quotes and the indentation are libvirt's, so that its dialect is
byte-identical to libvirt's own output; elements of ours stand where libvirt ignores them.
"""

from __future__ import annotations

from jackfield.document.address import write_route, write_subnet
from jackfield.document.bandwidth import write_bandwidth
from jackfield.document.filter import write_exemption, write_filter
from jackfield.document.names import write_dns, write_domain
from jackfield.document.portgroup import write_portgroup
from jackfield.document.virtualport import write_virtualport
from jackfield.document.vlan import write_vlan
from jackfield.document.vpn import write_vpn
from jackfield.document.xml import escape
from jackfield.model.network import Network

__all__ = ["write_document"]

_NAMESPACE = " xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'"


def write_document(network: Network, forward: str, bridge: str, *, inactive: bool) -> str:
    """Return the document of ``network`` around the text of its ``forward`` and ``bridge``."""
    head = "<network"
    if network.dnsmasq_options:
        head += _NAMESPACE
    if network.connections and not inactive:
        head += f" connections='{network.connections}'"
    if network.ipv6:
        head += " ipv6='yes'"
    if network.trust_guest_rx_filters is not None:
        head += f" trustGuestRxFilters='{'yes' if network.trust_guest_rx_filters else 'no'}'"
    head += write_exemption(network.anti_spoofing)
    out = [f"{head}>\n  <name>{escape(network.name)}</name>\n"]
    if network.uuid is not None:
        out.append(f"  <uuid>{network.uuid}</uuid>\n")
    if network.title is not None:
        out.append(f"  <title>{escape(network.title)}</title>\n")
    if network.description is not None:
        out.append(f"  <description>{escape(network.description)}</description>\n")
    if network.metadata is not None:
        out.append(f"  {network.metadata}\n")
    out.append(forward)
    out.append(bridge)
    if network.mtu is not None:
        out.append(f"  <mtu size='{network.mtu}'/>\n")
    if network.mac is not None:
        out.append(f"  <mac address='{network.mac}'/>\n")
    if network.domain is not None:
        write_domain(out, "  ", network.domain)
    if network.dns is not None:
        write_dns(out, "  ", network.dns)
    if network.vlan is not None:
        write_vlan(out, "  ", network.vlan)
    if network.bandwidth is not None:
        write_bandwidth(out, "  ", network.bandwidth)
    if network.isolated is not None:
        out.append(f"  <port isolated='{'yes' if network.isolated else 'no'}'/>\n")
    write_filter(out, "  ", network.anti_spoofing, network.guest_addresses)
    for subnet in network.subnets:
        write_subnet(out, "  ", subnet)
    for route in network.routes:
        write_route(out, "  ", route)
    if network.virtualport is not None:
        write_virtualport(out, "  ", network.virtualport)
    for portgroup in network.portgroups:
        write_portgroup(out, "  ", portgroup)
    if network.vpn is not None:
        write_vpn(out, "  ", network.vpn, inactive=inactive)
    if network.vde is not None:
        group = "" if network.vde.group is None else f" group='{escape(network.vde.group)}'"
        out.append(f"  <vde{group}/>\n")
    if network.dnsmasq_options:
        out.append("  <dnsmasq:options>\n")
        out.extend(
            f"    <dnsmasq:option value='{escape(option)}'/>\n"
            for option in network.dnsmasq_options
        )
        out.append("  </dnsmasq:options>\n")
    out.append("</network>\n")
    return "".join(out)
