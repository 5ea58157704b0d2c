"""The kernel worker thread: the one place where calls may block.

The kernel does its work inside ``send`` (deleting a link blocks for tens of milliseconds), so a
non-blocking socket would stop the event loop all the same.  Everything that blocks, including
the store's commits, is a job for this thread; jobs run one at a time, in order.

It is a queue and a loop rather than an executor: an executor's two futures for each job cost a
fifth of a millisecond on the way there and back, a tenth of what starting a network takes.  What
jobs have come to is handed over through a queue and an eventfd: asyncio's own way from another
thread is a socket that it reads until that is empty, 10 to 20 µs longer of 50 to 130.
"""

from __future__ import annotations

import asyncio
import collections
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from jackfield.errors import HostError

__all__ = ["KernelThread"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_TOGETHER = 32
"""How many jobs may wait for the same settling."""

_Ended = tuple["asyncio.Future[Any]", object, BaseException | None]
_Job = tuple["asyncio.Future[Any]", Callable[[], Any], bool]


class KernelThread(Generic[T]):
    """A thread with tools that are made on it, used on it, and closed on it."""

    def __init__(
        self, make: Callable[[], T], settle: Callable[[T, bool], bool] | None = None
    ) -> None:
        """Remember ``make``, which is called on the thread by ``open``.

        ``settle(tools, wait)`` is called after each job.  It returns whether what came of the
        job may be told; if not yet, jobs of ``write`` that wait have their turn first, and then it
        is called with ``wait``, once for all of them.
        """
        self._make = make
        self._settle = settle
        self._tools: T | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._told: collections.deque[_Ended | None] = collections.deque()
        self._loop: asyncio.AbstractEventLoop
        self._signal: int
        # It must not keep a process that fails from ending; `close` ends it in order.
        self._thread = threading.Thread(target=self._work, name="kernel", daemon=True)

    async def open(self) -> None:
        """Start the thread and make its tools; raises what making them raises."""
        self._loop = asyncio.get_running_loop()
        self._signal = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._loop.add_reader(self._signal, self._hand_over)
        self._thread.start()

        def make() -> None:
            self._tools = self._make()

        await self._call(make)

    async def run(
        self, job: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``job(tools, …)`` on the thread and return its result.

        A job that has begun is finished whatever happens to the caller.
        """
        tools = self._tools
        assert tools is not None
        return await self._call(lambda: job(tools, *args, **kwargs))

    async def write(self, job: Callable[[T], R]) -> R:
        """Do as ``run`` does, for a job that only keeps a record and takes no time."""
        tools = self._tools
        assert tools is not None
        return await self._call(lambda: job(tools), brief=True)

    async def close(self, finish: Callable[[T], None]) -> None:
        """Let the jobs end, call ``finish(tools)`` on the thread, and end it."""
        if self._tools is not None:
            await self.run(finish)
        self._closed = True
        self._jobs.put(None)

    async def _call(self, call: Callable[[], R], *, brief: bool = False) -> R:
        if self._closed:
            # Nobody would ever answer.
            raise HostError("the daemon is ending")
        done: asyncio.Future[R] = self._loop.create_future()
        self._jobs.put((done, call, brief))
        return await done

    def _work(self) -> None:
        ended: list[_Ended] = []
        while (item := self._next(ended)) is not None:
            done, call, _ = item
            try:
                result, error = call(), None
            except BaseException as raised:
                result, error = None, raised
            ended.append((done, result, error))
            if self._settled(wait=False) or len(ended) >= _TOGETHER:
                self._tell(ended)
        self._tell(ended)
        self._told.append(None)
        os.eventfd_write(self._signal, 1)

    def _next(self, ended: list[_Ended]) -> _Job | None:
        """Return the next job; what has ended is told before one that takes its time."""
        if not ended:
            return self._jobs.get()
        try:
            job = self._jobs.get_nowait()
        except queue.Empty:
            self._tell(ended)
            return self._jobs.get()
        if job is None or not job[2]:
            self._tell(ended)
        return job

    def _settled(self, *, wait: bool) -> bool:
        """Return whether results may be told."""
        if self._settle is None or self._tools is None:
            return True
        return self._settle(self._tools, wait)

    def _tell(self, ended: list[_Ended]) -> None:
        """Hand over what came of jobs, of which none may be told before they are settled."""
        failure: BaseException | None = None
        try:
            self._settled(wait=True)
        except BaseException as raised:
            failure = raised
        if ended:
            self._told.extend((done, result, error or failure) for done, result, error in ended)
            os.eventfd_write(self._signal, 1)
            ended.clear()

    def _hand_over(self) -> None:
        """Hand over, on the loop, what came of jobs; who was cancelled wants nothing."""
        os.eventfd_read(self._signal)
        while self._told:
            told = self._told.popleft()
            if told is None:
                # Its last signal may not be sent yet: another file could have the number by then.
                self._thread.join()
                self._loop.remove_reader(self._signal)
                os.close(self._signal)
                return
            done, result, error = told
            if done.done():
                continue
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
