"""The leases of all networks: read when asked for, and compared when a file has changed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from uuid import UUID

from jackfield.engine import workplace
from jackfield.engine.events import EventLog
from jackfield.engine.leases import LeaseWatch, compare_leases, read_leases
from jackfield.engine.records import NetworkRecord, Registry
from jackfield.engine.views import Event, LeaseView
from jackfield.engine.workplace import Workplace
from jackfield.host.dnsmasq.files import state_directory
from jackfield.host.inotify import Inotify
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network

__all__ = ["LeaseBook"]

LeaseListener = Callable[[UUID, Iterable[LeaseView]], None]
"""Called with a network and the leases that it has."""


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
        self._known: dict[UUID, list[LeaseView]] = {}
        self._watch: LeaseWatch | None = None
        self._listener: LeaseListener | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def on_change(self, listener: LeaseListener) -> None:
        """Have ``listener`` told the leases of a network, now and whenever others are there."""
        self._listener = listener

    async def open(self, inotify: Inotify) -> None:
        """Begin to watch the files, on the running event loop."""
        asked = [(item.uuid, item.current) for item in self._registry.networks.values()]

        def read_all(_tools: Workplace) -> dict[UUID, list[LeaseView]]:
            return {uuid: self.known(uuid, network) for uuid, network in asked}

        self._known = await self._thread.run(read_all)
        self._watch = LeaseWatch(inotify, self._directory, self._changed)
        for uuid, leases in self._known.items():
            self._listen(uuid, leases)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.close()

    async def read(self, record: NetworkRecord | None) -> list[LeaseView]:
        """Return the leases of one network or of all."""
        records = list(self._registry.networks.values()) if record is None else [record]
        asked = [(item.uuid, item.current) for item in records]

        def read_all(_tools: Workplace) -> list[LeaseView]:
            return [lease for uuid, network in asked for lease in self.known(uuid, network)]

        return await self._thread.run(read_all)

    def known(self, uuid: UUID, network: Network) -> list[LeaseView]:
        """Return the leases of a network, read from its file."""
        if not network.mode.is_routed or network.bridge is None or network.bridge.name is None:
            return []
        path = self._directory / f"{uuid}.leases"
        return read_leases(path, network, network.bridge.name, now=time.time())

    def _changed(self, uuid: UUID) -> None:
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        former = self._known.get(uuid, [])
        present = self.known(uuid, record.current)
        self._known[uuid] = present
        self._listen(uuid, present)
        changes = compare_leases(former, present)
        pairs = [("lease-added", lease) for lease in changes.added]
        pairs += [("lease-removed", lease) for lease in changes.removed]
        if pairs:
            task = asyncio.get_running_loop().create_task(self._tell(record, pairs))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _listen(self, uuid: UUID, leases: list[LeaseView]) -> None:
        if self._listener is not None:
            self._listener(uuid, leases)

    async def _tell(self, record: NetworkRecord, pairs: Iterable[tuple[str, LeaseView]]) -> None:
        def store(tools: Workplace) -> list[Event]:
            with tools.store.transaction():
                return [
                    workplace.record_event(
                        tools, event_type, record.name, record.uuid, _detail(lease)
                    )
                    for event_type, lease in pairs
                ]

        for event in await self._thread.run(store):
            self._events.add(event)


def _detail(lease: LeaseView) -> dict[str, str]:
    detail = {"address": str(lease.address)}
    if lease.mac is not None:
        detail["mac"] = lease.mac
    if lease.hostname is not None:
        detail["hostname"] = lease.hostname
    return detail
