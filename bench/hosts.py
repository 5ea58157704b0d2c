"""The hosts that do the work: one with jackfieldd, one with libvirtd, one with neither.

Each is a lab host; the daemons write what they must keep to the machine's own disk, as they do
in earnest, in folders that go with the host.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from bench.worker import Worker
from jackfield.client import Client
from jackfield.errors import DaemonUnreachable
from tests.lab.host import Host, HostProcess
from tests.lab.libvirtd import StockLibvirtd, use_stock_programs
from tests.lab.wait import wait_for

__all__ = [
    "Jackfield",
    "Libvirt",
    "RawHost",
    "daemon_python",
    "distribution_python",
    "process_memory",
    "use_python",
]

ROOT = Path(__file__).resolve().parent.parent
RUN_DIR = "/run/jackfield"
LIBVIRT_SOCKET = f"{RUN_DIR}/libvirt-sock"
_IDLE = 2.0
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
_DISTRIBUTIONS = "/usr/bin/python3"
_daemon_python = sys.executable


def daemon_python() -> str:
    """Return the Python that runs our daemon, and the bare script beside it."""
    return _daemon_python


def distribution_python() -> str:
    """Return the Python that a packaged daemon runs by, or this one where that is another version.

    The peer's daemon is the distribution's build as well (docs/decisions/0012).
    """
    try:
        return _DISTRIBUTIONS if _version(_DISTRIBUTIONS) == _version() else sys.executable
    except (OSError, subprocess.CalledProcessError):
        return sys.executable


def use_python(path: str) -> None:
    """Have another Python run our daemon and the bare script, with the packages of this one.

    Raises ``ValueError`` unless it is there and of the same version, for which those are made.
    """
    global _daemon_python
    try:
        found, wanted = _version(path), _version()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{path} cannot be run: {error}") from error
    if found != wanted:
        raise ValueError(f"{path} is Python {found}, and the packages are for {wanted}")
    _daemon_python = str(Path(path).absolute())
    ENVIRONMENT["PYTHONPATH"] += f":{sysconfig.get_path('purelib')}"


def _version(python: str | None = None) -> str:
    """Return the version that packages are made for, 3.11, of a Python or of this one."""
    if python is None:
        return sysconfig.get_python_version()
    code = "import sysconfig; print(sysconfig.get_python_version())"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return said.stdout.strip()


class _BenchHost:
    """A lab host and a folder on the machine's disk, both gone at the end of the ``with``."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="jackfield-bench-", dir="/var/tmp"))
        # dnsmasq comes here as its own user.
        self.folder.chmod(0o755)
        self.host = Host(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the host and remove the folder."""
        self.host.close()
        shutil.rmtree(self.folder)


class KeptConnection:
    """HTTP/1.1 over one connection to a UNIX socket, with as little of a client as will do.

    The daemon closes what is idle for some seconds, so a connection that has rested is a new one.
    """

    def __init__(self, path: str) -> None:
        """Connect."""
        self._path = path
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(self._path)
        self._file = self._socket.makefile("rb")
        self._used = time.monotonic()

    def timed(self, method: str, path: str, body: object = None) -> float:
        """Send a request and read its answer; return the seconds.  ``RuntimeError`` if refused."""
        if time.monotonic() - self._used > _IDLE:
            self.close()
            self._connect()
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: jackfield\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        begin = time.perf_counter()
        self._socket.sendall(head.encode() + content)
        status = self._file.readline()
        length = 0
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        answer = self._file.read(length)
        took = time.perf_counter() - begin
        self._used = time.monotonic()
        if not status.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path}: {status!r} {answer!r}")
        return took

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


class Jackfield(_BenchHost):
    """jackfieldd on a host, asked over HTTP by this process, or by libvirt's client.

    ``module`` runs instead of the daemon and gets the file ``output`` as its first argument: a
    module that observes it (``bench.profiled_daemon``, ``bench.staged_daemon``).
    """

    def __init__(self, *, module: str = "jackfield.daemon", output: Path | None = None) -> None:
        """Start the daemon and wait until it answers."""
        super().__init__("ours")
        self.client = Client(self.host.file(RUN_DIR))
        self._kept: KeptConnection | None = None
        self._has_clients = False
        self._libvirt: Worker | None = None
        self._module = [module] if output is None else [module, str(output)]
        self.process: HostProcess
        try:
            self.launch()
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> Path:
        """What the daemon has written."""
        return self.folder / "jackfieldd.log"

    def launch(self) -> float:
        """Start the daemon; return the seconds until it answers."""
        begin = time.perf_counter()
        with self.log.open("a") as log:
            self.process = self.host.start(
                [
                    *(_daemon_python, "-m", *self._module),
                    *("--run-dir", RUN_DIR, "--state-dir", str(self.folder / "state")),
                ],
                env=ENVIRONMENT,
                stdout=log,
                stderr=log,
            )
        wait_for(self._answers, 120, "jackfieldd to answer", interval=0.005)
        return time.perf_counter() - begin

    def terminate(self) -> None:
        """End the daemon in order; its networks stay."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        self.process.stop(60)

    def define(self, document: str) -> None:
        """Define a network."""
        self.client.request("POST", "/v1/networks", document)

    def ask_as_libvirt(self) -> None:
        """Have networks be started and stopped by the peer's own client from here on."""
        self._libvirt = self.libvirt_client()

    def start(self, name: str) -> float:
        """Start a network; return the seconds it took."""
        return self._change("start", name)

    def stop(self, name: str) -> float:
        """Stop a network; return the seconds it took."""
        return self._change("stop", name)

    def _change(self, verb: str, name: str) -> float:
        if self._libvirt is not None:
            return float(self._libvirt.call(verb, name=name))
        return self.timed("POST", f"/v1/networks/{name}/{verb}")

    def attach_tap(self, network: str, tap: str) -> float:
        """Make a persistent tap that is a port of a network; return the seconds it took."""
        return self.timed("POST", f"/v1/networks/{network}/ports", {"tap": tap})

    def detach(self, port: str) -> float:
        """Unplug a port; return the seconds it took."""
        return self.timed("DELETE", f"/v1/ports/{port}")

    def libvirt_client(self, socket_path: str = LIBVIRT_SOCKET) -> Worker:
        """Return a client that speaks libvirt's protocol to us, the same as the peer's.

        ``socket_path`` is of another server on the host, where it is not us.
        """
        if not self._has_clients:
            use_stock_programs(self.host)
            self._has_clients = True
        argv = ["/usr/bin/python3", "-m", "bench.libvirt_worker"]
        uri = f"network:///system?socket={socket_path}"
        return Worker(self.host, argv, {"PYTHONPATH": str(ROOT), "BENCH_URI": uri})

    def networks(self) -> list[dict[str, Any]]:
        """Return the summaries of all networks."""
        found: list[dict[str, Any]] = self.client.request("GET", "/v1/networks")
        return found

    def timed(self, method: str, path: str, body: object = None) -> float:
        """Ask over one kept connection, as the peer's client does; return the seconds."""
        if self._kept is None:
            self._kept = KeptConnection(self.client.path)
        return self._kept.timed(method, path, body)

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"jackfieldd ended:\n{self.log.read_text()[-4000:]}")
        try:
            self.client.request("GET", "/v1/version")
        except DaemonUnreachable:
            return False
        return True

    def close(self) -> None:
        """End the daemon in order (a profile is written then), and the host."""
        with contextlib.suppress(AttributeError, OSError):
            if self.process.poll() is None:
                self.terminate()
        super().close()


class Libvirt(_BenchHost):
    """A stock libvirtd on a host, asked by its own Python binding over one kept connection."""

    def __init__(self) -> None:
        """Start the daemon and wait until it answers."""
        super().__init__("peer")
        try:
            self.daemon = StockLibvirtd(self.host, writable=self.folder / "layers")
            self.worker = self.libvirt_client()
        except BaseException:
            self.close()
            raise

    def libvirt_client(self) -> Worker:
        """Return another client, with a connection of its own."""
        argv = ["/usr/bin/python3", "-m", "bench.libvirt_worker"]
        return Worker(self.host, argv, {"PYTHONPATH": str(ROOT)})

    def define(self, document: str) -> None:
        """Define a network."""
        self.worker.call("define", document=document)

    def start(self, name: str) -> float:
        """Start a network; return the seconds it took."""
        return float(self.worker.call("start", name=name))

    def stop(self, name: str) -> float:
        """Stop a network; return the seconds it took."""
        return float(self.worker.call("stop", name=name))


class RawHost(_BenchHost):
    """A host without a daemon, and the process that does the bare work there."""

    def __init__(self) -> None:
        """Start the worker."""
        super().__init__("raw")
        argv: Sequence[str] = [_daemon_python, "-m", "bench.raw"]
        self.worker = Worker(self.host, argv, ENVIRONMENT)

    def start(self, *, services: bool) -> float:
        """Make the network; return the seconds it took."""
        return float(self.worker.call("start", services=services))

    def stop(self) -> float:
        """Remove the network; return the seconds it took."""
        return float(self.worker.call("stop"))

    def port(self) -> float:
        """Make a tap on the network and delete it; return the seconds it took."""
        return float(self.worker.call("port"))


def process_memory(pid: int) -> float:
    """Return a process's proportional set size in MiB (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(os.strerror(3))
