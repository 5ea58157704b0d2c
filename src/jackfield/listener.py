"""Sockets that the doors listen at, and that their files stay.

Whoever removes the file of a socket locks everybody out of a daemon that runs: systemd does it
to the file of a unit of its own that it stops (``RemoveOnStop=``), whoever listens there by then.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from jackfield.errors import ConfigurationError, JackfieldError, WrongState

__all__ = ["Listeners", "close_servers", "listen"]

log = logging.getLogger("jackfield.listener")

_LONGEST = 107  # bytes: sun_path of struct sockaddr_un (linux/un.h) without its end
_LOOK_EVERY = 1.0
"""Seconds; an inotify watch of somebody else's directory would need one more for its parents."""

_UNTIL_CONNECTED = 5
"""Turns of the loop in which a connection that was accepted last becomes one that is known."""


async def close_servers(servers: Iterable[asyncio.Server]) -> None:
    """Listen no more; every connection that was accepted is known when this returns.

    asyncio fails in connections that it has just accepted when their server is closed, and from
    Python 3.12 on it says so at the end, with a traceback for each.
    """
    closing = list(servers)
    loop = asyncio.get_running_loop()
    for server in closing:
        for listener in server.sockets:
            loop.remove_reader(listener)
    for _ in range(_UNTIL_CONNECTED):
        await asyncio.sleep(0)
    for server in closing:
        server.close()


def listen(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket of ``kind`` that listens at ``path``; one that was left there is replaced.

    Everybody may connect: what a caller may do is decided by who it is.  ``WrongState`` when
    somebody answers there: a daemon of another network namespace that shares the directory.
    ``ConfigurationError`` when there can be no socket, or something else is there.
    """
    if (length := len(os.fsencode(path))) > _LONGEST:
        raise ConfigurationError(
            f"{path} is {length} bytes long, and the path of a socket may have {_LONGEST}",
            hint="choose a shorter one: run_dir, libvirt_socket and libvirt_socket_ro say where",
        )
    try:
        return _listen(path, kind)
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {path}: {error.strerror}") from error


def _listen(path: Path, kind: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(
                f"cannot listen at {path}: something else than a socket is there; it is left alone",
                hint="remove it, or choose another path",
            )
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.connect(os.fspath(path))
        raise WrongState(
            f"another daemon answers at {path}",
            hint="stop that one first (virtnetworkd with its sockets, where it is libvirt's), or "
            "give each a place of its own: --run-dir, or libvirt_socket in the configuration",
        )
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o666)
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


@dataclasses.dataclass(slots=True)
class _Place:
    """A socket's file, as it was made; ``trouble`` is why it could not be made anew."""

    path: Path
    kind: int
    serve: Callable[[socket.socket], Awaitable[None]]
    made: tuple[int, int]
    trouble: str | None = None


class Listeners:
    """Sockets whose files are made anew when somebody has removed them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._places: list[_Place] = []

    def add(
        self,
        path: Path,
        serve: Callable[[socket.socket], Awaitable[None]],
        kind: int = socket.SOCK_STREAM,
    ) -> socket.socket:
        """Return a socket that listens at ``path``, and hand the next one there to ``serve``.

        Raises as ``listen`` does.
        """
        made = listen(path, kind)
        self._places.append(_Place(path, kind, serve, _identity(path)))
        return made

    async def keep(self) -> None:
        """Look after the files until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            for place in self._places:
                try:
                    await self._look(place)
                except (JackfieldError, OSError) as error:
                    if str(error) != place.trouble:
                        log.error("clients cannot connect at %s: %s", place.path, error)
                    place.trouble = str(error)

    async def _look(self, place: _Place) -> None:
        """Listen at a file anew if it is gone; somebody else's in its place is left alone."""
        with contextlib.suppress(FileNotFoundError):
            if _identity(place.path) != place.made:
                raise WrongState("somebody has put another file there; it is left alone")
            return
        place.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        listener = listen(place.path, place.kind)
        place.made, place.trouble = _identity(place.path), None
        await place.serve(listener)
        log.warning("somebody has removed the socket %s; it is there again", place.path)

    def remove(self, *paths: Path) -> None:
        """Remove these files, but not one that somebody else has put there."""
        for place in self._places:
            if place.path in paths:
                with contextlib.suppress(FileNotFoundError):
                    if _identity(place.path) == place.made:
                        place.path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from another one of its name."""
    found = path.lstat()
    return found.st_dev, found.st_ino
