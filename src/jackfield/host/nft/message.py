"""Messages of nfnetlink about our table: what to make, to remove and to ask for.

Pure functions; each message says in words what it does, for the error if it is refused.  Layouts
are those of ``linux/netfilter/nfnetlink.h`` and ``nf_tables.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from jackfield.errors import counted
from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_NONREC,
    Message,
    attribute,
    attribute_text,
    nested,
)
from jackfield.host.nft.expression import (
    FIELD_LENGTHS,
    attribute_be32,
    encode_key,
    expression,
    jump_data,
)
from jackfield.host.nft.mark import MARK
from jackfield.state.rules import BaseHook, Element, Field, NamedSet

__all__ = [
    "BATCH_HEADER",
    "TABLE",
    "TABLE_NAME",
    "add_chain",
    "add_elements",
    "add_rule",
    "add_set",
    "add_table",
    "batch_begin",
    "batch_end",
    "chain_attributes",
    "delete_chain",
    "delete_elements",
    "delete_set",
    "delete_table",
    "element_attributes",
    "flush_chain",
    "get_all_rules",
    "get_chain",
    "get_chains",
    "get_element",
    "get_elements",
    "get_generation",
    "get_rules",
    "get_sets",
    "get_table",
    "message_type",
    "set_attributes",
]

TABLE_NAME = "jackfield"
TABLE = f"table inet {TABLE_NAME}"

_NFPROTO_INET = 1
_SUBSYSTEM = 10 << 8
_NFNL_MSG_BATCH_BEGIN = 16
_NFNL_MSG_BATCH_END = 17
_NFNL_BATCH_GENID = 1

_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _GETCHAIN, _DELCHAIN = 3, 4, 5
_NEWRULE, _GETRULE, _DELRULE = 6, 7, 8
_NEWSET, _GETSET, _DELSET = 9, 10, 11
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14
_GETGEN = 16

_GENERIC = struct.Struct("!BBH")
_HEADER = _GENERIC.pack(_NFPROTO_INET, 0, 0)
BATCH_HEADER = _GENERIC.pack(0, 0, 10)
_OF_TABLE = attribute_text(1, TABLE_NAME)

_SET_MAP = 8
# Type number of nft's own: the kernel only keeps it.
_TYPE_VERDICT = 0xFFFFFF00
# nft's note to itself in which order keys are (NFTNL_UDATA_SET_KEYBYTEORDER).
_SET_USERDATA = struct.Struct("=BBI")

_HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_POLICY_ACCEPT = 1


def message_type(message: int) -> int:
    """Return the netlink type of a message of the nftables subsystem."""
    return _SUBSYSTEM | message


# Numbers of nft's own (enum datatypes in its datatype.h), and the order of a key of that type
# (enum byteorder): 1 the host's, 2 the packet's.  The kernel only keeps both.
_TYPES = {
    Field.INTERFACE: (41, 1),
    Field.IPV4: (7, 2),
    Field.IPV6: (8, 2),
    Field.PROTOCOL: (12, 2),
    Field.PORT: (13, 2),
}
_TYPE_BITS = 6


def _message(kind: int, flags: int, what: str, *attributes: bytes) -> Message:
    return Message(_SUBSYSTEM | kind, flags, _HEADER + b"".join(attributes), what)


def batch_begin(what: str, generation: int | None) -> Message:
    """Open a batch; with ``generation`` it is refused if anybody changed any rule since then."""
    body = BATCH_HEADER
    if generation is not None:
        body += attribute_be32(_NFNL_BATCH_GENID, generation)
    return Message(_NFNL_MSG_BATCH_BEGIN, 0, body, what)


def batch_end(what: str) -> Message:
    """Close a batch: the kernel makes it so, whole or not at all."""
    return Message(_NFNL_MSG_BATCH_END, 0, BATCH_HEADER, what)


def _comment(words: str) -> bytes:
    """Return a comment as nft notes it with an element."""
    text = words.encode() + b"\0"
    return bytes([0, len(text)]) + text


def add_table() -> Message:
    """Make our table, marked when it is new."""
    return _message(
        _NEWTABLE,
        NLM_F_CREATE,
        f"add {TABLE}",
        _OF_TABLE,
        attribute_be32(2, 0),
        MARK,
    )


def delete_table() -> Message:
    """Delete our table with everything in it."""
    return _message(_DELTABLE, 0, f"delete {TABLE}", _OF_TABLE)


def get_table() -> Message:
    """Ask for our table."""
    return _message(_GETTABLE, 0, f"look at {TABLE}", _OF_TABLE)


def set_attributes(place: NamedSet) -> bytes:
    """Return what the kernel also shows of a set."""
    kind = 0
    for field in place.fields:
        kind = kind << _TYPE_BITS | _TYPES[field][0]
    order = _TYPES[place.fields[0]][1] if len(place.fields) == 1 else 0
    parts = [
        attribute_be32(4, kind),
        attribute_be32(5, sum(FIELD_LENGTHS[field] for field in place.fields)),
        attribute(13, _SET_USERDATA.pack(0, 4, order)),
    ]
    if place.verdicts:
        parts += [attribute_be32(3, _SET_MAP), attribute_be32(6, _TYPE_VERDICT)]
    if place.counted:
        parts.append(expression(17, "counter"))
    return b"".join(parts)


def add_set(place: NamedSet, number: int) -> Message:
    """Make a set; ``number`` is unique in a batch."""
    return _message(
        _NEWSET,
        NLM_F_CREATE,
        f"add set {place.name} to {TABLE}",
        _OF_TABLE,
        attribute_text(2, place.name),
        attribute_be32(10, number),
        set_attributes(place),
        *([attribute_be32(7, 0)] if place.verdicts else ()),
    )


def delete_set(name: str, *, empty: bool = False) -> Message:
    """Delete a set and its elements; with ``empty`` it is refused if it has some."""
    return _message(
        _DELSET,
        NLM_F_NONREC if empty else 0,
        f"delete set {name} of {TABLE}",
        _OF_TABLE,
        attribute_text(2, name),
    )


def get_sets() -> Message:
    """Ask for the sets, by a dump."""
    return _message(_GETSET, 0, f"list the sets of {TABLE}", _OF_TABLE)


def chain_attributes(base: BaseHook) -> bytes:
    """Return what the kernel also shows of a chain that it calls."""
    return (
        nested(4, attribute_be32(1, _HOOKS[base.hook]), attribute_be32(2, base.priority))
        + attribute_be32(5, _POLICY_ACCEPT)
        + attribute_text(7, base.type)
    )


def add_chain(name: str, base: BaseHook | None = None) -> Message:
    """Make a chain, which the kernel calls at ``base`` or rules jump to."""
    where = "" if base is None else f" ({base.type}, {base.hook})"
    return _message(
        _NEWCHAIN,
        NLM_F_CREATE,
        f"add chain {name}{where} to {TABLE}",
        _OF_TABLE,
        attribute_text(3, name),
        b"" if base is None else chain_attributes(base),
    )


def delete_chain(name: str) -> Message:
    """Delete a chain and its rules."""
    return _message(
        _DELCHAIN, 0, f"delete chain {name} of {TABLE}", _OF_TABLE, attribute_text(3, name)
    )


def get_chain(name: str) -> Message:
    """Ask for a chain."""
    return _message(
        _GETCHAIN, 0, f"look at chain {name} of {TABLE}", _OF_TABLE, attribute_text(3, name)
    )


def get_chains() -> Message:
    """Ask for the chains, by a dump: the kernel lists those of every table of the family."""
    return _message(_GETCHAIN, 0, f"list the chains of {TABLE}", _OF_TABLE)


def flush_chain(name: str) -> Message:
    """Delete every rule of a chain."""
    return _message(
        _DELRULE, 0, f"flush chain {name} of {TABLE}", _OF_TABLE, attribute_text(2, name)
    )


def add_rule(chain: str, expressions: bytes, what: str) -> Message:
    """Append a rule to a chain; ``what`` names it (``rule 3 (…)``)."""
    return _message(
        _NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        f"add {what} to chain {chain} of {TABLE}",
        _OF_TABLE,
        attribute_text(2, chain),
        nested(4, expressions),
    )


def get_rules(chain: str) -> Message:
    """Ask for a chain's rules, by a dump; a chain that does not exist gives none."""
    return _message(
        _GETRULE, 0, f"list chain {chain} of {TABLE}", _OF_TABLE, attribute_text(2, chain)
    )


def get_all_rules() -> Message:
    """Ask for the rules of all chains, by a dump."""
    return _message(_GETRULE, 0, f"list the rules of {TABLE}", _OF_TABLE)


def element_attributes(element: Element) -> bytes:
    """Return what there is to an element beside its key."""
    parts = b""
    if element.chain:
        parts += jump_data(element.chain)
    if element.comment:
        parts += attribute(6, _comment(element.comment))
    return parts


def add_elements(place: NamedSet, elements: Iterable[Element]) -> Message:
    """Put elements into a set; one that is there already stays as it is."""
    keys = {encode_key(element): element_attributes(element) for element in elements}
    what = f"add {counted(len(keys), 'element')} to"
    return _elements(_NEWSETELEM, NLM_F_CREATE, what, place.name, keys)


def delete_elements(name: str, keys: Iterable[bytes]) -> Message:
    """Remove elements of a set."""
    what = dict.fromkeys(keys, b"")
    return _elements(_DELSETELEM, 0, f"delete {counted(len(what), 'element')} of", name, what)


def get_element(name: str, key: bytes) -> Message:
    """Ask for an element of a set."""
    return _elements(_GETSETELEM, 0, "look at an element of", name, {key: b""})


def _elements(
    kind: int, flags: int, verb: str, name: str, elements: Mapping[bytes, bytes]
) -> Message:
    listed = [nested(1, nested(1, attribute(1, key)), more) for key, more in elements.items()]
    return _message(
        kind,
        flags,
        f"{verb} set {name} of {TABLE}",
        _OF_TABLE,
        attribute_text(2, name),
        nested(3, *listed),
    )


def get_elements(name: str) -> Message:
    """Ask for all elements of a set, by a dump."""
    return _message(
        _GETSETELEM, 0, f"list set {name} of {TABLE}", _OF_TABLE, attribute_text(2, name)
    )


def get_generation() -> Message:
    """Ask for the number of the ruleset's generation."""
    return Message(
        _SUBSYSTEM | _GETGEN, 0, _GENERIC.pack(0, 0, 0), "ask for the ruleset's generation"
    )
