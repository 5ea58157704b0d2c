"""What a network needs of the host's firewall: sample packets that must get through.

A sample is a packet with the hooks that it visits (``way``) and words for people.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator

from jackfield.diagnosis.bits import Bits, known
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
    Device,
    Packet,
    Sample,
    Visit,
    arp_body,
    icmp6,
    link_header,
    tcp,
    udp,
)
from jackfield.diagnosis.way import (
    BRIDGE,
    NETDEV,
    NO_PORT,
    OUTSIDE,
    ROUTED,
    RTN_BROADCAST,
    RTN_LOCAL,
    RTN_MULTICAST,
    RTN_UNICAST,
    Flow,
    Way,
    arrival,
    departure,
    from_host,
    to_host,
)
from jackfield.model.address import Address

__all__ = ["bridged_samples", "host_samples", "routed_samples"]

_NOBODY = ipaddress.IPv4Address("0.0.0.0")
_EVERYBODY = ipaddress.IPv4Address("255.255.255.255")
_LINK_LOCAL = ipaddress.IPv6Address("fe80::5054:ff:fe6a:1")
_ROUTER = ipaddress.IPv6Address("fe80::5054:ff:fe6a:2")
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_ALL_ROUTERS = ipaddress.IPv6Address("ff02::2")
_DHCP_SERVERS = ipaddress.IPv6Address("ff02::1:2")
_SOLICITED = ipaddress.IPv6Network("ff02::1:ff00:0/104")

_ARP_FAMILY = frozenset({"arp"})
_ASKS, _ANSWERS = 1, 2
_EVERY_MAC = b"\xff" * 6

_GUEST_PORT = 40000
_ROUTER_SOLICITATION, _ROUTER_ADVERTISEMENT = 133, 134
_NEIGHBOUR_SOLICITATION = 135

_UNTRACKED = 64
"""NF_CT_STATE_UNTRACKED_BIT: neighbour and router discovery is no connection."""

_NEVER_ROUTED = 255
"""The hop limit of neighbour discovery (RFC 4861)."""


def host_samples(way: Way, *, dhcp: bool, dns: bool, advertises: bool) -> Iterator[Sample]:
    """Yield what guests ask of the host itself, and what it answers."""
    version = way.local.version
    if version == 4:
        yield from _resolution(way)
    if dhcp and version == 4:
        request = Flow(
            source=_NOBODY,
            target=_EVERYBODY,
            protocol=UDP,
            transport=udp(68, 67),
            kind=BROADCAST,
            source_type=RTN_BROADCAST,
            target_type=RTN_BROADCAST,
        )
        yield to_host("guests' DHCP requests", way, request, 67)
        offer = Flow(
            source=way.local,
            target=way.guest,
            protocol=UDP,
            transport=udp(67, 68),
            source_type=RTN_LOCAL,
        )
        yield from_host("DHCP answers to guests", way, offer)
    if dns:
        question = Flow(
            source=way.guest,
            target=way.local,
            protocol=UDP,
            transport=udp(_GUEST_PORT, 53),
            target_type=RTN_LOCAL,
            back=way.guest_back,
        )
        yield to_host(f"guests' DNS questions (IPv{version})", way, question, 53)
        answer = Flow(
            source=way.local,
            target=way.guest,
            protocol=UDP,
            transport=udp(53, _GUEST_PORT),
            state=ESTABLISHED,
            source_type=RTN_LOCAL,
        )
        yield from_host(f"DNS answers to guests (IPv{version})", way, answer)
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
            Visit(hook="prerouting", families=BRIDGE, packet=frame),
            Visit(hook="input", families=BRIDGE, packet=frame),
            Visit(hook="ingress", families=NETDEV, packet=question),
            Visit(hook="input", families=_ARP_FAMILY, packet=question),
        ),
    )
    answer = _arp(_ANSWERS, way.local, way.guest, oif=way.bridge)
    yield Sample(
        words="ARP answers to guests",
        direction="from-host",
        version=4,
        visits=(
            Visit(hook="output", families=_ARP_FAMILY, packet=answer),
            Visit(hook="egress", families=NETDEV, packet=answer),
            *departure(way, answer),
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
        link=link_header(b"", _EVERY_MAC if everybody else b"", 4, ARP),
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
        yield to_host("guests' router solicitations", way, solicitation)
        advertisement = dataclasses.replace(
            _multicast(_ALL_NODES, icmp6(_ROUTER_ADVERTISEMENT)),
            source=_ROUTER,
            source_type=RTN_LOCAL,
        )
        yield from_host("router advertisements to guests", way, advertisement)
    sought = _SOLICITED[int(way.local) & 0xFFFFFF]
    yield to_host(
        "guests' neighbour solicitations", way, _multicast(sought, icmp6(_NEIGHBOUR_SOLICITATION))
    )
    if dhcp:
        yield to_host(
            "guests' DHCPv6 requests",
            way,
            dataclasses.replace(
                _multicast(_DHCP_SERVERS, udp(546, 547)), protocol=UDP, state=NEW, hops=None
            ),
            547,
        )
        yield from_host(
            "DHCPv6 answers to guests",
            way,
            Flow(
                source=_ROUTER,
                target=_LINK_LOCAL,
                protocol=UDP,
                transport=udp(547, 546),
                source_type=RTN_LOCAL,
            ),
        )


def _multicast(target: Address, transport: Bits) -> Flow:
    return Flow(
        source=_LINK_LOCAL,
        target=target,
        protocol=ICMPV6,
        transport=transport,
        state=_UNTRACKED,
        kind=MULTICAST,
        target_type=RTN_MULTICAST,
        hops=_NEVER_ROUTED,
    )


def routed_samples(way: Way) -> Iterator[Sample]:
    """Yield what guests send outside, and what comes back."""
    version = way.local.version
    outside = OUTSIDE[version]
    out = Flow(
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
            *arrival(way, arriving),
            Visit(hook="forward", families=ROUTED[version], packet=passing),
            Visit(hook="postrouting", families=ROUTED[version], packet=passing),
            Visit(hook="egress", families=NETDEV, packet=passing),
        ),
    )
    back = Flow(
        source=outside,
        target=way.guest,
        protocol=TCP,
        transport=tcp(443, _GUEST_PORT, answer=True),
        state=ESTABLISHED,
        back=way.outside_back,
    )
    hidden = way.outer is not None
    met = back if way.outer is None else dataclasses.replace(back, target=way.outer)
    met = dataclasses.replace(met, target_type=RTN_LOCAL if hidden else RTN_UNICAST)
    arrived, passing = back.at(way.uplink, ABSENT), back.at(way.uplink, way.bridge)
    yield Sample(
        words=f"answers to guests' IPv{version} packets",
        direction="in",
        version=version,
        visits=(
            Visit(hook="ingress", families=NETDEV, packet=met.at(way.uplink, ABSENT)),
            Visit(
                hook="prerouting",
                families=ROUTED[version],
                packet=met.at(way.uplink, ABSENT),
                translated=arrived,
            ),
            Visit(hook="forward", families=ROUTED[version], packet=passing),
            Visit(hook="postrouting", families=ROUTED[version], packet=passing),
            Visit(hook="egress", families=NETDEV, packet=passing),
            *departure(way, passing),
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
    first = Flow(
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
            Visit(hook="prerouting", families=BRIDGE, packet=flow.at(port, ABSENT)),
            Visit(hook="forward", families=BRIDGE, packet=flow.at(port, NO_PORT)),
            Visit(hook="postrouting", families=BRIDGE, packet=flow.at(ABSENT, NO_PORT)),
        )
        packets = (
            Visit(hook="prerouting", families=ROUTED[version], packet=arriving),
            Visit(hook="forward", families=ROUTED[version], packet=passing),
            Visit(hook="postrouting", families=ROUTED[version], packet=leaving),
        )
        yield Sample(
            words=f"IPv{version} packets through the bridge",
            direction="across",
            version=version,
            visits=(*frames, *(packets if routed else ())),
        )
