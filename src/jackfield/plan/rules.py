"""A network's firewall rules, from its definition alone.

What it is becomes elements of the sets that ``plan.table``'s chains look up.  Traffic between
networks must be allowed by the one it leaves and by the one it enters.  What each mode lets
through:

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

from collections.abc import Iterator

from jackfield.model.address import Address, IpNetwork
from jackfield.model.mode import Mode
from jackfield.model.network import Nat, Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName
from jackfield.plan.dnsmasq import served_ports
from jackfield.plan.table import (
    DEFAULT_PORTS,
    ENTER_REFUSED,
    GUARD_REFUSED,
    INPUT_REFUSED,
    ISOLATED,
    LEAVE_REFUSED,
    NETWORKS,
    OWN,
    POLICE,
    SERVED,
    TRANSLATE,
    WITHIN,
    own_chain,
    prefix_set,
)
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import (
    Action,
    Chain,
    Direction,
    Drop,
    Element,
    Interface,
    Masquerade,
    NamedSet,
    Return,
    Rule,
    Snat,
    Transport,
    rate_over,
)

__all__ = ["network_rules"]

_ROUTED = frozenset({Mode.NAT, Mode.ROUTE, Mode.SUBNET})


def network_rules(network: Network, bridge: InterfaceName) -> NetworkRules | None:
    """Return the rules of a network whose bridge is ``bridge``, or ``None`` if it needs none.

    A network of the link layer has none: what it forwards never reaches the hooks of routing.
    """
    elements: list[Element] = []
    own: list[tuple[NamedSet, tuple[Rule, ...]]] = []
    if network.mode is Mode.ISOLATED:
        elements += [*_filtered(bridge), *_isolated(network, bridge)]
    elif network.mode in _ROUTED:
        elements += [*_filtered(bridge), *_reachable(network, bridge)]
        own.append((TRANSLATE, tuple(_translations(network))))
    if network.mode.is_routed:
        elements += _guarded(network, bridge)
        own.append((POLICE, tuple(_police(network, bridge))))
    chains = {place: Chain(own_chain(place, bridge), rules) for place, rules in own if rules}
    elements += [Element(place, (bridge,), chain.name) for place, chain in chains.items()]
    if not elements:
        return None
    return NetworkRules(
        bridge=bridge, elements=tuple(dict.fromkeys(elements)), chains=tuple(chains.values())
    )


def _filtered(bridge: InterfaceName) -> Iterator[Element]:
    """Refuse what is not allowed elsewhere; count it."""
    yield Element(NETWORKS, (bridge,))
    yield Element(WITHIN, (bridge, bridge))
    yield Element(LEAVE_REFUSED, (bridge,))
    yield Element(ENTER_REFUSED, (bridge,))


def _reachable(network: Network, bridge: InterfaceName) -> Iterator[Element]:
    """Let the network's prefixes out and in, through its uplinks where it has some."""
    uplinks = _uplinks(network)
    for prefix in _prefixes(network):
        place = prefix_set(prefix, hidden=_is_translated(network, prefix), through=bool(uplinks))
        if not uplinks:
            yield Element(place, (bridge, prefix.network_address))
            continue
        # The bridge is a way of its own: what turns round there is translated like the rest.
        for way in (*uplinks, bridge):
            yield Element(place, (bridge, way, prefix.network_address))


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


def _isolated(network: Network, bridge: InterfaceName) -> Iterator[Element]:
    """Let the guests reach the bridge's own addresses and its subnet's broadcast: DHCP, DNS."""
    yield Element(ISOLATED, (bridge,))
    yield Element(INPUT_REFUSED, (bridge,))
    for subnet in network.subnets:
        interface = subnet.interface
        if interface is None:
            continue
        yield Element(OWN[interface.version], (bridge, interface.ip))
        # RFC 3021: a /31 has no broadcast address.
        if interface.version == 4 and interface.network.prefixlen < 31:
            yield Element(OWN[4], (bridge, interface.network.broadcast_address))


def _guarded(network: Network, bridge: InterfaceName) -> Iterator[Element]:
    """Keep what dnsmasq serves at the bridge's addresses from everybody else.

    With ``bind-interfaces`` it does not look at where a query comes in.  Link-local addresses
    need no guard: they are not reached through another link.
    """
    served = served_ports(network)
    if not served:
        return
    for subnet in network.subnets:
        interface = subnet.interface
        if interface is None or (interface.version == 6 and interface.ip.is_link_local):
            continue
        address: Address = interface.ip
        yield Element(OWN[address.version], (bridge, address))
        yield Element(GUARD_REFUSED[address.version], (address,), comment=bridge)
        for protocol, port in served:
            yield Element(SERVED[address.version], (address, protocol, port), comment=bridge)


def _translations(network: Network) -> Iterator[Rule]:
    """Translate to the network's own range of addresses or ports, if it has one.

    An address range of one family leaves the other one masqueraded.
    """
    nat = network.nat or Nat()
    start: Address | None = nat.address_start
    versions = {item.version for item in _prefixes(network) if _is_translated(network, item)}
    if start is None and nat.port_start is None:
        return
    first, last = DEFAULT_PORTS
    if nat.port_start is not None:
        first = nat.port_start
        last = first if nat.port_end is None else nat.port_end
    if start is not None and start.version in versions:
        versions.remove(start.version)
        end: Address = nat.address_end or start
        yield from _by_protocol(Snat(start, end, first, last), Snat(start, end))
    if versions:
        yield from _by_protocol(Masquerade(first, last), Masquerade())


def _by_protocol(with_ports: Action, without: Action) -> Iterator[Rule]:
    for protocol in ("tcp", "udp"):
        yield Rule((Transport(protocol),), with_ports)
    yield Rule((), without)


def _police(network: Network, bridge: InterfaceName) -> Iterator[Rule]:
    """Drop what the guests together send above the network's outbound average.

    What they send each other is not counted, even where br_netfilter shows it to us.
    """
    outbound = None if network.bandwidth is None else network.bandwidth.outbound
    if outbound is None or not outbound.average:
        return
    burst = outbound.average if outbound.burst is None else outbound.burst
    yield Rule((Interface(Direction.DESTINATION, bridge),), Return())
    yield Rule((rate_over(outbound.average, burst),), Drop())
