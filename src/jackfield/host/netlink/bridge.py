"""Bridges and the flags of their ports in rtnetlink.

Layouts and numbers are those of ``linux/if_link.h``.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from jackfield.host.netlink.link import IFF_UP, RTM_NEWLINK
from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attribute_text,
    attribute_u8,
    attribute_u32,
    attributes,
    nested,
)

__all__ = [
    "BridgeOptions",
    "bridge_options",
    "change_bridge",
    "change_port",
    "create_bridge",
    "port_flags",
]

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_LINKINFO = 18
_IFLA_GROUP = 27

_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INFO_SLAVE_KIND = 4
_IFLA_INFO_SLAVE_DATA = 5

_IFLA_BR_FORWARD_DELAY = 1
_IFLA_BR_STP_STATE = 5
_IFLA_BR_VLAN_FILTERING = 7
_IFLA_BR_VLAN_PROTOCOL = 8
_IFLA_BRPORT_LEARNING = 8
_IFLA_BRPORT_UNICAST_FLOOD = 9
_IFLA_BRPORT_ISOLATED = 33

_HEADER = struct.Struct("=BxHiII")
_U32 = struct.Struct("=I")
_CENTISECONDS = 100


def create_bridge(
    name: str, mac: bytes | None, *, stp: bool, forward_delay: int, group: int = 0
) -> Message:
    """Return the request that makes a bridge in a link group; ``forward_delay`` in seconds."""
    body = _HEADER.pack(0, 0, 0, 0, 0) + attribute_text(_IFLA_IFNAME, name)
    if mac is not None:
        body += attribute(_IFLA_ADDRESS, mac)
    body += attribute_u32(_IFLA_GROUP, group) + nested(
        _IFLA_LINKINFO,
        attribute_text(_IFLA_INFO_KIND, "bridge"),
        nested(_IFLA_INFO_DATA, _forward_delay(forward_delay), _stp(stp)),
    )
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"create bridge {name}")


def _forward_delay(seconds: int) -> bytes:
    return attribute_u32(_IFLA_BR_FORWARD_DELAY, seconds * _CENTISECONDS)


def _stp(stp: bool) -> bytes:
    return attribute_u32(_IFLA_BR_STP_STATE, int(stp))


def change_bridge(
    index: int,
    name: str,
    *,
    stp: bool | None = None,
    forward_delay: int | None = None,
    vlan_filtering: bool | None = None,
) -> Message:
    """Return the request that changes a bridge's options; ``None`` leaves one as it is."""
    options = []
    if stp is not None:
        options.append(_stp(stp))
    if forward_delay is not None:
        options.append(_forward_delay(forward_delay))
    if vlan_filtering is not None:
        options.append(attribute_u8(_IFLA_BR_VLAN_FILTERING, vlan_filtering))
    body = _HEADER.pack(0, 0, index, 0, 0) + nested(
        _IFLA_LINKINFO,
        attribute_text(_IFLA_INFO_KIND, "bridge"),
        nested(_IFLA_INFO_DATA, *options),
    )
    return Message(RTM_NEWLINK, 0, body, f"change bridge {name}")


class BridgeOptions(NamedTuple):
    """What we know of a bridge's own options; ``forward_delay`` in seconds, rounded down.

    ``vlan_filtering`` is ``None`` where the kernel cannot filter VLANs on bridges.
    """

    stp: bool
    forward_delay: int
    vlan_filtering: bool | None


def bridge_options(data: bytes) -> BridgeOptions:
    """Decode ``Link.data`` of a bridge."""
    options = attributes(data)
    delay = _U32.unpack(options.get(_IFLA_BR_FORWARD_DELAY, bytes(4)))[0]
    stp = options.get(_IFLA_BR_STP_STATE, bytes(4)) != bytes(4)
    filtering = None
    # A kernel that cannot says 0 all the same, but no protocol.
    if _IFLA_BR_VLAN_PROTOCOL in options:
        filtering = options.get(_IFLA_BR_VLAN_FILTERING, b"\0") != b"\0"
    return BridgeOptions(stp, delay // _CENTISECONDS, filtering)


def change_port(
    name: str, what: str, *, isolated: bool, learning: bool, unicast_flood: bool
) -> Message:
    """Return the request that sets the flags of a bridge's port and brings it up.

    The link must be the bridge's already: the kernel looks up the meaning of the flags at its
    master.  They are set before the link comes up, in the kernel's own order.
    """
    body = (
        _HEADER.pack(0, 0, 0, IFF_UP, IFF_UP)
        + attribute_text(_IFLA_IFNAME, name)
        + nested(
            _IFLA_LINKINFO,
            attribute_text(_IFLA_INFO_SLAVE_KIND, "bridge"),
            nested(
                _IFLA_INFO_SLAVE_DATA,
                attribute_u8(_IFLA_BRPORT_LEARNING, learning),
                attribute_u8(_IFLA_BRPORT_UNICAST_FLOOD, unicast_flood),
                attribute_u8(_IFLA_BRPORT_ISOLATED, isolated),
            ),
        )
    )
    return Message(RTM_NEWLINK, 0, body, what)


def port_flags(port_data: bytes) -> tuple[bool, bool, bool]:
    """Decode ``Link.port_data`` of a bridge's port: (isolated, learning, unicast_flood)."""
    flags = attributes(port_data)
    return (
        flags.get(_IFLA_BRPORT_ISOLATED, b"\0")[0] != 0,
        flags.get(_IFLA_BRPORT_LEARNING, b"\1")[0] != 0,
        flags.get(_IFLA_BRPORT_UNICAST_FLOOD, b"\1")[0] != 0,
    )
