"""Messages of nfnetlink about ``table bridge jackfield``.

The table has the name of the other one, so that what is said alike of both differs in the family
alone (``NFPROTO_BRIDGE`` in ``linux/netfilter.h``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    Message,
    attribute,
    attribute_text,
    nested,
)
from jackfield.host.nft.expression import attribute_be32
from jackfield.host.nft.guardtable import (
    BASE_CHAINS,
    CHAINS,
    GUARD_TABLE,
    LEARNED_SIZE,
    SETS,
    Element,
    Rule,
    SetOf,
    rule_text,
)
from jackfield.host.nft.message import (
    TABLE,
    TABLE_NAME,
    add_chain,
    add_rule,
    add_table,
    flush_chain,
    message_type,
)

__all__ = [
    "add_element",
    "base_messages",
    "delete_element",
    "encode_rule",
    "get_element",
    "of_bridges",
]

_NFPROTO_BRIDGE = 7
_NEWSET = 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14

_SET_TIMEOUT, _SET_EVALUATED = 0x10, 0x20
# Numbers of types in a concatenation are 6 bits each (TYPE_BITS in nft's datatype.h).
_TYPE_BITS = 6
# nft's note to itself in which order keys are (NFTNL_UDATA_SET_KEYBYTEORDER): names as the host.
_BYTE_ORDER = struct.Struct("=BBI")
_HOST_ORDER, _PACKET_ORDER = 1, 2
_HEADER = struct.pack("!BBH", _NFPROTO_BRIDGE, 0, 0)
_OF_TABLE = attribute_text(1, TABLE_NAME)


def of_bridges(message: Message) -> Message:
    """Return a message about ``inet jackfield`` as the same about ``bridge jackfield``."""
    return message._replace(
        body=_HEADER + message.body[len(_HEADER) :],
        what=message.what.replace(TABLE, GUARD_TABLE),
    )


def _message(kind: int, flags: int, what: str, *attributes: bytes) -> Message:
    return Message(message_type(kind), flags, _HEADER + b"".join(attributes), what)


def _add_set(name: str, number: int, one: SetOf) -> Message:
    """Make a set; ``number`` is unique in a batch."""
    flags = _SET_TIMEOUT | _SET_EVALUATED if one.timeout else 0
    kind = 0
    for part in one.parts:
        kind = kind << _TYPE_BITS | part.type
    order = _HOST_ORDER if one.parts[0].name == "ifname" else _PACKET_ORDER
    attributes = [
        _OF_TABLE,
        attribute_text(2, name),
        attribute_be32(3, flags),
        attribute_be32(4, kind),
        attribute_be32(5, sum(part.length + 3 & ~3 for part in one.parts)),
        attribute_be32(10, number),
    ]
    if one.timeout:
        attributes.append(attribute(11, (one.timeout * 1000).to_bytes(8, "big")))
        attributes.append(nested(9, attribute_be32(1, LEARNED_SIZE)))
    attributes.append(attribute(13, _BYTE_ORDER.pack(0, 4, order)))
    return _message(_NEWSET, NLM_F_CREATE, f"add set {name} to {GUARD_TABLE}", *attributes)


def encode_rule(rule: Rule) -> bytes:
    """Return the expressions of a rule."""
    return b"".join(clause.expressions for clause in rule)


def base_messages() -> Iterator[Message]:
    """Yield what makes, or mends, the table with its sets, chains and rules."""
    yield of_bridges(add_table())
    for number, (name, one) in enumerate(SETS.items(), start=1):
        yield _add_set(name, number, one)
    for name in CHAINS:
        yield of_bridges(add_chain(name, BASE_CHAINS.get(name)))
    for name, rules in CHAINS.items():
        yield of_bridges(flush_chain(name))
        for rule in rules:
            yield of_bridges(add_rule(name, encode_rule(rule), f"rule ({rule_text(rule)})"))


def _element(kind: int, flags: int, verb: str, element: Element) -> Message:
    return _message(
        kind,
        flags,
        f"{verb} element {element.words} of set {element.set} of {GUARD_TABLE}",
        _OF_TABLE,
        attribute_text(2, element.set),
        nested(3, nested(1, nested(1, attribute(1, element.packed)))),
    )


def add_element(element: Element) -> Message:
    """Add an element; one that is there already stays."""
    return _element(_NEWSETELEM, NLM_F_CREATE, "add", element)


def delete_element(element: Element) -> Message:
    """Remove an element."""
    return _element(_DELSETELEM, 0, "delete", element)


def get_element(element: Element) -> Message:
    """Ask for an element."""
    return _element(_GETSETELEM, 0, "look at", element)
