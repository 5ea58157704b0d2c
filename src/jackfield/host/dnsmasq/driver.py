"""The driver of ``Dnsmasq`` resources; runs on the kernel thread."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from jackfield.errors import HostError
from jackfield.host.dnsmasq.files import RELOADED, DnsmasqFiles, lease_path, state_directory
from jackfield.host.dnsmasq.process import reload
from jackfield.host.resolver import RESOLV_CONF, read_resolvers
from jackfield.host.service.driver import ServiceDriver
from jackfield.host.service.files import require_traversable, trim_log
from jackfield.host.service.process import (
    Process,
    find_program,
    run_anywhere,
    run_elsewhere,
    spawn,
    stop,
)
from jackfield.state.services import Dnsmasq

if TYPE_CHECKING:
    from jackfield.host.kernel import Kernel

__all__ = ["DnsmasqDriver"]

log = logging.getLogger(__name__)


class DnsmasqDriver(ServiceDriver[Dnsmasq, DnsmasqFiles]):
    """Makes, observes and removes the dnsmasqs of networks."""

    def __init__(self, resolv_conf: Path = RESOLV_CONF) -> None:
        """Take the host's own DNS servers from ``resolv_conf``."""
        super().__init__()
        self._resolv_conf = resolv_conf
        # Those of the started ones that wait for their configuration, and where they may run then.
        self._waiting: dict[UUID, set[int]] = {}

    def files(self, kernel: Kernel, network: UUID) -> DnsmasqFiles:
        """Return the files of ``network``'s dnsmasq."""
        return DnsmasqFiles.of(kernel.run_dir, kernel.state_dir, network)

    def _as_found(self, files: DnsmasqFiles, wanted: Dnsmasq, process: Process | None) -> Dnsmasq:
        """Return what the files say, with an empty ``config`` when it is to be started anew.

        That is so without a process, and when a running one has not been told of them.
        """
        seen = files.observe(wanted)
        if process is None or files.untold.exists():
            return dataclasses.replace(seen, config="")
        return seen

    def prepare(self, kernel: Kernel, resources: Iterable[Dnsmasq]) -> None:
        """Start the dnsmasqs of new networks ahead of what they serve on.

        Each becomes its program, which takes it some milliseconds, and waits at its
        configuration, a named pipe, until ``ensure`` writes that: when the bridge has its
        addresses, and its rules.
        """
        for service in resources:
            files = self.files(kernel, service.network)
            if files.directory.exists():
                continue
            require_traversable(kernel.run_dir, "dnsmasq")
            with _writing(files):
                files.make()
                files.make_pipe()
            pid = self._started[service.network] = _spawn(files)
            self._waiting[service.network] = run_elsewhere(pid)

    def ensure(
        self, kernel: Kernel, resources: Sequence[Dnsmasq], replaced: Mapping[str, Dnsmasq]
    ) -> None:
        """Make each network served so: by a SIGHUP where that suffices, else by a new process.

        The files on disk say what is different, so ``replaced`` is not needed.  Raises
        ``MissingFeature`` without dnsmasq, ``HostError`` when a file cannot be written or dnsmasq,
        as its own user, could not read it.
        """
        resolvers = read_resolvers(self._resolv_conf)
        restarted: list[tuple[DnsmasqFiles, dict[str, str]]] = []
        stopped: list[Process] = []
        for service in resources:
            files = self.files(kernel, service.network)
            texts = files.texts(service, resolvers)
            processors = self._waiting.pop(service.network, None)
            if processors is not None:
                pid = self._started[service.network]
                run_anywhere(pid, processors)
                _feed(files, texts, pid)
                continue
            process = self._running(files)
            if process is not None and files.read("config") == texts["config"]:
                with _writing(files):
                    changed = files.write_changed(texts, RELOADED)
                if changed:
                    _reload(files, process)
                continue
            if process is not None:
                stopped.append(process)
            restarted.append((files, texts))
        if restarted:
            require_traversable(kernel.run_dir, "dnsmasq")
        stop(stopped)
        for files, texts in restarted:
            self._started[files.network] = _start(files, texts)

    def remove(self, kernel: Kernel, resources: Sequence[Dnsmasq]) -> None:
        """End the processes and remove their files; the leases stay."""
        for service in resources:
            self._waiting.pop(service.network, None)
        super().remove(kernel, resources)

    def refresh_servers(self, kernel: Kernel, resources: Iterable[Dnsmasq]) -> list[UUID]:
        """Hand the host's present DNS servers to those that follow them.

        Returns the networks for which that was news.
        """
        resolvers = read_resolvers(self._resolv_conf)
        changed: list[UUID] = []
        for service in resources:
            files = self.files(kernel, service.network)
            process = self._running(files)
            texts = files.texts(service, resolvers)
            if process is None:
                continue
            try:
                with _writing(files):
                    news = files.write_changed(texts, ["servers"])
            except HostError as error:
                # The others have theirs all the same.
                log.error("%s does not learn of the host's servers: %s", process.program, error)
                continue
            if news:
                _reload(files, process)
                changed.append(service.network)
        return changed

    def forget_leases(self, kernel: Kernel, network: UUID) -> None:
        """Remove the lease file of a network that is no more."""
        path = lease_path(kernel.state_dir, network)
        # Mostly there is none: an exception would take longer than the look.
        if os.access(path, os.F_OK):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108

    def forget_other_leases(self, kernel: Kernel, known: Collection[UUID]) -> None:
        """Remove the lease files of all networks but the ``known`` ones."""
        names = {str(network) for network in known}
        for path in state_directory(kernel.state_dir).glob("*.leases"):
            if path.stem not in names:
                path.unlink(missing_ok=True)


def _spawn(files: DnsmasqFiles) -> int:
    program = find_program("dnsmasq", "dnsmasq-base")
    return spawn([program, "--keep-in-foreground", files.mark], files.log)


def _start(files: DnsmasqFiles, texts: Mapping[str, str]) -> int:
    """Write the files, start dnsmasq and return its pid."""
    with _writing(files):
        files.make()
        trim_log(files.log)
        files.pid.unlink(missing_ok=True)
        files.untold.unlink(missing_ok=True)
        for name, text in texts.items():
            files.write(name, text)
    return _spawn(files)


def _feed(files: DnsmasqFiles, texts: Mapping[str, str], pid: int) -> None:
    """Write the files of a dnsmasq that waits for them."""
    with _writing(files):
        for name in RELOADED:
            files.write(name, texts[name])
        files.feed(texts["config"], files.process_of(pid, None))


@contextlib.contextmanager
def _writing(files: DnsmasqFiles) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostError(
            f"cannot write the files of dnsmasq in {files.directory}: {error.strerror}",
            hint="df shows what is full" if error.errno == errno.ENOSPC else None,
        ) from error


def _reload(files: DnsmasqFiles, process: Process) -> None:
    reload(process)
    files.untold.unlink(missing_ok=True)
