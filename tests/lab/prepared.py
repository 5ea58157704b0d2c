"""Daemons that are forked with everything imported (``prepared_daemon.py``)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tests.lab.host import Host, HostProcess
from tests.lab.namespace import environment

__all__ = ["Forked", "close", "start"]

PROGRAM = Path(__file__).with_name("prepared_daemon.py")

_running: tuple[subprocess.Popen[bytes], socket.socket] | None = None


class Forked(HostProcess):
    """A daemon that a prepared program has forked, which says its process id and its end."""

    def __init__(self, told: int) -> None:
        """Read from the descriptor ``told``: first the process id, then the wait status."""
        self._told = told
        self._read = b""
        self._status: int | None = None
        self._pid = int(self._line(30))

    @property
    def pid(self) -> int:
        """The daemon's process id as the test process sees it."""
        return self._pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon."""
        if self._pid and self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def poll(self) -> int | None:
        """Return the exit status, or ``None`` while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._status

    def wait(self, timeout: float = 10) -> int:
        """Return the exit status once the daemon has ended."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(int(self._line(timeout)))
        return self._status

    def close(self) -> None:
        """Wait for its end, and hear no more."""
        self.wait()
        os.close(self._told)

    def _line(self, timeout: float) -> bytes:
        end = time.monotonic() + timeout
        while b"\n" not in self._read:
            ready, _, _ = select.select([self._told], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired("the daemon", timeout)
            data = os.read(self._told, 100)
            assert data, "what forks the daemon has ended"
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line


def start(host: Host, arguments: Sequence[str], *, report: str, log: IO[str]) -> Forked:
    """Fork a daemon on the host; its watch writes to the host's file ``report``."""
    global _running
    if _running is None:
        _running = _start_program()
    wanted = {"host": host.pid, "report": report, "arguments": list(arguments)}
    told, telling = os.pipe()
    try:
        socket.send_fds(_running[1], [json.dumps(wanted).encode()], [log.fileno(), telling])
    finally:
        os.close(telling)
    process = Forked(told)
    host.adopt(process)
    return process


def close() -> None:
    """End the program that forks, if it has been started."""
    global _running
    if _running is not None:
        process, asking = _running
        _running = None
        asking.close()
        process.wait(10)


def _start_program() -> tuple[subprocess.Popen[bytes], socket.socket]:
    asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with asked:
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *(sys.executable, str(PROGRAM), str(asked.fileno())),
            ],
            env=environment({"PYTHONUNBUFFERED": "1"}),
            stdin=subprocess.DEVNULL,
            pass_fds=[asked.fileno()],
        )
    return process, asking
