"""Looks at what the kernel has of our table, and compares it with what is wanted."""

from __future__ import annotations

import dataclasses
import enum
import errno
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from jackfield.host.netlink.message import attribute_list, attributes, text
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.compare import contains, same_rules
from jackfield.host.nft.expression import FIELD_LENGTHS, encode_key, encode_rule, key_text
from jackfield.host.nft.mark import is_marked
from jackfield.host.nft.message import (
    TABLE_NAME,
    chain_attributes,
    element_attributes,
    get_all_rules,
    get_chain,
    get_chains,
    get_element,
    get_elements,
    get_rules,
    get_sets,
    get_table,
    set_attributes,
)
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.plan.table import OWN_CHAINS, named_set, own_chain, shared_chains
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import Chain, Element, Field, NamedSet

__all__ = [
    "Entry",
    "Fault",
    "Shared",
    "TableContents",
    "all_elements",
    "is_ours",
    "look_at",
    "look_at_shared",
]

_SET_NAME = 2
_SET_FLAGS = 3
_CHAIN_TABLE = 1
_CHAIN_NAME = 3
_RULE_CHAIN = 2
_RULE_EXPRESSIONS = 4
_ELEM_LIST_ELEMENTS = 3
_SET_ELEM_KEY = 1
_SET_ELEM_USERDATA = 6
_DATA_VALUE = 1


class Fault(enum.Enum):
    """What can be wrong with what all networks share; the value continues its name."""

    MISSING = "is missing"
    MISPLACED = "has another type, hook, priority or policy"
    CHANGED = "has other rules"
    OTHER_KIND = "is of another kind"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all networks share, as it is: the sets that are there, and what is wrong."""

    places: frozenset[NamedSet]
    sets: Mapping[str, Fault]
    chains: Mapping[str, Fault]

    @property
    def sound_places(self) -> list[NamedSet]:
        """The sets that hold what they should."""
        return [place for place in self.places if place.name not in self.sets]

    @property
    def damage(self) -> str:
        """What is wrong, in words; empty when all is well."""
        return "; ".join(
            f"{kind} {name} {fault.value}"
            for kind, faults in (("set", self.sets), ("chain", self.chains))
            for name, fault in faults.items()
        )


class Entry(NamedTuple):
    """An element's place: the set, and the key in it."""

    place: NamedSet
    key: bytes

    def __str__(self) -> str:
        """Return it for people."""
        return f"element {key_text(self.place, self.key)} of set {self.place.name}"


def entry_of(element: Element) -> Entry:
    """Return where an element is."""
    return Entry(element.place, encode_key(element))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TableContents:
    """What the table holds of some networks.

    An element is shown by its attributes, a rule by its expressions.  ``owned`` has the elements
    of each bridge, ``chains`` the rules of networks' own chains.
    """

    elements: Mapping[Entry, Mapping[int, bytes]]
    owned: Mapping[str, Sequence[Entry]]
    chains: Mapping[str, Sequence[bytes]]

    @property
    def places(self) -> dict[str, set[NamedSet]]:
        """The sets that each bridge has elements in."""
        return {
            bridge: {entry.place for entry in entries} for bridge, entries in self.owned.items()
        }

    def own_chains(self, bridge: str) -> list[str]:
        """Return which chains of the network's own there are."""
        return [name for name in _own_chains(bridge) if name in self.chains]

    def has_anything(self, bridge: str) -> bool:
        """Tell whether there is anything of the network."""
        return bool(self.owned.get(bridge) or self.own_chains(bridge))

    def is_as_wanted(self, element: Element) -> bool:
        """Tell whether an element is there as it should be."""
        found = self.elements.get(entry_of(element))
        return found is not None and contains(found, element_attributes(element))

    def strangers(self, rules: NetworkRules) -> list[Entry]:
        """Return the network's elements that it does not want, or wants otherwise."""
        wanted = {entry_of(element): element for element in rules.elements}
        found = dict.fromkeys([*self.owned.get(rules.bridge, ()), *wanted])
        return [
            entry
            for entry in found
            if entry in self.elements
            and (entry not in wanted or not self.is_as_wanted(wanted[entry]))
        ]

    def misfits(self, rules: NetworkRules) -> list[str]:
        """Return what is not as ``rules`` want it, in words: nothing when all is well."""
        wanted = {entry_of(element) for element in rules.elements}
        problems = [
            f"{entry} {'is not as it was made' if entry in wanted else 'should not be there'}"
            for entry in self.strangers(rules)
        ]
        problems += [
            f"{entry_of(element)} is missing"
            for element in rules.elements
            if entry_of(element) not in self.elements
        ]
        chains = {chain.name: chain for chain in rules.chains}
        problems += [
            f"chain {name} should not be there"
            for name in self.own_chains(rules.bridge)
            if name not in chains
        ]
        for name, chain in chains.items():
            if name not in self.chains:
                problems.append(f"chain {name} is missing")
            elif not _has_rules(self.chains[name], chain):
                problems.append(f"chain {name} has other rules")
        return problems


def is_ours(nft: NftSocket) -> bool | None:
    """Tell whether the table of our name is ours, or ``None`` if there is none."""
    found = nft.get(get_table())
    return None if found is None else is_marked(found)


def look_at_shared(nft: NftSocket) -> Shared:
    """Return what all networks share.  Its size does not depend on how many there are."""
    places: list[NamedSet] = []
    sets: dict[str, Fault] = {}
    for reply in nft.dump(get_sets()):
        found = object_attributes(reply)
        place = named_set(text(found[_SET_NAME]))
        if place is None:
            continue
        places.append(place)
        # The kernel does not show flags of which none is set.
        if not contains(found, set_attributes(place)) or (_SET_FLAGS in found) != place.verdicts:
            sets[place.name] = Fault.OTHER_KIND
    chains: dict[str, Fault] = {}
    for chain in shared_chains(places):
        fault = _chain_fault(nft, chain)
        if fault is not None:
            chains[chain.name] = fault
    return Shared(places=frozenset(places), sets=sets, chains=chains)


def _chain_fault(nft: NftSocket, chain: Chain) -> Fault | None:
    found = nft.get(get_chain(chain.name))
    if found is None:
        return Fault.MISSING
    if chain.base is not None and not contains(found, chain_attributes(chain.base)):
        return Fault.MISPLACED
    return None if _has_rules(_rules(nft, chain.name), chain) else Fault.CHANGED


def look_at(
    nft: NftSocket,
    networks: Collection[NetworkRules],
    places: Collection[NamedSet],
    *,
    one_by_one: bool,
) -> TableContents:
    """Return what there is of these networks in ``places``, be it as they want it or not.

    ``one_by_one`` asks for what they want, at a cost that others do not add to; else everything
    is listed, and shows also what nobody wants.
    """
    if not one_by_one:
        elements = {entry: found for place in places for entry, found in all_elements(nft, place)}
        return _contents(elements, _all_own_chains(nft))
    elements = {}
    chains: dict[str, list[bytes]] = {}
    for network in networks:
        for entry in map(entry_of, network.elements):
            found = None
            if entry.place in places:
                found = nft.get(get_element(entry.place.name, entry.key))
            if found is not None:
                elements[entry] = _first_element(found)
        for name in _own_chains(network.bridge):
            if nft.get(get_chain(name)) is not None:
                chains[name] = _rules(nft, name)
    return _contents(elements, chains)


def _contents(
    elements: Mapping[Entry, Mapping[int, bytes]], chains: Mapping[str, Sequence[bytes]]
) -> TableContents:
    owned: dict[str, list[Entry]] = {}
    for entry, found in elements.items():
        owned.setdefault(_owner(entry, found), []).append(entry)
    return TableContents(elements=elements, owned=owned, chains=chains)


def _owner(entry: Entry, found: Mapping[int, bytes]) -> str:
    """Return the bridge that an element is about: its key begins with it, or a comment says it."""
    if entry.place.fields[0] is Field.INTERFACE:
        return text(entry.key[: FIELD_LENGTHS[Field.INTERFACE]])
    return text(found.get(_SET_ELEM_USERDATA, b"")[2:])


def _own_chains(bridge: str) -> list[str]:
    return [own_chain(place, bridge) for place in OWN_CHAINS]


def all_elements(nft: NftSocket, place: NamedSet) -> Iterator[tuple[Entry, dict[int, bytes]]]:
    """Yield every element of a set."""
    try:
        replies = nft.dump(get_elements(place.name))
    except Refusal as error:
        if error.errno == errno.ENOENT:
            return
        raise
    for reply in replies:
        for _, element in attribute_list(object_attributes(reply).get(_ELEM_LIST_ELEMENTS, b"")):
            found = attributes(element)
            key = attributes(found.get(_SET_ELEM_KEY, b"")).get(_DATA_VALUE, b"")
            yield Entry(place, key), found


def _first_element(found: dict[int, bytes]) -> dict[int, bytes]:
    for _, element in attribute_list(found.get(_ELEM_LIST_ELEMENTS, b"")):
        return attributes(element)
    return {}


def _all_own_chains(nft: NftSocket) -> dict[str, list[bytes]]:
    """Return the rules of all networks' own chains; the kernel lists those of other tables too."""
    chains = (object_attributes(reply) for reply in nft.dump(get_chains()))
    names = [text(item[_CHAIN_NAME]) for item in chains if text(item[_CHAIN_TABLE]) == TABLE_NAME]
    prefixes = tuple(own_chain(place, "") for place in OWN_CHAINS)
    own = [name for name in names if name.startswith(prefixes)]
    rules = _all_rules(nft) if own else {}
    return {name: rules.get(name, []) for name in own}


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


def _has_rules(present: Sequence[bytes], chain: Chain) -> bool:
    return same_rules(present, [encode_rule(rule) for rule in chain.rules])
