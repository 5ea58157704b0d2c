"""Notice at once when a dnsmasq ends, also one that another life of the daemon started."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from uuid import UUID

from jackfield.host.dnsmasq.files import trim_log
from jackfield.host.dnsmasq.process import Process
from jackfield.host.dnsmasq.quiet import unsubscribe

__all__ = ["Supervisor"]

_TRIM_INTERVAL = 10.0


class Supervisor:
    """Watches one process for each network through its pidfd.

    It does not start anything: ``died`` does, or decides not to.  It also keeps logs short.
    """

    def __init__(
        self, died: Callable[[Process], None], *, trim_interval: float = _TRIM_INTERVAL
    ) -> None:
        """Call ``died(process)`` on the running event loop when a watched process has ended."""
        self._loop = asyncio.get_running_loop()
        self._died = died
        self._watched: dict[UUID, tuple[Process, int]] = {}
        self._trim_interval = trim_interval
        self._timer = self._loop.call_later(trim_interval, self._trim_logs)

    def watch(self, process: Process) -> None:
        """Watch ``process``, which is ready, instead of what served its network before.

        It is left alone by the changes of other networks from now on (``quiet.unsubscribe``).

        One that has ended already is reported like any other, soon.
        """
        self.forget(process.network)
        descriptor = process.open()
        if descriptor is None:
            process.reap()
            self._loop.call_soon(self._died, process)
            return
        self._watched[process.network] = (process, descriptor)
        self._loop.add_reader(descriptor, self._ended, process.network)
        unsubscribe(process)

    def forget(self, network: UUID) -> None:
        """Stop watching what serves ``network``: it is about to be ended on purpose."""
        watched = self._watched.pop(network, None)
        if watched is not None:
            self._loop.remove_reader(watched[1])
            os.close(watched[1])

    def process(self, network: UUID) -> Process | None:
        """Return the watched process of ``network``."""
        watched = self._watched.get(network)
        return None if watched is None else watched[0]

    def close(self) -> None:
        """Stop watching everything; the processes go on."""
        self._timer.cancel()
        for network in list(self._watched):
            self.forget(network)

    def _ended(self, network: UUID) -> None:
        process, _ = self._watched[network]
        self.forget(network)
        process.reap()
        self._died(process)

    def _trim_logs(self) -> None:
        for process, _ in self._watched.values():
            trim_log(process.directory / "log")
        self._timer = self._loop.call_later(self._trim_interval, self._trim_logs)
