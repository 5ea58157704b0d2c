"""What a network needs of the host beside a firewall that lets its packets pass.

Links, routes, sysctls, name servers and free addresses.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Collection, Iterator, Mapping

from jackfield.diagnosis.finding import Finding, Likelihood
from jackfield.diagnosis.packet import UNTOLD, Device
from jackfield.diagnosis.ranges import ranges_left, words_of
from jackfield.diagnosis.way import NO_PORT, OUTSIDE, Way, guest_of
from jackfield.errors import shell_word
from jackfield.model.address import Address, Subnet
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.state.facts import Facts

__all__ = ["Circumstances", "find_obstacles", "member_of", "port_on", "sysctls_of", "ways_of"]

_FORWARDED = frozenset({Mode.NAT, Mode.ROUTE, Mode.SUBNET, Mode.OPEN})
_ON_UPLINKS = frozenset({Mode.NAT, Mode.ROUTE, Mode.SUBNET, Mode.BRIDGE})
_LOCAL6 = ipaddress.IPv6Network("fc00::/7")
_TRACKED = "net/netfilter/nf_conntrack_count"
_MOST_TRACKED = "net/netfilter/nf_conntrack_max"
_MOST_NEIGHBOURS = {4: "net/ipv4/neigh/default/gc_thresh3", 6: "net/ipv6/neigh/default/gc_thresh3"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """A running network, and what is known of the host.

    ``steps`` are what the host lacks of it, in words.  Of one that is ``pending`` another
    definition is stored than it runs by.  ``sysctls`` has the values of those of ``sysctls_of``.
    ``managers`` are who else configures links of it, by their names; ``neighbours`` how many
    neighbours the host knows, by IP version.
    ``resolves`` is whether its DNS has anybody to ask, ``unbound`` where it does
    not answer.
    """

    network: Network
    facts: Facts
    sysctls: Mapping[str, str | None]
    problem: str | None = None
    steps: tuple[str, ...] = ()
    pending: bool = False
    leased: Collection[Address] = ()
    managers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    neighbours: Mapping[int, int] = dataclasses.field(default_factory=dict)
    resolves: bool = True
    unbound: tuple[Address, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Obstacle:
    text: str
    hint: str
    likelihood: Likelihood = Likelihood.FAULT


def find_obstacles(seen: Circumstances) -> Iterator[Finding]:
    """Yield what is in the way of the network's guests."""
    for item in _obstacles(seen):
        yield Finding(
            network=seen.network.name,
            likelihood=item.likelihood,
            text=item.text,
            hint=item.hint,
        )


def sysctls_of(network: Network, facts: Facts) -> list[str]:
    """Return the sysctls that are to be known of."""
    if network.bridge is None or network.bridge.name is None:
        return []
    names = ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"]
    if network.mode.is_routed:
        names += _MOST_NEIGHBOURS.values()
    if network.mode in _FORWARDED:
        names += [_TRACKED, _MOST_TRACKED]
    if network.mode in _FORWARDED and _has_ipv4(network):
        names.append("net/ipv4/conf/all/rp_filter")
        for link in {network.bridge.name, *_exits(network, facts)}:
            names += [f"net/ipv4/conf/{link}/{setting}" for setting in ("forwarding", "rp_filter")]
    if network.mode in _FORWARDED and not _routed_to(facts, OUTSIDE[6]):
        for link in _likely_exits(network, facts):
            names += [f"net/ipv6/conf/{link}/{setting}" for setting in ("forwarding", "accept_ra")]
    return names


def ways_of(seen: Circumstances) -> Iterator[tuple[Way, Subnet]]:
    """Yield how guests of each subnet reach the host, and the outside where they may."""
    network, facts = seen.network, seen.facts
    if not network.mode.is_routed or network.bridge is None or network.bridge.name is None:
        return
    bridge = facts.links.get(network.bridge.name)
    if bridge is None:
        return
    for subnet in network.subnets:
        guest = guest_of(subnet)
        if subnet.interface is None or guest is None:
            continue
        version = guest.version
        exit_ = next(iter(_exits(network, facts, version)), None)
        link = facts.links.get(exit_) if exit_ else None
        yield (
            Way(
                bridge=Device(bridge.name, bridge.index),
                local=subnet.interface.ip,
                guest=guest,
                uplink=UNTOLD if link is None else Device(link.name, link.index),
                port=port_on(network, facts, bridge.name),
                outer=_outer(network, facts, exit_, version),
                guest_back=_leads_to(facts, guest, bridge.name),
                outside_back=None if exit_ is None else _leads_to(facts, OUTSIDE[version], exit_),
            ),
            subnet,
        )


def port_on(network: Network, facts: Facts, bridge: str) -> Device:
    """Return a port of the bridge that some guest is at."""
    uplinks = {item.dev for item in network.uplinks if isinstance(item, DeviceUplink)}
    for link in facts.members(bridge):
        if link.name not in uplinks:
            return Device(link.name, link.index)
    return NO_PORT


def member_of(facts: Facts, bridge: str, version: int) -> tuple[Address | None, bool | None]:
    """Return an address that guests on somebody's bridge may have, and if it is routed there.

    ``None`` where that is not known.
    """
    link = facts.links.get(bridge)
    for interface in () if link is None else link.addresses:
        if interface.version == version and not interface.ip.is_link_local:
            for number in (1, 2):
                if (
                    interface.network.num_addresses > 3
                    and interface.network[number] != interface.ip
                ):
                    return interface.network[number], True
    if _leads_to(facts, OUTSIDE[version], bridge):
        return None, True
    ways = any(
        route.link == bridge
        for route in facts.routes
        if route.destination.version == version and not route.destination.is_link_local
    )
    return None, None if ways else False


def _obstacles(seen: Circumstances) -> Iterator[_Obstacle]:
    word = shell_word(seen.network.name)
    again = f"jackfield apply {'--live ' if seen.pending else ''}{word}"
    if seen.problem is not None:
        yield _Obstacle(seen.problem, f"when its cause is gone: {again}")
    if seen.steps:
        rest = len(seen.steps) - 3
        plan = "" if seen.pending else f" (jackfield plan {word})"
        more = f"; and {rest} more{plan}" if rest > 0 else ""
        yield _Obstacle(
            f"the host lacks something of this network: {'; '.join(seen.steps[:3])}{more}", again
        )
    for manager in sorted(set(seen.managers.values())):
        links = sorted(name for name, other in seen.managers.items() if other == manager)
        yield _Obstacle(
            f"{', '.join(links)}: configured by {manager} as well, and not as the network is",
            "have it leave them alone, as packaging/udev and packaging/networkd do "
            f"(docs/daemon.md says how); then: {again}",
        )
    for address in seen.unbound:
        yield _Obstacle(
            f"nobody answers DNS at {address}, where guests ask",
            "see log in the folder dnsmasq of the daemon's run directory",
        )
    yield from _links(seen)
    if seen.network.mode in _FORWARDED:
        yield from _routes(seen)
        yield from _settings(seen)
    yield from _neighbours(seen)
    yield from _ranges(seen)
    if not seen.resolves:
        yield _Obstacle(
            "/etc/resolv.conf of the host names no server, so guests can resolve this network's "
            "own names only",
            "name a server there, or one of the network's own: <dns><forwarder addr='…'/></dns>",
            Likelihood.OBSTACLE,
        )


def _links(seen: Circumstances) -> Iterator[_Obstacle]:
    """Yield what is wrong with the network's uplinks."""
    network, links = seen.network, seen.facts.links
    names = [item.dev for item in network.uplinks if isinstance(item, DeviceUplink)]
    dead = []
    for name in names:
        link = links.get(name)
        if link is None:
            dead.append((name, "is not there", "plug it in, or name another one in the network"))
        elif not link.up and network.mode in _ON_UPLINKS:
            dead.append((name, "is down", f"ip link set {name} up"))
        elif link.carrier is False and link.up:
            dead.append((name, "has no carrier", "see its cable, and the switch"))
    if not names or (network.mode not in _ON_UPLINKS and len(dead) < len(names)):
        # Ports of macvtap networks go to what is there.
        return
    likelihood = Likelihood.FAULT if len(dead) == len(names) else Likelihood.OBSTACLE
    for name, what, hint in dead:
        yield _Obstacle(f"uplink {name} {what}", hint, likelihood)


def _routes(seen: Circumstances) -> Iterator[_Obstacle]:
    """Yield where routes lead elsewhere than guests need."""
    network, facts = seen.network, seen.facts
    named = {item.dev for item in network.uplinks if isinstance(item, DeviceUplink)}
    reported: set[int] = set()
    for way, _ in ways_of(seen):
        version = way.local.version
        other = _routed_by(facts, way.guest)
        if way.guest_back is False and other is not None:
            yield _Obstacle(
                f"answers to guests are routed to {other} instead of {way.bridge.name}: a route "
                f"for {way.guest} leads there",
                f"remove it: ip -{version} route get {way.guest} shows it",
            )
        if version in reported:
            continue
        reported.add(version)
        ways = _routed_to(facts, OUTSIDE[version])
        local6 = version == 6 and way.guest in _LOCAL6 and not _hides(network, 6)
        if not ways:
            if not local6:
                yield _Obstacle(
                    f"the host has no IPv{version} default route, so guests reach only what it has "
                    "routes to",
                    f"give it one: ip -{version} route add default via GATEWAY"
                    + (_learning(seen) if version == 6 else ""),
                    Likelihood.OBSTACLE,
                )
        elif named and not named & ways:
            through = ", ".join(sorted(ways))
            strict = [name for name in sorted(named) if _is_strict(seen, name)]
            yield _Obstacle(
                f"the host routes what goes outside by IPv{version} through {through}, and this "
                f"network lets it out through {', '.join(sorted(named))} only",
                f"name {through} as its uplink, or none; or let the default route lead through "
                f"{', '.join(sorted(named))}"
                + (f" (where rp_filter drops answers: {', '.join(strict)})" if strict else ""),
                Likelihood.OBSTACLE,
            )


def _learning(seen: Circumstances) -> str:
    """Return how the host would learn its IPv6 default route, where forwarding keeps it from it."""
    for link in _likely_exits(seen.network, seen.facts):
        conf = f"net/ipv6/conf/{link}"
        if "1" == seen.sysctls.get(f"{conf}/accept_ra") == seen.sysctls.get(f"{conf}/forwarding"):
            return (
                f"; or have {link}, which forwards and so passes over router advertisements, take "
                f"it from those: sysctl -w net.ipv6.conf.{link.replace('.', '/')}.accept_ra=2"
            )
    return ""


def _settings(seen: Circumstances) -> Iterator[_Obstacle]:
    """Yield what sysctls are in the way: of single links, and of connections that are tracked."""
    tracked, most = (int(seen.sysctls.get(name) or 0) for name in (_TRACKED, _MOST_TRACKED))
    # Without a limit it says 0.
    if most and tracked >= most - most // 10:
        yield _Obstacle(
            f"the host tracks {tracked} connections, and may track {most}: new ones of guests are "
            "dropped when there is no room",
            f"sysctl -w {_MOST_TRACKED.replace('/', '.')}={2 * most}; conntrack -L shows them",
            Likelihood.FAULT if tracked >= most else Likelihood.PERHAPS,
        )
    for name, value in seen.sysctls.items():
        if name.startswith("net/ipv4") and name.endswith("/forwarding") and value == "0":
            link = name.split("/")[3]
            yield _Obstacle(
                f"the host does not forward what comes in by {link}",
                f"sysctl -w net.ipv4.conf.{link.replace('.', '/')}.forwarding=1",
            )


def _neighbours(seen: Circumstances) -> Iterator[_Obstacle]:
    """Yield where there is hardly room for another neighbour; the kernel may yet make some."""
    for version, name in _MOST_NEIGHBOURS.items():
        known, most = seen.neighbours.get(version, 0), int(seen.sysctls.get(name) or 0)
        if most and known >= most - most // 10:
            setting = name.replace("/", ".")
            yield _Obstacle(
                f"the host knows {known} neighbours by IPv{version}, and may know {most}: others "
                "cannot be sent anything when there is no room",
                f"sysctl -w {setting}={4 * most} {setting[:-1]}2={2 * most}",
                Likelihood.PERHAPS,
            )


def _ranges(seen: Circumstances) -> Iterator[_Obstacle]:
    """Yield the DHCP ranges that have nothing left to give."""
    for subnet, _ in ranges_left(seen.network, seen.leased, 0):
        yield _Obstacle(
            f"DHCP has no free address: all of {words_of(subnet)} is leased or reserved",
            "give the network a longer range, or its leases a shorter time",
        )


def _has_ipv4(network: Network) -> bool:
    return any(subnet.address and subnet.address.version == 4 for subnet in network.subnets)


def _exits(network: Network, facts: Facts, version: int = 4) -> list[str]:
    """Return the links that guests go out through: what the route says, where that may be."""
    routed = _routed_to(facts, OUTSIDE[version])
    named: list[str] = [item.dev for item in network.uplinks if isinstance(item, DeviceUplink)]
    if not named:
        return sorted(routed) if len(routed) == 1 else []
    return [name for name in named if name in routed] or named[:1]


def _likely_exits(network: Network, facts: Facts) -> list[str]:
    """Return the links that an IPv6 default route would lead through, if there were one."""
    named = [str(item.dev) for item in network.uplinks if isinstance(item, DeviceUplink)]
    return named or sorted(_routed_to(facts, OUTSIDE[4]))


def _routed_to(facts: Facts, address: Address) -> set[str]:
    """Return the links that an address is reached through."""
    return {route.link for route in facts.routes_to(address) if route.link is not None}


def _routed_by(facts: Facts, address: Address) -> str | None:
    return next(iter(sorted(_routed_to(facts, address))), None)


def _leads_to(facts: Facts, address: Address, link: str) -> bool | None:
    """Tell whether an address is reached through a link, ``None`` where there are several ways."""
    found = _routed_to(facts, address)
    if len(found) > 1:
        return None if link in found else False
    return found == {link}


def _hides(network: Network, version: int) -> bool:
    nat = network.nat
    return network.mode is Mode.NAT and (version == 4 or (nat is not None and bool(nat.ipv6)))


def _outer(network: Network, facts: Facts, link: str | None, version: int) -> Address | None:
    """Return the address that hides guests, where something does."""
    if link is None or not _hides(network, version) or link not in facts.links:
        return None
    addresses = [item.ip for item in facts.links[link].addresses if item.version == version]
    return next((item for item in addresses if not item.is_link_local), None)


def _is_strict(seen: Circumstances, link: str) -> bool:
    """Tell whether the kernel drops what comes in by a link that does not lead back."""
    everywhere = seen.sysctls.get("net/ipv4/conf/all/rp_filter") or "0"
    here = seen.sysctls.get(f"net/ipv4/conf/{link}/rp_filter") or "0"
    return max(int(everywhere), int(here)) == 1
