"""Processes by number and start time: a number alone may be somebody else's by now."""

from __future__ import annotations

from pathlib import Path

__all__ = ["start_time"]

_STAT_START_TIME = 22  # proc_pid_stat(5) counts from 1


def start_time(pid: int, *, zombies: bool = True) -> int | None:
    """Return when a process started, in clock ticks since boot; ``None`` when there is none.

    One that has ended and was not waited for yet counts as one, unless ``zombies`` is false.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the program's name in parentheses, and may hold anything.
    fields = text.rpartition(")")[2].split()
    if not zombies and fields[0] in {"Z", "X"}:
        return None
    return int(fields[_STAT_START_TIME - 3])
