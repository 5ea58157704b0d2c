"""Macvtaps as who runs a guest sees them: an open descriptor with frames."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from jackfield.host.kernel import Kernel
from jackfield.host.macvtap import MacvtapDriver
from jackfield.host.netlink.link import set_link
from jackfield.state.links import MacvtapLink
from tests.lab.namespace import NetworkNamespace

__all__ = ["opened_macvtap"]

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADERS = 0x1002  # IFF_TAP and IFF_NO_PI


@contextlib.contextmanager
def opened_macvtap(
    kernel: Kernel, here: NetworkNamespace, path: Path, link: MacvtapLink
) -> Iterator[int]:
    """Make a macvtap, up, and give its descriptor, which never waits; ``path`` is for its node."""
    MacvtapDriver().ensure(kernel, [link], {})
    # Which device it is only a sysfs of that namespace tells.
    shown = f"mount -t sysfs sysfs /sys && cat /sys/class/net/{link.name}/macvtap/tap*/dev"
    major, _, minor = here.run(["unshare", "--mount", "sh", "-c", shown]).stdout.partition(":")
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(int(major), int(minor)))
    kernel.route.send([set_link(link.name, "bring it up", up=True)])
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH14x", link.name.encode(), _TAP_WITHOUT_HEADERS)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
        yield descriptor
    finally:
        os.close(descriptor)
        MacvtapDriver().remove(kernel, [link])
