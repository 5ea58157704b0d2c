"""What the kernel can do with VLANs, and which a VLAN device is of, in rtnetlink.

Layouts and numbers are those of ``linux/if_link.h``.
"""

from __future__ import annotations

import struct
import sys

from jackfield.host.netlink.link import RTM_NEWLINK
from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attribute_text,
    attributes,
    nested,
)

__all__ = ["ask_vlan_filtering", "vlan_id"]

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_LINKINFO = 18
_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_BR_VLAN_PROTOCOL = 8
_IFLA_VLAN_ID = 1

_HEADER = struct.Struct("=BxHiII")


def ask_vlan_filtering() -> tuple[Message, Message]:
    """Return two requests that make nothing, because each is to make the link ``lo``.

    Before the kernel sees that there is one, it looks at the bridge's options
    (``br_validate`` in ``net/bridge/br_netlink.c``).  The first has an address that is too short,
    which is refused as invalid where bridges are known at all.  The second has a VLAN protocol
    that there is not, which only a kernel that filters VLANs looks at.
    """
    return (
        _impossible_bridge(attribute(_IFLA_ADDRESS, bytes(2)), b""),
        _impossible_bridge(b"", attribute(_IFLA_BR_VLAN_PROTOCOL, bytes(2))),
    )


def _impossible_bridge(more: bytes, options: bytes) -> Message:
    body = _HEADER.pack(0, 0, 0, 0, 0) + attribute_text(_IFLA_IFNAME, "lo") + more
    body += nested(
        _IFLA_LINKINFO,
        attribute_text(_IFLA_INFO_KIND, "bridge"),
        nested(_IFLA_INFO_DATA, options),
    )
    return Message(
        RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, "ask whether bridges can filter VLANs"
    )


def vlan_id(data: bytes) -> int | None:
    """Return the VLAN of ``Link.data`` of a VLAN device."""
    found = attributes(data).get(_IFLA_VLAN_ID)
    return None if found is None else int.from_bytes(found[:2], sys.byteorder)
