"""dnsmasq processes: start, recognise, tell to read again, stop.

A process is known by its pid, its start time (``/proc/PID/stat``, field 22, ``proc(5)``) and its
command line, which names the configuration file of one network: a pid alone may be somebody
else's by the time it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
import select
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from jackfield.errors import HostError, MissingFeature, ServiceError
from jackfield.host.dnsmasq.files import ServiceFiles, service_directory

__all__ = [
    "Process",
    "find_processes",
    "identify",
    "recorded",
    "reload",
    "running",
    "spawn",
    "stop",
]

_CONF_FILE = "--conf-file="
_STOP_LIMIT = 3.0
_READY_LIMIT = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A dnsmasq of ours; ``start_time`` in clock ticks since boot, ``config`` its file.

    ``start_time`` is ``None`` for a child of ours that was not waited for: until it is, nobody
    else gets its pid.
    """

    network: UUID
    pid: int
    start_time: int | None
    config: Path

    @property
    def directory(self) -> Path:
        """The folder of its files."""
        return self.config.parent

    def is_alive(self) -> bool:
        """Whether this very process runs."""
        began = _start_time(self.pid)
        if began is None or self.start_time not in {None, began}:
            return False
        # The kernel lets a parent go on before the new program has its command line.
        arguments = _arguments(self.pid)
        return arguments == [""] or f"{_CONF_FILE}{self.config}" in arguments

    def is_ready(self) -> bool:
        """Whether its sockets are bound: it has written its pid file, which it does after."""
        try:
            return (self.directory / "pid").read_text().strip() == str(self.pid)
        except OSError:
            return False

    def open(self) -> int | None:
        """Return a new pidfd (``pidfd_open(2)``), or ``None`` when the process has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # Only now that the pid cannot be given to another one.
        if self.start_time is None or self.is_alive():
            return descriptor
        os.close(descriptor)
        return None

    def reap(self) -> None:
        """Take the exit status if it is our child and has ended, so that no zombie stays."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)


def spawn(files: ServiceFiles) -> int:
    """Start dnsmasq with the files of ``files`` and return its pid at once, bound or not.

    It begins in the namespaces of the calling thread, leads a session of its own and inherits
    no descriptor.  Raises ``MissingFeature`` when dnsmasq is not installed.
    """
    program = _program()
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        pid = os.posix_spawn(
            program,
            [program, "--keep-in-foreground", f"{_CONF_FILE}{files.config}"],
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, files.log, output, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM],
        )
    except OSError as error:
        raise ServiceError(f"cannot start {program}: {error.strerror}") from error
    return pid


def identify(files: ServiceFiles, pid: int) -> Process | None:
    """Return a child of ours with its start time; ``None`` when it has ended and was waited for.

    The kernel answers only when the child has become its program, a millisecond or two after its
    start.
    """
    start_time = _start_time(pid, zombies=True)
    if start_time is None:
        return None
    return Process(network=files.network, pid=pid, start_time=start_time, config=files.config)


def recorded(files: ServiceFiles) -> Process | None:
    """Return the process that our record names, running or not; ``None`` without a record."""
    words = (files.read("process") or "").split()
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return Process(
        network=files.network,
        pid=int(words[0]),
        start_time=int(words[1]),
        config=files.config,
    )


def running(files: ServiceFiles) -> Process | None:
    """Return the running process that our record or dnsmasq's own pid file names."""
    process = recorded(files)
    if process is not None and process.is_alive():
        return process
    # The pid file is dnsmasq's word alone, so the command line must bear it out.
    text = (files.read("pid") or "").strip()
    if not text.isdigit() or f"{_CONF_FILE}{files.config}" not in _arguments(int(text)):
        return None
    start_time = _start_time(int(text))
    if start_time is None:
        return None
    return Process(network=files.network, pid=int(text), start_time=start_time, config=files.config)


def find_processes(run_dir: Path) -> list[Process]:
    """Return all dnsmasqs of ours, recorded or not, by looking at every process."""
    directory = service_directory(run_dir)
    found: list[Process] = []
    for pid in [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]:
        for argument in _arguments(pid):
            config = Path(argument.removeprefix(_CONF_FILE))
            if not argument.startswith(_CONF_FILE) or config.parent.parent != directory:
                continue
            start_time = _start_time(pid)
            with contextlib.suppress(ValueError):
                network = UUID(config.parent.name)
                if start_time is not None:
                    found.append(
                        Process(network=network, pid=pid, start_time=start_time, config=config)
                    )
    return found


def reload(process: Process) -> None:
    """Tell ``process`` to read again what it reads on SIGHUP.

    SIGHUP ends a program that does not expect it yet, so this waits for one that just starts.
    """
    limit = time.monotonic() + _READY_LIMIT
    while not process.is_ready() and process.is_alive() and time.monotonic() < limit:
        time.sleep(0.001)
    if process.is_ready():
        _signal(process, signal.SIGHUP)


def stop(processes: Sequence[Process]) -> None:
    """End ``processes`` and wait until they are gone; SIGKILL after 3 s.

    Raises ``HostError`` for one that outlives even that.
    """
    open_: dict[int, Process] = {}
    poll = select.poll()
    try:
        for process in processes:
            descriptor = process.open()
            if descriptor is None:
                process.reap()
                continue
            open_[descriptor] = process
            poll.register(descriptor, select.POLLIN)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for descriptor in open_:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
            limit = time.monotonic() + _STOP_LIMIT
            while open_ and (left := limit - time.monotonic()) > 0:
                for descriptor, _ in poll.poll(left * 1000):
                    poll.unregister(descriptor)
                    open_.pop(descriptor).reap()
                    os.close(descriptor)
        if open_:
            pids = ", ".join(str(process.pid) for process in open_.values())
            raise HostError(f"dnsmasq does not end, not even killed: pid {pids}")
    finally:
        for descriptor in open_:
            os.close(descriptor)


def _signal(process: Process, number: signal.Signals) -> None:
    descriptor = process.open()
    if descriptor is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


@functools.cache
def _program() -> str:
    program = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise MissingFeature(
            "dnsmasq is not installed", hint="install it: the package is called dnsmasq-base"
        )
    return program


def _start_time(pid: int, *, zombies: bool = False) -> int | None:
    """Return when ``pid`` began, in clock ticks since boot; ``None`` when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ESRCH}:
            return None
        raise
    # The second field is the program's name in parentheses, and may itself hold any of them.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return None if fields[0] in {b"Z", b"X"} and not zombies else int(fields[19])


def _arguments(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:
        return []
