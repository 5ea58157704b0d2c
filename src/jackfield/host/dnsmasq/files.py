"""The files of a network's dnsmasq.

They are::

    RUN_DIR/dnsmasq/UUID/config      read by dnsmasq when it starts
                         hosts       DHCP reservations    ┐
                         names       DNS names            │ read again on SIGHUP
                         options     DHCP options         │
                         servers     upstream servers     ┘
                         pid         written by dnsmasq once all its sockets are bound
                         process     written by us: its pid and start time
                         untold      there while files are new and dnsmasq was not told
                         log         what it says
    STATE_DIR/dnsmasq/UUID.leases    the leases, which outlive a boot

dnsmasq reads all but the first as its own user, so everybody may read them; nobody but us may
write there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import re
import select
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from jackfield.errors import ServiceError
from jackfield.host.dnsmasq.process import DnsmasqProcess
from jackfield.host.service.files import ServiceFiles
from jackfield.state.services import Dnsmasq

__all__ = ["RELOADED", "DnsmasqFiles", "lease_file", "lease_path", "state_directory"]

RELOADED = ("hosts", "names", "options", "servers")
"""The files that dnsmasq reads again on SIGHUP."""

_PLACE = re.compile(
    r"^(pid-file|servers-file|addn-hosts|dhcp-hostsfile|dhcp-optsfile|dhcp-leasefile)"
    r"=@(DIR|STATE)@/",
    re.MULTILINE,
)
_RESOLVER_MARK = "# the host's own"
_LEASES = "dnsmasq"
_FEED_LIMIT = 5.0
_FEED_PAUSE = 0.00003
_FEED_LOOKS = 50
"""How often the pipe is tried until it is looked whether anybody is to come: that takes longer."""


def state_directory(state_dir: Path) -> Path:
    """Return the directory of all lease files."""
    return state_dir / _LEASES


def lease_file(state_dir: Path, network: UUID) -> Path:
    """Return where the leases of ``network`` are kept."""
    return Path(lease_path(state_dir, network))


def lease_path(state_dir: Path, network: UUID) -> str:
    """Return the same as text: to make a ``Path`` takes longer than to remove the file."""
    return f"{state_dir}/{_LEASES}/{network}.leases"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DnsmasqFiles(ServiceFiles):
    """The files of one network's dnsmasq; ``leases`` is its lease file, which ``remove`` leaves."""

    leases: Path

    @classmethod
    def of(cls, run_dir: Path, state_dir: Path, network: UUID) -> DnsmasqFiles:
        """Return the files of ``network``."""
        return cls(
            network=network,
            directory=run_dir / "dnsmasq" / str(network),
            leases=lease_file(state_dir, network),
        )

    @property
    def config(self) -> Path:
        """What dnsmasq is started with."""
        return self.directory / "config"

    @property
    def pid(self) -> Path:
        """Where dnsmasq writes its pid."""
        return self.directory / "pid"

    @property
    def untold(self) -> Path:
        """What is there while dnsmasq may not have read again what it should."""
        return self.directory / "untold"

    @property
    def mark(self) -> str:
        """The argument that names its configuration."""
        return f"--conf-file={self.config}"

    def process_of(self, pid: int, start_time: int | None) -> DnsmasqProcess:
        """Return the process ``pid`` as this network's dnsmasq."""
        return DnsmasqProcess(
            network=self.network,
            pid=pid,
            start_time=start_time,
            directory=self.directory,
            mark=self.mark,
        )

    def told_pid(self) -> int | None:
        """Return what dnsmasq's own pid file says."""
        text = (self.read("pid") or "").strip()
        return int(text) if text.isdigit() else None

    def make(self) -> None:
        """Make the directories, open to dnsmasq's user."""
        for directory in (self.directory.parent, self.directory, self.leases.parent):
            # Text, and a look: a path and an exception take longer, and dnsmasq waits.
            path = os.fspath(directory)
            if not os.access(path, os.F_OK):
                directory.mkdir(parents=True, exist_ok=True)
            os.chmod(path, 0o755)  # noqa: PTH101

    def texts(self, service: Dnsmasq, resolvers: Iterable[str]) -> dict[str, str]:
        """Return what the files hold for ``service``, by name."""
        places = {"DIR": self.directory, "STATE": self.leases.parent}
        config = _PLACE.sub(lambda match: f"{match[1]}={places[match[2]]}/", service.config)
        return {
            "config": config,
            "hosts": service.hosts,
            "names": service.names,
            "options": service.options,
            "servers": _servers(service, resolvers),
        }

    def make_pipe(self) -> None:
        """Make the configuration a named pipe, at which dnsmasq waits until it is fed."""
        os.mkfifo(self.config, 0o600)

    def feed(self, text: str, process: DnsmasqProcess) -> None:
        """Let ``process``, which waits at the pipe, have its configuration, and leave it as a file.

        Raises ``ServiceError`` when it ends instead, which says why, or does not come for it.
        """
        limit = time.monotonic() + _FEED_LIMIT
        path = os.fspath(self.config)
        for number in itertools.count(1):
            try:
                pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                break
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            if number % _FEED_LOOKS == 0:
                if not process.is_alive():
                    raise process.why_ended()
                if time.monotonic() > limit:
                    raise ServiceError(f"dnsmasq does not read {self.config}")
            time.sleep(_FEED_PAUSE)
        try:
            self.write("config", text)
            # One that has ended meanwhile says why where its readiness is waited for.
            with contextlib.suppress(BrokenPipeError):
                self._fill(pipe, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(pipe)

    def _fill(self, pipe: int, data: bytes) -> None:
        """Write to a pipe that does not block: a pipe holds less than a long configuration."""
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        while data:
            if not poll.poll(_FEED_LIMIT * 1000):
                raise ServiceError(f"dnsmasq has stopped reading {self.config}")
            data = data[os.write(pipe, data) :]

    def write_changed(self, texts: dict[str, str], names: Iterable[str]) -> bool:
        """Write the named files that differ from ``texts``; return whether there was one.

        Then dnsmasq is to be told, and ``untold`` to be removed.  When that was left undone
        before, all files count as different.
        """
        changed = [name for name in names if self.read(name) != texts[name]]
        if self.untold.exists():
            changed = list(RELOADED)
        elif changed:
            self.untold.touch()
        for name in changed:
            self.write(name, texts[name])
        return bool(changed)

    def observe(self, wanted: Dnsmasq) -> Dnsmasq:
        """Return the service that the files describe, as far as it differs from ``wanted``.

        The host's own servers are not looked at: they change without the network.
        """
        texts = self.texts(wanted, ())
        config = self.read("config")
        servers, follows = _parse_servers(self.read("servers") or "")
        return dataclasses.replace(
            wanted,
            config=wanted.config if config == texts["config"] else config or "",
            hosts=self.read("hosts") or "",
            names=self.read("names") or "",
            options=self.read("options") or "",
            servers=servers,
            follow_resolver=follows,
        )


def _servers(service: Dnsmasq, resolvers: Iterable[str]) -> str:
    lines = [f"server={server}" for server in service.servers]
    if service.follow_resolver:
        lines.append(_RESOLVER_MARK)
        lines += [f"server={server}" for server in resolvers]
    return "".join(f"{line}\n" for line in lines)


def _parse_servers(text: str) -> tuple[tuple[str, ...], bool]:
    own, mark, _ = text.partition(f"{_RESOLVER_MARK}\n")
    return tuple(line.removeprefix("server=") for line in own.splitlines()), bool(mark)
