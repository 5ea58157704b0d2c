"""What becomes of running networks without anybody asking for it, and how it is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from jackfield.engine import workplace
from jackfield.engine.events import EventLog
from jackfield.engine.records import NetworkRecord
from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace
from jackfield.host.thread import KernelThread

__all__ = ["Tidings"]

log = logging.getLogger(__name__)


class Tidings:
    """Tells of networks in the log and by events."""

    def __init__(self, events: EventLog, thread: KernelThread[Workplace]) -> None:
        """Add to ``events`` what ``thread`` stores of them."""
        self._events = events
        self._thread = thread

    async def problem(self, record: NetworkRecord, problem: str) -> None:
        """Say what is wrong with a running network: in its view, the log, and an event."""
        record.problem = problem
        log.error("network %s: %s", record.name, problem)
        await self.tell(record, "network-problem", {"problem": problem})

    async def repaired(self, record: NetworkRecord, reason: str) -> None:
        """Say that something of a running network is right again: in the log, and an event."""
        log.warning("network %s: %s", record.name, reason)
        await self.tell(record, "network-repaired", {"reason": reason})

    def add(self, events: Iterable[Event]) -> None:
        """Add events that are stored already."""
        for event in events:
            self._events.add(event)

    async def tell(
        self, record: NetworkRecord, event_type: str, detail: Mapping[str, str] | None = None
    ) -> None:
        """Add an event about a network."""
        self._events.add(
            await self._thread.run(
                workplace.record_event, event_type, record.name, record.uuid, detail
            )
        )
