"""Run programs and tell how long each took; a worker (``bench.worker``) on a lab host."""

from __future__ import annotations

import os
import subprocess
import time

from bench.worker import serve


def run(argv: list[str]) -> float:
    """Run a program that must succeed; return the seconds from its start to its end."""
    begin = time.perf_counter()
    pid = os.posix_spawnp(
        argv[0],
        argv,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)],
    )
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), argv)
    return seconds


if __name__ == "__main__":
    serve({"run": run})
