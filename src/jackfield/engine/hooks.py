"""Hooks: an administrator's scripts, called as libvirt's network driver calls them.

``HOOKS/network``, and after it every script of ``HOOKS/network.d`` by name, is run as::

    SCRIPT NETWORK OPERATION begin|end -

with ``<hookData>`` on standard input: the network's live document and, where an operation is
about a port, the port's.  See https://libvirt.org/hooks.html.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import BinaryIO

import msgspec

from jackfield.document.libvirt import write_network
from jackfield.document.port import write_port
from jackfield.engine.registry import Registry
from jackfield.errors import HookFailed
from jackfield.model.network import Network
from jackfield.model.port import Port

__all__ = ["Hooks", "Operation"]

log = logging.getLogger(__name__)

_SETTLED = 1_000_000_000
"""Nanoseconds after which a directory that changes shows another time than it did."""

_SAID = 4096
"""Bytes kept of what a script says on standard error."""

# What libvirt hands on of its own environment.
_ENVIRONMENT = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LINE_OF_ELEMENT = re.compile(r"^(?= *<)", re.MULTILINE)


class Operation(enum.Enum):
    """What scripts are told of, and whether it begins or has ended."""

    START = ("start", "begin")
    STARTED = ("started", "begin")
    STOPPED = ("stopped", "end")
    UPDATED = ("updated", "begin")
    PORT_CREATED = ("port-created", "begin")
    PORT_DELETED = ("port-deleted", "begin")


class Hooks:
    """Runs the scripts of one directory; where there are none, a look at two files is all."""

    def __init__(self, directory: Path, timeout: float, registry: Registry) -> None:
        """Run what is in ``directory``, each script for ``timeout`` seconds at most."""
        self._script = directory / "network"
        self._directory = directory / "network.d"
        # They are looked for at every port; a path is made text anew each time.
        self._places = (str(self._script), str(self._directory))
        self._timeout = timeout
        self._registry = registry
        self._listed: tuple[int, tuple[Path, ...]] = (0, ())

    @property
    def present(self) -> bool:
        """Whether there is anything to run."""
        return bool(self._scripts())

    async def run(self, operation: Operation, network: Network, port: Port | None = None) -> None:
        """Run all scripts one after the other; ``HookFailed`` from the last that failed."""
        scripts = self._scripts()
        if not scripts:
            return
        connections = self._registry.connections(network)
        count = self._registry.port_count(network.uuid) if network.uuid else 0
        shown = msgspec.structs.replace(network, connections=count or None)

        def describe() -> bytes:
            text = write_network(shown, inactive=False, connections=connections)
            if port is not None:
                text += write_port(port)
            return f"<hookData>\n{_LINE_OF_ELEMENT.sub('  ', text)}</hookData>".encode()

        document = await asyncio.to_thread(describe)
        failure: HookFailed | None = None
        for script in scripts:
            argv = (str(script), str(network.name), *operation.value, "-")
            try:
                await self._run_script(argv, document)
            except HookFailed as error:
                # Those after it are run all the same, as libvirt does.
                log.warning("network %s: %s", network.name, error)
                failure = error
        if failure is not None:
            raise failure

    async def tell(self, operation: Operation, network: Network, port: Port | None = None) -> None:
        """Run the scripts for what has happened and cannot be refused; failures are logged."""
        with contextlib.suppress(HookFailed):
            await self.run(operation, network, port)

    def _scripts(self) -> list[Path]:
        """Return the scripts that are executable now; the directory is listed when it changed."""
        script, directory = self._places
        # An exception would take longer than the look.
        candidates = self._in_directory() if os.access(directory, os.F_OK) else ()
        if os.access(script, os.X_OK):
            candidates = (self._script, *candidates)
        elif not candidates:
            return []
        return [path for path in candidates if os.access(path, os.X_OK) and path.is_file()]

    def _in_directory(self) -> tuple[Path, ...]:
        try:
            changed = self._directory.stat().st_mtime_ns
            known, paths = self._listed
            if known != changed:
                paths = tuple(sorted(self._directory.iterdir()))
                # One that changes again within the clock's step would look the same.
                fresh = time.time_ns() - changed < _SETTLED
                self._listed = (0 if fresh else changed, paths)
        except OSError:
            return ()
        return paths

    async def _run_script(self, argv: tuple[str, ...], document: bytes) -> None:
        """Run one script to its end; what it started in the background may go on."""
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment = {"PATH": _PATH, **environment, "LC_ALL": "C"}
        with _in_memory(document) as document_file, _Said() as said:
            try:
                process = await asyncio.to_thread(
                    subprocess.Popen,
                    argv,
                    stdin=document_file,
                    stdout=subprocess.DEVNULL,
                    stderr=said.writer,
                    env=environment,
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                raise _failed(argv, environment, f"cannot be run: {error.strerror}") from error
            said.began()
            try:
                await asyncio.wait_for(_ended(process), self._timeout)
            except TimeoutError:
                reason = f"took longer than {self._timeout:g} s and was killed"
                raise _failed(argv, environment, reason) from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    await asyncio.shield(_ended(process))
            words = said.text()
        if process.returncode:
            status = f"unexpected exit status {process.returncode}"
            if process.returncode < 0:
                status = f"unexpected fatal signal {-process.returncode}"
            told = f": {words}" if words else ""
            raise _failed(argv, environment, f"{status}{told}")


def _failed(argv: tuple[str, ...], environment: dict[str, str], reason: str) -> HookFailed:
    """Return the error of a script, with libvirt's words for it."""
    order = ("LC_ALL", *_ENVIRONMENT)
    shown = [f"{name}={environment[name]}" for name in order if name in environment]
    command = " ".join([*shown, *argv])
    return HookFailed(
        f"hook {' '.join(argv)}: {reason.rstrip()}",
        hint="the script decides this; its messages on standard error are shown here",
    ).in_libvirt(f"internal error: Child process ({command}) {reason}")


def _in_memory(data: bytes) -> BinaryIO:
    """Return a file of the memory that reads as ``data``: a script need not read it."""
    file = os.fdopen(os.memfd_create("hook", os.MFD_CLOEXEC), "w+b", buffering=0)
    file.write(data)
    file.seek(0)
    return file


class _Said:
    """A pipe for what a script says; its beginning is kept, and nobody waits for its end."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)
        self._kept = bytearray()

    def began(self) -> None:
        """Read what comes, and leave the writing end to the script."""
        os.close(self.writer)
        self.writer = -1
        asyncio.get_running_loop().add_reader(self._reader, self._read)

    def text(self) -> str:
        """Return what has been said so far."""
        while len(self._kept) < _SAID and self._read():
            pass
        return self._kept.decode(errors="replace")

    def _read(self) -> bool:
        """Take what is there; return whether there may be more."""
        try:
            data = os.read(self._reader, 65536)
        except BlockingIOError:
            return False
        self._kept += data[: _SAID - len(self._kept)]
        if not data:
            asyncio.get_running_loop().remove_reader(self._reader)
        return bool(data)

    def __enter__(self) -> _Said:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._reader)
        os.close(self._reader)
        if self.writer >= 0:
            os.close(self.writer)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until ``process`` has ended, and collect it."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, lambda: None if ended.done() else ended.set_result(None))
    try:
        await ended
        process.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
