"""Helper processes: start, recognise, signal, stop.

A process is known by its pid, its start time (``/proc/PID/stat``, field 22, ``proc(5)``) and an
argument of its command line that belongs to one network: a pid alone may be somebody else's by
the time it is used.
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import dataclasses
import errno
import functools
import os
import re
import select
import shutil
import signal
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, TypeAlias
from uuid import UUID

from jackfield.errors import HostError, MissingFeature, ServiceError
from jackfield.host.pid import start_time
from jackfield.host.service.files import ServiceFiles

__all__ = [
    "FileAction",
    "Process",
    "find_processes",
    "find_program",
    "identify",
    "recorded",
    "run_anywhere",
    "run_elsewhere",
    "running",
    "send_signal",
    "spawn",
    "stop",
]

FileAction: TypeAlias = (
    tuple[int, int, str | Path, int, int] | tuple[int, int] | tuple[int, int, int]
)
"""What ``os.posix_spawn`` does about a descriptor of the child."""

_WANTING: dict[int | None, str] = {
    errno.EAGAIN: "as many processes run as may: see TasksMax= of jackfieldd's unit, "
    "and /proc/sys/kernel/pid_max and threads-max",
    errno.ENOMEM: "the host has no memory left: see free",
}
_libc = ctypes.CDLL(None)
_STOP_LIMIT = 3.0
_TAIL = 4096
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process(abc.ABC):
    """A helper process of ours; ``start_time`` in clock ticks since boot, ``directory`` its folder.

    ``mark`` is the argument of its command line that no other process has.  ``start_time`` is
    ``None`` for a child of ours that was not waited for: until it is, nobody else gets its pid.
    """

    program: ClassVar[str]
    """The program's name, for people, and what it is known by together with its network."""

    sign: ClassVar[str]
    """The file of its folder that changes when it begins to serve."""

    aftermath: ClassVar[tuple[str, ...]] = ()
    """How lines of its log begin that are about its end and not about the reason."""

    everyday: ClassVar[tuple[str, ...]] = ()
    """How lines of its log begin that it writes while all is well."""

    network: UUID
    pid: int
    start_time: int | None
    directory: Path
    mark: str

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.directory / "log"

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Whether it serves, by what the file ``sign`` holds; ``ServiceError`` if it never will."""

    def why_ended(self) -> ServiceError:
        """Return the error that says why it ended; called in its network namespace."""
        return self.ended(self.reason())

    def ended(self, words: str, hint: str | None = None) -> ServiceError:
        """Return the error that says that it ended with these ``words``.

        Its log is not named: that goes with the network, which may not start without it.
        """
        if not words:
            words = self._killed() or "it did not say why"
            hint = "`journalctl -k` says so where the kernel has ended it, as for want of memory"
        return ServiceError(f"{self.program} ended: {words}", hint=hint)

    def last_words(self) -> str:
        """Return the last telling line of its log, without the program's name, or nothing."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        own_name = re.compile(rf"^(\S*/)?{re.escape(self.program)}(-\w+)?(\[\d+\])?: ")
        said = [own_name.sub("", stripped) for line in lines if (stripped := line.strip())]
        telling = [line for line in said if not line.startswith(self.aftermath)]
        return (telling or said or [""])[-1]

    def reason(self) -> str:
        """Return why it says that it ended, or nothing.

        Who is killed has said nothing of it: what it wrote while all was well is no reason.
        """
        words = self.last_words()
        return "" if words.startswith(self.everyday) else words

    def _killed(self) -> str | None:
        """Return which signal has ended it, of a child of ours that was not waited for yet."""
        with contextlib.suppress(ChildProcessError):
            end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if end is not None and end.si_code in {os.CLD_KILLED, os.CLD_DUMPED}:
                names = {number.value: number.name for number in signal.Signals}
                return f"killed by {names.get(end.si_status, f'signal {end.si_status}')}"
        return None

    @abc.abstractmethod
    def settle(self) -> None:
        """Do what is due once it serves and is watched."""

    def is_alive(self) -> bool:
        """Whether this very process runs."""
        began = start_time(self.pid, zombies=False)
        if began is None or self.start_time not in {None, began}:
            return False
        # The kernel lets a parent go on before the new program has its command line.
        arguments = _arguments(self.pid)
        return arguments == [""] or self.mark in arguments

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
        # Another child may have its pid by now, whose end is waited for elsewhere.
        if self.start_time in {None, start_time(self.pid)}:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, os.WNOHANG)


def spawn(arguments: Sequence[str], log: Path, file_actions: Iterable[FileAction] = ()) -> int:
    """Start a program and return its pid at once, whether it serves yet or not.

    It begins in the namespaces of the calling thread, leads a session of its own and inherits
    no descriptor.  Its input is empty and its output goes to ``log``, unless ``file_actions``
    say otherwise.
    """
    output = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        return os.posix_spawn(
            arguments[0],
            list(arguments),
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, output, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *file_actions,
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM],
        )
    except OSError as error:
        raise ServiceError(
            f"cannot start {arguments[0]}: {error.strerror}", hint=_WANTING.get(error.errno)
        ) from error


def run_elsewhere(pid: int) -> set[int]:
    """Have a child that was just spawned run on other processors than the calling thread's.

    Returns those that it may use, for ``run_anywhere``.  The kernel wakes the parent on the
    processor of the new program, and leaves both there for some milliseconds, one after the other,
    while another processor is idle.
    """
    every: set[int] = set()
    with contextlib.suppress(OSError):
        every = os.sched_getaffinity(pid)
        others = every - {_libc.sched_getcpu()}
        if others:
            os.sched_setaffinity(pid, others)
    return every


def run_anywhere(pid: int, processors: Collection[int]) -> None:
    """Take back what ``run_elsewhere`` did, which returned ``processors``."""
    with contextlib.suppress(OSError):
        if processors:
            os.sched_setaffinity(pid, processors)


@functools.cache
def find_program(name: str, package: str) -> str:
    """Return the path of a program; ``MissingFeature`` names its Debian ``package``."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise MissingFeature(
            f"{name} is not installed", hint=f"install it: the package is called {package}"
        )
    return path


def identify(files: ServiceFiles, pid: int) -> Process | None:
    """Return a child of ours with its start time; ``None`` when it has ended and was waited for.

    The kernel answers only when the child has become its program, a millisecond or two after its
    start.
    """
    began = start_time(pid)
    return None if began is None else files.process_of(pid, began)


def recorded(files: ServiceFiles) -> Process | None:
    """Return the process that our record names, running or not; ``None`` without a record."""
    words = (files.read("process") or "").split()
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()):
        return None
    return files.process_of(int(words[0]), int(words[1]))


def running(files: ServiceFiles) -> Process | None:
    """Return the running process that our record or the program's own names."""
    process = recorded(files)
    if process is not None:
        if process.is_alive():
            return process
        # One that never served is watched by nobody.
        process.reap()
    pid = files.told_pid()
    # That is the program's word alone, so the command line must bear it out.
    if pid is None or files.mark not in _arguments(pid):
        return None
    began = start_time(pid, zombies=False)
    return None if began is None else files.process_of(pid, began)


def find_processes(files_of: Callable[[UUID], ServiceFiles]) -> list[Process]:
    """Return all processes that ``files_of`` networks are for, by looking at every process."""
    found: list[Process] = []
    for pid in [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]:
        for argument in _arguments(pid):
            for text in _UUID.findall(argument):
                files = files_of(UUID(text))
                began = start_time(pid, zombies=False) if files.mark == argument else None
                if began is not None:
                    found.append(files.process_of(pid, began))
    return found


def send_signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to this very process; nothing happens when it has ended."""
    descriptor = process.open()
    if descriptor is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


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
            left_over = ", ".join(f"{item.program}, pid {item.pid}" for item in open_.values())
            raise HostError(f"not even SIGKILL ends: {left_over}")
    finally:
        for descriptor in open_:
            os.close(descriptor)


def _arguments(pid: int) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")
    except OSError:
        return []
