"""Waiting for helper processes where there is no event loop yet."""

from __future__ import annotations

from jackfield.host.inotify import Inotify
from jackfield.host.service.process import Process
from jackfield.host.service.readiness import wait_ready

__all__ = ["until_ready"]


async def until_ready(process: Process) -> None:
    """Return when ``process`` serves."""
    inotify = Inotify()
    try:
        await wait_ready(process, inotify)
    finally:
        inotify.close()
