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
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence

from jackfield.host.netlink.message import attribute_list, attributes, text
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import BASE_CHAINS, COMMENT, VERDICTS, chain_name
from jackfield.host.nft.expression import encode_rule, lookup_interface, verdict_data
from jackfield.host.nft.message import (
    TABLE_NAME,
    get_all_rules,
    get_chain,
    get_chains,
    get_element,
    get_elements,
    get_rules,
    get_table,
)
from jackfield.host.nft.socket import NftSocket, object_attributes
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
_RULE_CHAIN = 2
_RULE_EXPRESSIONS = 4
_ELEM_LIST_ELEMENTS = 3
_SET_ELEM_KEY = 1
_SET_ELEM_DATA = 2
_DATA_VALUE = 1

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

    An element is shown by its attributes, a rule by its expressions.
    """

    elements: Mapping[tuple[Hook, str], Mapping[int, bytes]]
    chains: Collection[str]
    rules: Mapping[str, Sequence[bytes]]

    def has_element(self, hook: Hook, bridge: str) -> bool:
        """Tell whether the map has an element for the bridge, wherever it leads."""
        return (hook, bridge) in self.elements

    def leads_there(self, hook: Hook, bridge: str) -> bool:
        """Tell whether the map's element leads to the network's chain."""
        wanted = verdict_data(_SET_ELEM_DATA, VERDICTS[hook], chain_name(hook, bridge))
        return _contains(self.elements.get((hook, bridge), {}), wanted)

    def has_chain(self, hook: Hook, bridge: str) -> bool:
        """Tell whether the network's chain exists."""
        return chain_name(hook, bridge) in self.chains

    def has_anything(self, bridge: str) -> bool:
        """Tell whether there is anything of the network."""
        return any(self.has_element(hook, bridge) or self.has_chain(hook, bridge) for hook in Hook)

    def misfits(self, rules: NetworkRules) -> dict[Hook, str]:
        """Return what is not as ``rules`` want it, in words by hook: nothing when all is well."""
        wanted = {chain.hook: chain for chain in rules.chains}
        found = {hook: self._misfit(hook, rules.bridge, wanted.get(hook)) for hook in Hook}
        return {hook: problem for hook, problem in found.items() if problem}

    def _misfit(self, hook: Hook, bridge: str, wanted: Chain | None) -> str:
        name = chain_name(hook, bridge)
        if wanted is None:
            if self.has_element(hook, bridge):
                return f"element {bridge} of map {hook.value} should not be there"
            return f"chain {name} should not be there" if name in self.chains else ""
        if not self.has_element(hook, bridge):
            return f"element {bridge} of map {hook.value} is missing"
        if not self.leads_there(hook, bridge):
            return f"element {bridge} of map {hook.value} leads elsewhere"
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
        wanted = [lookup_interface(direction, hook.value) for direction, hook in lookups]
        if found is None:
            wrong[chain.name] = Fault.MISSING
        elif not _contains(found, b"".join(chain.attributes)):
            wrong[chain.name] = Fault.MISPLACED
        elif not _same_rules(_rules(nft, chain.name), wanted):
            wrong[chain.name] = Fault.CHANGED
    return wrong


def look_at(nft: NftSocket, bridges: Collection[str]) -> Snapshot:
    """Return what there is of the networks on these bridges.

    A few are asked for one by one, at a cost that others do not add to; for many, everything is
    listed once.
    """
    elements: dict[tuple[Hook, str], dict[int, bytes]] = {}
    if len(bridges) > _FEW:
        for hook in Hook:
            elements.update(_all_elements(nft, hook))
        return Snapshot(elements=elements, chains=_all_chains(nft), rules=_all_rules(nft))
    chains = set()
    rules: dict[str, list[bytes]] = {}
    for bridge in bridges:
        for hook in Hook:
            name = chain_name(hook, bridge)
            element = nft.get(get_element(hook.value, bridge))
            if element is not None:
                elements[hook, bridge] = _first_element(element)
            if nft.get(get_chain(name)) is not None:
                chains.add(name)
                rules[name] = _rules(nft, name)
    return Snapshot(elements=elements, chains=chains, rules=rules)


def _first_element(found: dict[int, bytes]) -> dict[int, bytes]:
    for _, element in attribute_list(found.get(_ELEM_LIST_ELEMENTS, b"")):
        return attributes(element)
    return {}


def _all_chains(nft: NftSocket) -> set[str]:
    """Return the names of the table's chains; the kernel lists those of other tables as well."""
    chains = (object_attributes(reply) for reply in nft.dump(get_chains()))
    return {text(found[_CHAIN_NAME]) for found in chains if text(found[_CHAIN_TABLE]) == TABLE_NAME}


def _all_elements(
    nft: NftSocket, hook: Hook
) -> Iterator[tuple[tuple[Hook, str], dict[int, bytes]]]:
    try:
        replies = nft.dump(get_elements(hook.value))
    except Refusal as error:
        if error.errno == errno.ENOENT:
            return
        raise
    for reply in replies:
        listed = object_attributes(reply).get(_ELEM_LIST_ELEMENTS, b"")
        for _, payload in attribute_list(listed):
            element = attributes(payload)
            key = attributes(element.get(_SET_ELEM_KEY, b"")).get(_DATA_VALUE, b"")
            yield (hook, text(key)), element


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
