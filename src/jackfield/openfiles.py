"""How many files the daemon may have open, of which some are kept to finish what was begun.

Each connection is an open file, and so is each helper process and each process that keeps a port,
while it is watched.  A change that has none left half-way could not even look for what it made, so
none is begun, and nobody let in, when few are left.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import select

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
    free = [number for number, events in _last(limit, number).poll(0) if events & select.POLLNVAL]
    if len(free) == number:
        return True
    opened: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while len(opened) < number:
                # Standard input is open, or what was opened first instead of it.
                opened.append(os.dup(0))
        return len(opened) == number
    finally:
        for descriptor in opened:
            os.close(descriptor)


@functools.lru_cache(8)
def _last(limit: int, number: int) -> select.poll:
    """Return what looks at the last ``number`` descriptors below ``limit``."""
    poll = select.poll()
    for descriptor in range(max(limit - number, 0), limit):
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
