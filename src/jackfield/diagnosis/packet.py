"""Sample packets: bytes, and what the kernel knows beside them."""

from __future__ import annotations

import dataclasses
import struct

from jackfield.diagnosis.bits import Bits, known, unknown

__all__ = [
    "ABSENT",
    "ARP",
    "BROADCAST",
    "ESTABLISHED",
    "HOST",
    "ICMPV6",
    "INVALID",
    "MULTICAST",
    "NEW",
    "TCP",
    "UDP",
    "UNTOLD",
    "Device",
    "Packet",
    "Sample",
    "Visit",
    "arp_body",
    "icmp6",
    "ip_header",
    "link_header",
    "tcp",
    "udp",
]

TCP, UDP, ICMPV6 = 6, 17, 58
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
ARP = 0x0806

# linux/if_packet.h
HOST, BROADCAST, MULTICAST = 0, 1, 2

# NF_CT_STATE_BIT in nf_conntrack_common.h
INVALID, ESTABLISHED, NEW = 1, 2, 8


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """An interface as rules see it; ``None`` is what is not known of it."""

    name: str | None
    index: int | None = None


ABSENT = Device("", 0)
"""No interface: a packet for the host goes out through none."""
UNTOLD = Device(None)
"""Some interface, and it is not known which."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet at one place on its way.

    ``state`` is its connection's, as bits.  ``source_type`` and ``target_type`` are what the
    routing tables call its addresses (``RTN_*`` in ``rtnetlink.h``); ``back`` tells whether its
    source is reached through the interface it came in by.  ``None`` is not known.  One that is
    ``bridged`` goes from port to port of a bridge.  One that has an ``ethertype`` is no IP packet.
    """

    version: int
    protocol: int
    link: Bits
    network: Bits
    transport: Bits
    iif: Device
    oif: Device
    state: int = NEW
    kind: int = HOST
    source_type: int | None = 1
    target_type: int | None = 1
    back: bool | None = True
    bridged: bool = False
    ethertype: int | None = None

    @property
    def is_forwarded(self) -> bool:
        """Whether it is routed through this host, which knows of no socket that it is from.

        What goes from port to port of a bridge has, after a tap, that of its guest's hypervisor.
        """
        return not self.bridged and self.iif is not ABSENT and self.oif is not ABSENT


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A hook that a packet passes: ``translated`` is the packet once its addresses are put back.

    ``families`` are those of the tables that see it there.
    """

    hook: str
    families: frozenset[str]
    packet: Packet
    translated: Packet | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A packet that a network needs: in words (``guests' DHCP requests``), and all of its way.

    ``direction`` is ``to-host``, ``from-host``, ``out``, ``in`` or ``across``; ``port`` is that of
    the host's service which it is for.
    """

    words: str
    direction: str
    version: int
    visits: tuple[Visit, ...]
    port: int | None = None


def link_header(source: bytes, target: bytes, version: int, ethertype: int | None = None) -> Bits:
    """Return an Ethernet header; empty addresses are not known."""
    parts = [known(item) if item else unknown(6) for item in (target, source)]
    return _joined(*parts, known(struct.pack("!H", ethertype or _ETHERTYPES[version])))


def ip_header(source: Bits, target: Bits, protocol: int, hops: int | None) -> Bits:
    """Return an IP header without options or extensions; lengths and sums are open.

    So is how many ``hops`` are left unless that is given.
    """
    lifetime = unknown(1) if hops is None else known(bytes([hops]))
    if len(source.value) == 4:
        # tos, then length and identification are open; no fragment.
        return _joined(
            known(b"\x45\0"),
            unknown(4),
            Bits(b"\0\0", b"\xbf\xff"),
            lifetime,
            known(bytes([protocol])),
            unknown(2),
            source,
            target,
        )
    return _joined(known(b"\x60\0"), unknown(4), known(bytes([protocol])), lifetime, source, target)


def arp_body(operation: int, sender: bytes, target: bytes) -> Bits:
    """Return what ARP says for IPv4 on Ethernet, from whatever hardware address to whatever."""
    head = struct.pack("!HHBBH", 1, _ETHERTYPES[4], 6, 4, operation)
    return _joined(known(head), unknown(6), known(sender), unknown(6), known(target))


def udp(source: int, target: int) -> Bits:
    """Return a UDP header."""
    return _joined(known(struct.pack("!HH", source, target)), unknown(4))


def tcp(source: int, target: int, *, answer: bool) -> Bits:
    """Return the header of a connection's first packet, or of the ``answer`` to it."""
    flags = 0x12 if answer else 0x02
    return _joined(
        known(struct.pack("!HH", source, target)), unknown(9), known(bytes([flags])), unknown(6)
    )


def icmp6(kind: int) -> Bits:
    """Return the header of an ICMPv6 message."""
    return _joined(known(bytes([kind, 0])), unknown(6))


def _joined(*parts: Bits) -> Bits:
    return Bits(b"".join(part.value for part in parts), b"".join(part.known for part in parts))
