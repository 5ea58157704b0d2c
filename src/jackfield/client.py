"""Talk to the daemon: HTTP/1.1 on its UNIX socket, with the least that it takes.

The command line is a process per call, and everything imported here is paid each time: the
standard library's HTTP client would cost more than all the rest (30 ms).  One connection
carries one request.
"""

from __future__ import annotations

import json
import os
import socket

from jackfield.errors import (
    AccessDenied,
    DaemonUnreachable,
    InternalError,
    JackfieldError,
    by_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, BinaryIO

__all__ = ["DEFAULT_RUN_DIR", "LOCK_ADDRESS", "Client", "quote"]

DEFAULT_RUN_DIR = "/run/jackfield"

LOCK_ADDRESS = "\0jackfieldd"
"""The abstract socket that the daemon of a network namespace has from its start to its end."""

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_LINE_LIMIT = 65_536
_DESCRIPTORS = 256


def quote(text: str) -> str:
    """Return ``text`` percent-encoded as one segment of a path or value of a query (RFC 3986)."""
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if octet in _SAFE else f"%{octet:02X}" for octet in raw)


class Client:
    """The daemon whose run directory is ``run_dir``.

    Every method raises the error that the daemon answered with, as its own class, and
    ``DaemonUnreachable`` when nobody answers.
    """

    def __init__(self, run_dir: str | os.PathLike[str] = DEFAULT_RUN_DIR) -> None:
        """Connect to nothing yet."""
        self.path = os.path.join(os.fspath(run_dir), "api.sock")  # noqa: PTH118
        self._descriptor_path = os.path.join(os.fspath(run_dir), "fd.sock")  # noqa: PTH118

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the decoded JSON of the answer, ``None`` for an empty one.

        ``body`` is sent as it is when it is ``bytes`` or ``str`` (a document), and as JSON
        otherwise.
        """
        text = self.text(method, path, body, query=query)
        return json.loads(text) if text else None

    def text(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """Return the answer as text, which is how documents come."""
        with self._exchange(method, _target(path, query), body) as answer:
            return b"".join(answer.body()).decode()

    def lines(self, path: str, *, query: Mapping[str, str] | None = None) -> Iterator[Any]:
        """Yield the JSON value of each line of an answer, as it comes."""
        with self._exchange("GET", _target(path, query), None) as answer:
            rest = b""
            for piece in answer.body():
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    value = json.loads(line)
                    if isinstance(value, dict) and "error" in value:
                        raise _error(value)
                    yield value

    def _exchange(self, method: str, target: str, body: object) -> _Answer:
        """Send a request and return the answer, its head read and found good."""
        connection = self._connect(self.path)
        answer = _Answer(connection, self.path)
        try:
            try:  # noqa: SIM105 - contextlib is an import more
                connection.sendall(_request(method, target, body))
            except ConnectionError:
                # A daemon that refuses a body early closes while we still send; what it had to
                # say is there to be read all the same.
                pass
            answer.read_head()
            if answer.status >= 300:
                raise _refusal(answer)
        except BaseException:
            answer.close()
            raise
        return answer

    def open_port(self, port: str) -> list[int]:
        """Return the open device of a port, a descriptor for each of its queues."""
        path = self._descriptor_path
        with self._connect(path, socket.SOCK_SEQPACKET) as connection:
            connection.sendall(json.dumps({"port": port}).encode())
            text, descriptors, _, _ = socket.recv_fds(connection, _LINE_LIMIT, _DESCRIPTORS)
        if not text:
            raise _lost(path)
        value = json.loads(text)
        if "error" in value:
            raise _error(value)
        return list(descriptors)

    def _connect(self, path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, kind)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            if isinstance(error, PermissionError):
                raise AccessDenied(
                    f"no permission to connect to {path}", hint="try again with sudo"
                ) from error
            raise DaemonUnreachable(
                f"no daemon answers at {path}: {error.strerror or error}",
                hint=_way_to_daemon(),
            ) from error
        return connection


def _way_to_daemon() -> str:
    """Return how to have a daemon answer, where none does at its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(LOCK_ADDRESS)
        except OSError:
            return (
                "start it with: systemctl start jackfieldd, or jackfieldd as root "
                "(or name its run directory with --run-dir)"
            )
    return (
        "one runs on this host: name its run directory with --run-dir if that is another; if it is "
        "just starting, or somebody has removed its sockets, it answers soon; otherwise: "
        "systemctl restart jackfieldd (networks and guests go on)"
    )


class _Answer:
    """A response: its ``status`` and ``headers`` after ``read_head``, and then its ``body``."""

    def __init__(self, connection: socket.socket, path: str) -> None:
        self._connection = connection
        self._path = path
        self._file: BinaryIO = connection.makefile("rb")
        self.status = 0
        self.headers: dict[str, str] = {}

    def read_head(self) -> None:
        """Read up to the body."""
        line = self._line()
        parts = line.split(" ", 2)
        if not parts[0].startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
            raise InternalError(f"the daemon's answer is not HTTP: {line[:80]!r}")
        self.status = int(parts[1])
        while line := self._line():
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._file.close()
        self._connection.close()

    def body(self) -> Iterator[bytes]:
        """Yield the body piece by piece, each as soon as it is there."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while length := int(self._line().partition(";")[0], 16):
                yield self._read(length)
                self._line()
            return
        length = int(self.headers.get("content-length", "0"))
        if length:
            yield self._read(length)

    def _read(self, length: int) -> bytes:
        try:
            piece = self._file.read(length)
        except ConnectionError:
            piece = b""
        if len(piece) < length:
            raise _lost(self._path)
        return piece

    def _line(self) -> str:
        try:
            line = self._file.readline(_LINE_LIMIT)
        except ConnectionError:
            line = b""
        if not line.endswith(b"\n"):
            raise _lost(self._path)
        return line.decode("latin-1").rstrip("\r\n")


def _target(path: str, query: Mapping[str, str] | None) -> str:
    if not query:
        return path
    return path + "?" + "&".join(f"{quote(key)}={quote(value)}" for key, value in query.items())


def _request(method: str, target: str, body: object) -> bytes:
    """Return a whole request; a document begins with ``{`` when it is JSON."""
    head = f"{method} {target} HTTP/1.1\r\nHost: jackfield\r\nConnection: close\r\n"
    if body is None:
        return f"{head}Content-Length: 0\r\n\r\n".encode()
    if isinstance(body, str | bytes):
        content = body.encode() if isinstance(body, str) else body
        media_type = "json" if content.lstrip().startswith(b"{") else "xml"
    else:
        content = json.dumps(body).encode()
        media_type = "json"
    head += f"Content-Type: application/{media_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def _refusal(answer: _Answer) -> JackfieldError:
    text = b"".join(answer.body()).decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("error"), dict):
        return InternalError(f"the daemon answered with status {answer.status}: {text[:200]}")
    return _error(value)


def _error(value: dict[str, Any]) -> JackfieldError:
    """Return the error that the daemon raised, as its class.

    The message is complete already, so what the classes' constructors would put into it (a
    line, the kernel's number) is not asked for again.
    """
    told = value["error"]
    kind = by_name(str(told.get("name", "")))
    error = kind.__new__(kind)
    JackfieldError.__init__(error, str(told.get("message", "")), hint=told.get("hint"))
    return error


def _lost(path: str) -> DaemonUnreachable:
    return DaemonUnreachable(
        f"the daemon at {path} closed the connection in the middle of an answer",
        hint="see whether what was asked for was done: jackfield list",
    )
