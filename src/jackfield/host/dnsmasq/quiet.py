"""Spare a dnsmasq the news of other networks.

Whatever its configuration, dnsmasq subscribes to the host's route changes, and with DHCPv6 or
router advertisements to its IPv6 addresses, and looks at every interface of the host when one
comes.  Each network's start would wake every other network's dnsmasq: measured with 200 of them
0.1 ms each, with router advertisements 5 ms each.  A network's own addresses are there before
its dnsmasq and do not change, so there is no news that it needs.

The subscription is a property of its netlink socket, of which ``pidfd_getfd(2)`` gives us a
descriptor; that takes ``CAP_SYS_PTRACE``, since dnsmasq has changed user by then.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket

from jackfield.host.service.process import Process

__all__ = ["unsubscribe"]

_SYS_PIDFD_GETFD = 438
_SOL_NETLINK = 270
_NETLINK_DROP_MEMBERSHIP = 2
# RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE.
_GROUPS = (5, 7, 9, 11)

_libc = ctypes.CDLL(None, use_errno=True)


def unsubscribe(process: Process) -> bool:
    """End the subscriptions of ``process``; return whether that could be done.

    It serves all the same when not.
    """
    pidfd = process.open()
    if pidfd is None:
        return False
    try:
        return any(_unsubscribe(pidfd, number) for number in _sockets(process.pid))
    finally:
        os.close(pidfd)


def _sockets(pid: int) -> list[int]:
    """Return the numbers of the descriptors that are sockets."""
    found: list[int] = []
    directory = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if os.readlink(entry.path).startswith("socket:"):  # noqa: PTH115 - half the time
                    found.append(int(entry.name))
    return sorted(found)


def _unsubscribe(pidfd: int, number: int) -> bool:
    descriptor = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
    if descriptor < 0:
        return False
    with socket.socket(fileno=descriptor) as theirs:
        if theirs.family != socket.AF_NETLINK:
            return False
        for group in _GROUPS:
            with contextlib.suppress(OSError):
                theirs.setsockopt(_SOL_NETLINK, _NETLINK_DROP_MEMBERSHIP, group)
        return True
