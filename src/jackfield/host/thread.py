"""The kernel worker thread: the one place where calls may block.

The kernel does its work inside ``send`` (deleting a link blocks for tens of milliseconds), so a
non-blocking socket would stop the event loop all the same.  Everything that blocks, including
the store's commits, is a job for this thread; jobs run one at a time, in order.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Concatenate, Generic, ParamSpec, TypeVar

__all__ = ["KernelThread"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class KernelThread(Generic[T]):
    """A thread with tools that are made on it, used on it, and closed on it."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Remember ``make``, which is called on the thread by ``open``."""
        self._make = make
        self._tools: T | None = None
        self._executor = concurrent.futures.ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="kernel"
        )

    async def open(self) -> None:
        """Start the thread and make its tools; raises what making them raises."""

        def make() -> None:
            self._tools = self._make()

        await asyncio.get_running_loop().run_in_executor(self._executor, make)

    async def run(
        self, job: Callable[Concatenate[T, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``job(tools, …)`` on the thread and return its result.

        A job that has started is finished whatever happens to the caller.
        """

        def call() -> R:
            assert self._tools is not None
            return job(self._tools, *args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def close(self, finish: Callable[[T], None]) -> None:
        """Let the jobs end, call ``finish(tools)`` on the thread, and end it."""
        if self._tools is not None:
            await self.run(finish)
        self._executor.shutdown(wait=False)
