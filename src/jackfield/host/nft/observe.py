"""Looks at what the kernel has of our table, and compares it with what is wanted.

The kernel shows a rule as the attributes it was made from, plus defaults and counts of its own,
which differ between versions.  So a rule is as wanted when everything that was sent for it is
there, and nothing is said about the rest.
"""

from __future__ import annotations

import dataclasses
import enum
import errno
import functools
import ipaddress
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence

from jackfield.host.netlink.message import attribute_list, attributes, text
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import (
    BASE_CHAINS,
    COMMENT,
    GUARD_MAPS,
    MAPS,
    VERDICTS,
    Entry,
    chain_name,
    entries,
)
from jackfield.host.nft.expression import encode_rule, verdict_data
from jackfield.host.nft.message import (
    TABLE_NAME,
    MapKey,
    get_all_rules,
    get_chain,
    get_chains,
    get_element,
    get_elements,
    get_rules,
    get_table,
)
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.model.values import InterfaceName
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import Chain, Hook

__all__ = [
    "Fault",
    "Snapshot",
    "Table",
    "look_at",
    "look_at_base",
    "look_at_table",
]

_NLA_F_NESTED = 0x8000
_HEADER = struct.Struct("=HH")
_TABLE_USE = 3
_TABLE_USERDATA = 6
_CHAIN_TABLE = 1
_CHAIN_NAME = 3
_CHAIN_USE = 6
_RULE_CHAIN = 2
_RULE_EXPRESSIONS = 4
_ELEM_LIST_ELEMENTS = 3
_SET_ELEM_KEY = 1
_SET_ELEM_DATA = 2
_DATA_VALUE = 1
_DATA_VERDICT = 2
_VERDICT_CHAIN = 2

_FEW = 8
"""Up to so many networks are asked for one by one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Our table as it is; ``objects`` counts its chains and maps."""

    ours: bool
    objects: int


class Fault(enum.Enum):
    """What can be wrong with a base chain; the value continues its name in a sentence."""

    MISSING = "is missing"
    MISPLACED = "has another type, hook, priority or policy"
    CHANGED = "has other rules"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the table holds of some networks: elements and chains, and the chains' rules.

    An element is shown by its attributes, a rule by its expressions.  ``guarding`` has the
    elements that lead to a guard chain, all of them, by the chain's name.
    """

    elements: Mapping[Entry, Mapping[int, bytes]]
    guarding: Mapping[str, Sequence[Entry]]
    chains: Collection[str]
    rules: Mapping[str, Sequence[bytes]]

    def own_entries(self, hook: Hook, bridge: str) -> Sequence[Entry]:
        """Return the elements that are the network's: of its bridge, or leading to its guard."""
        if hook is Hook.GUARD:
            return self.guarding.get(chain_name(hook, bridge), ())
        entry = Entry(hook.value, bridge)
        return (entry,) if entry in self.elements else ()

    def leads_there(self, entry: Entry, hook: Hook, bridge: str) -> bool:
        """Tell whether an element is there and leads to the network's chain."""
        wanted = verdict_data(_SET_ELEM_DATA, VERDICTS[hook], chain_name(hook, bridge))
        return _contains(self.elements.get(entry, {}), wanted)

    def has_chain(self, hook: Hook, bridge: str) -> bool:
        """Tell whether the network's chain exists."""
        return chain_name(hook, bridge) in self.chains

    def has_anything(self, bridge: str) -> bool:
        """Tell whether there is anything of the network."""
        return any(self.has_any(hook, bridge) for hook in Hook)

    def has_any(self, hook: Hook, bridge: str) -> bool:
        """Tell whether there is a chain or an element of the network at ``hook``."""
        return self.has_chain(hook, bridge) or bool(self.own_entries(hook, bridge))

    def misfits(self, rules: NetworkRules) -> dict[Hook, str]:
        """Return what is not as ``rules`` want it, in words by hook: nothing when all is well."""
        wanted = {chain.hook: chain for chain in rules.chains}
        found = {hook: self._misfit(hook, rules.bridge, wanted.get(hook)) for hook in Hook}
        return {hook: problem for hook, problem in found.items() if problem}

    def _misfit(self, hook: Hook, bridge: InterfaceName, wanted: Chain | None) -> str:
        name = chain_name(hook, bridge)
        places = [] if wanted is None else entries(wanted, bridge)
        for entry in self.own_entries(hook, bridge):
            if entry not in places:
                return f"{_called(entry)} should not be there"
        if wanted is None:
            return f"chain {name} should not be there" if name in self.chains else ""
        for entry in places:
            if entry not in self.elements:
                return f"{_called(entry)} is missing"
            if not self.leads_there(entry, hook, bridge):
                return f"{_called(entry)} leads elsewhere"
        present = self.rules.get(name, ())
        if len(present) != len(wanted.rules):
            return f"chain {name} has {len(present)} rules instead of {len(wanted.rules)}"
        if not _same_rules(present, [encode_rule(rule) for rule in wanted.rules]):
            return f"chain {name} has other rules"
        return ""


def look_at_table(nft: NftSocket) -> Table | None:
    """Return the table of our name, or ``None`` if there is none."""
    found = nft.get(get_table())
    if found is None:
        return None
    userdata = found.get(_TABLE_USERDATA, b"")
    return Table(
        ours=COMMENT.encode() in userdata,
        objects=int.from_bytes(found.get(_TABLE_USE, b""), "big"),
    )


def look_at_base(nft: NftSocket) -> dict[str, Fault]:
    """Return what is wrong with each base chain, by its name: nothing when all is well."""
    wrong: dict[str, Fault] = {}
    for chain, lookups in BASE_CHAINS.items():
        found = nft.get(get_chain(chain.name))
        wanted = [lookup.expressions for lookup in lookups]
        if found is None:
            wrong[chain.name] = Fault.MISSING
        elif not _contains(found, b"".join(chain.attributes)):
            wrong[chain.name] = Fault.MISPLACED
        elif not _same_rules(_rules(nft, chain.name), wanted):
            wrong[chain.name] = Fault.CHANGED
    return wrong


def look_at(nft: NftSocket, networks: Collection[NetworkRules]) -> Snapshot:
    """Return what there is of these networks, be it as they want it or not.

    A few are asked for one by one, at a cost that others do not add to; for many, everything is
    listed once.
    """
    if len(networks) > _FEW:
        everything = {entry: found for name in MAPS for entry, found in _all_elements(nft, name)}
        return _snapshot(everything, _all_chains(nft), _all_rules(nft))
    elements: dict[Entry, dict[int, bytes]] = {}
    rules: dict[str, list[bytes]] = {}
    references: dict[str, int] = {}
    for network in networks:
        places = {Entry(hook.value, network.bridge) for hook in Hook if hook is not Hook.GUARD}
        places.update(*(entries(chain, network.bridge) for chain in network.chains))
        for place in places:
            element = nft.get(get_element(place.map, place.key))
            if element is not None:
                elements[place] = _first_element(element)
        for hook in Hook:
            name = chain_name(hook, network.bridge)
            chain = nft.get(get_chain(name))
            if chain is not None:
                rules[name] = _rules(nft, name)
                # The kernel counts a chain's rules and what leads to it.
                use = int.from_bytes(chain.get(_CHAIN_USE, b""), "big")
                references[name] = use - len(rules[name])
    found = _snapshot(elements, rules.keys(), rules)
    for network in networks:
        guard = chain_name(Hook.GUARD, network.bridge)
        if references.get(guard, 0) > len(found.guarding.get(guard, ())):
            # Addresses that nobody asked for lead there: only a list shows which.
            for name in GUARD_MAPS.values():
                elements.update(_all_elements(nft, name))
            return _snapshot(elements, rules.keys(), rules)
    return found


def _snapshot(
    elements: Mapping[Entry, Mapping[int, bytes]],
    chains: Collection[str],
    rules: Mapping[str, Sequence[bytes]],
) -> Snapshot:
    guarding: dict[str, list[Entry]] = {}
    for entry, element in elements.items():
        if MAPS[entry.map][0] is Hook.GUARD:
            guarding.setdefault(_target(element), []).append(entry)
    return Snapshot(elements=elements, guarding=guarding, chains=chains, rules=rules)


def _target(element: Mapping[int, bytes]) -> str:
    """Return the name of the chain that an element leads to; empty if to none."""
    data = attributes(element.get(_SET_ELEM_DATA, b""))
    return text(attributes(data.get(_DATA_VERDICT, b"")).get(_VERDICT_CHAIN, b""))


def _called(entry: Entry) -> str:
    return f"element {entry.key} of map {entry.map}"


def _first_element(found: dict[int, bytes]) -> dict[int, bytes]:
    for _, element in attribute_list(found.get(_ELEM_LIST_ELEMENTS, b"")):
        return attributes(element)
    return {}


def _all_chains(nft: NftSocket) -> set[str]:
    """Return the names of the table's chains; the kernel lists those of other tables as well."""
    chains = (object_attributes(reply) for reply in nft.dump(get_chains()))
    return {text(found[_CHAIN_NAME]) for found in chains if text(found[_CHAIN_TABLE]) == TABLE_NAME}


def _all_elements(nft: NftSocket, name: str) -> Iterator[tuple[Entry, dict[int, bytes]]]:
    try:
        replies = nft.dump(get_elements(name))
    except Refusal as error:
        if error.errno == errno.ENOENT:
            return
        raise
    by_name = MAPS[name][1] is MapKey.INTERFACE
    for reply in replies:
        listed = object_attributes(reply).get(_ELEM_LIST_ELEMENTS, b"")
        for _, payload in attribute_list(listed):
            element = attributes(payload)
            key = attributes(element.get(_SET_ELEM_KEY, b"")).get(_DATA_VALUE, b"")
            yield Entry(name, text(key) if by_name else ipaddress.ip_address(key)), element


def _all_rules(nft: NftSocket) -> dict[str, list[bytes]]:
    rules: dict[str, list[bytes]] = {}
    for reply in nft.dump(get_all_rules()):
        found = object_attributes(reply)
        rules.setdefault(text(found[_RULE_CHAIN]), []).append(found.get(_RULE_EXPRESSIONS, b""))
    return rules


def _rules(nft: NftSocket, chain: str) -> list[bytes]:
    """Return the expressions of each rule of a chain, in order."""
    return [
        object_attributes(reply).get(_RULE_EXPRESSIONS, b"") for reply in nft.dump(get_rules(chain))
    ]


def _same_rules(present: Sequence[bytes], wanted: Sequence[bytes]) -> bool:
    return len(present) == len(wanted) and all(map(_same_rule, present, wanted))


def _same_rule(present: bytes, wanted: bytes) -> bool:
    ours = [payload for _, payload in attribute_list(wanted)]
    theirs = [payload for _, payload in attribute_list(present)]
    return len(ours) == len(theirs) and all(map(_same_expression, theirs, ours))


# Most expressions are the same few in every network.
@functools.lru_cache(maxsize=4096)
def _same_expression(present: bytes, wanted: bytes) -> bool:
    return _contains(attributes(present), wanted)


def _contains(present: Mapping[int, bytes], wanted: bytes) -> bool:
    """Tell whether every attribute of ``wanted`` is among ``present``, however deep."""
    for kind, is_nested, payload in _wanted_attributes(wanted):
        found = present.get(kind)
        if found is None:
            # The kernel leaves out a nest that would be empty.
            if is_nested and not payload:
                continue
            return False
        if is_nested:
            if not _contains(attributes(found), payload):
                return False
        elif found != payload:
            return False
    return True


def _wanted_attributes(data: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """Yield (type, whether it is a nest, payload); what we send says which are nests."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _HEADER.unpack_from(data, offset)
        yield kind & ~_NLA_F_NESTED, bool(kind & _NLA_F_NESTED), data[offset + 4 : offset + length]
        offset += length + 3 & ~3
