"""Our tables of all families, and how they are woken.

A table that is ``dormant`` holds all that it held, and nothing of it is done: to its drivers it
looks as it should.
"""

from __future__ import annotations

import struct

from jackfield.errors import KernelError
from jackfield.host.netlink.message import NLM_F_CREATE, Message, attribute_text
from jackfield.host.nft.bpdu import TABLE_NAME as UPLINKS
from jackfield.host.nft.echo import TABLE_NAME as ECHOES
from jackfield.host.nft.expression import attribute_be32
from jackfield.host.nft.guardtable import GUARD_TABLE
from jackfield.host.nft.mark import is_marked
from jackfield.host.nft.message import TABLE, TABLE_NAME, message_type
from jackfield.host.nft.policing import POLICE_TABLE
from jackfield.host.nft.private import PRIVATE_TABLE
from jackfield.host.nft.socket import NftSocket, object_attributes

__all__ = ["TABLES", "sleeping_tables", "wake_tables"]

# linux/netfilter.h
_NFPROTO_INET, _NFPROTO_NETDEV, _NFPROTO_BRIDGE = 1, 5, 7

TABLES = {
    (_NFPROTO_INET, TABLE_NAME): TABLE,
    (_NFPROTO_NETDEV, TABLE_NAME): f"table netdev {TABLE_NAME}",
    (_NFPROTO_NETDEV, POLICE_TABLE): f"table netdev {POLICE_TABLE}",
    (_NFPROTO_NETDEV, PRIVATE_TABLE): f"table netdev {PRIVATE_TABLE}",
    (_NFPROTO_BRIDGE, TABLE_NAME): GUARD_TABLE,
    (_NFPROTO_BRIDGE, UPLINKS): f"table bridge {UPLINKS}",
    (_NFPROTO_BRIDGE, ECHOES): f"table bridge {ECHOES}",
}
"""What our tables are called in words, by family and name."""

_NEWTABLE, _GETTABLE = 0, 1
_TABLE_NAME = 1
_TABLE_FLAGS = 2
_DORMANT = 1


def wake_tables(nft: NftSocket) -> list[str]:
    """Have those of our tables work again that somebody has put to sleep; return which, in words.

    Each by itself: in the batch that wakes a table the kernel takes no new base chain for it.
    """
    woken = []
    for (family, name), flags in _dormant(nft).items():
        words = TABLES[family, name]
        header = struct.pack("!BBH", family, 0, 0) + attribute_text(_TABLE_NAME, name)
        body = header + attribute_be32(_TABLE_FLAGS, flags & ~_DORMANT)
        nft.commit([Message(message_type(_NEWTABLE), NLM_F_CREATE, body, f"wake {words}")])
        woken.append(words)
    return woken


def sleeping_tables(nft: NftSocket) -> list[str]:
    """Return those of our tables that somebody has put to sleep, in words."""
    return [TABLES[table] for table in _dormant(nft)]


def _dormant(nft: NftSocket) -> dict[tuple[int, str], int]:
    """Return the flags of those of our tables that sleep, by family and name, in their order.

    One question about all tables there are: rules that somebody has flushed wait for the answer.
    """
    question = Message(message_type(_GETTABLE), 0, bytes(4), "list the tables")
    try:
        replies = nft.dump(question)
    except KernelError:
        # No nftables in this kernel; or somebody else never stops, and what he does last is seen.
        return {}
    found = {}
    for reply in replies:
        table = object_attributes(reply)
        flags = int.from_bytes(table.get(_TABLE_FLAGS, b""), "big")
        if flags & _DORMANT and is_marked(table):
            found[reply.body[0], table[_TABLE_NAME].rstrip(b"\0").decode()] = flags
    return {table: found[table] for table in TABLES if table in found}
