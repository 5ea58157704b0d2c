"""The helper processes of running networks: waited for, watched, and mended when they die."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from uuid import UUID

from jackfield.host.inotify import Inotify
from jackfield.host.service.process import Process
from jackfield.host.service.readiness import wait_ready
from jackfield.host.service.supervisor import Supervisor

__all__ = ["Services"]

log = logging.getLogger(__name__)

_PAUSES = (0.0, 0.5, 1, 2, 5, 10, 30)
"""Seconds before a process that died is started again, growing while it goes on dying."""

_STABLE = 60.0
"""After so many seconds of life a death counts as the first one."""


class Services:
    """Watches the helper processes of each running network."""

    def __init__(
        self, died: Callable[[UUID, str], None], waits: Callable[[UUID, str], None]
    ) -> None:
        """Call ``died(network, reason)`` when a network is to be mended because of a death.

        While that has to wait, ``waits(network, problem)`` is called before.
        """
        self._died = died
        self._waits = waits
        self._deaths: dict[tuple[UUID, str], tuple[int, float]] = {}
        # What is still to be done for a program of a network, unless it is forgotten before.
        self._later: dict[UUID, dict[str, asyncio.Handle]] = {}
        self._inotify: Inotify | None = None
        self._supervisor: Supervisor | None = None

    def open(self, inotify: Inotify) -> None:
        """Begin to watch, on the running event loop."""
        self._inotify = inotify
        self._supervisor = Supervisor(self._ended)

    def close(self) -> None:
        """Stop watching; the processes go on."""
        for network in list(self._later):
            self._cancel(network)
        if self._supervisor is not None:
            self._supervisor.close()

    async def wait_ready(self, processes: Iterable[Process]) -> None:
        """Return when all serve; ``ServiceError`` when one ends or is not ready in time."""
        assert self._inotify is not None
        for process in processes:
            await wait_ready(process, self._inotify)

    def watch(self, processes: Iterable[Process]) -> None:
        """Watch processes instead of what served their networks before."""
        assert self._supervisor is not None
        for process in processes:
            self._supervisor.watch(process)

    def watch_soon(self, processes: Iterable[Process]) -> None:
        """Do as ``watch`` does, when who is at it is done, and unless ``forget`` comes first."""
        for process in processes:
            self._later.setdefault(process.network, {})[process.program] = (
                asyncio.get_running_loop().call_soon(self.watch, [process])
            )

    def forget(self, network: UUID) -> None:
        """Watch nothing for ``network``: what serves it is about to be ended or replaced."""
        assert self._supervisor is not None
        self._supervisor.forget(network)
        self._cancel(network)

    def _cancel(self, network: UUID) -> None:
        for handle in self._later.pop(network, {}).values():
            handle.cancel()

    def _ended(self, process: Process) -> None:
        """Have the network mended, at once the first time, later when it goes on dying."""
        key, now = (process.network, process.program), time.monotonic()
        # Of networks that are long gone nothing is kept, either.
        self._deaths = {
            other: death for other, death in self._deaths.items() if now - death[1] <= _STABLE
        }
        deaths, _ = self._deaths.get(key, (0, now))
        self._deaths[key] = (deaths + 1, now)
        pause = _PAUSES[min(deaths, len(_PAUSES) - 1)]
        reason = process.why_ended().message
        waiting = f"{reason}; started again in {pause:g} s"
        log.error("network %s: %s", process.network, waiting)
        if pause:
            self._waits(process.network, waiting)
        self._later.setdefault(process.network, {})[process.program] = (
            asyncio.get_running_loop().call_later(pause, self._mend, process.network, reason)
        )

    def _mend(self, network: UUID, reason: str) -> None:
        # All of its processes are looked at, also one whose own time has not come.
        self._cancel(network)
        self._died(network, reason)
