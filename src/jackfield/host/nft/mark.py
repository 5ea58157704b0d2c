"""Whose a table is: one of ours has a comment that says so."""

from __future__ import annotations

from collections.abc import Mapping

from jackfield.errors import ForeignObject
from jackfield.host.netlink.message import attribute

__all__ = ["COMMENT", "MARK", "foreign_table", "foreign_words", "is_marked"]

COMMENT = "made by jackfieldd; changes are undone"
"""A table of a name of ours without this comment is somebody else's."""

_TABLE_USERDATA = 6
_TABLE_COMMENT = 0  # NFTNL_UDATA_TABLE_COMMENT

MARK = attribute(
    _TABLE_USERDATA, bytes([_TABLE_COMMENT, len(COMMENT) + 1]) + COMMENT.encode() + b"\0"
)
"""The comment as an attribute of a table that is made (``NFTA_TABLE_USERDATA``)."""


def is_marked(table: Mapping[int, bytes]) -> bool:
    """Return whether a table, given by its attributes, is ours."""
    return COMMENT.encode() in table.get(_TABLE_USERDATA, b"")


def foreign_words(table: str) -> str:
    """Return what somebody else's ``table bridge jackfield``, or its like, is called."""
    return f"{table} without the comment that marks ours"


def foreign_table(table: str) -> ForeignObject:
    """Return the error that says that somebody else's table is where ours should be."""
    return ForeignObject(
        f"{foreign_words(table)} is in the way and is not ours; it is left alone",
        hint=f"rename or delete it (`nft delete {table}`)",
    )
