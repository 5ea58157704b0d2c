"""A network namespace seen from a test: run programs in it, open sockets in it, ask the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.lab.wait import wait_for

__all__ = [
    "CommandFailed",
    "Namespace",
    "NetworkNamespace",
    "environment",
    "nft_objects",
    "open_namespaces",
]

CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)

#: Every namespace that a test has made and not yet closed; must be empty at the end of a run.
open_namespaces: set[Namespace] = set()


def nft_objects(listed: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of a list that nft has made, without the flags of tables.

    Before its version 1.1 it prints memory there that it has freed, or breaks off.
    """
    objects: list[dict[str, Any]] = listed["nftables"]
    for item in objects:
        if "table" in item:
            item["table"].pop("flags", None)
    return objects


class CommandFailed(AssertionError):
    """A program ended with another status than 0; the message shows all that it said."""

    def __init__(self, result: subprocess.CompletedProcess[str]) -> None:
        """Keep the ``result``."""
        super().__init__(
            f"{' '.join(result.args)} ended with {result.returncode}\n"
            f"stdout: {result.stdout}\nstderr: {result.stderr}"
        )
        self.result = result


def _check(result: int, what: str) -> None:
    """Raise ``OSError`` for a failed call of libc."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class Namespace:
    """What hosts, guests and plain namespaces have in common.

    ``path`` is a file that stands for the network namespace, as the test process sees it.
    """

    name: str
    path: Path

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs ``argv`` in here, started by the test process."""
        raise NotImplementedError

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the namespace, and back at the end.

        Threads and processes that are started meanwhile begin in the namespace and stay there.
        """
        with (
            Path("/proc/thread-self/ns/net").open("rb") as home,
            self.path.open("rb") as inside,
        ):
            _check(_libc.setns(inside.fileno(), CLONE_NEWNET), f"enter {self.path}")
            try:
                yield
            finally:
                _check(_libc.setns(home.fileno(), CLONE_NEWNET), "return to the own namespace")

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """Return a socket of this namespace; it stays one wherever it is used."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def popen(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.DEVNULL,
        stderr: int | IO[Any] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[str]:
        """Start ``argv`` in here with ``env`` added to the environment; the caller ends it.

        It inherits the descriptors ``pass_fds``, under their own numbers.
        """
        return subprocess.Popen(
            self.command(argv),
            env=environment(env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            text=True,
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        check: bool = True,
        timeout: float = 30,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` in here and return what it said.

        Raises ``CommandFailed`` when it fails and ``check`` is true, ``TimeoutExpired`` after
        ``timeout`` seconds.
        """
        result = subprocess.run(
            self.command(argv),
            env=environment(env),
            input="" if input is None else input,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            raise CommandFailed(result)
        return result

    def ip(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what ``ip -j ARGUMENTS`` says; a command that says nothing gives ``[]``."""
        text = self.run(["ip", "-j", *arguments]).stdout.strip()
        # ip prints an empty object where it filtered an entry out.
        return [entry for entry in json.loads(text) if entry] if text else []

    def link(self, name: str) -> dict[str, Any] | None:
        """Return ``ip -j -d link show`` of one link, or ``None`` when there is none."""
        result = self.run(["ip", "-j", "-d", "link", "show", "dev", name], check=False)
        if result.returncode:
            return None
        link: dict[str, Any] = json.loads(result.stdout)[0]
        return link

    def links(self) -> set[str]:
        """Return the names of all links."""
        return {link["ifname"] for link in self.ip("link", "show")}

    def nft(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the objects that ``nft -j ARGUMENTS`` lists: ``list ruleset`` when none given."""

        def listed() -> tuple[list[dict[str, Any]]] | None:
            text = self.run(["nft", "-j", *(arguments or ("list", "ruleset"))]).stdout
            if not text.strip():
                return ([],)
            with contextlib.suppress(ValueError):
                return (nft_objects(json.loads(text)),)
            return None

        return wait_for(listed, 5, "nft not to break off at the flags of a table")[0]

    def tables(self) -> list[str]:
        """Return family and name (``inet filter``) of each nftables table, in the kernel's order.

        From nft's text: its JSON of a table with a flag may break off (before nft 1.1).
        """
        return self.run(["nft", "list", "tables"]).stdout.replace("table ", "").splitlines()

    def sysctl(self, name: str) -> str:
        """Return ``/proc/sys/NAME`` (``net/ipv4/ip_forward``) as the namespace has it."""
        with self.entered():
            return Path("/proc/sys", name).read_text().strip()

    def mac(self, ifname: str = "eth0") -> str:
        """Return a link's hardware address."""
        (link,) = self.ip("link", "show", "dev", ifname)
        address: str = link["address"]
        return address

    def set_sysctl(self, name: str, value: str) -> None:
        """Write ``value`` to ``/proc/sys/NAME`` of the namespace."""
        with self.entered():
            Path("/proc/sys", name).write_text(value)


class NetworkNamespace(Namespace):
    """A network namespace and nothing else, held by a descriptor of the test process.

    However the test process dies, the namespace goes with it.  Programs run in here see the
    machine's files and processes.
    """

    def __init__(self, name: str = "netns") -> None:
        """Make the namespace and set its lo up."""
        self.name = name
        # Another thread makes it, so that the caller never leaves its own namespace.
        maker = threading.Thread(target=self._make)
        maker.start()
        maker.join()
        if not hasattr(self, "_fd"):
            raise PermissionError("cannot make a network namespace: this needs root")
        self.path = Path(f"/proc/{os.getpid()}/fd/{self._fd}")
        open_namespaces.add(self)
        self.run(["ip", "link", "set", "lo", "up"])

    def _make(self) -> None:
        if _libc.unshare(CLONE_NEWNET) == 0:
            self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return ``argv`` run by nsenter(1) in this network namespace."""
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def close(self) -> None:
        """Let the namespace go; the kernel removes it when no socket holds it any more."""
        if self in open_namespaces:
            open_namespaces.remove(self)
            os.close(self._fd)

    def __enter__(self) -> NetworkNamespace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment of programs: the system's folders are always in the path."""
    environment = dict(os.environ)
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/sbin:/sbin"
    environment["LC_ALL"] = "C.UTF-8"
    environment.update(extra or {})
    return environment
