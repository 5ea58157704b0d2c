"""Macvlans and macvtaps in rtnetlink (``linux/if_link.h``, ``IFLA_MACVLAN_*``)."""

from __future__ import annotations

import struct

from jackfield.host.netlink.link import IFF_UP, RTM_NEWLINK
from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attribute_text,
    attribute_u32,
    attributes,
    nested,
)

__all__ = ["MODES", "change_macvlan", "create_macvlan", "macvlan_mode", "move_link"]

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINK = 5
_IFLA_LINKINFO = 18
_IFLA_GROUP = 27
_IFLA_NET_NS_FD = 28
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_MACVLAN_MODE = 1

# enum macvlan_mode.
MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthrough": 8}
"""The kernel's numbers of the modes."""

_NAMES = {number: name for name, number in MODES.items()}
_U32 = struct.Struct("=I")
_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg


def create_macvlan(
    kind: str, name: str, lower: int, mode: str, *, mac: bytes | None, mtu: int | None, group: int
) -> Message:
    """Return the request that makes a link of ``kind`` (macvlan or macvtap) over ``lower``."""
    body = (
        _HEADER.pack(0, 0, 0, 0, 0)
        + attribute_text(_IFLA_IFNAME, name)
        + attribute_u32(_IFLA_LINK, lower)
        + attribute_u32(_IFLA_GROUP, group)
        + nested(
            _IFLA_LINKINFO,
            attribute_text(_IFLA_INFO_KIND, kind),
            nested(_IFLA_INFO_DATA, attribute_u32(_IFLA_MACVLAN_MODE, MODES[mode])),
        )
    )
    if mac is not None:
        body += attribute(_IFLA_ADDRESS, mac)
    if mtu is not None:
        body += attribute_u32(_IFLA_MTU, mtu)
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create {kind} {name}")


def change_macvlan(index: int, kind: str, mode: str, what: str) -> Message:
    """Return the request that gives a link of ``kind`` another mode.

    The kernel refuses passthrough mode, before or after.
    """
    info = nested(
        _IFLA_LINKINFO,
        attribute_text(_IFLA_INFO_KIND, kind),
        nested(_IFLA_INFO_DATA, attribute_u32(_IFLA_MACVLAN_MODE, MODES[mode])),
    )
    return Message(RTM_NEWLINK, 0, _HEADER.pack(0, 0, index, 0, 0) + info, what)


def macvlan_mode(data: bytes) -> str:
    """Return the mode that ``Link.data`` says; empty for one that we do not know."""
    return _NAMES.get(_U32.unpack(attributes(data).get(_IFLA_MACVLAN_MODE, bytes(4)))[0], "")


def move_link(index: int, netns: int, name: str, what: str) -> Message:
    """Return the request that moves a link into another namespace, renames it, and brings it up.

    ``netns`` is the descriptor of a namespace file.  The kernel does it in this order, so where
    ``name`` is taken in there the link has moved, and kept its old name.
    """
    body = (
        _HEADER.pack(0, 0, index, IFF_UP, IFF_UP)
        + attribute_u32(_IFLA_NET_NS_FD, netns)
        + attribute_text(_IFLA_IFNAME, name)
    )
    return Message(RTM_NEWLINK, 0, body, what)
