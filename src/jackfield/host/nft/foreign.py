"""Everybody else's rules, read from the kernel: what it lists, as ``state.ruleset`` has it.

Layouts and numbers are those of ``linux/netfilter/nf_tables.h``.  Read by a socket of its own, for
a ruleset may be long.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from jackfield.errors import KernelError
from jackfield.host.netlink.message import Message, attribute_list, attribute_text, attributes, text
from jackfield.host.nft.foreignexpression import decode_expressions, decode_verdict
from jackfield.host.nft.mark import is_marked
from jackfield.host.nft.message import message_type
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.state.ruleset import (
    Expression,
    ForeignChain,
    ForeignRule,
    ForeignSet,
    ForeignTable,
    Group,
    Hook,
    Lookup,
    Not,
    SetElement,
)

__all__ = ["read_foreign_tables"]

FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_OTHER_HOOKS = {"netdev": ("ingress", "egress"), "arp": ("input", "output", "forward")}

_GETTABLE, _GETCHAIN, _GETRULE, _GETSET, _GETSETELEM = 1, 4, 7, 10, 13

_TABLE_NAME, _TABLE_FLAGS = 1, 2
_DORMANT = 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY, _HOOK_DEVICE, _HOOK_DEVICES = 1, 2, 3, 4
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS = 1, 2, 3, 4
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_LENGTH, _SET_DESC = 1, 2, 3, 5, 9
_SET_INTERVAL = 4
_DESC_CONCAT, _FIELD_LENGTH = 2, 1
_ELEMENTS = 3
_KEY, _DATA, _FLAGS, _KEY_END = 1, 2, 3, 10
_INTERVAL_END, _CATCH_ALL = 1, 2
_VALUE, _VERDICT = 1, 2

_Place = tuple[int, str]


def read_foreign_tables() -> list[ForeignTable]:
    """Return the tables that are not ours, as they are now; ``KernelError`` if that fails."""
    with NftSocket() as nft:
        tables = _tables(nft)
        rules = _rules(nft, tables)
        chains = _chains(nft, tables, rules)
        sets = _sets(nft, tables, chains)
        return [
            ForeignTable(
                family=FAMILIES[family],
                name=name,
                chains=chains.get((family, name), {}),
                sets=sets.get((family, name), {}),
            )
            for family, name in tables
        ]


def _list(nft: NftSocket, kind: int, what: str) -> Iterator[tuple[int, dict[int, bytes]]]:
    """Yield family and attributes of all objects of a kind."""
    question = Message(message_type(kind), 0, bytes(4), f"list {what} of this host")
    for reply in nft.dump(question):
        yield reply.body[0], object_attributes(reply)


def _tables(nft: NftSocket) -> list[_Place]:
    found = []
    for family, table in _list(nft, _GETTABLE, "the tables"):
        dormant = int.from_bytes(table.get(_TABLE_FLAGS, b""), "big") & _DORMANT
        if family in FAMILIES and not dormant and not is_marked(table):
            found.append((family, text(table[_TABLE_NAME])))
    return found


def _rules(
    nft: NftSocket, tables: Iterable[_Place]
) -> dict[tuple[int, str, str], list[ForeignRule]]:
    wanted = frozenset(tables)
    found: dict[tuple[int, str, str], list[ForeignRule]] = {}
    if not wanted:
        return found
    for family, rule in _list(nft, _GETRULE, "the rules"):
        table = text(rule[_RULE_TABLE])
        if (family, table) not in wanted:
            continue
        expressions = decode_expressions(rule.get(_RULE_EXPRESSIONS, b""))
        read = ForeignRule(
            handle=int.from_bytes(rule[_RULE_HANDLE], "big"), expressions=expressions
        )
        found.setdefault((family, table, text(rule[_RULE_CHAIN])), []).append(read)
    return found


def _chains(
    nft: NftSocket,
    tables: Iterable[_Place],
    rules: Mapping[tuple[int, str, str], list[ForeignRule]],
) -> dict[_Place, dict[str, ForeignChain]]:
    wanted = frozenset(tables)
    found: dict[_Place, dict[str, ForeignChain]] = {}
    for family, chain in _list(nft, _GETCHAIN, "the chains"):
        table, name = text(chain[_CHAIN_TABLE]), text(chain[_CHAIN_NAME])
        if (family, table) not in wanted:
            continue
        found.setdefault((family, table), {})[name] = ForeignChain(
            name=name,
            rules=tuple(rules.get((family, table, name), ())),
            hook=_hook(family, chain),
        )
    return found


def _hook(family: int, chain: Mapping[int, bytes]) -> Hook | None:
    if _CHAIN_HOOK not in chain:
        return None
    hook = attributes(chain[_CHAIN_HOOK])
    number = int.from_bytes(hook[_HOOK_NUMBER], "big")
    names = _OTHER_HOOKS.get(FAMILIES[family], _HOOKS)
    devices = [text(hook[_HOOK_DEVICE])] if _HOOK_DEVICE in hook else []
    devices += [text(item) for _, item in attribute_list(hook.get(_HOOK_DEVICES, b""))]
    return Hook(
        type=text(chain.get(_CHAIN_TYPE, b"filter")),
        name=names[number] if number < len(names) else "",
        priority=struct.unpack("!i", hook[_HOOK_PRIORITY])[0],
        drops=int.from_bytes(chain.get(_CHAIN_POLICY, b"\1"), "big") == 0,
        devices=tuple(dict.fromkeys(devices)),
    )


def _sets(
    nft: NftSocket, tables: Iterable[_Place], chains: Mapping[_Place, Mapping[str, ForeignChain]]
) -> dict[_Place, dict[str, ForeignSet]]:
    """Return the sets that rules look up."""
    wanted = frozenset(tables)
    asked = {
        (place, name)
        for place, known in chains.items()
        for chain in known.values()
        for rule in chain.rules
        for name in _looked_up(rule.expressions)
    }
    found: dict[_Place, dict[str, ForeignSet]] = {}
    if not asked:
        return found
    for family, item in _list(nft, _GETSET, "the sets"):
        place, name = (family, text(item[_SET_TABLE])), text(item[_SET_NAME])
        if place in wanted and (place, name) in asked:
            found.setdefault(place, {})[name] = _set(nft, place, name, item)
    return found


def _looked_up(expressions: Iterable[Expression]) -> Iterator[str]:
    for item in expressions:
        if isinstance(item, Lookup):
            yield item.name
        elif isinstance(item, Group | Not):
            yield from _looked_up(item.inner)


def _set(nft: NftSocket, place: _Place, name: str, item: Mapping[int, bytes]) -> ForeignSet:
    family, table = place
    header = struct.pack("!BBH", family, 0, 0)
    body = header + attribute_text(1, table) + attribute_text(2, name)
    question = Message(message_type(_GETSETELEM), 0, body, f"list set {name} of table {table}")
    elements: list[dict[int, bytes]] = []
    try:
        for reply in nft.dump(question):
            listed = object_attributes(reply).get(_ELEMENTS, b"")
            elements += [attributes(element) for _, element in attribute_list(listed)]
    except KernelError:
        # Whoever has deleted it meanwhile has changed the rules as well.
        elements = []
    fields = tuple(_fields(item))
    flags = int.from_bytes(item.get(_SET_FLAGS, b""), "big")
    catch_all = [one for one in elements if _flags_of(one) & _CATCH_ALL]
    ordinary = [one for one in elements if not _flags_of(one) & _CATCH_ALL]
    ranges = flags & _SET_INTERVAL and len(fields) == 1
    return ForeignSet(
        name=name,
        fields=fields,
        elements=tuple(_intervals(ordinary) if ranges else map(_element, ordinary)),
        catch_all=_element(catch_all[0]) if catch_all else None,
    )


def _fields(item: Mapping[int, bytes]) -> Iterator[int]:
    concatenated = attributes(item.get(_SET_DESC, b"")).get(_DESC_CONCAT)
    if concatenated is None:
        yield int.from_bytes(item[_SET_KEY_LENGTH], "big")
        return
    for _, field in attribute_list(concatenated):
        yield int.from_bytes(attributes(field)[_FIELD_LENGTH], "big")


def _flags_of(element: Mapping[int, bytes]) -> int:
    return int.from_bytes(element.get(_FLAGS, b""), "big")


def _element(element: Mapping[int, bytes]) -> SetElement:
    low = attributes(element.get(_KEY, b"")).get(_VALUE, b"")
    high = attributes(element.get(_KEY_END, b"")).get(_VALUE, low)
    return _made(element, low, high)


def _made(element: Mapping[int, bytes], low: bytes, high: bytes) -> SetElement:
    data = attributes(element.get(_DATA, b""))
    verdict = decode_verdict(data[_VERDICT]) if _VERDICT in data else None
    return SetElement(low=low, high=high, data=data.get(_VALUE, b""), verdict=verdict)


def _intervals(elements: Iterable[Mapping[int, bytes]]) -> Iterator[SetElement]:
    """Yield ranges: each begins with an element, and ends before the next, whatever that is."""
    keyed = [(attributes(item[_KEY])[_VALUE], item) for item in elements]
    keyed.sort(key=lambda entry: (entry[0], not _flags_of(entry[1]) & _INTERVAL_END))
    for position, (low, item) in enumerate(keyed):
        if _flags_of(item) & _INTERVAL_END:
            continue
        if position + 1 < len(keyed):
            following = int.from_bytes(keyed[position + 1][0], "big") - 1
            high = max(following, int.from_bytes(low, "big")).to_bytes(len(low), "big")
        else:
            high = b"\xff" * len(low)
        yield _made(item, low, high)
