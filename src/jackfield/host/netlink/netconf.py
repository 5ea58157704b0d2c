"""What the kernel tells of the sysctls of the host as a whole (``linux/netconf.h``)."""

from __future__ import annotations

import struct

from jackfield.host.netlink.message import attributes

__all__ = ["RTM_NEWNETCONF", "is_about_all"]

RTM_NEWNETCONF = 80
_NETCONFA_IFINDEX = 1
_NETCONFA_IFINDEX_ALL = -1
_HEADER_SIZE = 4  # struct netconfmsg, with its padding
_S32 = struct.Struct("=i")


def is_about_all(body: bytes) -> bool:
    """Tell whether a notification is about ``conf/all`` rather than one link or new ones."""
    index = attributes(body[_HEADER_SIZE:]).get(_NETCONFA_IFINDEX, bytes(4))
    return bool(_S32.unpack(index)[0] == _NETCONFA_IFINDEX_ALL)
