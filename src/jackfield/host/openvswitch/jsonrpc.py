"""JSON-RPC 1.0 over a UNIX socket, as far as OVSDB uses it (RFC 7047, section 4).

One question at a time, each with a limit.  There is no framing: messages are JSON objects one
after the other.  A server may ask whether we are alive (``echo``), and is answered meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jackfield.errors import HostError, MissingFeature

__all__ = ["Connection", "Messages", "encode", "why_unreachable"]

_READ = 64 << 10
_LARGEST = 64 << 20
"""Bytes of the longest answer that is believed: a database of some ten thousand ports."""


def encode(message: object) -> bytes:
    """Return a message as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode()


def why_unreachable(path: Path, error: OSError) -> str:
    """Return in words why nobody could be reached at ``path``."""
    return {
        FileNotFoundError: f"there is no socket {path}",
        ConnectionRefusedError: f"nobody listens at {path}",
    }.get(type(error), f"cannot connect to {path}: {error.strerror or error}")


class Messages:
    """Takes bytes as they come and gives the messages that are whole."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._parts: list[bytes] = []
        self._size = 0
        self._decoder = json.JSONDecoder()

    def feed(self, data: bytes) -> list[Any]:
        """Return the messages that ``data`` completes.

        Raises ``ValueError`` for what is no JSON object, and for a message that has no end.
        """
        self._parts.append(data)
        self._size += len(data)
        if self._size > _LARGEST:
            raise ValueError(f"a message of more than {_LARGEST >> 20} MiB")
        # A long answer comes in many parts, and is parsed when it may be whole.
        if not data.rstrip().endswith(b"}"):
            return []
        return self._split()

    def _split(self) -> list[Any]:
        text = b"".join(self._parts)
        found: list[Any] = []
        try:
            rest = text.decode()
        except UnicodeDecodeError as error:
            if error.end < len(text) or error.reason != "unexpected end of data":
                raise ValueError("a message that is not UTF-8") from error
            return found
        rest = rest.lstrip()
        while rest:
            if not rest.startswith("{"):
                raise ValueError(f"{rest[:32]!r} where a JSON object begins")
            try:
                message, end = self._decoder.raw_decode(rest)
            except ValueError:
                # Not whole yet, or never: the limits of size and time decide.
                break
            found.append(message)
            rest = rest[end:].lstrip()
        self._parts = [rest.encode()] if rest else []
        self._size = len(self._parts[0]) if rest else 0
        return found


class Connection:
    """A connection to the server at ``path``; ``timeout`` seconds for each question."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        """Connect, or raise ``MissingFeature`` that names the socket."""
        self._path = path
        self._timeout = timeout
        self._messages = Messages()
        self._number = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise MissingFeature(
                f"Open vSwitch does not run on this host: {why_unreachable(path, error)}",
                hint="start its service (openvswitch-switch), or name its database's socket with "
                "the key openvswitch_socket",
            ) from error

    def __enter__(self) -> Self:
        """Return the connection."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def call(self, method: str, params: list[Any], *, timeout: float | None = None) -> Any:
        """Return the ``result`` of a question; ``HostError`` for an error or no answer in time."""
        self._number += 1
        limit = self._timeout if timeout is None else timeout
        end = time.monotonic() + limit
        with self._failing(limit):
            self._send({"method": method, "params": params, "id": self._number})
            while True:
                for message in self._receive(end):
                    if message.get("method") == "echo":
                        self._send(
                            {"result": message.get("params"), "error": None, "id": message["id"]}
                        )
                    elif message.get("id") == self._number and "method" not in message:
                        return self._result(method, message)

    def _result(self, method: str, message: dict[str, Any]) -> Any:
        error = message.get("error")
        if error is not None:
            words = error.get("error", error) if isinstance(error, dict) else error
            details = error.get("details", "") if isinstance(error, dict) else ""
            raise HostError(
                f"Open vSwitch's database at {self._path} refused {method}: {words}"
                + (f": {details}" if details else "")
            )
        return message.get("result")

    def _send(self, message: object) -> None:
        self._socket.sendall(encode(message))

    def _receive(self, end: float) -> list[dict[str, Any]]:
        self._socket.settimeout(max(end - time.monotonic(), 0.001))
        data = self._socket.recv(_READ)
        if not data:
            raise ConnectionResetError("it closed the connection")
        return self._messages.feed(data)

    @contextlib.contextmanager
    def _failing(self, limit: float) -> Iterator[None]:
        """Turn what goes wrong on the way into errors that name the socket."""
        try:
            yield
        except TimeoutError as error:
            raise HostError(
                f"Open vSwitch's database at {self._path} has not answered in {limit:g} s",
                hint="look whether ovsdb-server hangs",
            ) from error
        except OSError as error:
            raise HostError(
                f"the connection to Open vSwitch's database at {self._path} broke: "
                f"{error.strerror or error}",
                hint="it may be restarting; try again",
            ) from error
        except ValueError as error:
            raise HostError(
                f"what answers at {self._path} does not speak OVSDB: {error}",
                hint="the key openvswitch_socket names the socket of ovsdb-server",
            ) from error
