"""What is done by itself, beside what clients ask for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from jackfield.errors import JackfieldError

__all__ = ["Background"]

log = logging.getLogger(__name__)


class Background:
    """Tasks that no client waits for: they are kept until they end, and what fails is logged."""

    def __init__(self) -> None:
        """Have none."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def close(self) -> None:
        """Cancel all, and whatever is begun from here on; return when they have ended."""
        self._closing = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            # Where all have ended already, `gather` does not wait since Python 3.12, and who has
            # ended would never be let go.
            await asyncio.wait(self._tasks)

    def later(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Begin ``coroutine`` when others have had their turn."""
        task = asyncio.get_running_loop().create_task(coroutine)
        if self._closing:
            # It never begins.
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, JackfieldError):
            log.error("what was to be done by itself failed: %s", error)
        elif error is not None:
            log.error("a background task failed", exc_info=error)
