"""Notice at once when a helper process ends, also one that another life of the daemon started."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from uuid import UUID

from jackfield.host.service.files import trim_log
from jackfield.host.service.process import Process

__all__ = ["Supervisor"]

_TRIM_INTERVAL = 10.0


class Supervisor:
    """Watches the processes of each network, one of a program, through their pidfds.

    It does not start anything: ``died`` does, or decides not to.  It also keeps logs short.
    """

    def __init__(
        self, died: Callable[[Process], None], *, trim_interval: float = _TRIM_INTERVAL
    ) -> None:
        """Call ``died(process)`` on the running event loop when a watched process has ended."""
        self._loop = asyncio.get_running_loop()
        self._died = died
        self._watched: dict[UUID, dict[str, tuple[Process, int]]] = {}
        self._trim_interval = trim_interval
        self._timer = self._loop.call_later(trim_interval, self._trim_logs)

    def watch(self, process: Process) -> None:
        """Watch ``process``, which is ready, instead of what did the same for its network before.

        One that has ended already is reported like any other, soon.
        """
        self._forget(process.network, process.program)
        descriptor = process.open()
        if descriptor is None:
            self._loop.call_soon(self._tell, process)
            return
        self._watched.setdefault(process.network, {})[process.program] = (process, descriptor)
        self._loop.add_reader(descriptor, self._ended, process)
        process.settle()

    def forget(self, network: UUID) -> None:
        """Stop watching what serves ``network``: it is about to be ended on purpose."""
        for program in list(self._watched.get(network, ())):
            self._forget(network, program)

    def processes(self, network: UUID) -> tuple[Process, ...]:
        """Return the watched processes of ``network``."""
        return tuple(process for process, _ in self._watched.get(network, {}).values())

    def close(self) -> None:
        """Stop watching everything; the processes go on."""
        self._timer.cancel()
        for network in list(self._watched):
            self.forget(network)

    def _forget(self, network: UUID, program: str) -> None:
        watched = self._watched.get(network, {})
        if program in watched:
            _, descriptor = watched.pop(program)
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
        if not watched:
            self._watched.pop(network, None)

    def _ended(self, process: Process) -> None:
        self._forget(process.network, process.program)
        self._tell(process)

    def _tell(self, process: Process) -> None:
        # Before it is waited for: how it ended is known as long as nobody has.
        self._died(process)
        process.reap()

    def _trim_logs(self) -> None:
        for watched in self._watched.values():
            for process, _ in watched.values():
                trim_log(process.log)
        self._timer = self._loop.call_later(self._trim_interval, self._trim_logs)
