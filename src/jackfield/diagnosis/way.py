"""The ways of packets through the host, and which hooks of the firewall they visit there."""

from __future__ import annotations

import dataclasses
import ipaddress

from jackfield.diagnosis.bits import Bits, known, unknown
from jackfield.diagnosis.packet import (
    ABSENT,
    BROADCAST,
    HOST,
    NEW,
    UNTOLD,
    Device,
    Packet,
    Sample,
    Visit,
    ip_header,
    link_header,
)
from jackfield.model.address import Address, Subnet

__all__ = [
    "BRIDGE",
    "NETDEV",
    "NO_PORT",
    "OUTSIDE",
    "ROUTED",
    "RTN_BROADCAST",
    "RTN_LOCAL",
    "RTN_MULTICAST",
    "RTN_UNICAST",
    "Flow",
    "Way",
    "arrival",
    "departure",
    "from_host",
    "guest_of",
    "to_host",
]

OUTSIDE: dict[int, Address] = {
    4: ipaddress.IPv4Address("93.184.215.14"),
    6: ipaddress.IPv6Address("2606:2800:21f:cb07:6820:80da:af6b:8b2c"),
}
"""Some address that no list of special ones has; nothing is ever sent there."""

# Types of addresses in linux/rtnetlink.h.
RTN_UNICAST, RTN_LOCAL, RTN_BROADCAST, RTN_MULTICAST = 1, 2, 3, 5

BRIDGE = frozenset({"bridge"})
"""The families of tables whose chains see a frame pass through a bridge."""

NETDEV = frozenset({"netdev", "inet"})
"""Those that see what enters and leaves an interface."""

ROUTED = {4: frozenset({"ip", "inet"}), 6: frozenset({"ip6", "inet"})}
"""Those that see an IP packet of each version as the host's, or as one that it forwards."""

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
class Flow:
    """A packet of which it is not said yet where it is.

    An address that is not known is given by its length in bytes; the rest is as in ``Packet``.
    """

    source: Address | int
    target: Address | int
    protocol: int
    transport: Bits
    state: int = NEW
    kind: int = HOST
    source_type: int = RTN_UNICAST
    target_type: int = RTN_UNICAST
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


def arrival(way: Way, packet: Packet) -> tuple[Visit, ...]:
    """Return what a guest's packet passes before it is decided where it goes."""
    frame = dataclasses.replace(packet, iif=way.port, oif=ABSENT)
    return (
        Visit(hook="prerouting", families=BRIDGE, packet=frame),
        Visit(hook="input", families=BRIDGE, packet=frame),
        Visit(hook="ingress", families=NETDEV, packet=packet),
        Visit(hook="prerouting", families=ROUTED[packet.version], packet=packet),
    )


def departure(way: Way, packet: Packet) -> tuple[Visit, ...]:
    """Return what a packet for a guest passes on its way through the bridge."""
    frame = dataclasses.replace(packet, iif=ABSENT, oif=way.port)
    return (
        Visit(hook="output", families=BRIDGE, packet=frame),
        Visit(hook="postrouting", families=BRIDGE, packet=frame),
    )


def to_host(words: str, way: Way, flow: Flow, port: int | None = None) -> Sample:
    """Return a guest's packet to the host itself, to its ``port`` if it is known by one."""
    packet = flow.at(way.bridge, ABSENT)
    version = packet.version
    return Sample(
        words=words,
        direction="to-host",
        version=version,
        port=port,
        visits=(
            *arrival(way, packet),
            Visit(hook="input", families=ROUTED[version], packet=packet),
        ),
    )


def from_host(words: str, way: Way, flow: Flow) -> Sample:
    """Return a packet of the host's own to a guest."""
    packet = flow.at(ABSENT, way.bridge)
    version = packet.version
    return Sample(
        words=words,
        direction="from-host",
        version=version,
        visits=(
            Visit(hook="output", families=ROUTED[version], packet=packet),
            Visit(hook="postrouting", families=ROUTED[version], packet=packet),
            Visit(hook="egress", families=NETDEV, packet=packet),
            *departure(way, packet),
        ),
    )
