"""What the drivers of helper processes have in common: which process is whose."""

from __future__ import annotations

import abc
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from jackfield.errors import HostError, JackfieldError, ServiceError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.service.files import ServiceFiles
from jackfield.host.service.process import (
    Process,
    find_processes,
    identify,
    recorded,
    running,
    stop,
)
from jackfield.state.services import Service

if TYPE_CHECKING:
    from jackfield.host.kernel import Kernel

__all__ = ["ServiceDriver"]

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Service)
F = TypeVar("F", bound=ServiceFiles)


_NOBODY = UUID(int=0)


class ServiceDriver(abc.ABC, Generic[R, F]):
    """Makes, observes and removes one kind of helper process of networks, on the kernel thread.

    ``ensure`` starts processes and does not wait for them: ``readiness.wait_ready`` does, on the
    event loop.
    """

    def __init__(self) -> None:
        """Know of no process yet."""
        # Started, and not on record yet: to learn a new process's start time is to wait until it
        # is its program, and there is other work.  Before it is on record, a crash leaves an
        # orphan to adopt.
        self._started: dict[UUID, int] = {}

    @abc.abstractmethod
    def files(self, kernel: Kernel, network: UUID) -> F:
        """Return the files of ``network``'s process."""

    @abc.abstractmethod
    def _as_found(self, files: F, wanted: R, process: Process | None) -> R:
        """Return the service as its files and its running process show it."""

    def observe(
        self, kernel: Kernel, resources: Sequence[R], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return what serves each network: its files say what, if a process runs.

        Files without a process are ours, too: there is something to remove.
        """
        found: dict[str, Observed] = {}
        for service in resources:
            files = self.files(kernel, service.network)
            process = self._running(files)
            if process is None and not files.directory.exists():
                found[service.key] = ABSENT
                continue
            name = files.process_of(0, None).program
            found[service.key] = Observed(
                presence=Presence.OURS,
                resource=self._as_found(files, service, process),
                description=name if process is None else f"{name}, pid {process.pid}",
            )
        return found

    @abc.abstractmethod
    def prepare(self, kernel: Kernel, resources: Iterable[R]) -> None:
        """Do for new networks what can be done before anything else is made for them."""

    @abc.abstractmethod
    def ensure(self, kernel: Kernel, resources: Sequence[R], replaced: Mapping[str, R]) -> None:
        """Make each network served so."""

    def remove(self, kernel: Kernel, resources: Sequence[R]) -> None:
        """End the processes and remove their files."""
        failures: list[JackfieldError] = []
        all_files = [self.files(kernel, service.network) for service in resources]
        processes = [self._running(files) for files in all_files]
        try:
            stop([process for process in processes if process is not None])
        except HostError as error:
            failures.append(error)
        for files in all_files:
            try:
                files.remove()
            except HostError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("could not remove every helper process", failures)

    def running(self, kernel: Kernel, network: UUID) -> Process | None:
        """Return the process that serves ``network``, or ``None``."""
        return self._running(self.files(kernel, network))

    def launched(self, kernel: Kernel, network: UUID) -> Process:
        """Return the process that ``ensure`` has started for ``network``, even if it has ended.

        This is what ``readiness.wait_ready`` is given: it says why one has ended already.
        Raises ``ServiceError`` when none was ever started.
        """
        files = self.files(kernel, network)
        if (pid := self._started.get(network)) is not None:
            return files.process_of(pid, None)
        process = self._running(files) or self._recorded(files)
        if process is None:
            name = files.process_of(0, None).program
            raise ServiceError(f"no {name} was started for network {network}")
        return process

    def adopt_orphans(self, kernel: Kernel) -> list[Process]:
        """Record every process of ours that is not on record, and return those.

        There is one when the daemon was killed between starting it and writing that down.  A
        second one for the same network is ended.
        """
        adopted: list[Process] = []
        surplus: list[Process] = []
        for process in self.find(kernel):
            files = self.files(kernel, process.network)
            known = self._recorded(files)
            if known is None or not known.is_alive():
                self._record(files, process)
                adopted.append(process)
            elif known != process:
                surplus.append(process)
        stop(surplus)
        return adopted

    def sweep(self, kernel: Kernel, known: Collection[UUID]) -> tuple[list[Process], list[Process]]:
        """Adopt orphans, and end those that serve none of the ``known`` networks; return these.

        What a crash has left of others is removed, too, unless a process of theirs is on record:
        that serves on, and is returned as well.
        """
        ended = [item for item in self.adopt_orphans(kernel) if item.network not in known]
        stop(ended)
        for process in ended:
            self.files(kernel, process.network).remove()
        serving = []
        for path in self.files(kernel, _NOBODY).directory.parent.glob("*-*-*-*-*"):
            files = self.files(kernel, UUID(path.name))
            if files.network in known:
                continue
            found = running(files)
            if found is None:
                files.remove()
            else:
                serving.append(found)
        return ended, serving

    def find(self, kernel: Kernel) -> list[Process]:
        """Return all processes of this kind, by looking at every process there is."""
        return find_processes(lambda network: self.files(kernel, network))

    def _running(self, files: F) -> Process | None:
        """Return the process that serves a network, or ``None``."""
        process = self._put_on_record(files)
        if process is None or not process.is_alive():
            process = running(files)
        if process is None and not files.directory.exists():
            # Somebody may have cleared our run directory, and it serves on.
            process = next(iter(find_processes(lambda _: files)), None)
            if process is not None:
                self._record(files, process)
        return process

    def _recorded(self, files: F) -> Process | None:
        """Return the process on record, running or not."""
        return self._put_on_record(files) or recorded(files)

    def _put_on_record(self, files: F) -> Process | None:
        """Record what was started, and return it; ``None`` where nothing waits for that."""
        pid = self._started.pop(files.network, None)
        process = None if pid is None else identify(files, pid)
        if process is not None:
            self._record(files, process)
        return process

    def _record(self, files: F, process: Process) -> None:
        """Write down which process it is, or try again the next time that somebody asks for it.

        A run directory that is full is no reason to lose what serves, nor to leave it behind.
        """
        try:
            files.directory.mkdir(parents=True, exist_ok=True)
            files.write("process", f"{process.pid} {process.start_time}\n")
        except OSError as error:
            self._started[files.network] = process.pid
            log.debug("%s, pid %d, is not on record: %s", process.program, process.pid, error)
