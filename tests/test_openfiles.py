"""How many files may be opened yet: counted without taking any."""

from __future__ import annotations

import subprocess
import sys

# Another thread opens files, and looks as well, all the while, as the daemon's do.
_NEARLY_USED_UP = """
import os, resource, threading
from jackfield import openfiles

taken = [os.dup(0) for _ in range(20)]
number = max(taken) + 8
resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))
ended = threading.Event()
failures = []

def open_files():
    while not ended.is_set():
        try:
            os.close(os.dup(0))
            openfiles.are_left()
        except (OSError, RuntimeError) as error:
            failures.append(error)

thread = threading.Thread(target=open_files, daemon=True)
thread.start()
found = {openfiles.are_left(9) for _ in range(2000)}
ended.set()
thread.join()
assert found == {False}, found
assert not failures, failures[0]
assert openfiles.are_left(7)
os.close(taken[0])
os.close(taken[1])
assert openfiles.are_left(9)
"""


def test_who_looks_takes_none() -> None:
    """Few are left, here and there; whoever opens one meanwhile gets it."""
    subprocess.run([sys.executable, "-c", _NEARLY_USED_UP], check=True)


# Many are looked at, so that one thread looks while the other does.
_AT_ONCE = """
import concurrent.futures, resource
from jackfield import openfiles

resource.setrlimit(resource.RLIMIT_NOFILE, (4000, 4000))
with concurrent.futures.ThreadPoolExecutor(2) as threads:
    looks = [threads.submit(openfiles.are_left, 3500) for _ in range(500)]
assert {True} == {look.result() for look in looks}
"""


def test_two_threads_look_at_once() -> None:
    """The event loop lets callers in while the kernel thread begins a change."""
    subprocess.run([sys.executable, "-c", _AT_ONCE], check=True)
