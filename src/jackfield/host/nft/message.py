"""Messages of nfnetlink about our table: what to make, to remove and to ask for.

Pure functions; each message says in words what it does, for the error if it is refused.  Layouts
are those of ``linux/netfilter/nfnetlink.h`` and ``nf_tables.h``.
"""

from __future__ import annotations

import dataclasses
import enum
import struct

from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    attribute,
    attribute_text,
    nested,
)
from jackfield.host.nft.expression import (
    IFNAMSIZ,
    attribute_be32,
    interface_key,
    verdict_data,
)
from jackfield.model.address import Address

__all__ = [
    "BATCH_HEADER",
    "TABLE",
    "TABLE_NAME",
    "BaseChain",
    "MapKey",
    "add_base_chain",
    "add_chain",
    "add_element",
    "add_map",
    "add_rule",
    "add_table",
    "batch_begin",
    "batch_end",
    "delete_chain",
    "delete_element",
    "delete_table",
    "flush_chain",
    "get_all_rules",
    "get_chain",
    "get_chains",
    "get_element",
    "get_elements",
    "get_generation",
    "get_rules",
    "get_table",
    "message_type",
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
_NEWSET = 9
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


class MapKey(enum.Enum):
    """What a map is looked up by; the value is how nft calls it."""

    INTERFACE = "ifname"
    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"

    @property
    def type(self) -> int:
        """The number of nft's own for it (enum datatypes in its datatype.h)."""
        return _KEYS[self][0]

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return _KEYS[self][1]

    @property
    def byte_order(self) -> int:
        """Its order (enum byteorder in nft's datatype.h): 1 the host's, 2 the packet's."""
        return _KEYS[self][2]


_KEYS = {
    MapKey.INTERFACE: (41, IFNAMSIZ, 1),
    MapKey.IPV4: (7, 4, 2),
    MapKey.IPV6: (8, 16, 2),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseChain:
    """A chain that the kernel calls: ``type`` filter or nat, at ``hook``, policy accept."""

    name: str
    type: str
    hook: str
    priority: int

    @property
    def attributes(self) -> tuple[bytes, ...]:
        """What the kernel also shows of the chain."""
        return (
            nested(4, attribute_be32(1, _HOOKS[self.hook]), attribute_be32(2, self.priority)),
            attribute_be32(5, _POLICY_ACCEPT),
            attribute_text(7, self.type),
        )


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


def add_table(comment: str) -> Message:
    """Make our table, marked with ``comment`` when it is new."""
    text = comment.encode() + b"\0"
    userdata = bytes([0, len(text)]) + text
    return _message(
        _NEWTABLE,
        NLM_F_CREATE,
        f"add {TABLE}",
        _OF_TABLE,
        attribute_be32(2, 0),
        attribute(6, userdata),
    )


def delete_table() -> Message:
    """Delete our table with everything in it."""
    return _message(_DELTABLE, 0, f"delete {TABLE}", _OF_TABLE)


def get_table() -> Message:
    """Ask for our table."""
    return _message(_GETTABLE, 0, f"look at {TABLE}", _OF_TABLE)


def add_map(name: str, number: int, key: MapKey) -> Message:
    """Make the map ``name`` from ``key`` to verdicts; ``number`` is unique in a batch."""
    return _message(
        _NEWSET,
        NLM_F_CREATE,
        f"add map {name} to {TABLE}",
        _OF_TABLE,
        attribute_text(2, name),
        attribute_be32(3, _SET_MAP),
        attribute_be32(4, key.type),
        attribute_be32(5, key.length),
        attribute_be32(6, _TYPE_VERDICT),
        attribute_be32(7, 0),
        attribute_be32(10, number),
        attribute(13, _SET_USERDATA.pack(0, 4, key.byte_order)),
    )


def add_base_chain(chain: BaseChain) -> Message:
    """Make a chain that the kernel calls."""
    return _message(
        _NEWCHAIN,
        NLM_F_CREATE,
        f"add base chain {chain.name} ({chain.type}, {chain.hook}) to {TABLE}",
        _OF_TABLE,
        attribute_text(3, chain.name),
        *chain.attributes,
    )


def add_chain(name: str) -> Message:
    """Make a chain that is only jumped to."""
    return _message(
        _NEWCHAIN, NLM_F_CREATE, f"add chain {name} to {TABLE}", _OF_TABLE, attribute_text(3, name)
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


def _key(key: str | Address) -> bytes:
    return interface_key(key) if isinstance(key, str) else key.packed


def _element(
    kind: int, flags: int, verb: str, name: str, key: str | Address, *data: bytes
) -> Message:
    return _message(
        kind,
        flags,
        f"{verb} element {key} of map {name} of {TABLE}",
        _OF_TABLE,
        attribute_text(2, name),
        nested(3, nested(1, nested(1, attribute(1, _key(key))), *data)),
    )


def add_element(name: str, key: str | Address, code: int, chain: str) -> Message:
    """Lead packets of ``key`` from the map ``name`` to ``chain`` (jump or goto)."""
    return _element(_NEWSETELEM, NLM_F_CREATE, "add", name, key, verdict_data(2, code, chain))


def delete_element(name: str, key: str | Address) -> Message:
    """Remove an element of the map ``name``."""
    return _element(_DELSETELEM, 0, "delete", name, key)


def get_element(name: str, key: str | Address) -> Message:
    """Ask for an element of the map ``name``."""
    return _element(_GETSETELEM, 0, "look at", name, key)


def get_elements(name: str) -> Message:
    """Ask for all elements of the map ``name``, by a dump."""
    return _message(
        _GETSETELEM, 0, f"list map {name} of {TABLE}", _OF_TABLE, attribute_text(2, name)
    )


def get_generation() -> Message:
    """Ask for the number of the ruleset's generation."""
    return Message(
        _SUBSYSTEM | _GETGEN, 0, _GENERIC.pack(0, 0, 0), "ask for the ruleset's generation"
    )
