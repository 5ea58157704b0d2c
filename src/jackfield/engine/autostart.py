"""Networks that start with the host, those also whose uplinks come later than the daemon.

A NIC may be found, or a bond made, when the daemon has begun already: a network that cannot start
without it is started when it appears, unless somebody has seen to the network in the meantime.
The store remembers who waits, for the next daemon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Set
from uuid import UUID

from jackfield.engine.events import EventLog
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.thread import KernelThread
from jackfield.model.uplink import DeviceUplink
from jackfield.state.facts import LinkFact

__all__ = ["Autostart"]

log = logging.getLogger(__name__)

_STARTS_AT_ONCE = 8
_SEEN_TO = frozenset({"network-started", "network-undefined"})


class Autostart:
    """Starts the networks marked for it."""

    def __init__(
        self,
        registry: Registry,
        events: EventLog,
        thread: KernelThread[Workplace],
        start: Callable[[UUID], Awaitable[object]],
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Look at ``registry``; ``start`` starts a network, ``later`` runs a task."""
        self._registry = registry
        self._thread = thread
        self._start_network = start
        self._later = later
        # Those that are still to start, or could not.
        self._waiting: dict[UUID, NetworkRecord] = {}
        self._begun = False
        events.listen(self._happened)

    async def run(self, ending: asyncio.Event, left: Set[UUID] | None) -> None:
        """Start those that do not run, several at once; one that fails stops no other.

        ``left`` are those that former daemons on this boot could not start; ``None`` if there was
        none that tried.  Once ``ending`` is set no further one is begun.
        """
        gate = asyncio.Semaphore(_STARTS_AT_ONCE)

        async def start(record: NetworkRecord) -> None:
            async with gate:
                if not ending.is_set():
                    await self._start(record)

        self._waiting = {
            uuid: record
            for uuid, record in self._registry.networks.items()
            if _is_due(record) and (left is None or uuid in left)
        }
        await asyncio.gather(*map(start, list(self._waiting.values())))
        if not ending.is_set():
            self._begun = True
            if left != self._waiting.keys():
                await self._remember()

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Start what could not start, and has the link, which has appeared, as an uplink."""
        if new is None or (old is not None and old.name == new.name):
            return
        for record in self._waiting.values():
            if _has_uplink(record, new.name):
                self._later(self._start_late(record))

    def _happened(self, event: Event) -> None:
        if event.type in _SEEN_TO and event.uuid in self._waiting:
            del self._waiting[event.uuid]
            if self._begun:
                self._later(self._remember())

    async def _remember(self) -> None:
        waiting = frozenset(self._waiting)
        await self._thread.run(lambda tools: tools.store.set_autostarted(waiting))

    async def _start_late(self, record: NetworkRecord) -> None:
        # A start that is under way may have looked before the link was there.
        async with record.lock:
            pass
        if record.uuid in self._waiting and _is_due(record):
            await self._start(record)

    async def _start(self, record: NetworkRecord) -> None:
        try:
            await self._start_network(record.uuid)
        except JackfieldError as error:
            record.problem = f"not started with the host: {error}"
            log.error("network %s: autostart: %s", record.name, error)


def _is_due(record: NetworkRecord) -> bool:
    """Whether a network is marked to be started and does not run."""
    return record.autostart and record.live is None


def _has_uplink(record: NetworkRecord, name: str) -> bool:
    uplinks = () if record.stored is None else record.stored.uplinks
    return any(isinstance(item, DeviceUplink) and item.dev == name for item in uplinks)
