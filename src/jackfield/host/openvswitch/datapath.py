"""The two datapaths of Open vSwitch: the kernel's, and the one in user space.

The kernel's (``system``) takes a frame before the host's stack sees it and forwards with all
offloads.  The one in user space (``netdev``) reads a copy of each frame through a packet socket,
so the host must be kept from seeing it, and a guest must not leave checksums to be filled in by
hardware: a packet socket sees them as the guest's driver left them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct

from jackfield.errors import KernelError
from jackfield.host.netlink.message import Message, attribute_text, errno_text
from jackfield.host.netlink.namespace import call_in_namespace
from jackfield.host.netlink.socket import NETLINK_GENERIC, NetlinkSocket, Refusal
from jackfield.host.openvswitch.database import Database

__all__ = ["SYSTEM", "USERSPACE", "best_datapath", "fill_checksums", "is_in_user_space"]

SYSTEM = "system"
USERSPACE = "netdev"

# linux/genetlink.h
_GENL_ID_CTRL = 16
_CTRL_CMD_GETFAMILY = 3
_CTRL_ATTR_FAMILY_NAME = 2
_GENERIC = struct.Struct("=BBH")
# linux/openvswitch.h: OVS_DATAPATH_FAMILY
_FAMILY = "ovs_datapath"

# linux/sockios.h, linux/ethtool.h
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
_VALUE = struct.Struct("=II")
_IFREQ = struct.Struct("@16sP16x")


def best_datapath() -> str:
    """Return the datapath that this kernel offers; asking for it loads its module."""
    request = Message(
        _GENL_ID_CTRL,
        0,
        _GENERIC.pack(_CTRL_CMD_GETFAMILY, 1, 0) + attribute_text(_CTRL_ATTR_FAMILY_NAME, _FAMILY),
        "ask for the kernel's datapath of Open vSwitch",
    )
    with NetlinkSocket(NETLINK_GENERIC, receive_buffer=64 << 10, strict=False) as generic:
        try:
            generic.request(request)
        except Refusal as refusal:
            if refusal.errno == errno.ENOENT:
                return USERSPACE
            raise
    return SYSTEM


def is_in_user_space(database: Database, bridge: str) -> bool:
    """Return whether a bridge forwards in user space; one that is missing does not."""
    with database.session() as session:
        rows = session.select("Bridge", ("datapath_type",), [["name", "==", bridge]])
    return any(row["datapath_type"] == USERSPACE for row in rows)


def fill_checksums(netns: str, ifname: str) -> None:
    """Have the guest's end of a veth fill in its checksums itself (``ethtool -K … tx off``).

    A guest that has renamed or moved its device since, or is gone, is left to itself.
    """
    try:
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        call_in_namespace(descriptor, lambda: _fill_checksums(ifname))
    finally:
        os.close(descriptor)


def _fill_checksums(ifname: str) -> None:
    value = ctypes.create_string_buffer(_VALUE.pack(_ETHTOOL_STXCSUM, 0), _VALUE.size)
    request = _IFREQ.pack(ifname.encode(), ctypes.addressof(value))
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError as error:
            number = error.errno or 0
            if number == errno.ENODEV:
                return
            raise KernelError(
                f"cannot turn checksum offload of {ifname} off: {errno_text(number)}",
                errno=number,
            ) from error
