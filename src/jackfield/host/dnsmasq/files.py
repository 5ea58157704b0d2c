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
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from jackfield.errors import HostError, ServiceError
from jackfield.state.resources import Dnsmasq

__all__ = ["RELOADED", "ServiceFiles", "service_directory", "state_directory", "trim_log"]

RELOADED = ("hosts", "names", "options", "servers")
"""The files that dnsmasq reads again on SIGHUP."""

_PLACE = re.compile(
    r"^(pid-file|servers-file|addn-hosts|dhcp-hostsfile|dhcp-optsfile|dhcp-leasefile)"
    r"=@(DIR|STATE)@/",
    re.MULTILINE,
)
_RESOLVER_MARK = "# the host's own"
_LOG_LIMIT = 1 << 20
_FEED_LIMIT = 5.0
_FEED_PAUSE = 0.0002


def service_directory(run_dir: Path) -> Path:
    """Return the directory that holds one folder for each network."""
    return run_dir / "dnsmasq"


def state_directory(state_dir: Path) -> Path:
    """Return the directory of all lease files."""
    return state_dir / "dnsmasq"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFiles:
    """The files of one network: ``directory`` is its folder, ``leases`` its lease file."""

    network: UUID
    directory: Path
    leases: Path

    @classmethod
    def of(cls, run_dir: Path, state_dir: Path, network: UUID) -> ServiceFiles:
        """Return the files of ``network``."""
        return cls(
            network=network,
            directory=service_directory(run_dir) / str(network),
            leases=state_directory(state_dir) / f"{network}.leases",
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
    def process(self) -> Path:
        """Where we write which process it is."""
        return self.directory / "process"

    @property
    def untold(self) -> Path:
        """What is there while dnsmasq may not have read again what it should."""
        return self.directory / "untold"

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.directory / "log"

    def make(self) -> None:
        """Make the directories, open to dnsmasq's user."""
        for directory in (self.directory.parent, self.directory, self.leases.parent):
            directory.mkdir(parents=True, exist_ok=True)
            directory.chmod(0o755)

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

    def read(self, name: str) -> str | None:
        """Return what a file holds, or ``None`` when it is not there; a pipe holds nothing."""
        # A crash may leave a pipe for the configuration, and nobody who writes to it.
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
        with os.fdopen(os.open(temporary, flags, 0o644), "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text.encode("utf-8", "surrogateescape"))
        temporary.rename(path)

    def make_pipe(self) -> None:
        """Make the configuration a named pipe, at which dnsmasq waits until it is fed."""
        os.mkfifo(self.config, 0o600)

    def feed(self, text: str) -> None:
        """Let a dnsmasq that waits at the pipe have its configuration, and leave it as a file.

        Raises ``ServiceError`` when none comes for it.
        """
        limit = time.monotonic() + _FEED_LIMIT
        while True:
            try:
                pipe = os.open(self.config, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                break
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            if time.monotonic() > limit:
                raise ServiceError(f"dnsmasq of network {self.network} does not read {self.config}")
            time.sleep(_FEED_PAUSE)
        self.write("config", text)
        os.set_blocking(pipe, True)
        # One that has ended meanwhile says why where its readiness is waited for.
        with contextlib.suppress(BrokenPipeError), os.fdopen(pipe, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))

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

    def remove(self) -> None:
        """Remove everything but the leases; raises ``HostError`` when something stays."""
        try:
            for path in self.directory.iterdir():
                path.unlink(missing_ok=True)
            self.directory.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            raise HostError(f"cannot remove {self.directory}: {error.strerror}") from error


def trim_log(log: Path) -> None:
    """Begin ``log`` anew when it is long, keeping its end as ``log.old``.

    Guests decide how much is written.  dnsmasq keeps its descriptor (``O_APPEND``), so the file
    is copied and cut, not renamed.
    """
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > _LOG_LIMIT:
            with log.open("rb") as file:
                file.seek(-_LOG_LIMIT, os.SEEK_END)
                log.with_name("log.old").write_bytes(file.read(_LOG_LIMIT))
            os.truncate(log, 0)


def _servers(service: Dnsmasq, resolvers: Iterable[str]) -> str:
    lines = [f"server={server}" for server in service.servers]
    if service.follow_resolver:
        lines.append(_RESOLVER_MARK)
        lines += [f"server={server}" for server in resolvers]
    return "".join(f"{line}\n" for line in lines)


def _parse_servers(text: str) -> tuple[tuple[str, ...], bool]:
    own, mark, _ = text.partition(f"{_RESOLVER_MARK}\n")
    return tuple(line.removeprefix("server=") for line in own.splitlines()), bool(mark)
