"""A network's firewall rules, from its definition alone.

Traffic between networks must be allowed by the one it leaves and by the one it enters; a chain
only returns, rejects, drops or translates.  What each mode lets through:

=========  ============================================  ======================================
mode       out of the network                            into the network
=========  ============================================  ======================================
ISOLATED   nothing; to the host only its bridge's own    nothing
           addresses
NAT        its own prefixes as source, through the       established connections, from the
           uplinks                                       uplinks
ROUTE,     its own prefixes as source, through the       its own prefixes as destination, from
SUBNET     uplinks                                       the uplinks
OPEN       everything: no rules                          everything: no rules
=========  ============================================  ======================================

A network's own prefixes are its subnets and the destinations of its static routes.  Without
uplinks every way out is one.  An IPv6 prefix of a NAT network is routed, unless ``<nat
ipv6='yes'>`` asks for translation.

In every mode the DNS and TFTP that a network's dnsmasq serves at the bridge's addresses are for
its own guests and the host: dnsmasq itself would answer whoever has a route (CVE-2012-3411).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from jackfield.model.address import Address, IpNetwork
from jackfield.model.mode import Mode
from jackfield.model.network import Nat, Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName
from jackfield.plan.dnsmasq import served_ports
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import (
    Action,
    Chain,
    ConnectionState,
    Direction,
    Drop,
    Hook,
    Interface,
    Masquerade,
    Match,
    Peer,
    RateOver,
    Reject,
    Return,
    Rule,
    Snat,
    State,
    Transport,
)

__all__ = ["network_rules"]

_ROUTED = frozenset({Mode.NAT, Mode.ROUTE, Mode.SUBNET})

# The ports libvirt translates to where the document gives none (iptablesForwardMasquerade in
# viriptables.c): never a privileged one.
_PORTS = (1024, 65535)

_LOOPBACK = InterfaceName("lo")
_BROADCAST = ipaddress.IPv4Network("255.255.255.255/32")
_MULTICAST = ipaddress.IPv4Network("224.0.0.0/4")
_LINK_LOCAL6 = ipaddress.IPv6Network("fe80::/10")
_MULTICAST6 = ipaddress.IPv6Network("ff00::/8")
_NOT_TRANSLATED: dict[int, tuple[IpNetwork, ...]] = {
    4: (_MULTICAST, _BROADCAST),
    6: (_MULTICAST6, _LINK_LOCAL6),
}

_RETURN = Return()
_REJECT = Reject()
_BURST_LIMIT = 0xFFFFFFFF


def network_rules(network: Network, bridge: InterfaceName) -> NetworkRules | None:
    """Return the chains of a network whose bridge is ``bridge``, or ``None`` if it needs none.

    A network of the link layer has none: what it forwards never reaches the hooks of routing.
    """
    chains: list[Chain] = []
    if network.mode is Mode.ISOLATED:
        chains += [
            Chain(Hook.LEAVE, (_same_bridge(Direction.DESTINATION, bridge), Rule((), _REJECT))),
            Chain(Hook.ENTER, (_same_bridge(Direction.SOURCE, bridge), Rule((), _REJECT))),
            Chain(Hook.INPUT, tuple(_isolated_input(network))),
        ]
    elif network.mode in _ROUTED:
        uplinks = _uplinks(network)
        chains += [
            Chain(Hook.LEAVE, tuple(_leave(network, bridge, uplinks))),
            Chain(Hook.ENTER, tuple(_enter(network, bridge, uplinks))),
        ]
        translation = tuple(_translate(network))
        if translation:
            chains.append(Chain(Hook.NAT, translation))
    if network.mode.is_routed:
        chains += _guard(network, bridge)
        chains += _police(network, bridge)
    return NetworkRules(bridge=bridge, chains=tuple(chains)) if chains else None


def _same_bridge(far_end: Direction, bridge: InterfaceName) -> Rule:
    """Let traffic between two ports of the bridge pass: br_netfilter may show it to us."""
    return Rule((Interface(far_end, bridge),), _RETURN)


def _uplinks(network: Network) -> tuple[InterfaceName, ...]:
    """Return the devices that traffic must use; none means any.  A tunnel is the only way out."""
    if network.vpn is not None and network.vpn.dev is not None:
        return (network.vpn.dev,)
    return tuple(uplink.dev for uplink in network.uplinks if isinstance(uplink, DeviceUplink))


def _prefixes(network: Network) -> list[IpNetwork]:
    """Return the subnets and the destinations of static routes, each once, in document order."""
    found: dict[IpNetwork, None] = {}
    for subnet in network.subnets:
        if subnet.interface is not None:
            found[subnet.interface.network] = None
    for route in network.routes:
        found[route.destination] = None
    return list(found)


def _is_translated(network: Network, prefix: IpNetwork) -> bool:
    if network.mode is not Mode.NAT:
        return False
    return prefix.version == 4 or bool(network.nat and network.nat.ipv6)


def _through(far_end: Direction, uplinks: tuple[InterfaceName, ...]) -> Iterator[Rule]:
    """Refuse every other device than the uplinks."""
    if uplinks:
        yield Rule(tuple(Interface(far_end, name, negate=True) for name in uplinks), _REJECT)


def _leave(
    network: Network, bridge: InterfaceName, uplinks: tuple[InterfaceName, ...]
) -> Iterator[Rule]:
    yield _same_bridge(Direction.DESTINATION, bridge)
    yield from _through(Direction.DESTINATION, uplinks)
    for prefix in _prefixes(network):
        yield Rule((Peer(Direction.SOURCE, prefix),), _RETURN)
    yield Rule((), _REJECT)


def _enter(
    network: Network, bridge: InterfaceName, uplinks: tuple[InterfaceName, ...]
) -> Iterator[Rule]:
    yield _same_bridge(Direction.SOURCE, bridge)
    yield from _through(Direction.SOURCE, uplinks)
    answers = State(ConnectionState.ESTABLISHED | ConnectionState.RELATED)
    for prefix in _prefixes(network):
        matches: tuple[Match, ...] = (Peer(Direction.DESTINATION, prefix),)
        if _is_translated(network, prefix):
            matches += (answers,)
        yield Rule(matches, _RETURN)
    yield Rule((), _REJECT)


def _isolated_input(network: Network) -> Iterator[Rule]:
    """Let the guests reach the bridge's own addresses, broadcast and multicast: DHCP, DNS, ND.

    A DHCP client without an address yet sends to 255.255.255.255, so its source is not looked at.
    """
    allowed: dict[IpNetwork, None] = {}
    for subnet in network.subnets:
        interface = subnet.interface
        if interface is None:
            continue
        allowed[ipaddress.ip_network(interface.ip)] = None
        # RFC 3021: a /31 has no broadcast address.
        if interface.version == 4 and interface.network.prefixlen < 31:
            allowed[ipaddress.ip_network(interface.network.broadcast_address)] = None
    for network_wide in (_BROADCAST, _MULTICAST, _LINK_LOCAL6, _MULTICAST6):
        allowed[network_wide] = None
    for destination in allowed:
        yield Rule((Peer(Direction.DESTINATION, destination),), _RETURN)
    yield Rule((), _REJECT)


def _guard(network: Network, bridge: InterfaceName) -> Iterator[Chain]:
    """Keep what dnsmasq serves at the bridge's addresses from everybody else.

    With ``bind-interfaces`` it does not look at where a query comes in.  Link-local addresses
    need no guard: they are not reached through another link.
    """
    addresses = dict.fromkeys(
        subnet.interface.ip
        for subnet in network.subnets
        if subnet.interface is not None
        and not (subnet.interface.version == 6 and subnet.interface.ip.is_link_local)
    )
    refused = tuple(
        Rule((Transport(protocol, port),), Drop()) for protocol, port in served_ports(network)
    )
    if not (addresses and refused):
        return
    # What the host itself sends to one of its addresses comes in through lo.
    allowed = tuple(
        Rule((Interface(Direction.SOURCE, name),), _RETURN) for name in (bridge, _LOOPBACK)
    )
    yield Chain(Hook.GUARD, allowed + refused, tuple(addresses))


def _translate(network: Network) -> Iterator[Rule]:
    """Hide the sources, except towards the network itself, multicast and broadcast."""
    translated = [prefix for prefix in _prefixes(network) if _is_translated(network, prefix)]
    nat = network.nat or Nat()
    for version in (4, 6):
        sources = [prefix for prefix in translated if prefix.version == version]
        if not sources:
            continue
        for destination in (*sources, *_NOT_TRANSLATED[version]):
            yield Rule((Peer(Direction.DESTINATION, destination),), _RETURN)
        ports = _port_range(nat)
        for source in sources:
            peer = Peer(Direction.SOURCE, source)
            for protocol in ("tcp", "udp"):
                yield Rule((peer, Transport(protocol)), _translation(nat, version, *ports))
            yield Rule((peer,), _translation(nat, version, None, None))


def _port_range(nat: Nat) -> tuple[int, int]:
    if nat.port_start is None:
        return _PORTS
    return nat.port_start, nat.port_start if nat.port_end is None else nat.port_end


def _translation(nat: Nat, version: int, port_start: int | None, port_end: int | None) -> Action:
    """Return the action; an address range of the other family leaves this one masqueraded."""
    start: Address | None = nat.address_start
    if start is None or start.version != version:
        return Masquerade(port_start=port_start, port_end=port_end)
    return Snat(
        address_start=start,
        address_end=nat.address_end or start,
        port_start=port_start,
        port_end=port_end,
    )


def _police(network: Network, bridge: InterfaceName) -> Iterator[Chain]:
    """Drop what the guests together send above the network's outbound average.

    What they send each other is not counted, even where br_netfilter shows it to us.
    """
    outbound = None if network.bandwidth is None else network.bandwidth.outbound
    if outbound is None or not outbound.average:
        return
    burst = outbound.average if outbound.burst is None else outbound.burst
    limit = RateOver(rate=outbound.average * 1024, burst=min(burst * 1024, _BURST_LIMIT))
    within = _same_bridge(Direction.DESTINATION, bridge)
    yield Chain(Hook.POLICE, (within, Rule((limit,), Drop())))
