"""Firewall rules as values, before any encoding: sets and their elements, chains and their rules.

What all networks share is a few chains that look sets up (``plan.table``).  A network is elements
of those sets, so that one more makes neither a packet's way longer nor a change dearer; where no
element can say what it wants, it has a chain of its own, which a map leads to.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress

from jackfield.model.address import Address, IpNetwork
from jackfield.model.values import InterfaceName

__all__ = [
    "Action",
    "AddressOf",
    "BaseHook",
    "Chain",
    "ConnectionState",
    "Direction",
    "Drop",
    "Element",
    "Field",
    "Goto",
    "InSet",
    "Interface",
    "InterfaceOf",
    "Jump",
    "Masquerade",
    "Match",
    "NamedSet",
    "Part",
    "RateOver",
    "Reject",
    "Return",
    "Rule",
    "Selector",
    "Snat",
    "State",
    "To",
    "Transport",
    "TransportField",
    "VerdictOf",
    "rate_over",
]


class Field(enum.Enum):
    """A part of a set's keys; the value is what nft calls its type."""

    INTERFACE = "ifname"
    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"
    PROTOCOL = "inet_proto"
    PORT = "inet_service"


Part = InterfaceName | Address | str | int
"""A part of a key: an interface, an address, a protocol (``tcp``, ``udp``) or a port."""


@dataclasses.dataclass(frozen=True, slots=True)
class NamedSet:
    """A set of the table; the name says which it is.

    A ``counted`` one counts, for each element, the packets that were looked up and found there.
    One of ``verdicts`` is a map from its keys to chains.
    """

    name: str
    fields: tuple[Field, ...] = dataclasses.field(compare=False)
    counted: bool = dataclasses.field(default=False, compare=False)
    verdicts: bool = dataclasses.field(default=False, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Element:
    """A network's element of a set: one key, and in a map of verdicts the chain it leads to.

    ``comment`` says whose it is where the key does not begin with the bridge.
    """

    place: NamedSet
    key: tuple[Part, ...]
    chain: str = ""
    comment: str = ""


class Direction(enum.Enum):
    """Which end of a packet is looked at."""

    SOURCE = "source"
    DESTINATION = "destination"


@dataclasses.dataclass(frozen=True, slots=True)
class InterfaceOf:
    """The name of the interface that a packet came in (``SOURCE``) or goes out through."""

    direction: Direction


@dataclasses.dataclass(frozen=True, slots=True)
class AddressOf:
    """A packet's address of that ``version``, of which ``length`` bits count.

    It implies the family: nothing is found for a packet of the other one.
    """

    direction: Direction
    version: int
    length: int

    @property
    def mask(self) -> Address:
        """The bits that count."""
        if self.version == 4:
            return ipaddress.IPv4Network((0, self.length)).netmask
        return ipaddress.IPv6Network((0, self.length)).netmask


class TransportField(enum.Enum):
    """A packet's transport protocol, or its destination port; the value is what nft calls it."""

    PROTOCOL = "meta l4proto"
    PORT = "th dport"


Selector = InterfaceOf | AddressOf | TransportField
"""What of a packet is looked up: one for each field of the set."""


class ConnectionState(enum.Flag):
    """Connection tracking states (``NF_CT_STATE_BIT`` in ``nf_conntrack_common.h``)."""

    INVALID = 1
    ESTABLISHED = 2
    RELATED = 4
    NEW = 8


@dataclasses.dataclass(frozen=True, slots=True)
class InSet:
    """What ``by`` selects is in ``place``."""

    place: NamedSet
    by: tuple[Selector, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """The packet came in (``SOURCE``) or goes out (``DESTINATION``) through ``name``."""

    direction: Direction
    name: InterfaceName


@dataclasses.dataclass(frozen=True, slots=True)
class To:
    """The packet's destination lies in ``network``, which implies its family."""

    network: IpNetwork


@dataclasses.dataclass(frozen=True, slots=True)
class Transport:
    """The packet's transport protocol is this: ``tcp`` or ``udp``."""

    protocol: str


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The packet's connection is in one of ``states``."""

    states: ConnectionState


@dataclasses.dataclass(frozen=True, slots=True)
class RateOver:
    """The rule has seen more than ``rate`` bytes a second, ``burst`` bytes allowed over it."""

    rate: int
    burst: int


_MOST_RATE = 17 << 30
_MOST_BURST = 0xFFFFFFFF
_MOST = 2**64 // 10**9
"""Bytes of rate and burst together that the kernel can count: in nanoseconds, of 64 bits
(``nft_limit_init`` in net/netfilter/nft_limit.c)."""


def rate_over(average: int, burst: int) -> RateOver:
    """Return the limit of ``average`` KiB a second and ``burst`` KiB, or the most that there is."""
    rate = min(average * 1024, _MOST_RATE)
    return RateOver(rate=rate, burst=min(burst * 1024, _MOST_BURST, _MOST - rate))


Match = InSet | Interface | To | Transport | State | RateOver


@dataclasses.dataclass(frozen=True, slots=True)
class Return:
    """Leave the chain: nothing in it is against the packet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """Drop the packet and count it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the packet with ICMP port unreachable (``icmpx``) and count it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Jump:
    """Go through ``chain`` and come back."""

    chain: str


@dataclasses.dataclass(frozen=True, slots=True)
class Goto:
    """Go on in ``chain``, for good."""

    chain: str


@dataclasses.dataclass(frozen=True, slots=True)
class VerdictOf:
    """Jump to the chain that the map ``place`` has for what ``by`` selects, if it has one."""

    place: NamedSet
    by: tuple[Selector, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Masquerade:
    """Take the outgoing interface's address; ports from the range where given."""

    port_start: int | None = None
    port_end: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Snat:
    """Take an address of the range (one family), ports from the range where given."""

    address_start: Address
    address_end: Address
    port_start: int | None = None
    port_end: int | None = None


Action = Return | Drop | Reject | Jump | Goto | VerdictOf | Masquerade | Snat


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """When all ``matches`` hold, do ``action``; without one, go on to the next rule.

    A rule that goes on is there for the set that it looks up, which counts.
    """

    matches: tuple[Match, ...]
    action: Action | None


@dataclasses.dataclass(frozen=True, slots=True)
class BaseHook:
    """Where the kernel calls a chain: ``type`` filter or nat, policy accept."""

    type: str
    hook: str
    priority: int


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """Rules in order; ``base`` is where the kernel calls them, or ``None`` if rules jump there."""

    name: str
    rules: tuple[Rule, ...]
    base: BaseHook | None = None
