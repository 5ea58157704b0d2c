"""Firewall rules as values: what a network's chains say, before any encoding.

One base table per family (``inet jackfield``) holds the base chains and the verdict maps; a
network adds chains of its own and the elements of the maps that lead to them::

    forward:      iifname vmap @police, vmap @leave, then oifname vmap @enter
    input:        iifname vmap @police, vmap @input, then ip daddr vmap @guard4,
                  ip6 daddr vmap @guard6
    postrouting:  iifname vmap @nat             (source NAT)

A network's chains only return, reject, drop or translate: nothing is accepted before
``@enter``, so that traffic must be allowed by the network it leaves and the one it enters.  So
it is with the host's own services: what ``@input`` lets through is still looked at by the network
whose bridge has the address that is asked.
"""

from __future__ import annotations

import dataclasses
import enum

from jackfield.model.address import Address, IpNetwork
from jackfield.model.values import InterfaceName

__all__ = [
    "Action",
    "Chain",
    "ConnectionState",
    "Direction",
    "Drop",
    "Hook",
    "Interface",
    "Masquerade",
    "Match",
    "Peer",
    "RateOver",
    "Reject",
    "Return",
    "Rule",
    "Snat",
    "State",
    "Transport",
]


class Hook(enum.Enum):
    """Which map leads to a chain; the value is the map's name.

    The maps of all but ``GUARD`` are looked up by interface name; those of ``GUARD``, one for each
    family (``guard4``, ``guard6``), by destination address.
    """

    LEAVE = "leave"
    ENTER = "enter"
    INPUT = "input"
    GUARD = "guard"
    POLICE = "police"
    NAT = "nat"


class Direction(enum.Enum):
    """Which end of a packet a match looks at."""

    SOURCE = "source"
    DESTINATION = "destination"


class ConnectionState(enum.Flag):
    """Connection tracking states (``NF_CT_STATE_BIT`` in ``nf_conntrack_common.h``)."""

    INVALID = 1
    ESTABLISHED = 2
    RELATED = 4
    NEW = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Interface:
    """The packet came in (``SOURCE``) or goes out (``DESTINATION``) through ``name``."""

    direction: Direction
    name: InterfaceName
    negate: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Peer:
    """The packet's source or destination address lies in ``network``.

    The match implies its family: it never holds, negated or not, for the other one.
    """

    direction: Direction
    network: IpNetwork
    negate: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Transport:
    """The packet's transport protocol, ``tcp`` or ``udp``, and its destination port if given."""

    protocol: str
    port: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """The packet's connection is in one of ``states``."""

    states: ConnectionState


@dataclasses.dataclass(frozen=True, slots=True)
class RateOver:
    """The chain has seen more than ``rate`` bytes a second, ``burst`` bytes allowed over it."""

    rate: int
    burst: int


Match = Interface | Peer | Transport | State | RateOver


@dataclasses.dataclass(frozen=True, slots=True)
class Return:
    """Leave the chain: this network has nothing against the packet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Drop:
    """Drop the packet and count it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the packet with ICMP port unreachable (``icmpx``) and count it."""


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


Action = Return | Drop | Reject | Masquerade | Snat


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """When all ``matches`` hold, do ``action``."""

    matches: tuple[Match, ...]
    action: Action


@dataclasses.dataclass(frozen=True, slots=True)
class Chain:
    """The rules of one hook; in the kernel it is called ``HOOK-BRIDGE``, like ``leave-virbr0``.

    ``addresses`` are those that a ``GUARD`` chain guards; the other hooks have none.
    """

    hook: Hook
    rules: tuple[Rule, ...]
    addresses: tuple[Address, ...] = ()
