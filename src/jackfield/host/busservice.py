"""A service of the machine on the system bus: whether it runs for us, and calls to it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jackfield.errors import HostError

if TYPE_CHECKING:
    from jackfield.host.systembus import SystemBus

__all__ = ["BusService"]

log = logging.getLogger(__name__)

_SOCKET = "/run/dbus/system_bus_socket"
_BUS = "org.freedesktop.DBus"


class BusService:
    """A connection to a service, made when there is a bus, and made again when it is lost."""

    def __init__(self, name: str, path: str, begun: Callable[[], object], *signals: str) -> None:
        """Connect to nothing yet.

        ``begun`` is called whenever the service ``name`` has begun, or sends one of ``signals``
        (of the interface of its own name).  ``path`` is the object that is called.
        """
        self.name = name
        self._path = path
        self._begun = begun
        self._signals = signals
        self._bus: SystemBus | None = None
        self._connecting = asyncio.Lock()
        self._owner = ""
        self._appearing: asyncio.Task[None] | None = None

    async def runs(self) -> bool:
        """Return whether it runs in this network namespace; costs nothing where there is no bus."""
        if self._bus is None or not self._bus.connected:
            self._bus, self._owner = None, ""
            if not _has_bus():
                return False
            async with self._connecting:
                if self._bus is None:
                    await self._connect()
        return bool(self._owner)

    def close(self) -> None:
        """Leave the bus."""
        if self._appearing is not None:
            self._appearing.cancel()
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    async def ask(self, interface: str, member: str, signature: str = "", *values: Any) -> Any:
        """Return the value that a call gives; its refusal is a ``CallRefused`` (``HostError``)."""
        if self._bus is None:
            raise HostError(f"{self.name} does not run")
        answer = await self._bus.call(self.name, self._path, interface, member, signature, *values)
        return answer[0] if answer else None

    async def _connect(self) -> None:
        # It takes longer than the loop may be held up.
        await asyncio.to_thread(importlib.import_module, "jackfield.host.systembus")
        from jackfield.host.systembus import SystemBus

        matches = [
            f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{self.name}'",
            *(
                f"type='signal',sender='{self.name}',interface='{self.name}',member='{member}'"
                for member in self._signals
            ),
        ]
        try:
            self._bus = await SystemBus.connect(self._told, matches)
            (owner,) = await self._ask_bus(self._bus, "GetNameOwner", self.name)
            await self._note_owner(self._bus, owner)
        except HostError as error:
            # A name without an owner is an error, too.
            log.debug("%s does not run: %s", self.name, error)

    async def _ask_bus(self, bus: SystemBus, member: str, name: str) -> list[Any]:
        return await bus.call(_BUS, "/org/freedesktop/DBus", _BUS, member, "s", name)

    def _told(self, member: str, body: Sequence[Any]) -> None:
        if member == "NameOwnerChanged" and body[0] == self.name:
            self._owner = ""
            if body[2]:
                self._appearing = asyncio.get_running_loop().create_task(self._appear(body[2]))
        elif member in self._signals and self._owner:
            self._begun()

    async def _appear(self, owner: str) -> None:
        if self._bus is not None:
            with contextlib.suppress(HostError):
                await self._note_owner(self._bus, owner)
        if self._owner:
            self._begun()

    async def _note_owner(self, bus: SystemBus, owner: str) -> None:
        """Take note of who it is, unless it is the service of another network namespace."""
        (pid,) = await self._ask_bus(bus, "GetConnectionUnixProcessID", owner)
        if _shares_network(int(pid)):
            self._owner = owner


def _has_bus() -> bool:
    # At every start of a network; an exception, and text for a path, would take longer.
    return os.access(_SOCKET, os.F_OK)


def _shares_network(pid: int) -> bool:
    """Tell whether a process is in our network namespace, as far as we may know."""
    try:
        theirs = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:
        # Of another PID namespace, or not ours to see.
        return True
    return os.path.samestat(theirs, Path("/proc/self/ns/net").stat())
