"""Wait until a helper process serves.

Each says so by a file of its folder; inotify tells of that at once, where a timer of the event
loop would take a millisecond at least.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from jackfield.errors import ServiceError
from jackfield.host.inotify import FileEvent, Inotify
from jackfield.host.service.process import Process

__all__ = ["serve_soon", "wait_ready"]

_SOON = 0.005
_PAUSE = 0.00003
"""Seconds between two looks; the kernel adds up to 50 µs by itself (``PR_SET_TIMERSLACK``)."""


def serve_soon(processes: Sequence[Process]) -> bool:
    """Return whether all serve, or do so within a few milliseconds, for which this waits.

    To hand over to the event loop, which waits as long as it takes and tells what is wrong, and
    back again would take a third of a millisecond.
    """
    limit = time.monotonic() + _SOON
    try:
        while not all(process.is_ready() for process in processes):
            if time.monotonic() > limit:
                return False
            time.sleep(_PAUSE)
    except ServiceError:
        return False
    return True


async def wait_ready(process: Process, inotify: Inotify, *, timeout: float = 10.0) -> None:
    """Return as soon as ``process`` serves; at once when it has long since.

    Raises ``ServiceError`` with what it said last when it ends instead, or is not ready after
    ``timeout`` seconds.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def finish(value: bool) -> None:
        if not ready.done():
            ready.set_result(value)

    def seen(name: str) -> None:
        if name not in {"", process.sign}:
            return
        try:
            if process.is_ready():
                finish(True)
        except ServiceError as error:
            if not ready.done():
                ready.set_exception(error)

    watch = inotify.watch(process.directory, FileEvent.CLOSE_WRITE | FileEvent.MODIFY, seen)
    descriptor = process.open()
    try:
        if descriptor is None:
            raise process.why_ended()
        loop.add_reader(descriptor, finish, False)
        seen("")
        async with asyncio.timeout(timeout):
            if not await ready:
                raise process.why_ended()
    except TimeoutError:
        words = process.last_words()
        raise ServiceError(
            f"{process.program} (pid {process.pid}) is not ready "
            f"after {timeout:g} s; it said last: {words or 'nothing'}"
        ) from None
    finally:
        watch.close()
        if descriptor is not None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
