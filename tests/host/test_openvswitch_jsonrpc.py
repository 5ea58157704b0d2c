"""Framing and limits of the client of Open vSwitch's database, against a server of the test."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.errors import HostError, MissingFeature
from jackfield.host.openvswitch.database import Session
from jackfield.host.openvswitch.jsonrpc import Connection, Messages, encode
from jackfield.host.openvswitch.values import as_map, as_set, of_map, of_set, reference

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), VALUES), max_size=4), st.data())
def test_messages_come_in_any_parts(messages: list[dict[str, Any]], data: st.DataObject) -> None:
    """However the bytes are cut, the messages are those that were sent, in their order."""
    sent = b"\n".join(encode(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    bounds = [0, *cuts, len(sent)]
    reader = Messages()
    found = [
        message
        for begin, end in itertools.pairwise(bounds)
        for message in reader.feed(sent[begin:end])
    ]
    assert messages == found


@pytest.mark.parametrize("sent", [b"[1]}", b"HTTP/1.1 200 OK}", b"\xff\xfe}"])
def test_what_is_no_message_is_refused(sent: bytes) -> None:
    """A server of something else is found out at once."""
    with pytest.raises(ValueError, match=r"JSON object|UTF-8"):
        Messages().feed(sent)


def test_values() -> None:
    """Sets of one are written without the word, references as their uuid."""
    assert [1, 2] == of_set(as_set([1, 2]))
    assert [7] == of_set(7)
    assert [] == of_set(["set", []])
    assert ["u"] == of_set(reference("u"))
    assert ["u", "w"] == of_set(["set", [reference("u"), reference("w")]])
    assert {"a": "b"} == of_map(as_map({"a": "b"}))
    assert {0: "u"} == of_map(["map", [[0, reference("u")]]])


Answer = Callable[[socket.socket, dict[str, Any]], None]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], Path]]:
    """Give what starts a server that treats one question as it is told; return its socket."""
    path = tmp_path / "db.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    threads: list[threading.Thread] = []

    def start(answer: Answer) -> Path:
        def work() -> None:
            client, _ = listener.accept()
            with client:
                answer(client, json.loads(client.recv(65536)))

        threads.append(threading.Thread(target=work))
        threads[-1].start()
        return path

    yield start
    for thread in threads:
        thread.join(10)
    listener.close()


def test_an_echo_is_answered_meanwhile(serve: Callable[[Answer], Path]) -> None:
    """The server may ask before it answers, and answers to others are passed over."""
    heard: list[dict[str, Any]] = []

    def answer(client: socket.socket, question: dict[str, Any]) -> None:
        client.sendall(encode({"method": "echo", "params": ["x"], "id": "echo"}))
        heard.append(json.loads(client.recv(65536)))
        client.sendall(encode({"id": 4711, "result": "not ours", "error": None}))
        client.sendall(encode({"id": question["id"], "result": ["ours"], "error": None}))

    with Connection(serve(answer), timeout=5) as connection:
        assert ["ours"] == connection.call("transact", ["Open_vSwitch"])
    assert [{"result": ["x"], "error": None, "id": "echo"}] == heard


def test_refusals_are_told(serve: Callable[[Answer], Path]) -> None:
    """An error of the database is ours, with its words."""

    def answer(client: socket.socket, question: dict[str, Any]) -> None:
        error = {"error": "unknown database", "details": "no Open_vSwitch here"}
        client.sendall(encode({"id": question["id"], "result": None, "error": error}))

    with (
        Connection(serve(answer), timeout=5) as connection,
        pytest.raises(HostError, match="refused transact: unknown database: no Open_vSwitch here"),
    ):
        connection.call("transact", ["Open_vSwitch"])


def test_a_transactions_refusal_names_what_was_asked(serve: Callable[[Answer], Path]) -> None:
    """The word by which the database calls it is kept, for who can do something about it."""

    def answer(client: socket.socket, question: dict[str, Any]) -> None:
        result = [{}, {"error": "constraint violation", "details": "two rows"}, None]
        client.sendall(encode({"id": question["id"], "result": result, "error": None}))

    with Session(serve(answer)) as session, pytest.raises(HostError) as raised:
        session.transact([], "make v0 a port of br0")
    assert "cannot make v0 a port of br0: Open vSwitch's database says" in raised.value.message
    assert "constraint violation: two rows" in raised.value.message


def test_no_answer(serve: Callable[[Answer], Path]) -> None:
    """A server that hangs costs no more than the limit, and one that closes is told of."""
    released = threading.Event()

    def hang(client: socket.socket, question: dict[str, Any]) -> None:
        released.wait(10)

    path = serve(hang)
    with (
        Connection(path, timeout=0.05) as connection,
        pytest.raises(HostError, match=r"has not answered in 0\.05 s"),
    ):
        connection.call("echo", [])
    released.set()
    path = serve(lambda client, _: None)
    with (
        Connection(path, timeout=5) as connection,
        pytest.raises(HostError, match="closed the connection"),
    ):
        connection.call("echo", [])


def test_another_program_at_the_socket(serve: Callable[[Answer], Path]) -> None:
    """What it says is quoted, and the key that names the socket."""
    path = serve(lambda client, _: client.sendall(b"vde$ {hello}"))
    with (
        Connection(path, timeout=5) as connection,
        pytest.raises(HostError, match="does not speak OVSDB") as raised,
    ):
        connection.call("echo", [])
    assert "openvswitch_socket" in str(raised.value.hint)


def test_nobody_there(tmp_path: Path) -> None:
    """A missing socket and one without a server are told apart."""
    with pytest.raises(MissingFeature, match="there is no socket"):
        Connection(tmp_path / "none", timeout=1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "left"))
    with pytest.raises(MissingFeature, match="nobody listens at"):
        Connection(tmp_path / "left", timeout=1)
