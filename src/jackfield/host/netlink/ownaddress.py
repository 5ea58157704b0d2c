"""Unicast addresses that a link receives beside its own, in rtnetlink.

Layouts and numbers are those of ``linux/neighbour.h``; ``bridge fdb`` calls such an address
``self permanent``.
"""

from __future__ import annotations

import struct

from jackfield.host.netlink.message import NLM_F_CREATE, Message, attribute, attributes

__all__ = ["add_own", "decode_own", "delete_own", "dump_own"]

_RTM_NEWNEIGH = 28
_RTM_DELNEIGH = 29
_RTM_GETNEIGH = 30
_AF_BRIDGE = 7
_NDA_LLADDR = 2
_NTF_SELF = 0x02
_NUD_PERMANENT = 0x80
_NEIGHBOUR = struct.Struct("=BxxxiHBB")


def add_own(index: int, mac: bytes, what: str) -> Message:
    """Return the request that has a link receive what is sent to ``mac`` as well."""
    return _request(_RTM_NEWNEIGH, NLM_F_CREATE, index, mac, what)


def delete_own(index: int, mac: bytes, what: str) -> Message:
    """Return the request that takes such an address away."""
    return _request(_RTM_DELNEIGH, 0, index, mac, what)


def dump_own(index: int) -> Message:
    """Return the dump request for the addresses of a link, with those of its bridge."""
    body = _NEIGHBOUR.pack(_AF_BRIDGE, index, 0, 0, 0)
    return Message(_RTM_GETNEIGH, 0, body, "list what a link receives")


def decode_own(body: bytes) -> tuple[int, bytes] | None:
    """Return a link's index and an address of its own; ``None`` for what is its bridge's."""
    family, index, _, flags, _ = _NEIGHBOUR.unpack_from(body)
    mac = attributes(body, _NEIGHBOUR.size).get(_NDA_LLADDR)
    if family != _AF_BRIDGE or mac is None or not flags & _NTF_SELF:
        return None
    return index, mac


def _request(kind: int, flags: int, index: int, mac: bytes, what: str) -> Message:
    body = _NEIGHBOUR.pack(_AF_BRIDGE, index, _NUD_PERMANENT, _NTF_SELF, 0)
    return Message(kind, flags, body + attribute(_NDA_LLADDR, mac), what)
