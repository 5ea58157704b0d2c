"""firewalld: whether it runs, its zones, and which links are in them.

Interface ``org.fedoraproject.FirewallD1`` on the system bus (firewalld.dbus(5)).  What is changed
here is its runtime configuration: it keeps that over a reload, and loses it when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jackfield.errors import HostError

if TYPE_CHECKING:
    from jackfield.host.systembus import SystemBus

__all__ = ["Firewalld"]

log = logging.getLogger(__name__)

_SOCKET = Path("/run/dbus/system_bus_socket")
_BUS = "org.freedesktop.DBus"
_NAME = "org.fedoraproject.FirewallD1"
_PATH = "/org/fedoraproject/FirewallD1"
_MATCHES = (
    f"type='signal',sender='{_BUS}',member='NameOwnerChanged',arg0='{_NAME}'",
    f"type='signal',sender='{_NAME}',interface='{_NAME}',member='Reloaded'",
)


class Firewalld:
    """A connection to firewalld, made when there is a bus, and made again when it is lost."""

    def __init__(self, begun: Callable[[], object]) -> None:
        """Connect to nothing yet; ``begun`` is called whenever it has begun, or been reloaded."""
        self._begun = begun
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

    async def zones(self) -> frozenset[str]:
        """Return the names of its zones."""
        return frozenset(await self._ask("zone", "getZones"))

    async def policies(self) -> frozenset[str]:
        """Return the names of its policies; none where it is older than they are (0.9)."""
        from jackfield.host.systembus import CallRefused

        try:
            return frozenset(await self._ask("policy", "getPolicies"))
        except CallRefused:
            return frozenset()

    async def zone_of(self, link: str) -> str:
        """Return the zone that ``link`` is in, or an empty text."""
        return str(await self._ask("zone", "getZoneOfInterface", link))

    async def put(self, zone: str, link: str) -> None:
        """Have ``link`` be in ``zone``, whatever it was in before."""
        await self._ask("zone", "changeZoneOfInterface", zone, link)

    async def take_out(self, zone: str, link: str) -> None:
        """Have ``link`` no longer be in ``zone``."""
        await self._ask("zone", "removeInterface", zone, link)

    async def _ask(self, interface: str, member: str, *texts: str) -> Any:
        """Return the value that a call gives; its refusal is a ``CallRefused``."""
        if self._bus is None:
            raise HostError("firewalld does not run")
        values = await self._bus.call(_NAME, _PATH, f"{_NAME}.{interface}", member, *texts)
        return values[0] if values else None

    async def _connect(self) -> None:
        from jackfield.host.systembus import SystemBus

        try:
            self._bus = await SystemBus.connect(self._told, _MATCHES)
            (owner,) = await self._ask_bus(self._bus, "GetNameOwner")
        except HostError as error:
            # Without an owner of the name nobody has it.
            log.debug("no firewalld: %s", error)
            return
        await self._note_owner(self._bus, owner)

    async def _ask_bus(self, bus: SystemBus, member: str, name: str = _NAME) -> list[Any]:
        return await bus.call(_BUS, "/org/freedesktop/DBus", _BUS, member, name)

    def _told(self, member: str, body: Sequence[Any]) -> None:
        if member == "NameOwnerChanged" and body[0] == _NAME:
            self._owner = ""
            if body[2]:
                self._appearing = asyncio.get_running_loop().create_task(self._appear(body[2]))
        elif member == "Reloaded" and self._owner:
            self._begun()

    async def _appear(self, owner: str) -> None:
        if self._bus is not None:
            with contextlib.suppress(HostError):
                await self._note_owner(self._bus, owner)
        if self._owner:
            self._begun()

    async def _note_owner(self, bus: SystemBus, owner: str) -> None:
        """Take note of who it is, unless it is the firewall of another network namespace."""
        (pid,) = await self._ask_bus(bus, "GetConnectionUnixProcessID", owner)
        if _shares_network(int(pid)):
            self._owner = owner


def _has_bus() -> bool:
    return _SOCKET.exists()


def _shares_network(pid: int) -> bool:
    """Tell whether a process is in our network namespace, as far as we may know."""
    try:
        theirs = Path(f"/proc/{pid}/ns/net").stat()
    except OSError:
        # Of another PID namespace, or not ours to see.
        return True
    return os.path.samestat(theirs, Path("/proc/self/ns/net").stat())
