"""jackfieldd with a watch on its event loop: ``watched_daemon.py REPORT ARGUMENTS…``.

Every callback that holds the loop for 50 ms or more is written to the file REPORT, one line of
JSON each.  The time counted is wall time less the time in which the loop's thread was ready but
waited for a CPU, and less what the program's other threads so waited (each of them may have held
the interpreter's lock): ``run_delay`` of the kernel's ``/proc/self/task/TID/schedstat``.
"""

from __future__ import annotations

import asyncio
import collections
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

LIMIT = 0.050
INTERVAL = 0.010

Delays = dict[int, int]


class Watch:
    """Times each callback of the loop, and samples what a slow one is doing."""

    def __init__(self, report: Path) -> None:
        """Write slow callbacks to ``report``, which is made empty."""
        self.report = report
        report.write_text("")
        self._loop_thread = threading.get_ident()
        self._schedstat = os.open(
            f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY | os.O_CLOEXEC
        )
        self._begun: float | None = None
        self._stack: list[str] = []
        self._samples: collections.deque[tuple[float, Delays]] = collections.deque(maxlen=1000)

    def install(self) -> None:
        """Wrap the one place through which asyncio runs every callback."""
        original = asyncio.Handle._run

        def run(handle: asyncio.Handle) -> None:
            delay = self._own_delay()
            begun = self._begun = time.monotonic()
            try:
                original(handle)
            finally:
                self._begun = None
                seconds = time.monotonic() - begun
                if seconds >= LIMIT:
                    waited = (self._own_delay() - delay) + self._delay_of_others(begun)
                    seconds -= waited / 1e9
                    if seconds >= LIMIT:
                        self._write(handle, seconds, waited / 1e9)
                self._stack = []

        asyncio.Handle._run = run  # type: ignore[method-assign, assignment]
        threading.Thread(target=self._sample, name="watch", daemon=True).start()

    def _own_delay(self) -> int:
        """Return the nanoseconds that the loop's thread has waited for a CPU so far."""
        return int(os.pread(self._schedstat, 100, 0).split()[1])

    def _delays(self) -> Delays:
        """Return the same for every other thread of the program."""
        own = threading.get_native_id() if threading.get_ident() == self._loop_thread else None
        delays: Delays = {}
        for directory in Path("/proc/self/task").iterdir():
            if int(directory.name) != own:
                try:
                    text = (directory / "schedstat").read_text()
                except OSError:
                    continue
                delays[int(directory.name)] = int(text.split()[1])
        return delays

    def _delay_of_others(self, begun: float) -> int:
        """Return what all other threads have waited for a CPU since just before then.

        Each may have held the interpreter's lock meanwhile, one after the other.
        """
        before: Delays = {}
        for when, delays in list(self._samples):
            if when > begun:
                break
            before = delays
        now = self._delays()
        # One that was not there before has been begun since: the loop may wait for its first turn.
        return sum(now[thread] - before.get(thread, 0) for thread in now)

    def _sample(self) -> None:
        """Note the delays, and where the loop is when a callback takes long, again and again."""
        while True:
            time.sleep(INTERVAL)
            begun = self._begun
            self._samples.append((time.monotonic(), self._delays()))
            if begun is not None and not self._stack and time.monotonic() - begun > LIMIT * 0.8:
                frame = sys._current_frames().get(self._loop_thread)
                self._stack = traceback.format_stack(frame)[-6:]

    def _write(self, handle: asyncio.Handle, seconds: float, waited: float) -> None:
        callback = handle._callback  # type: ignore[attr-defined]
        owner = getattr(callback, "__self__", None)
        entry = {
            "callback": repr(owner) if isinstance(owner, asyncio.Task) else repr(callback),
            "milliseconds": round(seconds * 1000, 1),
            "waited_for_cpu": round(waited * 1000, 1),
            "stack": self._stack,
        }
        with self.report.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def main() -> None:
    """Take the report's path off the command line and be jackfieldd."""
    report = Path(sys.argv[1])
    sys.argv = ["jackfieldd", *sys.argv[2:]]
    # The script's own folder must not be where the daemon's imports come from.
    sys.path.pop(0)
    import jackfield.daemon

    Watch(report).install()
    jackfield.daemon.main()


if __name__ == "__main__":
    main()
