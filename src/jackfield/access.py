"""Who may do what, decided here for every door.

Everybody who reaches a socket may read.  Root, the members of the configured group, and who has
an accepted certificate may change things.  Options handed through to dnsmasq are root's alone,
because dnsmasq starts as root and its options are a language of their own.
"""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import socket
import struct
from typing import Protocol

from jackfield.config import Config
from jackfield.errors import AccessDenied
from jackfield.model.network import Network

__all__ = ["Caller", "may_write", "require_definition", "require_root", "require_write"]

_SO_PEERGROUPS = 59  # include/uapi/asm-generic/socket.h; the socket module has no name for it.
_CREDENTIALS = struct.Struct("iII")  # struct ucred, include/linux/socket.h


class _Socket(Protocol):
    """What is needed of a socket; asyncio's ``TransportSocket`` has it as well."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """Return the option's bytes."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks: numeric user, groups (``groups`` are the supplementary ones) and process.

    Who is not on this host has no user here, but a verified ``certificate``, which says who.
    """

    uid: int
    gid: int
    pid: int
    groups: frozenset[int] = frozenset()
    certificate: str | None = None

    @classmethod
    def of_socket(cls, connection: _Socket) -> Caller:
        """Return who connected to a UNIX socket, as the kernel recorded it then (``unix(7)``)."""
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, gid = _CREDENTIALS.unpack(raw)
        return cls(uid=uid, gid=gid, pid=pid, groups=_groups(connection, uid, gid))

    def __str__(self) -> str:
        """Return the caller for a log line."""
        if self.certificate is not None:
            return self.certificate
        return f"user {self.uid} (process {self.pid})"


def _groups(connection: _Socket, uid: int, gid: int) -> frozenset[int]:
    """Return the peer's supplementary groups.

    Python's buffer for an option ends at 1024 bytes, and the kernel refuses to cut the list
    short; whoever is in more than 256 groups is looked up in the group database instead.
    """
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 1024)
    except OSError:
        try:
            return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        except (KeyError, OSError):
            return frozenset()
    return frozenset(struct.unpack(f"{len(packed) // 4}I", packed))


def _group_name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)


def may_write(caller: Caller, config: Config) -> bool:
    """Return whether ``caller`` may change networks and ports."""
    if caller.uid == 0 or caller.certificate is not None:
        return True
    return config.group is not None and config.group in {caller.gid, *caller.groups}


def require_write(
    caller: Caller, config: Config, refused: str = "may look but not change anything"
) -> None:
    """Raise ``AccessDenied`` unless ``caller`` may change networks and ports.

    ``refused`` is what others are told.
    """
    if not may_write(caller, config):
        if config.group is None:
            hint = (
                "only root may: try again with sudo; to let others, make the group jackfield "
                "(groupadd --system jackfield) or name one (the key group of jackfieldd.toml), "
                "and restart jackfieldd"
            )
        else:
            name = _group_name(config.group)
            hint = f"only root or a member of group {name} may: try again with sudo"
        raise AccessDenied(f"user {caller.uid} {refused}", hint=hint)


def require_root(caller: Caller, what: str) -> None:
    """Raise ``AccessDenied`` unless ``caller`` is root; ``what`` is what only root may do."""
    if caller.uid != 0:
        raise AccessDenied(f"user {caller.uid} may not {what}", hint="try again with sudo")


def require_definition(caller: Caller, config: Config, network: Network) -> None:
    """Raise ``AccessDenied`` unless ``caller`` may define ``network`` as it is."""
    require_write(caller, config)
    if network.dnsmasq_options and caller.uid != 0:
        raise AccessDenied(
            f"network {network.name!r} has dnsmasq options, and only root may define those",
            hint="leave out <dnsmasq:options>, or define the network as root",
        )
