"""Router advertisements (RFC 4861) as they come in, whether the kernel makes use of them or not."""

from __future__ import annotations

import socket
import struct

from jackfield.host.icmpv6 import icmpv6_socket

__all__ = ["heard", "listen_for_routers"]

_ADVERTISEMENT = 134
_HEAD = struct.Struct("!B5xH")
_BUFFER = 16_384
"""Guests send them as well, as many as they like: what is too much is not kept."""


def listen_for_routers() -> socket.socket:
    """Return a socket that hears router advertisements; ``OSError`` where there can be none.

    The host is in the group that they are sent to, so nothing has to be joined.
    """
    listener = icmpv6_socket(_ADVERTISEMENT)
    listener.setblocking(False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    return listener


def heard(listener: socket.socket, most: int) -> set[int]:
    """Return the indexes of the links by which routers have told of themselves since.

    Looks at so many advertisements at ``most``.  A lifetime of 0 says that a router is none, or
    none any more.
    """
    found = set()
    for _ in range(most):
        try:
            data, source = listener.recvfrom(_HEAD.size)
        except OSError:
            break
        if len(data) == _HEAD.size:
            kind, lifetime = _HEAD.unpack(data)
            if kind == _ADVERTISEMENT and lifetime and source[3]:
                found.add(source[3])
    return found
