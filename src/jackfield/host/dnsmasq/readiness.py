"""Wait until a dnsmasq serves.

dnsmasq writes its pid file after it has bound every socket (DHCP, DHCPv6, router
advertisements, DNS) and before it drops privileges, so the file is the sign; inotify tells of
it at once, where a timer of the event loop would take a millisecond at least.
"""

from __future__ import annotations

import asyncio
import os

from jackfield.errors import ServiceError
from jackfield.host.dnsmasq.diagnosis import last_words, why_ended
from jackfield.host.dnsmasq.process import Process
from jackfield.host.inotify import Change, Inotify

__all__ = ["wait_ready"]


async def wait_ready(process: Process, inotify: Inotify, *, timeout: float = 10.0) -> None:
    """Return as soon as ``process`` has bound its sockets; at once when it has long since.

    Raises ``ServiceError`` with what it said last when it ends instead, or is not ready after
    ``timeout`` seconds.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def finish(value: bool) -> None:
        if not ready.done():
            ready.set_result(value)

    def seen(name: str) -> None:
        if name in {"", "pid"} and process.is_ready():
            finish(True)

    watch = inotify.watch(process.directory, Change.CLOSE_WRITE, seen)
    descriptor = process.open()
    try:
        if descriptor is None:
            raise why_ended(process)
        loop.add_reader(descriptor, finish, False)
        seen("")
        async with asyncio.timeout(timeout):
            if not await ready:
                raise why_ended(process)
    except TimeoutError:
        words = last_words(process.directory / "log")
        raise ServiceError(
            f"dnsmasq of network {process.network} (pid {process.pid}) is not ready after "
            f"{timeout:g} s; it said last: {words or 'nothing'}"
        ) from None
    finally:
        watch.close()
        if descriptor is not None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
