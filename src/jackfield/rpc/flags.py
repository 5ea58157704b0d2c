"""Flags of calls: those that a function does not know are refused, as libvirt does."""

from __future__ import annotations

from jackfield.rpc.errors import RpcError

__all__ = [
    "AFFECT_CONFIG",
    "AFFECT_LIVE",
    "RECLAIM",
    "VALIDATE",
    "VALIDATE_PORT",
    "XML_INACTIVE",
    "check_flags",
]

XML_INACTIVE = 1
VALIDATE = 1
RECLAIM = 1
VALIDATE_PORT = 2
AFFECT_LIVE = 1
AFFECT_CONFIG = 2


def check_flags(flags: int, known: int, function: str) -> None:
    """Raise when ``flags`` has one that ``function`` of libvirt's network driver lacks."""
    unknown = flags & ~known
    if unknown:
        raise RpcError.unsupported_flags(unknown, function)
