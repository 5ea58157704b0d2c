"""Rules of policy routing (``linux/fib_rules.h``): what chooses a routing table."""

from __future__ import annotations

import socket
import struct

from jackfield.host.netlink.message import Message, attributes
from jackfield.host.netlink.route import RouteSocket

__all__ = ["has_policies"]

_RTM_GETRULE = 34
_FRA_PRIORITY = 6
_FRA_SUPPRESS_PREFIXLEN = 14
_FRA_TABLE = 15
_FRA_PROTOCOL = 21
_FR_ACT_TO_TBL = 1
_USUAL = frozenset({_FRA_PRIORITY, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_PROTOCOL})
_USUAL_TABLES = frozenset({253, 254, 255})
_SUPPRESSES_NOTHING = b"\xff" * 4

# struct fib_rule_hdr
_HEADER = struct.Struct("=BBBBBxxBI")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def has_policies(route: RouteSocket, version: int) -> bool:
    """Return whether anything but the main table may say where packets of IP ``version`` go."""
    body = bytes([_FAMILIES[version]]).ljust(_HEADER.size, b"\0")
    replies = route.dump(Message(_RTM_GETRULE, 0, body, "list the rules of policy routing"))
    return not all(_is_usual(reply.body) for reply in replies)


def _is_usual(body: bytes) -> bool:
    """Return whether a rule is one of the kernel's own: for all packets, to a table of its own."""
    _, target, source, service, table, action, flags = _HEADER.unpack_from(body)
    found = attributes(body, _HEADER.size)
    return (
        not (target or source or service or flags)
        and action == _FR_ACT_TO_TBL
        and table in _USUAL_TABLES
        and found.keys() <= _USUAL
        and found.get(_FRA_SUPPRESS_PREFIXLEN, _SUPPRESSES_NOTHING) == _SUPPRESSES_NOTHING
    )
