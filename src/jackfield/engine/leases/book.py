"""The leases of all networks: read when asked for, and compared when a file has changed."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from uuid import UUID

from jackfield.engine import workplace
from jackfield.engine.events import EventLog
from jackfield.engine.leases.leases import LeaseChanges, LeaseFile, LeaseWatch, compare_leases
from jackfield.engine.leases.terms import LeaseTerms
from jackfield.engine.ports.guards import leases_by_mac
from jackfield.engine.records import Leases, NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.views import Event, LeaseView
from jackfield.engine.workplace import Workplace
from jackfield.host.dnsmasq.files import state_directory
from jackfield.host.inotify import Inotify
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network

__all__ = ["LeaseBook"]

LeaseReader = Callable[[UUID, Sequence[LeaseView]], None]
LeaseListener = Callable[[UUID, Leases], None]
"""Called with a network and the leases that it has."""

_LONG = 16 * 1024
"""Bytes of a file that is read on another thread: some two hundred leases."""

_AT_ONCE = 200
"""How many events are told before others have their turn."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a network's file said, and what of it is new since another reading.

    ``by_mac`` has as well what is over by the host's clock alone, until ``next_end`` at least.
    """

    leases: list[LeaseView]
    by_mac: Leases
    changes: LeaseChanges
    next_end: float | None


class LeaseBook:
    """Reads lease files; tells what came and went as events."""

    def __init__(
        self,
        state_dir: Path,
        registry: Registry,
        events: EventLog,
        thread: KernelThread[Workplace],
    ) -> None:
        """Read the lease files below ``state_dir``."""
        self._directory = state_directory(state_dir)
        self._registry = registry
        self._events = events
        self._thread = thread
        self._files: dict[UUID, LeaseFile] = {}
        self._known: dict[UUID, list[LeaseView]] = {}
        self._terms = LeaseTerms()
        self._ends: dict[UUID, asyncio.TimerHandle] = {}
        self._watch: LeaseWatch | None = None
        self._listener: LeaseListener | None = None
        self._reader: LeaseReader | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Whose files have changed since they were read, and whose are being read.
        self._unread: set[UUID] = set()
        self._reading: set[UUID] = set()

    def on_change(self, listener: LeaseListener) -> None:
        """Have ``listener`` told the leases of a network, now and whenever others are there."""
        self._listener = listener

    def on_reading(self, reader: LeaseReader) -> None:
        """Have ``reader`` told as well, with all that is known of the leases."""
        self._reader = reader

    async def open(self, inotify: Inotify) -> None:
        """Begin to watch the files, on the running event loop."""
        asked = [(item.uuid, item.current) for item in self._registry.networks.values()]

        def read_all(_tools: Workplace) -> dict[UUID, Reading]:
            return {uuid: self._read(uuid, network) for uuid, network in asked}

        readings = await self._thread.run(read_all)
        self._known = {uuid: reading.leases for uuid, reading in readings.items()}
        self._watch = LeaseWatch(inotify, self._directory, self._changed)
        for uuid, reading in readings.items():
            self._listen(uuid, reading)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.close()
        for timer in self._ends.values():
            timer.cancel()

    async def read(self, record: NetworkRecord | None) -> list[LeaseView]:
        """Return the leases of one network or of all."""
        records = list(self._registry.networks.values()) if record is None else [record]
        asked = [(item.uuid, item.current) for item in records]

        def read_all() -> list[LeaseView]:
            return [lease for uuid, network in asked for lease in self.known(uuid, network)]

        # Not on the kernel thread, where everybody's changes wait for each other.
        return await asyncio.to_thread(read_all)

    def known(self, uuid: UUID, network: Network) -> list[LeaseView]:
        """Return the leases of a network, read from its file."""
        if not network.mode.is_routed or network.bridge is None or network.bridge.name is None:
            return []
        file = self._files.get(uuid)
        if file is None:
            path = self._directory / f"{uuid}.leases"
            if not path.exists():
                # Nothing is kept before that: when it goes, so does what is known of it.
                return []
            file = self._files.setdefault(uuid, LeaseFile(path))
        return file.read(network, network.bridge.name, now=time.time())

    def _read(
        self, uuid: UUID, network: Network, former: Sequence[LeaseView] | None = None
    ) -> Reading:
        """Read a network's file, and compare it with what was there before."""
        leases = self.known(uuid, network)
        changes = LeaseChanges() if former is None else compare_leases(former, leases)
        held = self._terms.outlasting(uuid, leases, now=time.time(), running=time.monotonic())
        return Reading(
            leases=leases,
            by_mac=leases_by_mac([*leases, *held]),
            changes=changes,
            next_end=self._terms.next_end(uuid, held),
        )

    def _changed(self, uuid: UUID) -> None:
        self._unread.add(uuid)
        if uuid not in self._reading:
            self._reading.add(uuid)
            task = asyncio.get_running_loop().create_task(self._look(uuid))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _look(self, uuid: UUID) -> None:
        """Read a network's file until it is as it was read."""
        try:
            while uuid in self._unread:
                self._unread.discard(uuid)
                await self._look_once(uuid)
        finally:
            self._reading.discard(uuid)

    async def _look_once(self, uuid: UUID) -> None:
        record = self._registry.networks.get(uuid)
        if record is None:
            # Its file goes with it.
            self._known.pop(uuid, None)
            self._files.pop(uuid, None)
            self._terms.forget(uuid)
            return
        network, former = record.current, self._known.get(uuid, [])
        if self._is_long(uuid):
            reading = await asyncio.to_thread(self._read, uuid, network, former)
        else:
            reading = self._read(uuid, network, former)
        self._known[uuid] = reading.leases
        self._listen(uuid, reading)
        pairs = [("lease-added", lease) for lease in reading.changes.added]
        pairs += [("lease-removed", lease) for lease in reading.changes.removed]
        if pairs:
            await self._tell(record, pairs)

    def _is_long(self, uuid: UUID) -> bool:
        try:
            return (self._directory / f"{uuid}.leases").stat().st_size > _LONG
        except OSError:
            return False

    def _listen(self, uuid: UUID, reading: Reading) -> None:
        if (timer := self._ends.pop(uuid, None)) is not None:
            timer.cancel()
        if reading.next_end is not None:
            # The loop's clock is the one by which they end.
            loop = asyncio.get_running_loop()
            self._ends[uuid] = loop.call_at(reading.next_end, self._changed, uuid)
        if self._listener is not None:
            self._listener(uuid, reading.by_mac)
        if self._reader is not None:
            self._reader(uuid, reading.leases)

    async def _tell(self, record: NetworkRecord, pairs: Iterable[tuple[str, LeaseView]]) -> None:
        def store(tools: Workplace) -> list[Event]:
            with tools.store.transaction():
                return [
                    workplace.record_event(
                        tools, event_type, record.name, record.uuid, _detail(lease)
                    )
                    for event_type, lease in pairs
                ]

        for number, event in enumerate(await self._thread.run(store), 1):
            self._events.add(event)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)


def _detail(lease: LeaseView) -> dict[str, str]:
    detail = {"address": str(lease.address)}
    if lease.mac is not None:
        detail["mac"] = lease.mac
    if lease.hostname is not None:
        detail["hostname"] = lease.hostname
    return detail
