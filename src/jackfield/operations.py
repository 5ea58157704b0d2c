"""Changes under way: each is logged with who asked, and finishes whatever its client does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from jackfield.access import Caller
from jackfield.errors import JackfieldError, WrongState
from jackfield.log import log_together, made_record

__all__ = ["Operations"]

T = TypeVar("T")

logger = logging.getLogger("jackfield.operations")

_SAY_AFTER = 0.02
"""Seconds until what was done is in the log; when the daemon ends it is there sooner."""


class Operations:
    """The changes that clients asked for and that are not finished."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsaid: list[tuple[float, Caller, str, object, dict[str, object]]] = []
        self._here = 0
        self._ended: asyncio.Event | None = None
        self._closed = False

    async def run(
        self, caller: Caller, name: str, target: object, work: Coroutine[Any, Any, T]
    ) -> T:
        """Do ``work`` for ``caller`` and return what it returns.

        ``name`` and the text of ``target`` say for the log what is done to what.  When the
        waiting client is cancelled the work goes on.  ``WrongState`` once the daemon is stopping.
        """
        if self._closed:
            work.close()
            raise WrongState("the daemon is stopping", hint="try again when it is back")
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._finish(caller, name, target, work, result))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await result

    async def run_here(
        self, caller: Caller, name: str, target: object, work: Coroutine[Any, Any, T]
    ) -> T:
        """Do as ``run`` does, in the task of who waits: one that nobody cancels.

        That saves a task and two turns of the event loop, and where ``work`` never waits it
        is done when this has begun (``jackfield.eager``).
        """
        if self._closed:
            return await self.run(caller, name, target, work)
        self._here += 1
        try:
            value = await work
        except Exception as error:
            self._say()
            _log_failure(caller, name, target, error, _fields(caller, name, target))
            raise
        finally:
            self._here -= 1
            if self._ended is not None and not self._here:
                self._ended.set()
        self._say_later(caller, name, target, {})
        return value

    def _say_later(
        self, caller: Caller, name: str, target: object, more: dict[str, object]
    ) -> None:
        """Have a change that is done be logged soon.

        Neither its answer nor the next request waits for that: a line takes a third of the
        time of a small change.
        """
        if not self._unsaid:
            asyncio.get_running_loop().call_later(_SAY_AFTER, self._say)
        self._unsaid.append((time.time(), caller, name, target, more))

    def _say(self) -> None:
        """Log the changes that are done and not in the log yet."""
        unsaid, self._unsaid = self._unsaid, []
        if not logger.isEnabledFor(logging.INFO):
            return
        lines = []
        for when, caller, name, target, more in unsaid:
            fields = _fields(caller, name, target)
            message = f"{name} {fields['target']}: asked by {caller}, done"
            lines.append(made_record(logger, logging.INFO, message, fields | more, created=when))
        log_together(logger, lines)

    async def close(self) -> None:
        """Accept no more changes, and wait for those under way; all of them are in the log."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._here:
            self._ended = asyncio.Event()
            await self._ended.wait()
        self._say()

    async def _finish(
        self,
        caller: Caller,
        name: str,
        target: object,
        work: Coroutine[Any, Any, T],
        result: asyncio.Future[T],
    ) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            fields = _fields(caller, name, target)
            logger.debug("%s %s: asked by %s", name, target, caller, extra=fields)
        began = time.monotonic()
        try:
            value = await work
        except Exception as error:
            self._say()
            _log_failure(caller, name, target, error, _fields(caller, name, target))
            # Nobody waits for the result any more when the client is gone.
            if not result.done():
                result.set_exception(error)
            return
        seconds = round(time.monotonic() - began, 6)
        if not result.done():
            result.set_result(value)
        self._say_later(caller, name, target, {"seconds": seconds})


def _fields(caller: Caller, name: str, target: object) -> dict[str, object]:
    """Return what a line of the log says besides its text."""
    return {"operation": name, "target": str(target), "uid": caller.uid, "pid": caller.pid}


def _log_failure(
    caller: Caller, name: str, target: object, error: Exception, fields: dict[str, object]
) -> None:
    reason = error.message if isinstance(error, JackfieldError) else repr(error)
    logger.warning("%s %s: asked by %s, failed: %s", name, target, caller, reason, extra=fields)
