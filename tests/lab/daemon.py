"""jackfieldd on a lab host, watched, and its command line."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from jackfield.client import Client
from tests.lab import prepared
from tests.lab.host import Host, HostProcess
from tests.lab.namespace import CommandFailed
from tests.lab.wait import wait_for

__all__ = ["Daemon"]

RUN_DIR = "/run/jackfield"
WATCHED = Path(__file__).with_name("watched_daemon.py")


class Daemon:
    """One jackfieldd of a host; ``close`` asserts that it ended well and never held its loop.

    ``state_dir`` is on the host's /run unless another is given, so it lasts as long as the host;
    give a directory of the machine to carry the state to another host, as over a reboot.
    """

    def __init__(
        self,
        host: Host,
        *,
        state_dir: str | Path = "/run/lab/state",
        config: str | None = None,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        expect_tracebacks: bool = False,
    ) -> None:
        """Start the daemon and wait until it answers.

        ``config`` is the text of a TOML configuration, ``env`` is added to its environment;
        ``prefix`` is a command that becomes the one after it; ``expect_tracebacks`` is for tests
        that break it on purpose.
        """
        self.host = host
        self.state_dir = str(state_dir)
        self.env = dict(env or {})
        self.prefix = tuple(prefix)
        self.expect_tracebacks = expect_tracebacks
        self._config = config
        self._documents = itertools.count()
        self._log = host.file("/run/lab/jackfieldd.log")
        self._blocked = "/run/lab/jackfieldd.blocked"
        self.process: HostProcess
        self.start()

    @property
    def api_socket(self) -> Path:
        """The HTTP socket as the test process finds it."""
        return self.host.file(f"{RUN_DIR}/api.sock")

    @property
    def pid(self) -> int:
        """The daemon's process id as the test process sees it."""
        return self.process.pid

    def start(self, *, wait: bool = True, timeout: float = 20) -> None:
        """Start the daemon; with ``wait``, return when it answers at its socket."""
        arguments = ["--run-dir", RUN_DIR, "--state-dir", self.state_dir]
        if self._config is not None:
            self.host.file("/run/lab/jackfield.toml").write_text(self._config)
            arguments = ["--config", "/run/lab/jackfield.toml", *arguments]
        with self._log.open("a") as log:
            self.process = self._process(arguments, log)
        if wait:
            self.wait_ready(timeout)

    def _process(self, arguments: Sequence[str], log: IO[str]) -> HostProcess:
        """Return the daemon, forked with everything imported, or run with what it was given."""
        if not self.prefix and not self.env:
            return prepared.start(self.host, arguments, report=self._blocked, log=log)
        return self.host.start(
            [*self.prefix, sys.executable, str(WATCHED), self._blocked, *arguments],
            env={"PYTHONUNBUFFERED": "1", **self.env},
            stdout=log,
            stderr=log,
        )

    def wait_ready(self, timeout: float = 20) -> None:
        """Wait until the daemon answers an HTTP request."""

        def answers() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"jackfieldd ended with {self.process.poll()}:\n{self.log_text()}"
                )
            return self._answers()

        try:
            wait_for(answers, timeout, "jackfieldd to answer", interval=0.005)
        except AssertionError as error:
            error.add_note(self.log_text())
            raise

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.api_socket))
                client.sendall(b"GET /v1/networks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return client.recv(12).startswith(b"HTTP/1.1")
            except OSError:
                return False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have the daemon not notice what is done meanwhile before all of it is done."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            stat = Path(f"/proc/{self.pid}/stat")
            wait_for(lambda: ") T " in stat.read_text(), 5, "the daemon to pause")
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def kill9(self) -> None:
        """End the daemon at once, as a crash would."""
        self._check_loop()
        self.process.kill9()

    def terminate(self, timeout: float = 20) -> None:
        """Ask the daemon to end and assert that it does so with status 0."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout)
        assert status == 0, f"jackfieldd ended with {status}:\n{self.log_text()}"
        self._check_loop()

    def restart(self) -> None:
        """End the daemon in order and start it again."""
        self.terminate()
        self.start()

    def cli(
        self,
        *arguments: str,
        json: bool = False,
        check: bool = True,
        input: str | None = None,
        timeout: float = 30,
        env: Mapping[str, str] | None = None,
    ) -> Any:
        """Run ``jackfield ARGUMENTS`` on the host.

        Returns what it printed: parsed with ``json`` (which adds ``--json``), else the text.
        Raises ``CommandFailed`` when it fails, unless ``check`` is false: then the
        ``CompletedProcess`` is returned whatever happened.
        """
        result = self.host.run(
            [
                *(sys.executable, "-m", "jackfield.cli.main", *arguments),
                *(["--json"] if json else []),
            ],
            check=False,
            input=input,
            timeout=timeout,
            env={"JACKFIELD_RUN_DIR": RUN_DIR, **(env or {})},
        )
        if not check:
            return result
        if result.returncode:
            raise CommandFailed(result)
        return _parse(result.stdout) if json else result.stdout

    def cli_process(self, *arguments: str) -> HostProcess:
        """Start ``jackfield ARGUMENTS`` that goes on (``events``); its output is a pipe."""
        return self.host.start(
            # Who runs the tests in the background may have an interrupt ignored: it is inherited.
            [
                *("env", "--default-signal=INT"),
                *(sys.executable, "-m", "jackfield.cli.main", *arguments),
            ],
            env={"JACKFIELD_RUN_DIR": RUN_DIR, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def ask(self, path: str) -> Any:
        """Return what the API answers: for what is asked again and again, without a program."""
        return Client(self.api_socket.parent).request("GET", path)

    def document(self, text: str) -> str:
        """Write a document to a file of the host and return its path, for ``cli``."""
        path = f"/run/lab/document-{next(self._documents)}.xml"
        self.host.file(path).write_text(text)
        return path

    def log_text(self) -> str:
        """Return everything the daemon has written, over all its starts."""
        return self._log.read_text()

    def log(self) -> list[dict[str, Any]]:
        """Return the daemon's log entries; lines that are not JSON are left out."""
        entries = []
        for line in self.log_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                entries.append(entry)
        return entries

    def blocked(self) -> list[dict[str, Any]]:
        """Return the callbacks that held the event loop for 50 ms or more, since the start."""
        try:
            text = self.host.file(self._blocked).read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def close(self) -> None:
        """End the daemon if it runs; assert that it ended with 0 and left no traceback."""
        if not os.path.exists(self.host.file("/run/lab")):  # noqa: PTH110
            # The host has gone, and the daemon with it.
            return
        if self.process.poll() is None:
            self.terminate()
        if not self.expect_tracebacks:
            assert "Traceback" not in self.log_text(), self.log_text()

    def _check_loop(self) -> None:
        """Assert that nothing has held the event loop."""
        blocked = self.blocked()
        told = "\n".join(
            f"{entry['milliseconds']} ms: {entry['callback']}\n{''.join(entry['stack'])}"
            for entry in blocked
        )
        assert not blocked, f"the event loop was held:\n{told}"

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(text: str) -> Any:
    """Return JSON parsed (the parameter ``json`` of ``cli`` hides the module)."""
    return json.loads(text)
