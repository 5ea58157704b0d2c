"""Wait until a helper process serves.

Each says so by a file of its folder; inotify tells of that at once, where a timer of the event
loop would take a millisecond at least.
"""

from __future__ import annotations

import asyncio
import os

from jackfield.errors import ServiceError
from jackfield.host.inotify import Change, Inotify
from jackfield.host.service.process import Process

__all__ = ["wait_ready"]


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

    watch = inotify.watch(process.directory, Change.CLOSE_WRITE | Change.MODIFY, seen)
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
            f"{process.program} of network {process.network} (pid {process.pid}) is not ready "
            f"after {timeout:g} s; it said last: {words or 'nothing'}"
        ) from None
    finally:
        watch.close()
        if descriptor is not None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
