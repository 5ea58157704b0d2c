"""A host: a process with network, mount, PID, UTS and IPC namespaces of its own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tests.lab.namespace import Namespace, open_namespaces
from tests.lab.wait import wait_for

if TYPE_CHECKING:
    from tests.lab.guest import Guest

__all__ = ["Host", "HostProcess"]


class HostProcess:
    """A program that runs on a host until it ends, is told to, or the host goes.

    ``popen`` is nsenter(1), which waits for the program and ends as the program did.
    """

    def __init__(self, popen: subprocess.Popen[Any]) -> None:
        """Keep nsenter's process."""
        self.popen = popen

    @property
    def pid(self) -> int:
        """The program's process id as the test process sees it."""
        children = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")

        def child() -> int:
            if self.popen.poll() is not None:
                raise ProcessLookupError(f"{self.popen.args!r} has ended already")
            return int(children.read_text().strip().partition(" ")[0] or 0)

        return wait_for(child, 5, "nsenter to start its program", interval=0.002)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself."""
        os.kill(self.pid, number)
        if number is signal.SIGCONT:
            # nsenter stops with its program, but does not go on with it.
            self.popen.send_signal(number)

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal it died of), or ``None`` while it runs."""
        return self.popen.poll()

    def wait(self, timeout: float = 10) -> int:
        """Return the exit status once the program has ended."""
        return _wait(self.popen, timeout)

    def stop(self, timeout: float = 10) -> int:
        """Ask a running program to end (SIGTERM) and return its exit status."""
        if self.poll() is None:
            self.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill9(self) -> None:
        """End the program at once and wait until it is gone."""
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
        self.wait()

    def close(self) -> None:
        """Collect the ended process and close its pipes."""
        _wait(self.popen, 10)
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()


class Host(Namespace):
    """A machine in a namespace: lo is up, nothing else is there.

    Its /run, /proc, /sys and resolv.conf are its own, the other files are the machine's.  It ends
    with ``close`` or with the test process, however that ends, and leaves nothing.
    """

    def __init__(self, name: str = "host") -> None:
        """Make the host and wait until it is ready."""
        self.name = name
        self._processes: list[HostProcess] = []
        self._unshare = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *("unshare", "--net", "--mount", "--pid", "--uts", "--ipc"),
                *("--propagation", "private", "--fork", "--kill-child=SIGKILL"),
                *(sys.executable, "-I", "-S", str(Path(__file__).with_name("init.py")), name),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._unshare.stdout is not None
        assert self._unshare.stderr is not None
        ready = self._unshare.stdout.readline()
        self._unshare.stdout.close()
        if ready != b"ready\n":
            said = self._unshare.stderr.read().decode(errors="replace")
            self._unshare.stderr.close()
            self._end_init()
            raise PermissionError(f"cannot make the lab host {name} (this needs root): {said}")
        self._unshare.stderr.close()
        self.pid = HostProcess(self._unshare).pid
        self.path = Path(f"/proc/{self.pid}/ns/net")
        open_namespaces.add(self)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return ``argv`` run by nsenter(1) in all namespaces of the host."""
        return [
            *("nsenter", "--target", str(self.pid)),
            # A file that lies in the machine's root must not be taken for a network of its name.
            *("--net", "--mount", "--pid", "--uts", "--ipc", "--wdns=/run", "--"),
            *argv,
        ]

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.DEVNULL,
        stderr: int | IO[Any] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> HostProcess:
        """Start ``argv`` on the host; it ends with the host at the latest."""
        process = HostProcess(
            self.popen(argv, env=env, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds)
        )
        self.adopt(process)
        return process

    def adopt(self, process: HostProcess) -> None:
        """Close a process that runs on the host when the host has ended."""
        self._processes.append(process)

    def file(self, path: str | Path) -> Path:
        """Return where the test process finds the host's file of the absolute ``path``."""
        return Path(f"/proc/{self.pid}/root") / str(path).lstrip("/")

    def processes(self, program: str) -> list[int]:
        """Return the host's process ids (its own numbers) whose executable is named ``program``."""
        found = []
        for directory in self.file("/proc").iterdir():
            if directory.name.isdigit():
                try:
                    command = (directory / "cmdline").read_bytes().split(b"\0")[0]
                    # One that is just being executed has no arguments yet.
                    command = command or os.fsencode((directory / "exe").readlink())
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if os.path.basename(os.fsdecode(command)) == program:  # noqa: PTH119
                    found.append(int(directory.name))
        return sorted(found)

    def guest(self, name: str) -> Guest:
        """Make a guest: a named network namespace (``ip netns``) of this host."""
        from tests.lab.guest import Guest

        return Guest(self, name)

    def open_tun(self) -> None:
        """Let everybody open /dev/net/tun, as on any other machine than a build room."""
        self.run(
            [
                *("sh", "-ec"),
                "mount -t tmpfs none /dev/net; mknod -m 666 /dev/net/tun c 10 200",
            ]
        )

    def use_name_servers(self, *addresses: str) -> None:
        """Make the host's /etc/resolv.conf list these addresses."""
        self.file("/run/lab/resolv.conf").write_text(
            "".join(f"nameserver {address}\n" for address in addresses)
        )

    def close(self) -> None:
        """End the host with everything that runs on it; wait until it is gone."""
        if self not in open_namespaces:
            return
        open_namespaces.remove(self)
        self._end_init()
        for process in self._processes:
            process.close()

    def _end_init(self) -> None:
        assert self._unshare.stdin is not None
        self._unshare.stdin.close()
        try:
            _wait(self._unshare, 10)
        except subprocess.TimeoutExpired:
            self._unshare.kill()
            self._unshare.wait(10)

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wait(process: subprocess.Popen[Any], timeout: float) -> int:
    """Return a child's exit status at once when it ends: ``Popen.wait`` looks every 50 ms."""
    if process.poll() is None:
        descriptor = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(timeout * 1000)
        finally:
            os.close(descriptor)
    return process.wait(0)
