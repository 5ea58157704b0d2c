"""The host's own DNS servers, as ``/etc/resolv.conf`` names them (``resolv.conf(5)``)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable
from pathlib import Path

from jackfield.errors import KernelError
from jackfield.host.inotify import FileEvent, Inotify, Watch
from jackfield.model.values import InterfaceName

__all__ = ["RESOLV_CONF", "ResolverWatch", "parse_resolv_conf", "read_resolvers"]

RESOLV_CONF = Path("/etc/resolv.conf")

_SETTLE = 0.05
"""Seconds without a further change before a file counts as written."""


def parse_resolv_conf(text: str) -> tuple[str, ...]:
    """Return the addresses of the ``nameserver`` lines, in order and each once.

    An IPv6 address may have a zone (``fe80::1%eth0``); what is not an address is left out.
    """
    found: dict[str, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            address, _, zone = words[1].partition("%")
            try:
                server = str(ipaddress.ip_address(address))
                found[f"{server}%{InterfaceName(zone)}" if zone else server] = None
            except ValueError:
                continue
    return tuple(found)


def read_resolvers(path: Path = RESOLV_CONF) -> tuple[str, ...]:
    """Return the servers that ``path`` names; none when it cannot be read."""
    try:
        return parse_resolv_conf(path.read_text(errors="replace"))
    except OSError:
        return ()


class ResolverWatch:
    """Calls back when the resolver's configuration was written or replaced.

    The file often is a symbolic link into another service's directory, and is replaced rather
    than written: the directories of the link and of what it leads to are watched.  So is the file
    itself, which in a container is another's, mounted there: its directory hears nothing then.
    """

    def __init__(
        self, inotify: Inotify, changed: Callable[[], None], path: Path = RESOLV_CONF
    ) -> None:
        """Watch ``path`` through ``inotify`` and call ``changed`` some 50 ms after a change."""
        self._loop = asyncio.get_running_loop()
        self._inotify = inotify
        self._changed = changed
        self._path = path
        self._watches: list[Watch] = []
        self._pending: asyncio.TimerHandle | None = None
        self._watch()

    def close(self) -> None:
        """Stop watching."""
        if self._pending is not None:
            self._pending.cancel()
        while self._watches:
            self._watches.pop().close()

    def _watch(self) -> None:
        self.close()
        places = {path.parent: path.name for path in (self._path, self._path.resolve())}
        mask = FileEvent.CLOSE_WRITE | FileEvent.MOVED_TO | FileEvent.CREATE | FileEvent.DELETE
        for directory, name in places.items():
            if directory.is_dir():
                self._watches.append(self._inotify.watch(directory, mask, self._seen_for(name)))
        with contextlib.suppress(KernelError):
            self._watches.append(
                self._inotify.watch_file(self._path, FileEvent.CLOSE_WRITE, self._seen_for(""))
            )

    def _seen_for(self, wanted: str) -> Callable[[str], None]:
        def seen(name: str) -> None:
            if name in {"", wanted}:
                if self._pending is not None:
                    self._pending.cancel()
                self._pending = self._loop.call_later(_SETTLE, self._settled)

        return seen

    def _settled(self) -> None:
        self._pending = None
        # The link may lead elsewhere now.
        self._watch()
        self._changed()
