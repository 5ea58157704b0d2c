"""How many files the daemon may have open, of which some are kept to finish what was begun.

Each connection is an open file, and so is each helper process and each process that keeps a port,
while it is watched.  A change that has none left half-way could not even look for what it made, so
none is begun, and nobody let in, when few are left.
"""

from __future__ import annotations

import functools
import os
import resource
import select
import threading

from jackfield.errors import HostError

__all__ = ["are_left", "raise_limit", "require", "shortage"]

_WANTED = 65536
"""As packaging/jackfieldd.service has it: enough for tens of thousands of networks and ports."""
_FOR_CHANGES = 48
"""How many must be left to begin a change."""
_FOR_CALLERS = 24
"""How many must be left to let a caller in, who may want to stop or detach something."""


def raise_limit() -> None:
    """Use what the daemon may have, where less was given to begin with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _WANTED:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_WANTED, hard), hard))


def are_left(number: int = _FOR_CALLERS) -> bool:
    """Tell whether so many more files could be opened, by default as many as a caller needs."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The least number is given first, so the last ones are free nearly always: one call tells.
    # None is taken to find out: another thread would have none meanwhile.
    first = max(limit - number, 0)
    return _look(first, limit) == _free(first, limit) or _count_free(limit) >= number


def _count_free(limit: int) -> int:
    """Return how many descriptors below ``limit`` are not open."""
    return sum(1 for _, events in _look(0, limit) if events & select.POLLNVAL)


def _look(first: int, limit: int) -> list[tuple[int, int]]:
    """Return what is to be told of the descriptors from ``first`` up to ``limit`` (``poll(2)``)."""
    return _looker(first, limit, threading.get_ident()).poll(0)


@functools.lru_cache(4)
def _free(first: int, limit: int) -> list[tuple[int, int]]:
    """Return what is told of these descriptors if none of them is open."""
    return [(descriptor, select.POLLNVAL) for descriptor in range(first, limit)]


@functools.lru_cache(8)
def _looker(first: int, limit: int, _thread: int) -> select.poll:
    """Return what looks at the descriptors from ``first`` up to ``limit``, one for each thread.

    Python refuses to have two threads look by the same at once.
    """
    poll = select.poll()
    for descriptor in range(first, limit):
        poll.register(descriptor, 0)
    return poll


def require() -> None:
    """Raise ``HostError`` when so few are left that a change might not be finished."""
    if not are_left(_FOR_CHANGES):
        raise shortage()


def shortage() -> HostError:
    """Return the error that says that too few are left."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return HostError(
        f"jackfieldd has nearly as many files open as it may have, which is {limit}",
        hint="raise the limit (LimitNOFILE= of its unit, or ulimit -n) and restart it; "
        f"ls -l /proc/{os.getpid()}/fd shows what is open",
    )
