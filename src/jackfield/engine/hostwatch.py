"""The host as the event loop knows it: the mirror, read when it must be up to date."""

from __future__ import annotations

import asyncio

from jackfield.engine.workplace import Workplace
from jackfield.host.mirror import LinkCallback, Mirror, Snapshot, with_ipv6
from jackfield.host.thread import KernelThread
from jackfield.state.facts import Facts

__all__ = ["HostWatch"]


class HostWatch:
    """Keeps the mirror on the running event loop, and mends it after an overflow."""

    def __init__(self, thread: KernelThread[Workplace]) -> None:
        """Take whole looks at the host through ``thread``."""
        self._thread = thread
        self._mirror: Mirror | None = None
        self._resync: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to listen, and take a first look."""
        self._mirror = Mirror()
        self._mirror.install(await self._thread.run(self._look))
        asyncio.get_running_loop().add_reader(self._mirror.fileno(), self._read)

    def close(self) -> None:
        """Stop listening."""
        if self._resync is not None:
            self._resync.cancel()
        if self._mirror is not None:
            asyncio.get_running_loop().remove_reader(self._mirror.fileno())
            self._mirror.close()

    def on_link(self, callback: LinkCallback) -> None:
        """Call ``callback`` at every change of a link."""
        assert self._mirror is not None
        self._mirror.on_link(callback)

    def facts(self) -> Facts:
        """Return the host as it is now.

        The kernel queues its notice of a change before it answers the request for it, so what
        our own thread has done is in the queue when it says so; it is read here.
        """
        assert self._mirror is not None
        self._read()
        return with_ipv6(self._mirror.facts())

    def _look(self, tools: Workplace) -> Snapshot:
        assert self._mirror is not None
        return self._mirror.take(tools.kernel.route)

    def _read(self) -> None:
        assert self._mirror is not None
        if not self._mirror.read() and self._resync is None:
            self._resync = asyncio.get_running_loop().create_task(self._take_again())

    async def _take_again(self) -> None:
        """Look at everything again, until nothing was missed meanwhile."""
        assert self._mirror is not None
        try:
            while self._mirror.stale:
                self._mirror.install(await self._thread.run(self._look))
            while not self._mirror.settle():
                await asyncio.sleep(0)
        finally:
            self._resync = None
