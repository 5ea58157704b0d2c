"""The rows of ports that have no device of ours, written from the event loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jackfield.engine.store import Store, StoreBusy
from jackfield.engine.workplace import Workplace
from jackfield.host.thread import KernelThread

__all__ = ["PortBook"]

R = TypeVar("R")

_CHECKPOINT_EVERY = 1000


class PortBook:
    """Writes at once where it can, and through the kernel thread where that is writing.

    A port of a client is a row and nothing else: 25 microseconds of a commit that waits for no
    disk, where the way to the kernel thread and back takes several turns of the loop.
    """

    def __init__(self, thread: KernelThread[Workplace]) -> None:
        """Fall back to ``thread``."""
        self._thread = thread
        self._store: Store | None = None
        self._writes = 0

    def open(self, path: Path) -> None:
        """Open the database, which exists already."""
        self._store = Store.second(path)

    def close(self) -> None:
        """Close the database."""
        if self._store is not None:
            self._store.close()
            self._store = None

    async def write(self, job: Callable[[Store], R]) -> R:
        """Return what ``job``, one transaction, returns; it waits only if another is open."""
        assert self._store is not None
        try:
            result = job(self._store)
        except StoreBusy:
            return await self._thread.run(lambda tools: job(tools.store))
        self._writes += 1
        if self._writes % _CHECKPOINT_EVERY == 0:
            await self._thread.run(lambda tools: tools.store.checkpoint())
        return result
