"""Pairs of veths across two namespaces in rtnetlink (``linux/if_link.h``, ``linux/veth.h``)."""

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
    nested,
)

__all__ = ["create_veth"]

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINKINFO = 18
_IFLA_GROUP = 27
_IFLA_NET_NS_FD = 28

_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_VETH_INFO_PEER = 1

_HEADER = struct.Struct("=BxHiII")


def create_veth(
    name: str,
    mac: bytes | None,
    peer_name: str,
    peer_mac: bytes,
    peer_netns: int,
    *,
    mtu: int | None,
    group: int,
    peer_first: bool,
) -> Message:
    """Return the request that makes a veth pair across two namespaces.

    ``peer_netns`` is the descriptor of a namespace file; ``group`` the near end's link group.
    With ``peer_first`` the peer is the request's main device, so that the same request brings it
    up (a veth cannot come up before its pair is tied, and only the main device is configured
    after that); Linux before 6.13 refuses this when *our* namespace has a link of the peer's name.
    """
    size = b"" if mtu is None else attribute_u32(_IFLA_MTU, mtu)
    near = attribute_text(_IFLA_IFNAME, name) + attribute_u32(_IFLA_GROUP, group) + size
    if mac is not None:
        near += attribute(_IFLA_ADDRESS, mac)
    far = (
        attribute_text(_IFLA_IFNAME, peer_name)
        + size
        + attribute(_IFLA_ADDRESS, peer_mac)
        + attribute_u32(_IFLA_NET_NS_FD, peer_netns)
    )
    main, other = (far, near) if peer_first else (near, far)
    up = IFF_UP if peer_first else 0
    body = (
        _HEADER.pack(0, 0, 0, up, up)
        + main
        + nested(
            _IFLA_LINKINFO,
            attribute_text(_IFLA_INFO_KIND, "veth"),
            nested(_IFLA_INFO_DATA, nested(_VETH_INFO_PEER, _HEADER.pack(0, 0, 0, 0, 0), other)),
        )
    )
    what = f"create veth {name} with its peer {peer_name}"
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, what)
