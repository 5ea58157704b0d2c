"""Devices whose frames the host itself must not see: ``table netdev jackfield``.

A switch in user space reads frames through a packet socket, which gets a copy: the host's own
stack sees every frame as well, and would answer whatever is asked of any of its addresses.  A
chain of policy drop at the device's ingress comes after the packet socket and before the stack::

    table netdev jackfield {
        chain jf0123456789 {
            type filter hook ingress device "jf0123456789" priority filter; policy drop;
        }
    }

One chain for one device, named after it: what is sent and looked at does not depend on the others.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Iterable

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    Message,
    attribute,
    attribute_text,
    nested,
    text,
)
from jackfield.host.netlink.route import ONE_BY_ONE_LIMIT
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import COMMENT
from jackfield.host.nft.expression import attribute_be32
from jackfield.host.nft.message import TABLE_NAME, message_type
from jackfield.host.nft.socket import NftSocket, object_attributes

__all__ = ["NFPROTO_NETDEV", "guard", "guarded", "unguard"]

NFPROTO_NETDEV = 5
"""The family of chains at one device (``linux/netfilter.h``)."""

_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _GETCHAIN, _DELCHAIN = 3, 4, 5
_TABLE_USE = 3
_CHAIN_NAME = 3
_CHAIN_TABLE = 1
_HOOK_INGRESS = 0
_PRIORITY = 0
_POLICY_DROP = 0

_HEADER = struct.Struct("!BBH").pack(NFPROTO_NETDEV, 0, 0)
_OF_TABLE = attribute_text(1, TABLE_NAME)
_TABLE = f"table netdev {TABLE_NAME}"


def guard(nft: NftSocket, devices: Iterable[str]) -> None:
    """Let nothing that comes in by ``devices`` reach the host's stack; again changes nothing."""
    chains = [_add_chain(device) for device in devices]
    if chains:
        nft.commit([_add_table(), *chains])


def guarded(nft: NftSocket, devices: Collection[str] | None = None) -> set[str]:
    """Return those of ``devices`` that have a chain, or all devices that have one."""
    if devices is not None and len(devices) <= ONE_BY_ONE_LIMIT:
        return {device for device in devices if nft.get(_get_chain(device)) is not None}
    try:
        replies = nft.dump(_message(_GETCHAIN, 0, f"list the chains of {_TABLE}", _OF_TABLE))
    except Refusal as refusal:
        if refusal.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return set()
        raise
    found = [object_attributes(reply) for reply in replies if reply.body[0] == NFPROTO_NETDEV]
    names = {
        text(chain[_CHAIN_NAME])
        for chain in found
        if text(chain.get(_CHAIN_TABLE, b"")) == TABLE_NAME
    }
    return names if devices is None else names & set(devices)


def unguard(nft: NftSocket, devices: Collection[str]) -> None:
    """Remove the chains of ``devices``, and the table with the last one."""
    if not devices:
        return
    present = sorted(guarded(nft, devices))
    if present:
        nft.commit([_delete_chain(device) for device in present])
    table = nft.get(_message(_GETTABLE, 0, f"look at {_TABLE}", _OF_TABLE))
    if table is not None and not int.from_bytes(table.get(_TABLE_USE, b"\1"), "big"):
        nft.commit([_message(_DELTABLE, 0, f"delete {_TABLE}", _OF_TABLE)])


def _message(kind: int, flags: int, what: str, *parts: bytes) -> Message:
    return Message(message_type(kind), flags, _HEADER + b"".join(parts), what)


def _add_table() -> Message:
    comment = COMMENT.encode() + b"\0"
    return _message(
        _NEWTABLE,
        NLM_F_CREATE,
        f"add {_TABLE}",
        _OF_TABLE,
        attribute_be32(2, 0),
        attribute(6, bytes([0, len(comment)]) + comment),
    )


def _add_chain(device: str) -> Message:
    return _message(
        _NEWCHAIN,
        NLM_F_CREATE,
        f"keep what comes in by {device} from the host's stack",
        _OF_TABLE,
        attribute_text(3, device),
        nested(
            4,
            attribute_be32(1, _HOOK_INGRESS),
            attribute_be32(2, _PRIORITY),
            attribute_text(3, device),
        ),
        attribute_be32(5, _POLICY_DROP),
        attribute_text(7, "filter"),
    )


def _get_chain(device: str) -> Message:
    what = f"look at chain {device} of {_TABLE}"
    return _message(_GETCHAIN, 0, what, _OF_TABLE, attribute_text(3, device))


def _delete_chain(device: str) -> Message:
    what = f"delete chain {device} of {_TABLE}"
    return _message(_DELCHAIN, 0, what, _OF_TABLE, attribute_text(3, device))
