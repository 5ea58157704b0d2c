"""A table of the family netdev: a chain at the ingress of each device, named after the device.

One chain for one device, so that what is sent and looked at does not depend on the others.
Numbers are those of ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import errno
import struct

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    Message,
    attribute_text,
    nested,
    text,
)
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.expression import attribute_be32
from jackfield.host.nft.mark import MARK, foreign_table, is_marked
from jackfield.host.nft.message import message_type
from jackfield.host.nft.socket import NftSocket, object_attributes

__all__ = ["ACCEPT", "DROP", "NFPROTO_NETDEV", "NetdevTable", "has_family"]

NFPROTO_NETDEV = 5
"""The family of chains at one device (``linux/netfilter.h``)."""
DROP, ACCEPT = 0, 1
"""What becomes of what no rule of a chain has taken (``linux/netfilter.h``)."""

_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _GETCHAIN, _DELCHAIN = 3, 4, 5
_DELRULE = 8
_CHAIN_TABLE, _CHAIN_NAME = 1, 3
_TABLE_USE = 3
_HOOK_INGRESS = 0
_PRIORITY = 0
_HEADER = struct.Struct("!BBH").pack(NFPROTO_NETDEV, 0, 0)


class NetdevTable:
    """The messages about one such table, and whose it is."""

    def __init__(self, name: str, policy: int) -> None:
        """Speak of the table ``name``, whose chains have this ``policy``."""
        self.name = name
        self.words = f"table netdev {name}"
        self._policy = policy
        self._of_table = attribute_text(1, name)

    def is_ours(self, nft: NftSocket) -> bool | None:
        """Return whether the table has our mark; ``None`` when there is none."""
        found = self._look(nft)
        return None if found is None else is_marked(found)

    def refuse_foreign(self, nft: NftSocket) -> None:
        """Raise ``ForeignObject`` if somebody else has a table of the name."""
        if self.is_ours(nft) is False:
            raise foreign_table(self.words)

    def remove_empty(self, nft: NftSocket) -> None:
        """Delete the table if it is ours and holds nothing any more."""
        found = self._look(nft)
        if found is None or not is_marked(found):
            return
        if not int.from_bytes(found.get(_TABLE_USE, b"\1"), "big"):
            nft.commit([self.message(_DELTABLE, 0, f"delete {self.words}")])

    def _look(self, nft: NftSocket) -> dict[int, bytes] | None:
        try:
            return nft.get(self.message(_GETTABLE, 0, f"look at {self.words}"))
        except Refusal as refusal:
            if refusal.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                return None
            raise

    def message(self, kind: int, flags: int, what: str, *parts: bytes) -> Message:
        """Return a message about something in the table; ``kind`` is an ``NFT_MSG_`` number."""
        return Message(message_type(kind), flags, _HEADER + self._of_table + b"".join(parts), what)

    def add(self) -> Message:
        """Make the table, marked."""
        what = f"add {self.words}"
        return self.message(_NEWTABLE, NLM_F_CREATE, what, attribute_be32(2, 0), MARK)

    def add_chain(self, device: str) -> Message:
        """Make the chain of a device."""
        return self.message(
            _NEWCHAIN,
            NLM_F_CREATE,
            f"add chain {device} to {self.words}",
            attribute_text(3, device),
            nested(
                4,
                attribute_be32(1, _HOOK_INGRESS),
                attribute_be32(2, _PRIORITY),
                attribute_text(3, device),
            ),
            attribute_be32(5, self._policy),
            attribute_text(7, "filter"),
        )

    def get_chain(self, device: str) -> Message:
        """Ask for the chain of a device."""
        what = f"look at chain {device} of {self.words}"
        return self.message(_GETCHAIN, 0, what, attribute_text(3, device))

    def chains(self, nft: NftSocket) -> set[str]:
        """Return the devices that have a chain here."""
        try:
            # The kernel lists those of other tables as well.
            replies = nft.dump(self.message(_GETCHAIN, 0, f"list the chains of {self.words}"))
        except Refusal as refusal:
            if refusal.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                return set()
            raise
        found = [object_attributes(reply) for reply in replies if reply.body[0] == NFPROTO_NETDEV]
        return {
            text(chain[_CHAIN_NAME])
            for chain in found
            if text(chain.get(_CHAIN_TABLE, b"")) == self.name
        }

    def flush_chain(self, device: str) -> Message:
        """Remove the rules of a device's chain."""
        what = f"flush chain {device} of {self.words}"
        return self.message(_DELRULE, 0, what, attribute_text(2, device))

    def delete_chain(self, device: str) -> Message:
        """Delete the chain of a device."""
        what = f"delete chain {device} of {self.words}"
        return self.message(_DELCHAIN, 0, what, attribute_text(3, device))


def has_family(nft: NftSocket) -> bool:
    """Return whether the kernel has this family.

    Asks for a chain at the loopback, in a batch that is refused as a whole.
    """
    probe = NetdevTable("jackfield-probe", ACCEPT)
    messages = [
        probe.add(),
        probe.add_chain("lo"),
        # There is no such chain, so nothing of this is made.
        probe.delete_chain("none"),
    ]
    try:
        nft.commit(messages)
    except Refusal as refusal:
        return refusal.index == len(messages) - 1
    return True
