"""What keeps a port: a process, whose end frees it, however it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable
from uuid import UUID

from jackfield.errors import WrongState
from jackfield.host.pid import start_time

__all__ = ["Holder", "Holders", "holder_of"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process: its number, and its start in clock ticks since boot (``proc_pid_stat(5)``)."""

    pid: int
    start_time: int


def holder_of(pid: int) -> Holder:
    """Return the process with that number as a holder; ``WrongState`` if it cannot be seen."""
    began = start_time(pid) if pid else None
    if began is None:
        raise WrongState(
            f"process {pid} cannot keep a port: the daemon does not see it",
            hint="ask from the daemon's own process namespace, or attach without a holder",
        )
    return Holder(pid=pid, start_time=began)


class Holders:
    """Watches the processes that keep ports."""

    def __init__(self, ended: Callable[[UUID], None]) -> None:
        """Call ``ended`` with a port's uuid when the process that keeps it is gone."""
        self._ended = ended
        self._watched: dict[UUID, int] = {}

    def watch(self, port: UUID, holder: Holder) -> None:
        """Watch what keeps a port; a process that is gone already counts as ending now."""
        try:
            descriptor = os.pidfd_open(holder.pid)
        except ProcessLookupError:
            self._ended(port)
            return
        # From here on the number stays this process's, so the start time says which one it is.
        if start_time(holder.pid) != holder.start_time:
            os.close(descriptor)
            self._ended(port)
            return
        self._watched[port] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._end, port)

    def forget(self, port: UUID) -> None:
        """Watch no more; a port that nobody keeps is none of our business."""
        descriptor = self._watched.pop(port, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def close(self) -> None:
        """Forget all."""
        for port in list(self._watched):
            with contextlib.suppress(OSError):
                self.forget(port)

    def _end(self, port: UUID) -> None:
        self.forget(port)
        log.info("port %s: the process that kept it has ended", port)
        self._ended(port)
