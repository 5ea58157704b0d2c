"""Whom a switch runs as, and work on files in that name.

The daemon's unit leaves it neither ``CAP_CHOWN`` nor ``CAP_DAC_OVERRIDE``: what belongs to the
switch's user is made and removed as that user.  ``setfsuid(2)`` changes the calling thread alone,
and only whom it is to the filesystem.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from jackfield.errors import HostError, InternalError, NotFound
from jackfield.state.services import VdeSwitch

__all__ = ["Identity", "acting_as", "remove_tree"]

_libc = ctypes.CDLL(None)
_libc.setfsuid.restype = _libc.setfsgid.restype = ctypes.c_uint
_KEEP = 0xFFFFFFFF
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Numeric user, its own group, and the group that may use the switch, if there is one.

    The switch is a member of the latter: clients give it access to their sockets that way.
    """

    user: int
    own_group: int
    group: int | None

    @classmethod
    def of(cls, service: VdeSwitch) -> Identity:
        """Look up what ``service`` names; ``NotFound`` says which of it this host does not have."""
        if service.user is None:
            raise InternalError(f"the switch of network {service.network} has no user")
        try:
            own_group = pwd.getpwuid(service.user).pw_gid
        except KeyError as error:
            raise NotFound(
                f"there is no user {service.user} for vde_switch on this host",
                hint="name an existing one with the key vde_user",
            ) from error
        if service.group is None:
            return cls(user=service.user, own_group=own_group, group=None)
        try:
            group = grp.getgrnam(service.group).gr_gid
        except KeyError as error:
            raise NotFound(
                f"<vde group='{service.group}'>: there is no such group on this host",
                hint=f"make it with: groupadd --system {service.group}",
            ) from error
        return cls(user=service.user, own_group=own_group, group=group)


@contextlib.contextmanager
def acting_as(user: int, group: int) -> Iterator[None]:
    """Be ``user`` and ``group`` to the filesystem, on this thread alone, and oneself at the end."""
    former_group = _libc.setfsgid(ctypes.c_uint(group))
    former_user = _libc.setfsuid(ctypes.c_uint(user))
    try:
        # Neither call reports a failure, but both tell what was before.
        now = (_libc.setfsuid(ctypes.c_uint(_KEEP)), _libc.setfsgid(ctypes.c_uint(_KEEP)))
        if now != (user, group):
            raise HostError(f"cannot act as user {user} and group {group}: not permitted")
        yield
    finally:
        _libc.setfsuid(ctypes.c_uint(former_user))
        _libc.setfsgid(ctypes.c_uint(former_group))


def remove_tree(path: Path) -> None:
    """Remove a directory of another user's with whatever its group has put there.

    Raises ``HostError`` when something stays.
    """
    try:
        _empty(str(path), None)
        path.rmdir()
    except FileNotFoundError:
        return
    except (OSError, RecursionError) as error:
        raise HostError(f"cannot remove {path}: {error}") from error


def _empty(name: str, parent: int | None) -> None:
    owner = os.stat(name, dir_fd=parent, follow_symlinks=False)
    with acting_as(owner.st_uid, owner.st_gid):
        directory = os.open(name, _DIRECTORY, dir_fd=parent)
        try:
            # From here on nobody adds to it; what is in it is still reached by its own owner.
            os.chmod(directory, 0o711)  # noqa: PTH101 - the directory that is open, not a path
            with os.scandir(directory) as entries:
                for entry in list(entries):
                    if entry.is_dir(follow_symlinks=False):
                        _empty(entry.name, directory)
                        os.rmdir(entry.name, dir_fd=directory)
                    else:
                        os.unlink(entry.name, dir_fd=directory)
        finally:
            os.close(directory)
