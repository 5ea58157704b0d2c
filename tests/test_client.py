"""The client, against servers that misbehave."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield import errors
from jackfield.client import Client, quote


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[Client]:
    """Serve one connection with ``answer``, whatever is asked, and close it."""
    with tempfile.TemporaryDirectory(prefix="jackfield-client-") as directory:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(Path(directory) / "api.sock"))
        listener.listen()

        def work() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            with listener:
                yield Client(directory)
                thread.join(5)
        finally:
            assert not thread.is_alive()


def response(status: str, body: bytes) -> bytes:
    """Return an HTTP response."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_a_chunked_answer_is_read_whole() -> None:
    """Chunks are put together, extensions and all."""
    body = b"3;x=y\r\n[1,\r\n3\r\n 2]\r\n0\r\n\r\n"
    with answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body) as client:
        assert [1, 2] == client.request("GET", "/")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
    ],
)
def test_a_torn_answer_is_an_error(answer: bytes) -> None:
    """An answer that ends in the middle is never taken for one."""
    with answering(answer) as client, pytest.raises(errors.DaemonUnreachable, match="closed"):
        client.request("GET", "/")


def test_something_else_at_the_socket() -> None:
    """What does not speak HTTP is said not to."""
    with (
        answering(b"220 mail ready\r\n") as client,
        pytest.raises(errors.InternalError, match="not HTTP: '220 mail ready'"),
    ):
        client.request("GET", "/")


def test_an_error_without_our_shape() -> None:
    """A refusal that is not in the one shape is shown as it came."""
    with (
        answering(response("502 Bad", b"proxy says no")) as client,
        pytest.raises(errors.InternalError, match="status 502: proxy says no"),
    ):
        client.request("GET", "/")


@pytest.mark.parametrize("name", ["kernel-error", "invalid-document", "network-not-found"])
def test_errors_come_back_as_their_class(name: str) -> None:
    """The class is found by its name, the message is not changed on the way."""
    body = f'{{"error": {{"name": "{name}", "code": 1, "message": "what", "hint": "do"}}}}'
    with (
        answering(response("400 Bad", body.encode())) as client,
        pytest.raises(errors.JackfieldError) as caught,
    ):
        client.request("GET", "/")
    assert errors.by_name(name) is type(caught.value)
    assert ("what", "do", "what") == (
        caught.value.message,
        caught.value.hint,
        str(caught.value),
    )


def test_an_unknown_error_is_still_an_error() -> None:
    """A newer daemon may have errors that we do not know."""
    with (
        answering(response("400 Bad", b'{"error": {"name": "new", "message": "x"}}')) as client,
        pytest.raises(errors.JackfieldError, match="x"),
    ):
        client.request("GET", "/")


def test_lines_end_with_the_error_in_them() -> None:
    """A stream that cannot go on says why in its last line."""
    body = b'{"number": 1}\n{"error": {"name": "invalid-request", "message": "too slow"}}\n'
    with answering(response("200 OK", body)) as client:
        lines = client.lines("/v1/events")
        assert {"number": 1} == next(lines)
        with pytest.raises(errors.InvalidRequest, match="too slow"):
            next(lines)


def test_a_socket_nobody_listens_at(tmp_path: Path) -> None:
    """A socket that was left behind is no daemon."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(os.fspath(tmp_path / "api.sock"))
    with pytest.raises(errors.DaemonUnreachable, match="refused"):
        Client(tmp_path).request("GET", "/")


def test_quote() -> None:
    """Everything but the unreserved characters of RFC 3986 is encoded, octet by octet."""
    assert "red-network_1.~" == quote("red-network_1.~")
    assert "a%20b%2Fc%3Fd%23e%25f%C3%A9" == quote("a b/c?d#e%fé")
