"""How many files the daemon may have open, of which some are kept to finish what was begun.

Each connection is an open file, and so is each helper process and each process that keeps a port,
while it is watched.  A change that has none left half-way could not even look for what it made, so
none is begun, and nobody let in, when few are left.
"""

from __future__ import annotations

import contextlib
import os
import resource

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
