"""Raw ICMPv6 sockets that hear one type of message (``linux/icmpv6.h``)."""

from __future__ import annotations

import socket
import struct

__all__ = ["icmpv6_socket"]

_ICMP6_FILTER = 1


def icmpv6_socket(kind: int) -> socket.socket:
    """Return a socket that is given messages of type ``kind``; ``OSError`` without IPv6."""
    # Which types are kept out, a bit for each.
    kept_out = [0xFFFFFFFF] * 8
    kept_out[kind // 32] ^= 1 << kind % 32
    raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    try:
        raw.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *kept_out))
    except BaseException:
        raw.close()
        raise
    return raw
