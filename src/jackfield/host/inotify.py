"""Watch directories with one inotify instance (``inotify(7)``) on the event loop.

The standard library has no inotify; instances are scarce (128 a user by default), so the daemon
has one for everything it watches.
"""

from __future__ import annotations

import asyncio
import ctypes
import enum
import os
import struct
from collections.abc import Callable
from pathlib import Path

from jackfield.errors import KernelError

__all__ = ["FileEvent", "Inotify", "Watch"]

_HEADER = struct.Struct("iIII")
_READ_SIZE = 65536
_IN_IGNORED = 0x8000
_IN_Q_OVERFLOW = 0x4000
_IN_MASK_ADD = 0x20000000
_IN_ONLYDIR = 0x01000000

_libc = ctypes.CDLL(None, use_errno=True)


class FileEvent(enum.IntFlag):
    """What happened to a file of a directory (``sys/inotify.h``)."""

    MODIFY = 0x2
    CLOSE_WRITE = 0x8
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200


class Watch:
    """One watched directory or file; ``close`` ends the watching."""

    __slots__ = ("_inotify", "callback", "descriptor", "mask")

    def __init__(
        self, inotify: Inotify, descriptor: int, mask: FileEvent, callback: Callable[[str], None]
    ) -> None:
        """Belong to ``inotify`` under the kernel's watch ``descriptor``."""
        self._inotify = inotify
        self.descriptor = descriptor
        self.mask = mask
        self.callback = callback

    def close(self) -> None:
        """Stop; doing it again does nothing."""
        self._inotify.drop(self)


class Inotify:
    """An inotify instance that reads on the running event loop."""

    def __init__(self) -> None:
        """Open the instance; raises ``KernelError`` when the user has too many."""
        self._loop = asyncio.get_running_loop()
        self._watches: dict[int, list[Watch]] = {}
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _error("open an inotify instance", "raise fs.inotify.max_user_instances")
        self._loop.add_reader(self._fd, self._read)
        self._reading = True

    def watch(self, directory: Path, mask: FileEvent, callback: Callable[[str], None]) -> Watch:
        """Call ``callback(name)`` for each change of ``mask`` to a file of ``directory``.

        An empty name says that changes were lost, or the directory is gone: look for yourself.
        Raises ``KernelError`` when the directory is not there.
        """
        return self._watch(directory, mask | _IN_ONLYDIR, callback)

    def watch_file(self, path: Path, mask: FileEvent, callback: Callable[[str], None]) -> Watch:
        """Call ``callback("")`` for each change of ``mask`` to the file itself, and when it goes.

        Raises ``KernelError`` when it is not there.
        """
        return self._watch(path, mask, callback)

    def _watch(self, path: Path, mask: int, callback: Callable[[str], None]) -> Watch:
        flags = mask | _IN_MASK_ADD
        descriptor = _libc.inotify_add_watch(self._fd, os.fsencode(path), flags)
        if descriptor < 0:
            raise _error(f"watch {path}", "raise fs.inotify.max_user_watches")
        watch = Watch(self, descriptor, FileEvent(mask & ~_IN_ONLYDIR), callback)
        self._watches.setdefault(descriptor, []).append(watch)
        return watch

    def drop(self, watch: Watch) -> None:
        """Forget ``watch``, and the directory with its last watch."""
        watches = self._watches.get(watch.descriptor, [])
        if watch not in watches:
            return
        watches.remove(watch)
        if not watches:
            del self._watches[watch.descriptor]
            if self._fd >= 0:
                _libc.inotify_rm_watch(self._fd, watch.descriptor)

    def stop(self) -> None:
        """Watch no more, on the event loop's thread."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)
        self._watches.clear()

    def close(self) -> None:
        """Close the instance and all its watches; once it is stopped, on any thread.

        The kernel waits in ``close`` until nobody reads the watches any more, which on a busy
        machine takes longer than an event loop may be held.
        """
        self.stop()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            descriptor, mask, _, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            self._tell(descriptor, mask, name)

    def _tell(self, descriptor: int, mask: int, name: str) -> None:
        if mask & _IN_Q_OVERFLOW:
            for watch in [watch for watches in self._watches.values() for watch in watches]:
                watch.callback("")
        elif mask & _IN_IGNORED:
            for watch in self._watches.pop(descriptor, []):
                watch.callback("")
        else:
            for watch in list(self._watches.get(descriptor, [])):
                if mask & watch.mask:
                    watch.callback(name)


def _error(what: str, hint: str) -> KernelError:
    number = ctypes.get_errno()
    return KernelError(f"cannot {what}: {os.strerror(number)}", errno=number, hint=hint)
