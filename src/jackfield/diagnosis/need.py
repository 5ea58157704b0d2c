"""What a network needs of the host's firewall: sample packets, with their way through the host."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator

from jackfield.diagnosis.bits import Bits, known, unknown
from jackfield.diagnosis.packet import (
    ABSENT,
    ARP,
    BROADCAST,
    ESTABLISHED,
    HOST,
    ICMPV6,
    MULTICAST,
    NEW,
    TCP,
    UDP,
    UNTOLD,
    Device,
    Packet,
    Sample,
    Visit,
    arp_body,
    icmp6,
    ip_header,
    link_header,
    tcp,
    udp,
)
from jackfield.model.address import Address, Subnet

__all__ = ["OUTSIDE", "Way", "bridged_samples", "guest_of", "host_samples", "routed_samples"]

OUTSIDE: dict[int, Address] = {
    4: ipaddress.IPv4Address("93.184.215.14"),
    6: ipaddress.IPv6Address("2606:2800:21f:cb07:6820:80da:af6b:8b2c"),
}
"""Some address that no list of special ones has; nothing is ever sent there."""

_NOBODY = ipaddress.IPv4Address("0.0.0.0")
_EVERYBODY = ipaddress.IPv4Address("255.255.255.255")
_LINK_LOCAL = ipaddress.IPv6Address("fe80::5054:ff:fe6a:1")
_ROUTER = ipaddress.IPv6Address("fe80::5054:ff:fe6a:2")
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_ROUTERS = ipaddress.IPv6Address("ff02::2")
_DHCP_SERVERS = ipaddress.IPv6Address("ff02::1:2")
_SOLICITED = ipaddress.IPv6Network("ff02::1:ff00:0/104")

# RTN_* in linux/rtnetlink.h
_UNICAST, _LOCAL, _BROADCAST, _MULTICAST = 1, 2, 3, 5

_ROUTED = {4: frozenset({"ip", "inet"}), 6: frozenset({"ip6", "inet"})}
_BRIDGE = frozenset({"bridge"})
_ARP = frozenset({"arp"})
_ASKS, _ANSWERS = 1, 2
_NETDEV = frozenset({"netdev", "inet"})

_GUEST_PORT = 40000
_ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT = 133, 134
_NEIGHBOUR_SOLICITATION = 135


NO_PORT = Device("guest", 0x7FFFFFFF)
"""A port that nobody has made, so no rule can be meant for it alone."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How guests of a subnet reach the outside.

    ``local`` is the host's address on the ``bridge``; ``uplink`` the way out, ``outer`` the host's
    address there if guests' are hidden behind it.  A guest is at a ``port`` of the bridge, of
    which there may be none yet.  ``guest_back`` and ``outside_back`` are ``Packet.back`` of both.
    """

    bridge: Device
    local: Address
    guest: Address
    uplink: Device = UNTOLD
    port: Device = NO_PORT
    outer: Address | None = None
    guest_back: bool | None = True
    outside_back: bool | None = True


def guest_of(subnet: Subnet) -> Address | None:
    """Return an address that a guest of the subnet may have; ``None`` where there is no room."""
    interface = subnet.interface
    if interface is None:
        return None
    if subnet.dhcp is not None and subnet.dhcp.ranges:
        chosen = subnet.dhcp.ranges[0]
        middle = (int(chosen.start) + int(chosen.end)) // 2
        return type(interface.ip)(middle)
    network = interface.network
    for number in (100, 2, 1, 3):
        if number < network.num_addresses - 1:
            candidate = network[number]
            if candidate != interface.ip:
                return candidate
    return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """A packet before anybody says where it is; an address may be just a number of bytes."""

    source: Address | int
    target: Address | int
    protocol: int
    transport: Bits
    state: int = NEW
    kind: int = HOST
    source_type: int = _UNICAST
    target_type: int = _UNICAST
    back: bool | None = True
    hops: int | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return 4 if len(_bits(self.source).value) == 4 else 6

    def at(self, iif: Device, oif: Device, *, bridged: bool = False) -> Packet:
        """Return the packet where it has come in through ``iif`` and goes out through ``oif``."""
        return Packet(
            version=self.version,
            protocol=self.protocol,
            link=link_header(b"", _MACS.get(self.kind, b""), self.version),
            network=ip_header(_bits(self.source), _bits(self.target), self.protocol, self.hops),
            transport=self.transport,
            iif=iif,
            oif=oif,
            state=self.state,
            kind=self.kind,
            source_type=self.source_type,
            target_type=self.target_type,
            back=self.back,
            bridged=bridged,
        )


def _bits(address: Address | int) -> Bits:
    return unknown(address) if isinstance(address, int) else known(address.packed)


_MACS = {BROADCAST: b"\xff" * 6}


def host_samples(way: Way, *, dhcp: bool, dns: bool, advertises: bool = False) -> Iterator[Sample]:
    """Yield what guests ask of the host itself, and what it answers."""
    version = way.local.version
    if version == 4:
        yield from _resolution(way)
    if dhcp and version == 4:
        request = _Flow(
            source=_NOBODY,
            target=_EVERYBODY,
            protocol=UDP,
            transport=udp(68, 67),
            kind=BROADCAST,
            source_type=_BROADCAST,
            target_type=_BROADCAST,
        )
        yield _to_host("guests' DHCP requests", way, request, 67)
        offer = _Flow(
            source=way.local,
            target=way.guest,
            protocol=UDP,
            transport=udp(67, 68),
            source_type=_LOCAL,
        )
        yield _from_host("DHCP answers to guests", way, offer)
    if dns:
        question = _Flow(
            source=way.guest,
            target=way.local,
            protocol=UDP,
            transport=udp(_GUEST_PORT, 53),
            target_type=_LOCAL,
            back=way.guest_back,
        )
        yield _to_host(f"guests' DNS questions (IPv{version})", way, question, 53)
        answer = _Flow(
            source=way.local,
            target=way.guest,
            protocol=UDP,
            transport=udp(53, _GUEST_PORT),
            state=ESTABLISHED,
            source_type=_LOCAL,
        )
        yield _from_host(f"DNS answers to guests (IPv{version})", way, answer)
    if version == 6:
        yield from _discovery(way, dhcp=dhcp, advertises=advertises)


def _resolution(way: Way) -> Iterator[Sample]:
    """Yield what IPv4 on a link is made of."""
    question = _arp(_ASKS, way.guest, way.local, iif=way.bridge)
    frame = dataclasses.replace(question, iif=way.port)
    yield Sample(
        words="guests' ARP requests",
        direction="to-host",
        version=4,
        visits=(
            Visit(hook="prerouting", families=_BRIDGE, packet=frame),
            Visit(hook="input", families=_BRIDGE, packet=frame),
            Visit(hook="ingress", families=_NETDEV, packet=question),
            Visit(hook="input", families=_ARP, packet=question),
        ),
    )
    answer = _arp(_ANSWERS, way.local, way.guest, oif=way.bridge)
    yield Sample(
        words="ARP answers to guests",
        direction="from-host",
        version=4,
        visits=(
            Visit(hook="output", families=_ARP, packet=answer),
            Visit(hook="egress", families=_NETDEV, packet=answer),
            *_departure(way, answer),
        ),
    )


def _arp(
    operation: int,
    sender: Address,
    target: Address,
    *,
    iif: Device = ABSENT,
    oif: Device = ABSENT,
) -> Packet:
    everybody = operation == _ASKS
    return Packet(
        version=4,
        protocol=0,
        ethertype=ARP,
        link=link_header(b"", _MACS[BROADCAST] if everybody else b"", 4, ARP),
        network=arp_body(operation, sender.packed, target.packed),
        transport=known(b""),
        iif=iif,
        oif=oif,
        state=_UNTRACKED,
        kind=BROADCAST if everybody else HOST,
    )


def _discovery(way: Way, *, dhcp: bool, advertises: bool) -> Iterator[Sample]:
    """Yield what IPv6 on a link is made of."""
    if advertises:
        solicitation = _multicast(_ALL_ROUTERS, icmp6(_ROUTER_SOLICITATION))
        yield _to_host("guests' router solicitations", way, solicitation)
        advertisement = dataclasses.replace(
            _multicast(_ALL_NODES, icmp6(_ROUTER_ADVERTISEMENT)),
            source=_ROUTER,
            source_type=_LOCAL,
        )
        yield _from_host("router advertisements to guests", way, advertisement)
    sought = _SOLICITED[int(way.local) & 0xFFFFFF]
    yield _to_host(
        "guests' neighbour solicitations", way, _multicast(sought, icmp6(_NEIGHBOUR_SOLICITATION))
    )
    if dhcp:
        yield _to_host(
            "guests' DHCPv6 requests",
            way,
            dataclasses.replace(
                _multicast(_DHCP_SERVERS, udp(546, 547)), protocol=UDP, state=NEW, hops=None
            ),
            547,
        )
        yield _from_host(
            "DHCPv6 answers to guests",
            way,
            _Flow(
                source=_ROUTER,
                target=_LINK_LOCAL,
                protocol=UDP,
                transport=udp(547, 546),
                source_type=_LOCAL,
            ),
        )


_UNTRACKED = 64
"""NF_CT_STATE_UNTRACKED_BIT: neighbour and router discovery is no connection."""


_NEVER_ROUTED = 255
"""The hop limit of neighbour discovery (RFC 4861)."""


def _multicast(target: Address, transport: Bits) -> _Flow:
    return _Flow(
        source=_LINK_LOCAL,
        target=target,
        protocol=ICMPV6,
        transport=transport,
        state=_UNTRACKED,
        kind=MULTICAST,
        target_type=_MULTICAST,
        hops=_NEVER_ROUTED,
    )


def routed_samples(way: Way) -> Iterator[Sample]:
    """Yield what guests send outside, and what comes back."""
    version = way.local.version
    outside = OUTSIDE[version]
    out = _Flow(
        source=way.guest,
        target=outside,
        protocol=TCP,
        transport=tcp(_GUEST_PORT, 443, answer=False),
        back=way.guest_back,
    )
    arriving, passing = out.at(way.bridge, ABSENT), out.at(way.bridge, way.uplink)
    yield Sample(
        words=f"guests' IPv{version} packets to outside",
        direction="out",
        version=version,
        visits=(
            *_arrival(way, arriving),
            Visit(hook="forward", families=_ROUTED[version], packet=passing),
            Visit(hook="postrouting", families=_ROUTED[version], packet=passing),
            Visit(hook="egress", families=_NETDEV, packet=passing),
        ),
    )
    back = _Flow(
        source=outside,
        target=way.guest,
        protocol=TCP,
        transport=tcp(443, _GUEST_PORT, answer=True),
        state=ESTABLISHED,
        back=way.outside_back,
    )
    hidden = way.outer is not None
    met = back if way.outer is None else dataclasses.replace(back, target=way.outer)
    met = dataclasses.replace(met, target_type=_LOCAL if hidden else _UNICAST)
    arrived, passing = back.at(way.uplink, ABSENT), back.at(way.uplink, way.bridge)
    yield Sample(
        words=f"answers to guests' IPv{version} packets",
        direction="in",
        version=version,
        visits=(
            Visit(hook="ingress", families=_NETDEV, packet=met.at(way.uplink, ABSENT)),
            Visit(
                hook="prerouting",
                families=_ROUTED[version],
                packet=met.at(way.uplink, ABSENT),
                translated=arrived,
            ),
            Visit(hook="forward", families=_ROUTED[version], packet=passing),
            Visit(hook="postrouting", families=_ROUTED[version], packet=passing),
            Visit(hook="egress", families=_NETDEV, packet=passing),
            *_departure(way, passing),
        ),
    )


def bridged_samples(
    bridge: Device,
    version: int,
    guest: Address | None,
    *,
    port: Device,
    routed: bool,
    back: bool | None = True,
) -> Iterator[Sample]:
    """Yield what guests on one bridge send each other, from ``port`` to one of nobody's.

    Where the firewall of routing sees it (``routed``), br_netfilter shows it as a packet that comes
    in by the bridge and goes out by it.  Without a ``guest``'s address it is not known which they
    have; ``back`` is as that of ``Packet``.
    """
    length = 4 if version == 4 else 16
    source, target = (length, length) if guest is None else (guest, guest + 1)
    first = _Flow(
        source=source,
        target=target,
        protocol=TCP,
        transport=tcp(_GUEST_PORT, 443, answer=False),
        back=back,
    )
    answer = dataclasses.replace(
        first,
        source=target,
        target=source,
        transport=tcp(443, _GUEST_PORT, answer=True),
        state=ESTABLISHED,
    )
    for flow in (first, answer):
        arriving = flow.at(bridge, ABSENT, bridged=True)
        passing = flow.at(bridge, bridge, bridged=True)
        # The kernel does not tell there where it came from.
        leaving = flow.at(ABSENT, bridge, bridged=True)
        frames = (
            Visit(hook="prerouting", families=_BRIDGE, packet=flow.at(port, ABSENT)),
            Visit(hook="forward", families=_BRIDGE, packet=flow.at(port, NO_PORT)),
            Visit(hook="postrouting", families=_BRIDGE, packet=flow.at(ABSENT, NO_PORT)),
        )
        packets = (
            Visit(hook="prerouting", families=_ROUTED[version], packet=arriving),
            Visit(hook="forward", families=_ROUTED[version], packet=passing),
            Visit(hook="postrouting", families=_ROUTED[version], packet=leaving),
        )
        yield Sample(
            words=f"IPv{version} packets through the bridge",
            direction="across",
            version=version,
            visits=(*frames, *(packets if routed else ())),
        )


def _arrival(way: Way, packet: Packet) -> tuple[Visit, ...]:
    """Return what a guest's packet passes before it is decided where it goes."""
    frame = dataclasses.replace(packet, iif=way.port, oif=ABSENT)
    return (
        Visit(hook="prerouting", families=_BRIDGE, packet=frame),
        Visit(hook="input", families=_BRIDGE, packet=frame),
        Visit(hook="ingress", families=_NETDEV, packet=packet),
        Visit(hook="prerouting", families=_ROUTED[packet.version], packet=packet),
    )


def _departure(way: Way, packet: Packet) -> tuple[Visit, ...]:
    """Return what a packet for a guest passes on its way through the bridge."""
    frame = dataclasses.replace(packet, iif=ABSENT, oif=way.port)
    return (
        Visit(hook="output", families=_BRIDGE, packet=frame),
        Visit(hook="postrouting", families=_BRIDGE, packet=frame),
    )


def _to_host(words: str, way: Way, flow: _Flow, port: int | None = None) -> Sample:
    packet = flow.at(way.bridge, ABSENT)
    version = packet.version
    return Sample(
        words=words,
        direction="to-host",
        version=version,
        port=port,
        visits=(
            *_arrival(way, packet),
            Visit(hook="input", families=_ROUTED[version], packet=packet),
        ),
    )


def _from_host(words: str, way: Way, flow: _Flow) -> Sample:
    packet = flow.at(ABSENT, way.bridge)
    version = packet.version
    return Sample(
        words=words,
        direction="from-host",
        version=version,
        visits=(
            Visit(hook="output", families=_ROUTED[version], packet=packet),
            Visit(hook="postrouting", families=_ROUTED[version], packet=packet),
            Visit(hook="egress", families=_NETDEV, packet=packet),
            *_departure(way, packet),
        ),
    )
