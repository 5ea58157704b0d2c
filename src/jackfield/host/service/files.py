"""The folder of a helper process: what it reads and says, and which process it is."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from jackfield.errors import HostError, ServiceError

if TYPE_CHECKING:
    from jackfield.host.service.process import Process

__all__ = ["ServiceFiles", "require_traversable", "trim_log"]

_LOG_LIMIT = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFiles(abc.ABC):
    """The files of one network's helper process, in ``directory``, which is its alone."""

    network: UUID
    directory: Path

    @property
    def process(self) -> Path:
        """Where we write which process it is: its pid and start time."""
        return self.directory / "process"

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.directory / "log"

    @property
    @abc.abstractmethod
    def mark(self) -> str:
        """The argument of its command line that no other process has."""

    @abc.abstractmethod
    def process_of(self, pid: int, start_time: int | None) -> Process:
        """Return the process ``pid`` as the one that these files are for."""

    def told_pid(self) -> int | None:
        """Return the pid that the program itself wrote down, if it does that."""
        return None

    def read(self, name: str) -> str | None:
        """Return what a file holds, or ``None`` when it is not there; a pipe holds nothing."""
        # A crash may leave a pipe, and nobody who writes to it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(self.directory / name, flags), "rb") as file:
                return file.read().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """Replace a file at once: whoever reads sees the old text or the new, whole."""
        path = self.directory / name
        temporary = path.with_name(f"{name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(text.encode("utf-8", "surrogateescape"))
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def remove(self) -> None:
        """Remove the folder; raises ``HostError`` when something stays."""
        try:
            for path in self.directory.iterdir():
                path.unlink(missing_ok=True)
            self.directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise HostError(f"cannot remove {self.directory}: {error.strerror}") from error


def require_traversable(directory: Path, program: str) -> None:
    """Raise ``ServiceError`` where ``program``, as its own user, could not reach its files.

    dnsmasq would start and serve nothing of what they say, with no more than a line in its log.
    """
    for parent in (directory, *directory.parents):
        # One that somebody has removed is made anew.
        if parent.exists() and not parent.stat().st_mode & 0o001:
            raise ServiceError(
                f"{program} cannot read its files: {parent} is closed to its user",
                hint=f"chmod o+x {parent}, or choose another run directory",
            )


def trim_log(log: Path) -> None:
    """Begin ``log`` anew when it is long, keeping its end as ``log.old``.

    Guests decide how much is written.  The process keeps its descriptor (``O_APPEND``), so the
    file is copied and cut, not renamed.
    """
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LOG_LIMIT:
            with log.open("rb") as file:
                file.seek(-_LOG_LIMIT, os.SEEK_END)
                end = file.read(_LOG_LIMIT)
            # Before the copy, which needs the room: it may be this log that has filled the disk.
            os.truncate(log, 0)
            log.with_name("log.old").write_bytes(end)
