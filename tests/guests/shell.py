"""A guest's shell, reached over its second serial line (``init.sh``)."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.wait import wait_for

__all__ = ["GuestCommandFailed", "Shell"]

#: A serial line has no more room for a command that nobody reads yet.
LONGEST = 3900
READY = b"\x01ready\n"
_MARK = re.compile(rb"\x01(\d+) (\d+)\n")


class GuestCommandFailed(AssertionError):
    """A command ended with another status than 0 in the guest."""

    def __init__(self, command: str, status: int, said: str) -> None:
        """Keep the ``status`` and what the command ``said``."""
        super().__init__(f"in the guest, {command!r} ended with {status}: {said}")
        self.status = status
        self.said = said


class Shell:
    """Runs commands in a guest, one at a time."""

    def __init__(self, path: Path, check_alive: Callable[[], None]) -> None:
        """Connect to the UNIX socket ``path``, which the guest's machine makes.

        ``check_alive`` raises when the machine has ended.
        """
        self._check_alive = check_alive
        self._numbers = itertools.count(1)
        self._socket = socket.socket(socket.AF_UNIX)
        self._unread = b""

        def connected() -> bool:
            check_alive()
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                self._socket.connect(str(path))
                return True
            return False

        try:
            wait_for(connected, 30, f"the guest's machine to listen at {path}", interval=0.005)
        except BaseException:
            self._socket.close()
            raise

    def wait_booted(self, timeout: float) -> None:
        """Wait until a guest that boots begins to read commands."""
        end = time.monotonic() + timeout
        while READY not in self._unread:
            self._receive(end, "the guest to boot")
        self._unread = b""

    def wait_restored(self, timeout: float) -> None:
        """Wait until a guest that was restored answers; what is sent before that may be lost."""
        end = time.monotonic() + timeout
        patience = 0.05
        while True:
            try:
                self.run("", timeout=patience)
            except TimeoutError:
                if time.monotonic() > end:
                    raise
                # A slow guest answers all that it was sent, one after the other.
                patience *= 1.5
            else:
                return

    def run(self, command: str, *, timeout: float = 30) -> str:
        """Run one line of shell; return all that it said, without white space at the end.

        Raises ``GuestCommandFailed`` for another exit status than 0.
        """
        status, said = self.call(command, timeout=timeout)
        if status:
            raise GuestCommandFailed(command, status, said)
        return said

    def call(self, command: str, *, timeout: float = 30) -> tuple[int, str]:
        """Run one line of shell; return its exit status and what it said.

        What goes on in the background must not write here.
        """
        assert "\n" not in command, "a command is one line"
        number = next(self._numbers)
        line = f"{number} {command}\n".encode()
        assert len(line) < LONGEST, f"a command of {len(line)} bytes is too long for the line"
        with contextlib.suppress(ConnectionError):
            # Of a machine that has ended, the answer tells.
            self._socket.sendall(line)
        end = time.monotonic() + timeout
        while True:
            begin = 0
            for mark in _MARK.finditer(self._unread):
                if int(mark[1]) == number:
                    said = self._unread[begin : mark.start()]
                    self._unread = self._unread[mark.end() :]
                    return int(mark[2]), said.decode("utf-8", "replace").rstrip()
                # The end of a command that nobody waited for any more.
                begin = mark.end()
            self._receive(end, f"{command!r} to end in the guest")

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _receive(self, end: float, what: str) -> None:
        self._socket.settimeout(max(0.001, end - time.monotonic()))
        data = b""
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError as error:
            self._check_alive()
            raise TimeoutError(f"no time left for {what}; so far: {self._unread!r}") from error
        except ConnectionError:
            # Told below, with what the machine said.
            pass
        if not data:
            hung_up = time.monotonic()
            while time.monotonic() < hung_up + 2:
                self._check_alive()
                time.sleep(0.01)
            raise ConnectionError(f"the guest's machine hung up, waiting for {what}")
        self._unread += data
