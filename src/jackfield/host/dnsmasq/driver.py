"""The driver of ``Dnsmasq`` resources; runs on the kernel thread.

``ensure`` starts processes and does not wait for them: ``readiness.wait_ready`` does, on the
event loop.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from jackfield.errors import HostError, JackfieldError, ServiceError
from jackfield.host.dnsmasq import process as processes
from jackfield.host.dnsmasq.files import RELOADED, ServiceFiles, state_directory, trim_log
from jackfield.host.dnsmasq.process import Process
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.resolver import RESOLV_CONF, read_resolvers
from jackfield.state.resources import Dnsmasq

if TYPE_CHECKING:
    from jackfield.host.kernel import Kernel

__all__ = ["DnsmasqDriver"]


class DnsmasqDriver:
    """Makes, observes and removes the dnsmasqs of networks."""

    def __init__(self, resolv_conf: Path = RESOLV_CONF) -> None:
        """Take the host's own DNS servers from ``resolv_conf``."""
        self._resolv_conf = resolv_conf
        # Started, and not on record yet: to learn a new process's start time is to wait until it
        # is its program, and there is other work.  Before it has its own pid file, a crash
        # leaves an orphan to adopt.
        self._started: dict[UUID, int] = {}
        # Of these, the ones that wait for their configuration.
        self._waiting: set[UUID] = set()

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[Dnsmasq],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return what serves each network: its files say what, if a process runs.

        Files without a process are ours, too, with an empty ``config``: there is something to
        remove, and starting again is what ``ensure`` does about it.  So are files that a running
        process has not been told of.
        """
        found: dict[str, Observed] = {}
        for service in resources:
            files = _files(kernel, service.network)
            if not files.directory.exists():
                found[service.key] = ABSENT
                continue
            seen = files.observe(service)
            process = self._running(files)
            if process is None or files.untold.exists():
                seen = dataclasses.replace(seen, config="")
            description = "dnsmasq" if process is None else f"dnsmasq, pid {process.pid}"
            found[service.key] = Observed(
                presence=Presence.OURS, resource=seen, description=description
            )
        return found

    def prepare(self, kernel: Kernel, resources: Iterable[Dnsmasq]) -> None:
        """Start the dnsmasqs of new networks ahead of what they serve on.

        Each becomes its program, which takes it some milliseconds, and waits at its
        configuration, a named pipe, until ``ensure`` writes that: when the bridge has its
        addresses, and its rules.
        """
        for service in resources:
            files = _files(kernel, service.network)
            if files.directory.exists():
                continue
            _check_traversable(kernel.run_dir)
            files.make()
            files.make_pipe()
            self._started[service.network] = processes.spawn(files)
            self._waiting.add(service.network)

    def ensure(
        self, kernel: Kernel, resources: Sequence[Dnsmasq], replaced: Mapping[str, Dnsmasq]
    ) -> None:
        """Make each network served so: by a SIGHUP where that suffices, else by a new process.

        The files on disk say what is different, so ``replaced`` is not needed.  Raises
        ``MissingFeature`` without dnsmasq, ``HostError`` when a file cannot be written or dnsmasq,
        as its own user, could not read it.
        """
        resolvers = read_resolvers(self._resolv_conf)
        restarted: list[tuple[ServiceFiles, dict[str, str]]] = []
        stopped: list[Process] = []
        for service in resources:
            files = _files(kernel, service.network)
            texts = files.texts(service, resolvers)
            if service.network in self._waiting:
                self._waiting.discard(service.network)
                _feed(files, texts)
                continue
            process = self._running(files)
            if process is not None and files.read("config") == texts["config"]:
                if files.write_changed(texts, RELOADED):
                    _reload(files, process)
                continue
            if process is not None:
                stopped.append(process)
            restarted.append((files, texts))
        if restarted:
            _check_traversable(kernel.run_dir)
        processes.stop(stopped)
        for files, texts in restarted:
            self._started[files.network] = _start(files, texts)

    def remove(self, kernel: Kernel, resources: Sequence[Dnsmasq]) -> None:
        """End the processes and remove their files; the leases stay."""
        failures: list[JackfieldError] = []
        all_files = [_files(kernel, service.network) for service in resources]
        self._waiting.difference_update(service.network for service in resources)
        running = [self._running(files) for files in all_files]
        try:
            processes.stop([process for process in running if process is not None])
        except HostError as error:
            failures.append(error)
        for files in all_files:
            try:
                files.remove()
            except HostError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("could not remove every dnsmasq", failures)

    def running(self, kernel: Kernel, network: UUID) -> Process | None:
        """Return the process that serves ``network``, or ``None``."""
        return self._running(_files(kernel, network))

    def launched(self, kernel: Kernel, network: UUID) -> Process:
        """Return the process that ``ensure`` has started for ``network``, even if it has ended.

        This is what ``readiness.wait_ready`` is given: it says why one has ended already.
        Raises ``ServiceError`` when none was ever started.
        """
        files = _files(kernel, network)
        if (pid := self._started.get(network)) is not None:
            return Process(network=network, pid=pid, start_time=None, config=files.config)
        process = self._running(files) or self._recorded(files)
        if process is None:
            raise ServiceError(f"no dnsmasq was started for network {network}")
        return process

    def adopt_orphans(self, kernel: Kernel) -> list[Process]:
        """Record every dnsmasq of ours that is not on record, and return those.

        There is one when the daemon was killed between starting it and writing that down.  A
        second one for the same network is ended.
        """
        adopted: list[Process] = []
        surplus: list[Process] = []
        for process in processes.find_processes(kernel.run_dir):
            files = _files(kernel, process.network)
            known = self._recorded(files)
            if known is None or not known.is_alive():
                _record(files, process)
                adopted.append(process)
            elif known != process:
                surplus.append(process)
        processes.stop(surplus)
        return adopted

    def refresh_servers(self, kernel: Kernel, resources: Iterable[Dnsmasq]) -> list[UUID]:
        """Hand the host's present DNS servers to those that follow them.

        Returns the networks for which that was news.
        """
        resolvers = read_resolvers(self._resolv_conf)
        changed: list[UUID] = []
        for service in resources:
            files = _files(kernel, service.network)
            process = self._running(files)
            texts = files.texts(service, resolvers)
            if process is not None and files.write_changed(texts, ["servers"]):
                _reload(files, process)
                changed.append(service.network)
        return changed

    def forget_leases(self, kernel: Kernel, network: UUID) -> None:
        """Remove the lease file of a network that is no more."""
        _files(kernel, network).leases.unlink(missing_ok=True)

    def forget_other_leases(self, kernel: Kernel, known: Collection[UUID]) -> None:
        """Remove the lease files of all networks but the ``known`` ones."""
        names = {str(network) for network in known}
        for path in state_directory(kernel.state_dir).glob("*.leases"):
            if path.stem not in names:
                path.unlink(missing_ok=True)

    def _running(self, files: ServiceFiles) -> Process | None:
        """Return the process that serves a network, or ``None``."""
        self._put_on_record(files)
        return processes.running(files)

    def _recorded(self, files: ServiceFiles) -> Process | None:
        """Return the process on record, running or not."""
        self._put_on_record(files)
        return processes.recorded(files)

    def _put_on_record(self, files: ServiceFiles) -> None:
        pid = self._started.pop(files.network, None)
        process = None if pid is None else processes.identify(files, pid)
        if process is not None:
            _record(files, process)


def _files(kernel: Kernel, network: UUID) -> ServiceFiles:
    return ServiceFiles.of(kernel.run_dir, kernel.state_dir, network)


def _start(files: ServiceFiles, texts: Mapping[str, str]) -> int:
    """Write the files, start dnsmasq and return its pid."""
    with _writing(files):
        files.make()
        trim_log(files.log)
        files.pid.unlink(missing_ok=True)
        files.untold.unlink(missing_ok=True)
        for name, text in texts.items():
            files.write(name, text)
    return processes.spawn(files)


def _feed(files: ServiceFiles, texts: Mapping[str, str]) -> None:
    """Write the files of a dnsmasq that waits for them."""
    with _writing(files):
        for name in RELOADED:
            files.write(name, texts[name])
        files.feed(texts["config"])


@contextlib.contextmanager
def _writing(files: ServiceFiles) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"cannot write the files of dnsmasq in {files.directory}: {error.strerror}"
        ) from error


def _reload(files: ServiceFiles, process: Process) -> None:
    processes.reload(process)
    files.untold.unlink(missing_ok=True)


def _record(files: ServiceFiles, process: Process) -> None:
    files.write("process", f"{process.pid} {process.start_time}\n")


def _check_traversable(directory: Path) -> None:
    """Raise ``ServiceError`` where dnsmasq, as its own user, could not reach its files.

    It would start and serve nothing of what they say, with no more than a line in its log.
    """
    for parent in (directory, *directory.parents):
        if not parent.stat().st_mode & 0o001:
            raise ServiceError(
                f"dnsmasq cannot read its files: {parent} is closed to its user",
                hint=f"chmod o+x {parent}, or choose another run directory",
            )
