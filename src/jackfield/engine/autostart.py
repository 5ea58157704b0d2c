"""Networks that start with the host, those also whose uplinks come later than the daemon.

A NIC may be found, or a bond made, when the daemon has begun already: a network that cannot start
without it is started when it appears, unless somebody has seen to the network in the meantime.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from uuid import UUID

from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.errors import JackfieldError
from jackfield.model.uplink import DeviceUplink
from jackfield.state.facts import LinkFact

__all__ = ["Autostart"]

log = logging.getLogger(__name__)

_STARTS_AT_ONCE = 8
_PROBLEM = "not started with the host: "


class Autostart:
    """Starts the networks marked for it."""

    def __init__(
        self,
        registry: Registry,
        start: Callable[[UUID], Awaitable[object]],
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Look at ``registry``; ``start`` starts a network, ``later`` runs a task."""
        self._registry = registry
        self._start_network = start
        self._later = later
        # Those that are still to start, or could not.
        self._waiting: dict[UUID, NetworkRecord] = {}

    async def run(self, ending: asyncio.Event) -> None:
        """Start those that do not run, several at once; one that fails stops no other.

        Once ``ending`` is set no further one is begun.
        """
        gate = asyncio.Semaphore(_STARTS_AT_ONCE)

        async def start(record: NetworkRecord) -> None:
            async with gate:
                if not ending.is_set():
                    await self._start(record)

        self._waiting = {
            uuid: record
            for uuid, record in self._registry.networks.items()
            if record.autostart and record.live is None
        }
        await asyncio.gather(*map(start, list(self._waiting.values())))

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Start what could not start, and has the link, which has appeared, as an uplink."""
        if new is None or (old is not None and old.name == new.name):
            return
        for record in self._waiting.values():
            if _has_uplink(record, new.name):
                self._later(self._start_late(record))

    async def _start_late(self, record: NetworkRecord) -> None:
        # A start that is under way may have looked before the link was there.
        async with record.lock:
            pass
        if _waits(record) and record.uuid in self._registry.networks:
            await self._start(record)
        else:
            self._waiting.pop(record.uuid, None)

    async def _start(self, record: NetworkRecord) -> None:
        try:
            await self._start_network(record.uuid)
        except JackfieldError as error:
            record.problem = f"{_PROBLEM}{error}"
            log.error("network %s: autostart: %s", record.name, error)
        else:
            self._waiting.pop(record.uuid, None)


def _waits(record: NetworkRecord) -> bool:
    """Whether a network could not be started with the host, and nobody has done anything since."""
    problem = record.problem or ""
    return record.autostart and record.live is None and problem.startswith(_PROBLEM)


def _has_uplink(record: NetworkRecord, name: str) -> bool:
    uplinks = () if record.stored is None else record.stored.uplinks
    return any(isinstance(item, DeviceUplink) and item.dev == name for item in uplinks)
