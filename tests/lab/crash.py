"""A daemon that is killed at every boundary of an operation, and all that a host then shows."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jackfield.client import Client
from jackfield.errors import JackfieldError
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.prepared import Forked
from tests.lab.snapshot import take_snapshot
from tests.lab.wait import wait_for

__all__ = [
    "CrashingDaemon",
    "Operation",
    "answers",
    "crash_everywhere",
    "crash_twice",
    "observe",
]

PROGRAM = Path(__file__).with_name("crashing_daemon.py")
DIRECTORY = "/run/lab/crash"

#: How long a host may take to come to rest: dnsmasq writes its pid file, links get a carrier.
REST = 6.0


class _Forked(Forked):
    """A daemon that the program on the host has forked."""

    def __init__(self, server: HostProcess) -> None:
        assert server.popen.stdin is not None
        assert server.popen.stdout is not None
        server.popen.stdin.write("start\n")
        server.popen.stdin.flush()
        super().__init__(server.popen.stdout.fileno())
        # What it says is the host's own number.
        outer = server.pid
        children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        self._pid = int(children[0]) if children else 0

    def close(self) -> None:
        """Do nothing: what forked it is closed with its host."""


class CrashingDaemon(Daemon):
    """A jackfieldd that can be armed to die before the n-th of its acts."""

    def __init__(self, host: Host, state_dir: Path) -> None:
        """Start the daemon and wait until it answers.

        ``state_dir`` is of the machine: SQLite would not find it through the host's /proc.
        """
        self._server: HostProcess | None = None
        host.file(DIRECTORY).mkdir()
        super().__init__(host, state_dir=state_dir)
        self._blocked = f"{DIRECTORY}/blocked"
        self.client = Client(self.api_socket.parent)
        #: What else is to be looked at, as lines.
        self.probe: Callable[[], Iterable[str]] = list
        self.rehearsed: dict[Operation, _Scene] = {}

    def __enter__(self) -> CrashingDaemon:
        return self

    def start(self, *, wait: bool = True, timeout: float = 60) -> None:
        """Start the daemon; with ``wait``, return when it answers at its socket."""
        if self._server is None:
            with self._log.open("a") as log:
                self._server = self.host.start(
                    [
                        *(sys.executable, str(PROGRAM), DIRECTORY),
                        *("--run-dir", RUN_DIR, "--state-dir", self.state_dir),
                    ],
                    env={"PYTHONUNBUFFERED": "1"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
        self.process = _Forked(self._server)
        if not wait:
            return
        try:
            self.wait_ready(timeout)
        except AssertionError as error:
            length = len(self.log_text())
            self.process.send_signal(signal.SIGUSR1)
            wait_for(lambda: len(self.log_text()) > length + 500, 5, "the daemon's stacks")
            error.add_note(self.log_text()[length:])
            raise

    def arm(self, number: int) -> None:
        """Have the daemon die before the act of this number, counted from the next one on."""
        for name in ("acts", "crashed"):
            self.host.file(f"{DIRECTORY}/{name}").unlink(missing_ok=True)
        new = self.host.file(f"{DIRECTORY}/arm.new")
        new.write_text(str(number))
        new.rename(self.host.file(f"{DIRECTORY}/arm"))

    def disarm(self) -> None:
        """Take back an arming that no act has met."""
        self.host.file(f"{DIRECTORY}/arm").unlink(missing_ok=True)

    def crashed(self) -> str | None:
        """Return what the daemon was about to do when it died of an arming."""
        with contextlib.suppress(FileNotFoundError):
            return self.host.file(f"{DIRECTORY}/crashed").read_text()
        return None

    def acts(self) -> list[str]:
        """Return what was done since the last arming, and what was about to be."""
        with contextlib.suppress(FileNotFoundError):
            return self.host.file(f"{DIRECTORY}/acts").read_text().splitlines()
        return []


# What is compared.

_TABLES = ("networks", "live", "ports", "members", "settings", "setting_users", "records")


def observe(daemon: CrashingDaemon) -> str:
    """Return everything that the host, the store and the daemon show, one thing a line.

    A port that its client realises may be in the store or in the journal beside it: what the
    daemon tells of it counts.

    Names that differ at each attachment (the port's uuid and the device's name after it) are
    replaced by words.
    """
    lines = take_snapshot(daemon.host)
    lines += sorted(_rows(Path(daemon.state_dir, "jackfield.db")))
    told = {path: daemon.client.request("GET", path) for path in ("/v1/networks", "/v1/ports")}
    lines += [f"{path}: {json.dumps(item)}" for path, items in told.items() for item in items]
    text = "\n".join([*lines, *daemon.probe()])
    networks = {item["uuid"] for item in told["/v1/networks"]}
    text = re.sub(
        r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}",
        lambda match: match[0] if match[0] in networks else "UUID",
        text,
    )
    return re.sub(r"\bjf[0-9a-f]{10}\b", "jfPORT", text)


def _rows(path: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        # The daemon lets nobody else in while it runs, but what it has written can be copied.
        for name in (path.name, f"{path.name}-wal"):
            shutil.copy(path.with_name(name), folder)
        yield from _rows_of(Path(folder, path.name))


def _rows_of(path: Path) -> Iterator[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        for table in _TABLES:
            for row in database.execute(f"SELECT * FROM {table}"):
                # The index of a remembered link is the one it has: nothing to compare.
                values = [item for item in row if table != "members" or isinstance(item, str)]
                if table == "ports" and row[5] is None:
                    continue
                if table == "records":
                    # What is recorded has lifetimes that count down.
                    del values[1:]
                yield f"row of {table}: {values}"


# Crashes.


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What is interrupted, and the ordinary commands that lead back to where it began."""

    do: Callable[[Client], object]
    undo: Callable[[Client], object]


@dataclasses.dataclass(frozen=True, slots=True)
class _Scene:
    """The host before and after an operation that was not interrupted."""

    daemon: CrashingDaemon
    operation: Operation
    before: str
    after: str

    @classmethod
    def rehearse(cls, daemon: CrashingDaemon, operation: Operation) -> _Scene:
        """Do and undo the operation, twice: the first time may leave what stays for ever.

        It need not be done again for an operation that has been rehearsed: wherever the daemon
        was killed since, the host has been found as it was before.
        """
        if operation in daemon.rehearsed:
            return daemon.rehearsed[operation]
        operation.do(daemon.client)
        # A bridge whose first port has a carrier gets an address that stays.
        wait_for(lambda: _carriers_noticed(daemon.host), REST, "carriers to be noticed")
        operation.undo(daemon.client)
        before = _rest(daemon)
        operation.do(daemon.client)
        after = _rest(daemon)
        assert before != after
        operation.undo(daemon.client)
        _expect(daemon, before, "undone")
        scene = daemon.rehearsed[operation] = cls(daemon, operation, before, after)
        return scene

    def settle(self, where: str, *, acknowledged: bool) -> None:
        """Expect one of both, and go back to the beginning."""
        seen = ""

        def decided() -> bool:
            nonlocal seen
            seen = observe(self.daemon)
            return seen == self.after or (seen == self.before and not acknowledged)

        try:
            wait_for(decided, REST, "the host to be as before or as after")
        except AssertionError:
            told = [f"killed at {where}", f"acknowledged: {acknowledged}", "", "to before:"]
            told += _difference(self.before, seen)
            told += ["", "to after:", *_difference(self.after, seen), "", "the log ends:"]
            told += self.daemon.log_text().splitlines()[-12:]
            raise AssertionError("\n".join(told)) from None
        if seen == self.after:
            self.operation.undo(self.daemon.client)
            _expect(self.daemon, self.before, f"undone, after having been killed at {where}")


def crash_everywhere(daemon: CrashingDaemon, operation: Operation) -> list[str]:
    """Kill the daemon before each act of the operation, and after its last one.

    Asserts that the host is then, when the daemon is back, as it was before the operation or as
    it is after it, and the latter if the operation was acknowledged.  Returns the acts.
    """
    scene = _Scene.rehearse(daemon, operation)
    number = 0
    while True:
        number += 1
        daemon.arm(number)
        acknowledged = _try(daemon, operation)
        died = daemon.crashed()
        if died is None:
            daemon.disarm()
            acts = daemon.acts()
            daemon.kill9()
        else:
            daemon.process.wait()
        daemon.start()
        scene.settle(died or "the end", acknowledged=acknowledged)
        if died is None:
            assert acknowledged
            return acts


def crash_twice(daemon: CrashingDaemon, operation: Operation, *, at: int) -> list[str]:
    """Kill the daemon before act ``at`` of the operation, and then before each act of recovery.

    Asserts the same as ``crash_everywhere``; returns the acts of the recovery.
    """
    scene = _Scene.rehearse(daemon, operation)
    daemon.restart()
    number = 0
    while True:
        number += 1
        daemon.arm(at)
        acknowledged = _try(daemon, operation)
        first = daemon.crashed()
        assert first is not None, daemon.acts()
        daemon.process.wait()
        daemon.arm(number)
        daemon.start(wait=False)
        wait_for(
            lambda: daemon.crashed() or answers(daemon),
            20,
            "recovery, or a second crash",
            interval=0.005,
        )
        second = daemon.crashed()
        if second is None:
            daemon.disarm()
            acts = daemon.acts()
            # What it does from now on would be counted, too.
            daemon.kill9()
            daemon.start()
            scene.settle(f"{first}only", acknowledged=acknowledged)
            return acts
        daemon.process.wait()
        daemon.start()
        scene.settle(f"{first}and in the recovery at {second}", acknowledged=acknowledged)


def _try(daemon: CrashingDaemon, operation: Operation) -> bool:
    """Return whether the operation was acknowledged; one that fails must have met the crash."""
    try:
        operation.do(daemon.client)
    except JackfieldError:
        daemon.process.wait()
        return False
    return True


def answers(daemon: CrashingDaemon) -> bool:
    """Return whether the daemon answers at its socket."""
    try:
        daemon.client.request("GET", "/v1/version")
    except JackfieldError:
        return False
    return True


def _rest(daemon: CrashingDaemon) -> str:
    """Return what the host shows when nothing moves any more."""
    last = ""

    def still() -> bool:
        nonlocal last
        # Asked before: with a carrier that is noticed after the look may come an address.
        noticed = _carriers_noticed(daemon.host)
        former, last = last, observe(daemon)
        # An address that is being checked for duplicates will be usable soon.
        checked = '"tentative": true' not in last
        return former == last and checked and noticed

    wait_for(still, REST, "the host to come to rest", interval=0.2)
    return last


def _carriers_noticed(host: Host) -> bool:
    """Return whether the kernel has told everybody of each link's carrier, which may take 1 s."""
    return not any(
        ("LOWER_UP" in link["flags"] and link["operstate"] in ("DOWN", "LOWERLAYERDOWN"))
        or ("NO-CARRIER" in link["flags"] and link["operstate"] == "UP")
        for link in host.ip("link", "show", "up")
    )


def _expect(daemon: CrashingDaemon, wanted: str, when: str) -> None:
    seen = ""

    def reached() -> bool:
        nonlocal seen
        seen = observe(daemon)
        return seen == wanted

    try:
        wait_for(reached, REST, "the host to be as expected")
    except AssertionError:
        told = "\n".join(_difference(wanted, seen))
        raise AssertionError(f"{when}, the host is not as it was:\n{told}") from None


def _difference(wanted: str, seen: str) -> list[str]:
    return [
        line
        for line in difflib.unified_diff(wanted.splitlines(), seen.splitlines(), lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
