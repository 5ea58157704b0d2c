"""What all networks share: the sets that say what each network is, and chains that look them up.

::

    forward:      police, then leave for what comes from a network, enter for what goes to one
    input:        police, then isolated, then guard
    postrouting:  hide

Nothing is accepted before ``enter``, so that traffic must be allowed by the network it leaves and
by the one it enters.  So it is with the host's own services: what ``isolated`` lets through is
still looked at by ``guard``.

A set is there while a network needs it, and so are the rules that look it up.  What a network may
send and get is its prefixes: one set for each length of prefix that is in use, so that a lookup is
one hash of the masked address.  No set that all networks are in leads to chains: for an element of
one that does, the kernel goes through the whole table.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from jackfield.model.address import IpNetwork
from jackfield.model.values import InterfaceName
from jackfield.state.rules import (
    AddressOf,
    BaseHook,
    Chain,
    ConnectionState,
    Direction,
    Drop,
    Field,
    Goto,
    InSet,
    Interface,
    InterfaceOf,
    Jump,
    Masquerade,
    Match,
    NamedSet,
    Reject,
    Return,
    Rule,
    State,
    To,
    Transport,
    TransportField,
    VerdictOf,
)

__all__ = [
    "BROADCAST",
    "DEFAULT_PORTS",
    "ENTER_REFUSED",
    "GUARD_REFUSED",
    "INPUT_REFUSED",
    "ISOLATED",
    "LEAVE_REFUSED",
    "NETWORKS",
    "OWN",
    "OWN_CHAINS",
    "POLICE",
    "SERVED",
    "TRANSLATE",
    "WITHIN",
    "named_set",
    "own_chain",
    "prefix_set",
    "shared_chains",
]

_ADDRESS = {4: Field.IPV4, 6: Field.IPV6}
_BITS = {4: 32, 6: 128}


def _of_address(name: str, *others: Field, counted: bool = False) -> dict[int, NamedSet]:
    """Return a set of addresses for each family, ``others`` after the address."""
    return {
        version: NamedSet(f"{name}{version}", (field, *others), counted=counted)
        for version, field in _ADDRESS.items()
    }


NETWORKS = NamedSet("networks", (Field.INTERFACE,))
"""The bridges whose traffic is filtered."""
WITHIN = NamedSet("within", (Field.INTERFACE, Field.INTERFACE))
"""Each bridge with itself: br_netfilter may show us what two ports of it send each other."""
ISOLATED = NamedSet("isolated", (Field.INTERFACE,))
"""The bridges from which only the host's own addresses there are reached."""
OWN = {
    version: NamedSet(f"own{version}", (Field.INTERFACE, field))
    for version, field in _ADDRESS.items()
}
"""Each bridge with the host's addresses there."""
SERVED = _of_address("served", Field.PROTOCOL, Field.PORT)
"""Where a network's dnsmasq answers whoever reaches it."""
LEAVE_REFUSED = NamedSet("leave_refused", (Field.INTERFACE,), counted=True)
ENTER_REFUSED = NamedSet("enter_refused", (Field.INTERFACE,), counted=True)
INPUT_REFUSED = NamedSet("input_refused", (Field.INTERFACE,), counted=True)
GUARD_REFUSED = _of_address("guard_refused", counted=True)
"""The same keys again, to count what is refused for each network."""
POLICE = NamedSet("police", (Field.INTERFACE,), verdicts=True)
"""From the bridges with a limit to their own chains."""
TRANSLATE = NamedSet("translate", (Field.INTERFACE,), verdicts=True)
"""From the bridges with an own range of addresses or ports to their own chains."""

OWN_CHAINS = (POLICE, TRANSLATE)
"""The maps that lead to chains of one network."""

_FIXED = {
    place.name: place
    for place in (
        *(NETWORKS, WITHIN, ISOLATED, *OWN.values(), *SERVED.values()),
        *(LEAVE_REFUSED, ENTER_REFUSED, INPUT_REFUSED, *GUARD_REFUSED.values()),
        *OWN_CHAINS,
    )
}
_PREFIX_SET = re.compile(r"(hidden|routed)([46])_(0|[1-9]\d{0,2})(_through)?")

DEFAULT_PORTS = (1024, 65535)
"""The ports libvirt translates to where the document gives none (iptablesForwardMasquerade in
viriptables.c): never a privileged one."""

BROADCAST = ipaddress.IPv4Network("255.255.255.255/32")
_MULTICAST = ipaddress.IPv4Network("224.0.0.0/4")
_MULTICAST6 = ipaddress.IPv6Network("ff00::/8")
_LINK_LOCAL6 = ipaddress.IPv6Network("fe80::/10")
# Reached on the link alone, in whatever network.
_ON_LINK: tuple[IpNetwork, ...] = (BROADCAST, _MULTICAST, _LINK_LOCAL6, _MULTICAST6)

# enum nf_ip_hook_priorities: NF_IP_PRI_FILTER and NF_IP_PRI_NAT_SRC.
_FILTER = 0
_SOURCE_NAT = 100

_IN = InterfaceOf(Direction.SOURCE)
_OUT = InterfaceOf(Direction.DESTINATION)
_ANSWERS = State(ConnectionState.ESTABLISHED | ConnectionState.RELATED)
_LOOPBACK = InterfaceName("lo")
_RETURN = Return()


class _Prefixes(NamedTuple):
    """What the rules must know of a set of prefixes."""

    place: NamedSet
    version: int
    length: int
    hidden: bool
    through: bool

    def lookup(self, near: Direction, address: Direction) -> InSet:
        """Look a packet up by the interface at the bridge's end, and the address at that end."""
        interfaces = (_IN, _OUT) if near is Direction.SOURCE else (_OUT, _IN)
        selected = AddressOf(address, self.version, self.length)
        return InSet(self.place, (*interfaces[: 1 + self.through], selected))


def prefix_set(prefix: IpNetwork, *, hidden: bool, through: bool) -> NamedSet:
    """Return the set for a network's ``prefix``.

    The sources of a ``hidden`` one are translated, so that only answers come in.  Its keys are
    bridge and prefix; with ``through`` bridge, way out and prefix.
    """
    return _prefixes(prefix.version, prefix.prefixlen, hidden, through).place


@functools.cache
def _prefixes(version: int, length: int, hidden: bool, through: bool) -> _Prefixes:
    kind, suffix = "hidden" if hidden else "routed", "_through" if through else ""
    interfaces = (Field.INTERFACE,) * (1 + through)
    place = NamedSet(f"{kind}{version}_{length}{suffix}", (*interfaces, _ADDRESS[version]))
    return _Prefixes(place, version, length, hidden, through)


@functools.cache
def _named_prefixes(name: str) -> _Prefixes | None:
    found = _PREFIX_SET.fullmatch(name)
    if found is None or int(found[3]) > _BITS[int(found[2])]:
        return None
    return _prefixes(int(found[2]), int(found[3]), found[1] == "hidden", found[4] is not None)


def named_set(name: str) -> NamedSet | None:
    """Return the set of that name, or ``None`` if it is none that a network may need."""
    prefixes = _named_prefixes(name)
    return _FIXED.get(name) if prefixes is None else prefixes.place


def own_chain(place: NamedSet, bridge: str) -> str:
    """Return the name of the chain that a map has for a bridge: ``police-virbr0``."""
    return f"{place.name}-{bridge}"


def shared_chains(places: Collection[NamedSet]) -> list[Chain]:
    """Return the chains that look ``places`` up, the kernel's own calls first."""
    chains = [_chain(chain, places) for chain in _all_chains(places)]
    called = {
        rule.action.chain
        for chain in chains
        for rule in chain.rules
        if isinstance(rule.action, Jump | Goto)
    }
    return [
        chain
        for chain in chains
        if (any(map(_places, chain.rules)) if chain.base else chain.name in called)
    ]


def _chain(chain: Chain, places: Collection[NamedSet]) -> Chain:
    """Return ``chain`` with those of its rules for which there is everything they look up."""
    rules = tuple(rule for rule in chain.rules if all(place in places for place in _places(rule)))
    return Chain(chain.name, rules, chain.base)


def _places(rule: Rule) -> list[NamedSet]:
    parts = (*rule.matches, rule.action)
    return [part.place for part in parts if isinstance(part, InSet | VerdictOf)]


def _all_chains(places: Collection[NamedSet]) -> Iterator[Chain]:
    found = [_named_prefixes(place.name) for place in places]
    prefixes = sorted((item for item in found if item is not None), key=_order)
    police = Rule((), VerdictOf(POLICE, (_IN,)))
    yield Chain(
        "forward",
        (
            police,
            Rule((InSet(NETWORKS, (_IN,)),), Jump("leave")),
            Rule((InSet(NETWORKS, (_OUT,)),), Goto("enter")),
        ),
        BaseHook("filter", "forward", _FILTER),
    )
    yield Chain(
        "input",
        (
            police,
            Rule((InSet(ISOLATED, (_IN,)),), Jump("isolated")),
            *(
                Rule(
                    (InSet(place, (_own(version), TransportField.PROTOCOL, TransportField.PORT)),),
                    Goto("guard"),
                )
                for version, place in SERVED.items()
            ),
        ),
        BaseHook("filter", "input", _FILTER),
    )
    # Packets keep their input device in this hook since Linux 5.7.
    yield Chain(
        "postrouting",
        tuple(_postrouting(prefixes)),
        BaseHook("nat", "postrouting", _SOURCE_NAT),
    )
    yield Chain("leave", tuple(_leave(prefixes)))
    yield Chain("enter", tuple(_enter(prefixes)))
    yield Chain(
        "isolated",
        (
            *_to_own(),
            *(Rule((To(network),), _RETURN) for network in _ON_LINK),
            Rule((InSet(INPUT_REFUSED, (_IN,)),), None),
            Rule((), Reject()),
        ),
    )
    yield Chain(
        "guard",
        (
            # What the host itself sends to one of its addresses comes in through lo.
            Rule((Interface(Direction.SOURCE, _LOOPBACK),), _RETURN),
            *_to_own(),
            *(
                Rule((InSet(place, (_own(version),)),), None)
                for version, place in GUARD_REFUSED.items()
            ),
            Rule((), Drop()),
        ),
    )
    yield Chain(
        "hide",
        (
            Rule((), VerdictOf(TRANSLATE, (_IN,))),
            Rule((Transport("tcp"),), Masquerade(*DEFAULT_PORTS)),
            Rule((Transport("udp"),), Masquerade(*DEFAULT_PORTS)),
            Rule((), Masquerade()),
        ),
    )


def _order(item: _Prefixes) -> tuple[int, bool, bool, int]:
    """Put those first that most packets are expected to be found in."""
    return item.version, not item.hidden, item.through, -item.length


def _own(version: int) -> AddressOf:
    return AddressOf(Direction.DESTINATION, version, _BITS[version])


def _to_own() -> Iterator[Rule]:
    for version, place in OWN.items():
        yield Rule((InSet(place, (_IN, _own(version))),), _RETURN)


def _leave(prefixes: Sequence[_Prefixes]) -> Iterator[Rule]:
    """Let a network's own addresses out."""
    for item in prefixes:
        yield Rule((item.lookup(Direction.SOURCE, Direction.SOURCE),), _RETURN)
    yield Rule((InSet(WITHIN, (_IN, _OUT)),), _RETURN)
    yield Rule((InSet(LEAVE_REFUSED, (_IN,)),), None)
    yield Rule((), Reject())


def _enter(prefixes: Sequence[_Prefixes]) -> Iterator[Rule]:
    """Let in what goes to a network's own addresses; to hidden ones, answers."""
    for item in prefixes:
        matches: tuple[Match, ...] = (item.lookup(Direction.DESTINATION, Direction.DESTINATION),)
        if item.hidden:
            matches += (_ANSWERS,)
        yield Rule(matches, _RETURN)
    yield Rule((InSet(WITHIN, (_IN, _OUT)),), _RETURN)
    yield Rule((InSet(ENTER_REFUSED, (_OUT,)),), None)
    yield Rule((), Reject())


def _postrouting(prefixes: Sequence[_Prefixes]) -> Iterator[Rule]:
    """Hide the sources, except towards the network itself, multicast and broadcast."""
    hidden = [item for item in prefixes if item.hidden]
    for network in _ON_LINK:
        yield Rule((To(network),), _RETURN)
    for item in hidden:
        yield Rule((item.lookup(Direction.SOURCE, Direction.DESTINATION),), _RETURN)
    for item in hidden:
        yield Rule((item.lookup(Direction.SOURCE, Direction.SOURCE),), Goto("hide"))
