"""Connections of guests outlive a flush of all rules.

What hides guests behind the host is remembered by the kernel for each connection, and goes on
as long as there is some chain of type ``nat`` and some rule that asks for connections.  With the
last one, the kernel stops to track and to translate: in the milliseconds until our rules are back
the host takes an answer for a guest as one for itself, and resets the connection.  So a chain with
a rule that does nothing stays, in a table that nobody else can flush::

    table inet jackfield-connections {
        flags owner
        chain keep {
            type nat hook prerouting priority dstnat; policy accept;
            ct state invalid return
        }
    }

The kernel passes over a table with an owner when somebody else flushes all rules, and removes it
with the owner's socket (``NFT_TABLE_F_OWNER``, since Linux 5.12; without it nothing is kept).

nft before 1.1 prints memory that it has freed as the ``flags`` of any table with one flag when it
says JSON (``table_flags_json`` in its ``json.c``): ``nft -j list tables`` may break off there.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Sequence

from jackfield.errors import KernelError
from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute_text,
    nested,
)
from jackfield.host.nft.expression import attribute_be32, encode_rule
from jackfield.host.nft.mark import MARK
from jackfield.host.nft.message import chain_attributes, message_type
from jackfield.host.nft.socket import NftSocket
from jackfield.state.rules import BaseHook, ConnectionState, Return, Rule, State

__all__ = ["TABLE_NAME", "ConnectionKeeper"]

_log = logging.getLogger(__name__)

TABLE_NAME = "jackfield-connections"
_CHAIN = "keep"
_RULE = encode_rule(Rule((State(ConnectionState.INVALID),), Return()))
_NFPROTO_INET = 1
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE = 0, 2, 3, 6
_FLAG_OWNER = 0x2
_HEADER = struct.Struct("!BBH").pack(_NFPROTO_INET, 0, 0)
_OF_TABLE = attribute_text(1, TABLE_NAME)
_WORDS = f"table inet {TABLE_NAME}"


class ConnectionKeeper:
    """Keeps the chains there from ``hold``, or ``held``, to ``release``."""

    def __init__(self) -> None:
        """Begin without."""
        self._held = False
        self._refused = False
        self._lent = False
        self._due = False

    @property
    def missing(self) -> Sequence[Message]:
        """What makes the chains, for a batch that does more; nothing where it is of no use."""
        return () if self._held or self._refused else _CREATION

    def held(self) -> None:
        """Note that what was missing is there."""
        self._held = not self._refused
        self._due = False

    def hold(self, nft: NftSocket) -> None:
        """Have the chains; again changes nothing, and without them networks run all the same."""
        try:
            nft.commit(self.missing)
        except KernelError as refusal:
            self._refused = True
            _log.warning(
                "connections of guests may be reset when somebody flushes all rules: %s; "
                "a table with an owner needs Linux 5.12",
                refusal,
            )
        else:
            self.held()

    def release(self, nft: NftSocket) -> None:
        """Give them up: no guest has a connection through the host any more."""
        if self._lent:
            self._due = True
        if not self._held or self._lent:
            return
        self._held = False
        try:
            nft.commit([_message(_DELTABLE, 0)])
        except KernelError as refusal:
            _log.warning("it goes with the daemon: %s", refusal)

    def lend(self, nft: NftSocket) -> None:
        """Have the chains, whatever becomes of ours, while guests go to somebody else's rules."""
        ours = self._held
        self.hold(nft)
        self._lent, self._due = True, not ours

    def take_back(self, nft: NftSocket) -> None:
        """Give them up unless rules of ours need them."""
        self._lent = False
        if self._due:
            self.release(nft)


def _message(kind: int, flags: int, *attributes: bytes) -> Message:
    what = f"{'delete' if kind == _DELTABLE else 'add'} {_WORDS}"
    return Message(message_type(kind), flags, _HEADER + _OF_TABLE + b"".join(attributes), what)


_CREATION = (
    _message(_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, attribute_be32(2, _FLAG_OWNER), MARK),
    _message(
        _NEWCHAIN,
        NLM_F_CREATE,
        attribute_text(3, _CHAIN),
        chain_attributes(BaseHook("nat", "prerouting", -100)),
    ),
    _message(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, attribute_text(2, _CHAIN), nested(4, _RULE)),
)
