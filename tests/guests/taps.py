"""Descriptors of taps and macvtaps of a lab host, as a virtual machine monitor inherits them."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import tempfile
from pathlib import Path

from tests.lab.host import Host

__all__ = ["open_macvtap", "open_tap"]

# linux/if_tun.h
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def open_tap(host: Host, name: str) -> int:
    """Return a descriptor of the host's tap ``name``, which exists; the caller closes it."""
    with host.entered():
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
    return descriptor


def open_macvtap(host: Host, name: str) -> int:
    """Return a descriptor of the host's macvtap ``name``; the caller closes it.

    The device is opened by its number, through a node that nobody else sees.
    """
    index = host.ip("link", "show", "dev", name)[0]["ifindex"]
    number = host.file(f"/sys/class/net/{name}/tap{index}/dev").read_text().strip()
    major, minor = (int(part) for part in number.split(":"))
    with tempfile.TemporaryDirectory(prefix="jackfield-tap-") as folder:
        node = Path(folder, "tap")
        os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(major, minor))
        with host.entered():
            return os.open(node, os.O_RDWR | os.O_CLOEXEC)
