"""What a port may send, when its network or portgroup keeps guests to their addresses.

The guest's MAC is always known.  Its IPv4 addresses are known where the network gives them out by
DHCP (reservations and leases) or the document names them; the guest may then use no others.  An
IPv6 guest makes addresses for itself, so that it may use any of its network's, but none that is
known to be somebody else's: the host's, or one that another guarded guest has from its MAC
(RFC 4291, appendix A), a lease or a reservation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from jackfield.model.address import Address, IpInterface, IpNetwork
from jackfield.model.network import Network, Portgroup
from jackfield.model.port import BridgePlug, NetworkPlug, Port
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.resources import PortGuard

__all__ = ["guards_any", "is_guarded", "made_address", "plan_guard"]

_LINK_LOCAL = ipaddress.ip_network("fe80::/64")
_HALF = 64


def guards_any(network: Network) -> bool:
    """Tell whether there can be guests of ``network`` that are kept to their addresses."""
    return bool(network.anti_spoofing) or any(one.anti_spoofing for one in network.portgroups)


def is_guarded(network: Network, port: Port) -> bool:
    """Tell whether the guest of ``port`` is kept to its addresses."""
    group = _group(network, port)
    wanted = network.anti_spoofing
    if group is not None and group.anti_spoofing is not None:
        wanted = group.anti_spoofing
    return bool(wanted) and isinstance(port.plug, NetworkPlug | BridgePlug)


def plan_guard(
    network: Network, port: Port, link: InterfaceName, leases: Iterable[Address] = ()
) -> PortGuard | None:
    """Return the guard of ``port`` by the name of its device; ``None`` when it has none.

    ``leases`` are the addresses that DHCP has given the port's MAC.
    """
    if port.mac is None or not is_guarded(network, port):
        return None
    group = _group(network, port)
    named = network.guest_addresses
    if group is not None and group.anti_spoofing:
        named = group.guest_addresses
    interfaces = network.interfaces
    given = {*leases, *_reserved(network, port.mac)}
    serves = any(
        subnet.dhcp is not None and subnet.address is not None and subnet.address.version == 4
        for subnet in network.subnets
    )
    strict4 = serves or any(address.version == 4 for address in named)
    strict6 = any(address.version == 6 for address in named)
    inside = [item.network for item in interfaces if item.version == 6 and not strict6]
    # Only where the first half of an address says whether it is of the network.
    halves = [_half(subnet) for subnet in inside if subnet.prefixlen >= _HALF]
    known4 = {address for address in given if address.version == 4}
    made = (made_address(subnet, port.mac) for subnet in inside if subnet.prefixlen == _HALF)
    own6: set[Address] = {address for address in (*given, *made) if address.version == 6}
    return PortGuard(
        link=link,
        mac=port.mac,
        addresses=_ordered({*named, *known4, *own6}),
        owned=_ordered(own6),
        denied=_ordered(_of_the_host(network, interfaces)),
        prefixes=tuple(sorted({_LINK_LOCAL, *halves}, key=lambda item: item.network_address)),
        learns=serves,
        open4=not strict4,
        open6=not strict6 and (not network.mode.is_routed or len(halves) < len(inside)),
    )


def made_address(subnet: IpNetwork, mac: MacAddress) -> Address:
    """Return the address that a guest makes of its MAC in a /64 (RFC 4291, appendix A)."""
    octets = mac.packed
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return ipaddress.ip_address(subnet.network_address.packed[:8] + identifier)


def _group(network: Network, port: Port) -> Portgroup | None:
    return next((one for one in network.portgroups if one.name == port.group), None)


def _reserved(network: Network, mac: MacAddress) -> Iterator[Address]:
    """Yield the addresses that the network keeps for a MAC."""
    for subnet in network.subnets:
        for host in () if subnet.dhcp is None else subnet.dhcp.hosts:
            if host.mac == mac and host.ip is not None:
                yield host.ip


def _of_the_host(network: Network, interfaces: Iterable[IpInterface]) -> Iterator[Address]:
    """Yield the host's own addresses on a network of ours."""
    if not network.mode.is_routed:
        return
    for interface in interfaces:
        yield interface.ip
    if network.mac is not None:
        yield made_address(_LINK_LOCAL, network.mac)


def _half(subnet: IpNetwork) -> IpNetwork:
    return subnet if subnet.prefixlen == _HALF else subnet.supernet(new_prefix=_HALF)


def _ordered(addresses: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(set(addresses), key=lambda address: (address.version, address)))
