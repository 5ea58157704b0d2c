"""What is recorded of ports that have no device of ours, from the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

import msgspec

from jackfield.document.json import port_to_json
from jackfield.engine.ports.journal import GONE, PortEntry, PortJournal
from jackfield.engine.records import PortRecord
from jackfield.engine.store.tables import EventNumbers
from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace
from jackfield.host.thread import KernelThread
from jackfield.model.port import Port
from jackfield.model.values import NetworkName

__all__ = ["PortBook"]

log = logging.getLogger(__name__)

_FOLD_EVERY = 1000


class PortBook:
    """Writes what becomes of a port, at once: there is nothing to wait for.

    Ports with devices are recorded by the jobs of the kernel thread that make the devices.
    """

    def __init__(self, thread: KernelThread[Workplace], journal: PortJournal) -> None:
        """Write to ``journal``, which ``thread`` folds into the database now and then."""
        self._thread = thread
        self._journal = journal
        self._numbers: EventNumbers
        self._folding: asyncio.Task[None] | None = None

    def open(self, numbers: EventNumbers) -> None:
        """Begin; events get the next of ``numbers``."""
        self._numbers = numbers

    async def close(self) -> None:
        """Bring everything into the database."""
        if self._folding is not None:
            await self._folding
        await self._fold()

    def put(
        self, event_type: str, record: PortRecord, name: NetworkName, detail: Mapping[str, str]
    ) -> Event:
        """Record what a port is from now on, and return the event that tells of it."""
        return self._write(event_type, record, record.port, name, detail)

    def strike(
        self, event_type: str, record: PortRecord, name: NetworkName, detail: Mapping[str, str]
    ) -> Event:
        """Record that a port is gone, and return the event that tells of it."""
        return self._write(event_type, record, None, name, detail)

    def _write(
        self,
        event_type: str,
        record: PortRecord,
        port: Port | None,
        name: NetworkName,
        detail: Mapping[str, str],
    ) -> Event:
        event = Event(
            number=self._numbers.take(),
            time=time.time(),
            type=event_type,
            network=name,
            uuid=record.network,
            detail=detail,
        )
        self._journal.append(
            PortEntry(
                port=record.uuid,
                network=record.network,
                realiser=record.realiser,
                document=GONE if port is None else msgspec.Raw(port_to_json(port)),
                number=event.number,
                time=event.time,
                type=event_type,
                name=name,
                detail=detail,
            )
        )
        if self._journal.lines % _FOLD_EVERY == 0 and self._folding is None:
            self._folding = asyncio.get_running_loop().create_task(self._fold())
            self._folding.add_done_callback(self._folded)
        return event

    async def _fold(self) -> None:
        """Have the journal folded in; where that fails it stays as it is, for the next time."""
        try:
            await self._thread.run(lambda tools: tools.journal.fold(tools.store))
        except Exception:
            log.exception("the journal of ports cannot be folded into the database")

    def _folded(self, _: asyncio.Task[None]) -> None:
        self._folding = None
