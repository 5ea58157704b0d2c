"""The order of one client's calls: those of one network are done as they came.

A call that changes something and names no network may make one: it waits for all of those, and
what comes after it waits for it.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

from jackfield.rpc.call import Call
from jackfield.rpc.procedures import Needs

__all__ = ["Turns"]


class Turns:
    """The calls of one connection that are under way."""

    def __init__(self) -> None:
        """Have none under way."""
        self._tasks: dict[asyncio.Task[None], UUID | None] = {}
        self._tails: dict[UUID, asyncio.Task[None]] = {}
        self._barrier: asyncio.Task[None] | None = None

    def before(self, call: Call) -> list[asyncio.Task[None]]:
        """Return the calls under way that must be over before this one begins."""
        if not self._tasks:
            return []
        found = [] if self._barrier is None else [self._barrier]
        if call.network is not None:
            tail = self._tails.get(call.network)
            if tail is not None:
                found.append(tail)
        elif call.procedure.needs is Needs.WRITING:
            found += self._tails.values()
        return [task for task in found if not task.done()]

    def take(self, call: Call, task: asyncio.Task[None]) -> None:
        """Remember the call for those after it; one that may make a network is before them all."""
        self._tasks[task] = call.network
        task.add_done_callback(self._forget)
        if call.network is not None:
            self._tails[call.network] = task
        elif call.procedure.needs is Needs.WRITING:
            self._barrier = task

    def keep(self, task: asyncio.Task[None]) -> None:
        """Keep a task, which the loop itself would not, until it is over; nothing waits for it."""
        self._tasks[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        uuid = self._tasks.pop(task)
        if uuid is not None and self._tails.get(uuid) is task:
            del self._tails[uuid]
