"""Our tables of all families, and how they are woken.

A table that is ``dormant`` holds all that it held, and nothing of it is done: to its drivers it
looks as it should.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from jackfield.host.netlink.message import NLM_F_CREATE, Message, attribute_text
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import COMMENT
from jackfield.host.nft.bpdu import TABLE_NAME as UPLINKS
from jackfield.host.nft.echo import TABLE_NAME as ECHOES
from jackfield.host.nft.expression import attribute_be32
from jackfield.host.nft.guardtable import GUARD_TABLE
from jackfield.host.nft.message import TABLE, TABLE_NAME, message_type
from jackfield.host.nft.policing import POLICE_TABLE
from jackfield.host.nft.private import PRIVATE_TABLE
from jackfield.host.nft.socket import NftSocket

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
_TABLE_FLAGS = 2
_TABLE_USERDATA = 6
_DORMANT = 1


def wake_tables(nft: NftSocket) -> list[str]:
    """Have those of our tables work again that somebody has put to sleep; return which, in words.

    Each by itself: in the batch that wakes a table the kernel takes no new base chain for it.
    """
    woken = []
    for family, name, flags in _asleep(nft):
        words = TABLES[family, name]
        body = _header(family, name) + attribute_be32(_TABLE_FLAGS, flags & ~_DORMANT)
        nft.commit([Message(message_type(_NEWTABLE), NLM_F_CREATE, body, f"wake {words}")])
        woken.append(words)
    return woken


def sleeping_tables(nft: NftSocket) -> list[str]:
    """Return those of our tables that somebody has put to sleep, in words."""
    return [TABLES[family, name] for family, name, _ in _asleep(nft)]


def _asleep(nft: NftSocket) -> Iterator[tuple[int, str, int]]:
    """Yield family, name and flags of each table of ours that sleeps."""
    for (family, name), words in TABLES.items():
        header = _header(family, name)
        try:
            found = nft.get(Message(message_type(_GETTABLE), 0, header, f"look at {words}"))
        except Refusal:
            # A kernel without this family, or without any, has no such table.
            continue
        if found is None or COMMENT.encode() not in found.get(_TABLE_USERDATA, b""):
            continue
        flags = int.from_bytes(found.get(_TABLE_FLAGS, b""), "big")
        if flags & _DORMANT:
            yield family, name, flags


def _header(family: int, name: str) -> bytes:
    return struct.pack("!BBH", family, 0, 0) + attribute_text(1, name)
