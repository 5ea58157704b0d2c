"""The HTTP door, on a real socket, in front of an engine of dictionaries."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield import errors
from jackfield.config import Config
from jackfield.errors import JackfieldError
from jackfield.listener import listen
from jackfield.web.bodies import BODY_LIMIT
from tests.lab.wait import wait_for
from tests.web.fake import Served, serve

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr7'/>
  <ip address='192.168.7.1' prefix='24'/>
</network>
"""
NOBODY = 65534
WRITERS = 64999


@pytest.fixture
def served() -> Iterator[Served]:
    """Give a server that has no networks yet."""
    with serve() as server:
        yield server


class _UnixConnection(http.client.HTTPConnection):
    """The standard library's client: a witness that we speak HTTP and not only to ourselves."""

    def __init__(self, path: Path) -> None:
        super().__init__("jackfield", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(os.fspath(self._path))


def exchange(
    served: Served, method: str, path: str, body: str | bytes | None = None, **headers: str
) -> tuple[int, object]:
    """Return status and JSON of an answer, by the standard library's client."""
    connection = _UnixConnection(served.run_dir / "api.sock")
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None
    finally:
        connection.close()


def test_life_of_a_network(served: Served) -> None:
    """A network is defined, started, listed, stopped and undefined."""
    client = served.client
    defined = client.request("POST", "/v1/networks", RED)
    assert ("red", False, True) == (defined["name"], defined["active"], defined["persistent"])
    assert "nat" == defined["stored"]["mode"]
    assert defined["live"] is None
    started = client.request("POST", "/v1/networks/red/start")
    assert started["active"]
    assert started["stored"] == started["live"]
    assert [
        {
            "name": "red",
            "uuid": defined["uuid"],
            "active": True,
            "persistent": True,
            "autostart": False,
            "mode": "nat",
            "bridge": "virbr7",
            "addresses": ["192.168.7.1/24"],
            "ports": 0,
            "problem": None,
        }
    ] == client.request("GET", "/v1/networks")
    assert client.request("PUT", "/v1/networks/red/autostart", {"autostart": True})["autostart"]
    by_uuid = client.request("GET", f"/v1/networks/{defined['uuid']}")
    assert by_uuid["autostart"]
    assert not client.request("POST", "/v1/networks/red/stop")["active"]
    assert client.request("DELETE", "/v1/networks/red") is None
    assert [] == client.request("GET", "/v1/networks")


def test_json_of_a_network_is_read_back(served: Served) -> None:
    """What a network is shown as can be sent as a definition."""
    stored = served.client.request("POST", "/v1/networks", RED)["stored"]
    again = served.client.request("POST", "/v1/networks", stored)["stored"]
    assert stored == again


@pytest.mark.parametrize("dialect", ["libvirt", "layered"])
def test_xml_in_both_dialects(served: Served, dialect: str) -> None:
    """A network's document comes in the dialect asked for."""
    served.client.request("POST", "/v1/networks", RED)
    text = served.client.text("GET", "/v1/networks/red/xml", query={"dialect": dialect})
    assert "<name>red</name>" in text
    assert (dialect == "layered") == ("layer='network'" in text)


def test_inactive_xml_of_a_transient_network(served: Served) -> None:
    """Nothing is stored of a transient network, and the answer says so."""
    query = {"apply": "1", "transient": "1"}
    served.client.request("POST", "/v1/networks", RED, query=query)
    assert "red" in served.client.text("GET", "/v1/networks/red/xml")
    with pytest.raises(errors.WrongState, match="transient"):
        served.client.text("GET", "/v1/networks/red/xml", query={"inactive": "1"})


def test_apply_answers_with_its_steps(served: Served) -> None:
    """Applying says what was done; applying again does nothing."""
    answer = served.client.request("PUT", "/v1/networks/red", RED)
    assert answer["network"]["active"]
    assert ["create", "change", "remove"] == [step["action"] for step in answer["steps"]]
    with pytest.raises(errors.InvalidRequest, match="the document network 'red'"):
        served.client.request("PUT", "/v1/networks/blue", RED)


def test_plan(served: Served) -> None:
    """A plan is asked for with or without a document, and changes nothing."""
    served.client.request("POST", "/v1/networks", RED)
    first = served.client.request("POST", "/v1/networks/red/plan")["steps"][0]
    assert {
        "action": "create",
        "kind": "bridge",
        "key": "link:virbr7",
        "text": "bridge virbr7",
    } == first
    assert served.client.request("POST", "/v1/networks/red/plan", RED)["steps"]
    assert not served.client.request("GET", "/v1/networks/red")["active"]


def test_ports(served: Served) -> None:
    """A namespace and a tap are plugged in, listed and unplugged."""
    client = served.client
    client.request("POST", "/v1/networks", RED)
    asked = {"netns": "g1", "ifname": "eth0", "mac": "52:54:00:AA:BB:CC", "name": "guest"}
    port = client.request("POST", "/v1/networks/red/ports", asked)
    assert ("g1", "eth0", "52:54:00:aa:bb:cc") == (port["netns"], port["ifname"], port["mac"])
    assert "guest" == port["owner"]["name"]
    guest = "5f0c2c0e-7d3c-4a53-9d1c-1d1d0f3c9a10"
    more = {"tap": "t0", "owner": 7, "queues": 2, "guest": guest}
    client.request("POST", "/v1/networks/red/ports", more)
    assert (7, 2) == (served.engine.asked[1].owner, served.engine.asked[1].queues)
    assert guest == str(served.engine.asked[1].guest)
    assert 2 == len(client.request("GET", "/v1/ports"))
    assert 2 == len(client.request("GET", "/v1/networks/red/ports"))
    assert client.request("DELETE", "/v1/ports/t0") is None
    with pytest.raises(errors.PortNotFound):
        client.request("DELETE", "/v1/ports/t0")


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"netns": "g1"},
        {"netns": "g1", "ifname": "eth0", "tap": "t0"},
        {"tap": "t0", "vde": True},
        {"vde": False},
        {"vde": True, "ifname": "eth0"},
        {"vde": True, "owner": 7},
        {"tap": "t0", "queues": 0},
        {"tap": "t0", "guest": "nobody"},
        {"tap": "t0", "owner": -1},
        {"tap": "../../etc"},
        {"tap": "t0", "mac": "what"},
        {"tap": "t0", "name": "two\nlines"},
        {"tap": "t0", "colour": "red"},
        {"tap": 7},
        {"netns": "g1", "ifname": "eth0", "owner": 7},
        [],
    ],
)
def test_wrong_attach_requests(served: Served, asked: object) -> None:
    """What cannot be plugged in is refused before the engine is asked."""
    served.client.request("POST", "/v1/networks", RED)
    with pytest.raises(errors.InvalidRequest):
        served.client.request("POST", "/v1/networks/red/ports", asked)
    assert [] == served.engine.asked


def test_a_wrong_value_is_named(served: Served) -> None:
    """The error says which value of which key cannot be."""
    served.client.request("POST", "/v1/networks", RED)
    for key in ("guest", "mac"):
        with pytest.raises(errors.InvalidRequest) as caught:
            served.client.request("POST", "/v1/networks/red/ports", {"tap": "t0", key: "what"})
        assert caught.value.message.startswith(f"'{key}': 'what' is not a ")


def test_leases(served: Served) -> None:
    """Leases are listed of one network and of all."""
    served.client.request("POST", "/v1/networks", RED)
    served.engine.lease("red", ipaddress.ip_address("192.168.7.2"))
    assert "192.168.7.2" == served.client.request("GET", "/v1/leases")[0]["address"]
    assert "red-guest" == served.client.request("GET", "/v1/networks/red/leases")[0]["hostname"]


def test_errors_have_one_shape(served: Served) -> None:
    """Whatever fails, and wherever, the answer is the same object."""
    served.client.request("POST", "/v1/networks", RED)
    served.client.request("POST", "/v1/networks/red/start")
    for status, name, method, path, body in [
        (404, "network-not-found", "GET", "/v1/networks/blue", None),
        (404, "network-not-found", "POST", "/v1/networks/blue%20sky/start", None),
        (404, "not-found", "GET", "/v1/nothing", None),
        (404, "not-found", "DELETE", "/v1/networks/", None),
        (404, "not-found", "POST", "/v1/networks//start", None),
        (404, "not-found", "GET", "/v1/networks/red/blue", None),
        (400, "invalid-request", "GET", "/v1/networks/red%2fblue", None),
        (405, "invalid-request", "POST", "/v1/networks/red", None),
        (409, "wrong-state", "POST", "/v1/networks/red/start", None),
        (400, "invalid-request", "POST", "/v1/networks", None),
        (400, "invalid-request", "GET", "/v1/networks?al=1", None),
        (400, "invalid-request", "GET", "/v1/networks/red/xml?dialect=klingon", None),
        (400, "invalid-request", "GET", "/v1/events?since=soon", None),
        (400, "malformed-document", "POST", "/v1/networks", "<network><name>"),
        (400, "malformed-document", "PUT", "/v1/networks/red/autostart", "{"),
        (400, "invalid-document", "POST", "/v1/networks", "<domain/>"),
        (400, "invalid-document", "POST", "/v1/networks", '{"name": "a/b"}'),
    ]:
        got, answer = exchange(served, method, path, body)
        assert isinstance(answer, dict)
        assert (status, name) == (got, answer["error"]["name"]), path
        assert {"name", "code", "message", "hint"} == set(answer["error"])
        assert answer["error"]["code"] == errors.by_name(name).code


def test_what_is_not_http_is_refused(served: Served) -> None:
    """Even then the body is an error in the one shape."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.fspath(served.run_dir / "api.sock"))
        connection.sendall(b"EHLO jackfield\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b" 400 " in answer.splitlines()[0]
    assert "invalid-request" == json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["name"]


def test_a_defect_is_an_internal_error(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected exception says nothing of itself to the client, and all to the log."""

    def fail() -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(served.engine, "networks", fail)
    status, answer = exchange(served, "GET", "/v1/networks")
    assert isinstance(answer, dict)
    assert (500, "internal-error") == (status, answer["error"]["name"])
    assert "secret" not in json.dumps(answer)
    assert "ZeroDivisionError: secret" in caplog.text


@pytest.mark.parametrize("chunked", [False, True])
def test_overlong_bodies_are_refused(served: Served, chunked: bool) -> None:
    """A body is refused as soon as it is known to be too long, announced or not."""
    body = b"<" + b"x" * BODY_LIMIT
    if not chunked:
        with pytest.raises(errors.RequestTooLarge):
            served.client.request("POST", "/v1/networks", body)
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.fspath(served.run_dir / "api.sock"))
        head = b"POST /v1/networks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + f"{len(body):x}\r\n".encode())
        with contextlib.suppress(ConnectionError):
            connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b" 413 " in answer.splitlines()[0]


def test_a_client_that_goes_cancels_nothing(served: Served) -> None:
    """A start goes on when the client that asked for it is gone."""
    served.client.request("POST", "/v1/networks", RED)
    served.engine.gate = asyncio.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(os.fspath(served.run_dir / "api.sock"))
        connection.sendall(b"POST /v1/networks/red/start HTTP/1.1\r\nHost: x\r\n\r\n")
        assert served.engine.waiting.wait(5)
    assert not served.client.request("GET", "/v1/networks/red")["active"]
    served.call(served.engine.gate.set)
    wait_for(
        lambda: served.client.request("GET", "/v1/networks/red")["active"], 5, "the start to end"
    )


def test_stopping_waits_for_changes() -> None:
    """A start that is under way when the daemon is told to stop is finished and answered."""
    answers: list[object] = []
    with serve() as served:
        served.client.request("POST", "/v1/networks", RED)
        served.engine.gate = asyncio.Event()
        thread = threading.Thread(
            target=lambda: answers.append(served.client.request("POST", "/v1/networks/red/start"))
        )
        thread.start()
        assert served.engine.waiting.wait(5)
        served.call(served.server.stop)
        wait_for(lambda: _refuses_changes(served), 5, "changes to be refused")
        served.call(served.engine.gate.set)
        thread.join(5)
    assert isinstance(answers[0], dict)
    assert answers[0]["active"]


def _refuses_changes(served: Served) -> bool:
    try:
        served.client.request("POST", "/v1/networks/red/stop")
    except errors.WrongState as error:
        return "is stopping" in error.message
    return False


def test_every_change_is_logged_with_who_asked(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says who asked for what."""
    with caplog.at_level("INFO", logger="jackfield.operations"):
        served.client.request("POST", "/v1/networks", RED)
        with pytest.raises(errors.NetworkNotFound):
            served.client.request("POST", "/v1/networks/blue/stop")
    told = [(record.getMessage(), record.levelname) for record in caplog.records]
    who = f"user {os.getuid()} (process {os.getpid()})"
    assert (f"define network red: asked by {who}, done", "INFO") == told[0]
    refused = f"stop network blue: asked by {who}, failed: there is no network 'blue'"
    assert (refused, "WARNING") == told[1]
    assert os.getuid() == vars(caplog.records[0])["uid"]


def test_events_are_resumed_and_followed(served: Served) -> None:
    """Events come from a number on, then as they happen, and end when the daemon does."""
    client = served.client
    client.request("POST", "/v1/networks", RED)
    client.request("POST", "/v1/networks/red/start")
    past = list(client.lines("/v1/events", query={"since": "1"}))
    assert [(2, "network-started", "red")] == [
        (event["number"], event["type"], event["network"]) for event in past
    ]
    assert [1, 2] == [event["number"] for event in client.lines("/v1/events")]
    following = client.lines("/v1/events", query={"since": "0", "follow": "1"})
    assert [1, 2] == [next(following)["number"], next(following)["number"]]
    client.request("POST", "/v1/networks/red/stop")
    assert "network-stopped" == next(following)["type"]
    served.call(served.server.stop)
    assert [] == list(following)


def test_following_begins_with_the_answer(served: Served) -> None:
    """Whoever has the head of the answer misses nothing that happens after it."""
    connection = _UnixConnection(served.run_dir / "api.sock")
    connection.request("GET", "/v1/events?follow=1")
    answer = connection.getresponse()
    assert "0" == answer.headers["jackfield-last-event"]
    served.client.request("POST", "/v1/networks", RED)
    assert 1 == json.loads(answer.readline())["number"]
    answer.close()
    connection.close()


_AS_USER = """
import os, sys
from jackfield.client import Client
from jackfield.errors import JackfieldError
from jackfield.client import json
run_dir, uid, groups = sys.argv[1], int(sys.argv[2]), [int(g) for g in sys.argv[3].split()]
os.setgroups(groups)
os.setgid(uid)
os.setuid(uid)
for method, path, body in json.loads(sys.argv[4]):
    try:
        Client(run_dir).request(method, path, body)
        print("done")
    except JackfieldError as error:
        print(error.name)
        print(error.message, file=sys.stderr)
"""


def as_user(served: Served, groups: str, *requests: tuple[str, str, object]) -> list[str]:
    """Return how each request of an unprivileged user ends."""
    return said_to_user(served, groups, *requests)[0].split()


def said_to_user(
    served: Served, groups: str, *requests: tuple[str, str, object]
) -> tuple[str, str]:
    """Return how the requests of an unprivileged user end, and what the errors say."""
    done = subprocess.run(
        [sys.executable, "-c", _AS_USER, served.run_dir, str(NOBODY), groups, json.dumps(requests)],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout, done.stderr


@pytest.mark.kernel
def test_others_read_and_members_write() -> None:
    """Everybody may look; members of the group may change; dnsmasq options are root's alone."""
    options = RED.replace(
        "<name>",
        "<dnsmasq:options xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>"
        "<dnsmasq:option value='cache-size=0'/></dnsmasq:options><name>",
    )
    with serve(Config(group=WRITERS)) as served:
        look = ("GET", "/v1/networks", None)
        change = ("POST", "/v1/networks", RED)
        with_options = ("POST", "/v1/networks", options)
        denied = "access-denied"
        assert ["done", denied] == as_user(served, "", look, change)
        # It tells rules of the host's firewall, which are for its administrators.
        doctor = ("GET", "/v1/doctor", None)
        assert "may not ask doctor, which shows" in said_to_user(served, "", doctor)[1]
        assert ["done"] == as_user(served, f"{WRITERS}", doctor)
        assert ["done", "done", denied] == as_user(
            served, f"{WRITERS} 64998", look, change, with_options
        )
        assert served.client.request("POST", "/v1/networks", options)
    with serve(Config(group=None)) as served:
        assert ["done", denied] == as_user(served, f"{WRITERS}", look, change)


def test_a_socket_somebody_answers_at_is_not_taken(served: Served) -> None:
    """A socket left behind is replaced, one in use never."""
    path = served.run_dir / "api.sock"
    with pytest.raises(JackfieldError, match="another daemon answers"):
        listen(path)
    left = served.run_dir / "left.sock"
    listen(left).close()
    listen(left).close()
