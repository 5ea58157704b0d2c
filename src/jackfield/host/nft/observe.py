"""Looks at what the kernel has of our table, and compares it with what is wanted.

The kernel shows a rule as the attributes it was made from, plus defaults and counts of its own,
which differ between versions.  So a rule is as wanted when everything that was sent for it is
there, and nothing is said about the rest.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import struct
from collections.abc import Iterator, Sequence

from jackfield.host.netlink.message import attribute_list, attributes
from jackfield.host.nft.base import BASE_CHAINS, COMMENT, VERDICTS, chain_name
from jackfield.host.nft.expression import encode_rule, lookup_interface, verdict_data
from jackfield.host.nft.message import get_chain, get_element, get_rules, get_table
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import Chain, Hook

__all__ = [
    "Fault",
    "Table",
    "find_element",
    "look_at_base",
    "look_at_chain",
    "look_at_table",
    "misfits",
]

_NLA_F_NESTED = 0x8000
_HEADER = struct.Struct("=HH")
_TABLE_USE = 3
_TABLE_USERDATA = 6
_RULE_EXPRESSIONS = 4
_ELEM_LIST_ELEMENTS = 3
_SET_ELEM_DATA = 2


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


def find_element(nft: NftSocket, hook: Hook, bridge: str) -> bool | None:
    """Tell whether the map's element leads where it should; ``None`` if there is none."""
    found = nft.get(get_element(hook.value, bridge))
    if found is None:
        return None
    for _, element in attribute_list(found.get(_ELEM_LIST_ELEMENTS, b"")):
        wanted = verdict_data(_SET_ELEM_DATA, VERDICTS[hook], chain_name(hook, bridge))
        return _contains(attributes(element), wanted)
    return None


def look_at_chain(nft: NftSocket, hook: Hook, bridge: str) -> bool:
    """Tell whether a network's chain exists."""
    return nft.get(get_chain(chain_name(hook, bridge))) is not None


def misfits(nft: NftSocket, rules: NetworkRules) -> dict[Hook, str]:
    """Return what is not as ``rules`` want it, in words by hook: nothing when all is well."""
    wanted = {chain.hook: chain for chain in rules.chains}
    found: dict[Hook, str] = {}
    for hook in Hook:
        problem = _misfit(nft, hook, rules.bridge, wanted.get(hook))
        if problem:
            found[hook] = problem
    return found


def _misfit(nft: NftSocket, hook: Hook, bridge: str, wanted: Chain | None) -> str:
    name = chain_name(hook, bridge)
    element = find_element(nft, hook, bridge)
    if wanted is None:
        if element is not None:
            return f"element {bridge} of map {hook.value} should not be there"
        return f"chain {name} should not be there" if look_at_chain(nft, hook, bridge) else ""
    if element is None:
        return f"element {bridge} of map {hook.value} is missing"
    if not element:
        return f"element {bridge} of map {hook.value} leads elsewhere"
    present = _rules(nft, name)
    if _same_rules(present, [encode_rule(rule) for rule in wanted.rules]):
        return ""
    if len(present) != len(wanted.rules):
        return f"chain {name} has {len(present)} rules instead of {len(wanted.rules)}"
    return f"the rules of chain {name} were changed"


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


def _contains(present: dict[int, bytes], wanted: bytes) -> bool:
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
