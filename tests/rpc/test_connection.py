"""The libvirt door and its clients, good and bad: order, limits, keepalive, events, access."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jackfield.rpc import connection as connections
from jackfield.rpc import server as servers
from jackfield.rpc.errors import WireError
from jackfield.rpc.frame import KEEPALIVE, REMOTE, Frame
from jackfield.rpc.procedures import LIFECYCLE, METADATA_CHANGE, PROCEDURES, NetworkRef, PortRef
from jackfield.rpc.xdr import Codec, Parameter, ParameterType, pack
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient, Refused
from tests.rpc.fake import Served, serve

PORT = """<networkport><uuid>00000000-0000-0000-0000-00000000004d</uuid>
<owner><name>guest</name><uuid>00000000-0000-0000-0000-000000000005</uuid></owner>
<mac address='52:54:00:7b:35:93'/></networkport>"""

FUZZ_EXAMPLES = int(os.environ.get("JACKFIELD_FUZZ", "60"))


@pytest.fixture
def served() -> Iterator[Served]:
    """Give a server with the networks red and blue."""
    with serve() as door:
        with door.client() as client:
            client.open()
            for name in ("red", "blue"):
                client.call("network_define_xml", f"<network><name>{name}</name></network>")
        yield door


@pytest.fixture
def client(served: Served) -> Iterator[RawClient]:
    """Give an open connection."""
    with served.client() as opened:
        yield opened.open()


def refused(client: RawClient, name: str, *args: object) -> WireError:
    """Return the error that a call is answered with."""
    with pytest.raises(Refused) as caught:
        client.call(name, *args)
    return caught.value.error


def test_calls_before_open_are_refused(served: Served) -> None:
    """In libvirt's words, which differ between calls; opening twice as well."""
    with served.client() as client:
        error = refused(client, "network_lookup_by_name", "red")
        assert "internal error: connection not open" == error.message
        error = refused(client, "connect_get_type")
        assert "internal error: hypervisor connection not open" == error.message
        assert [1] == client.call("connect_supports_feature", 10)
        client.open()
        error = refused(client, "connect_open", "network:///system", 0)
        assert (1, 7, "internal error: connection already open") == (
            error.code,
            error.domain,
            error.message,
        )


@pytest.mark.parametrize(
    ("uri", "code", "text"),
    [
        ("qemu:///system", 5, "qemu:///system"),
        ("NETWORK:///system", 5, "NETWORK:///system"),
        ("", 5, "<null>"),
        ("network://[", 5, "network://["),
        ("garbage", 5, "URI 'garbage' does not include a driver name"),
        ("network:///x", 1, "unexpected network URI path '/x', try network:///system"),
    ],
)
def test_other_drivers_are_not_here(served: Served, uri: str, code: int, text: str) -> None:
    """A connection is for the networks of the system, and for nothing else."""
    with served.client() as client:
        error = refused(client, "connect_open", uri, 0)
        words = {5: "no connection driver available for", 1: "internal error:"}[code]
        assert (code, 0, f"{words} {text}") == (error.code, error.domain, error.message)


def test_unknown_programs_and_procedures(client: RawClient) -> None:
    """What is not ours is answered as libvirt's daemon does, with the caller's own numbers."""
    for frame, message in (
        (Frame(0x1234, 1, 46, 0, 7, 0), "Cannot find program 4660 version 1"),
        (Frame(REMOTE, 7, 46, 0, 8, 0), f"Cannot find program {REMOTE} version 7"),
        (Frame(REMOTE, 1, 9999, 0, 9, 0), "unknown procedure: 9999"),
        (Frame(REMOTE, 1, -1, 0, 10, 0), "unknown procedure: -1"),
        (Frame(REMOTE, 1, 46, 0, 11, 1), "Unexpected message status 1"),
        (Frame(REMOTE, 1, 46, 0, 12, 0, b"\xff"), "Unable to decode message payload"),
    ):
        client.send(frame)
        reply = client.reply()
        error = WireError.decode(reply.payload)
        assert (39, 7, message) == (error.code, error.domain, error.message)
        assert (frame.program, frame.version, frame.procedure, frame.serial) == (
            reply.program,
            reply.version,
            reply.procedure,
            reply.serial,
        )


def test_one_network_is_changed_in_order_and_others_meanwhile(
    served: Served, client: RawClient
) -> None:
    """Calls of one network wait for each other; a call of another does not wait for them."""
    red, blue = client.lookup("red"), client.lookup("blue")
    gate = asyncio.Event()
    served.engine.gate = gate
    slow = client.begin("network_create", red)
    stop = client.begin("network_destroy", red)
    state = client.begin("network_is_active", red)
    quick = client.begin("network_is_active", blue)
    assert served.engine.waiting.wait(10)
    assert quick == client.reply().serial
    assert ["start"] == served.engine.order
    served.call(gate.set)
    assert [slow, stop, state] == [client.reply().serial for _ in range(3)]
    assert ["start", "started", "stop"] == served.engine.order


def test_a_definition_comes_before_what_follows_it(served: Served, client: RawClient) -> None:
    """A call that may make a network is over before any that came after it begins."""
    text = "<network><name>green</name>" + " " * 40_000 + "</network>"
    define = client.begin("network_define_xml", text)
    lookup = client.begin("network_lookup_by_name", "green")
    assert define == client.reply().serial
    frame = client.reply()
    assert (lookup, 0) == (frame.serial, frame.status)


def test_calls_in_flight_are_limited(served: Served, client: RawClient) -> None:
    """Beyond the limit nothing is read; when calls end, what waited has its turn."""
    count = connections._CALLS_IN_FLIGHT + 8
    nets = [
        client.call("network_define_xml", f"<network><name>n{number}</name></network>")[0]
        for number in range(count)
    ]
    gate = asyncio.Event()
    served.engine.gate = gate
    for net in nets:
        client.begin("network_create", net)
    limit = connections._CALLS_IN_FLIGHT
    wait_for(lambda: len(served.engine.order) >= limit, 10, "the calls to begin")
    time.sleep(0.05)
    assert limit == len(served.engine.order)
    served.call(gate.set)
    assert all(client.reply().status == 0 for _ in nets)


def test_closing_ends_the_connection(served: Served, client: RawClient) -> None:
    """The answer is the last that comes, whatever was asked after it."""
    calls = (Frame(REMOTE, 1, number, 0, serial, 0) for serial, number in enumerate((3, 2, 3), 9))
    client.socket.sendall(b"".join(call.encode() for call in calls))
    assert [3, 2] == [client.reply().procedure for _ in range(2)]
    assert client.receive() is None
    # One that was never opened, too.
    with served.client() as other:
        assert [] == other.call("connect_close")
        assert other.receive() is None


def test_many_calls_at_once_are_all_answered(client: RawClient) -> None:
    """Pipelined calls come back, each with its serial, to a client that reads meanwhile."""
    serials: list[int] = []
    sender = threading.Thread(
        target=lambda: serials.extend(
            client.begin("network_lookup_by_name", "red") for _ in range(2000)
        )
    )
    sender.start()
    replies = [client.reply().serial for _ in range(2000)]
    sender.join(10)
    assert serials == replies


def test_a_client_that_does_not_read_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies pile up to a limit, then nothing more is read, then the connection ends."""
    monkeypatch.setattr(connections, "_READING_TIME", 0.3)
    with served.client() as client:
        client.open()
        net = client.call(
            "network_define_xml",
            "<network><name>big</name><description>" + "x" * 200_000 + "</description></network>",
        )[0]
        # It may be dropped while it is still asking.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(100):
                client.begin("network_get_xml", net, 0)
        ended = select.poll()
        ended.register(client.socket, select.POLLRDHUP)
        assert ended.poll(10_000)
        with contextlib.suppress(ConnectionResetError):
            while client.socket.recv(1 << 20):
                pass
    with served.client() as other:
        other.open()


def test_a_client_that_does_not_read_events_is_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events cannot wait for a client without bound."""
    monkeypatch.setattr(connections, "_UNREAD_EVENTS", 100_000)
    with served.client() as deaf, served.client() as client:
        deaf.open()
        deaf.call("register_event", 0, None)
        client.open()
        net = client.lookup("red")
        with contextlib.suppress(Refused):
            for _ in range(8000):
                client.call("network_destroy", net)
        wait_for(lambda: len(served.server._connections) == 1, 10, "the deaf client to be dropped")


def test_pings_are_answered(client: RawClient) -> None:
    """With a pong, at any time."""
    client.send(Frame(KEEPALIVE, 1, 1, 2, 0, 0))
    frame = client.receive()
    assert Frame(KEEPALIVE, 1, 2, 2, 0, 0) == frame


def test_silent_clients_are_pinged_and_dropped(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows keepalive and answers nothing is gone; who does not know it is left alone."""
    monkeypatch.setattr(servers, "_KEEPALIVE_INTERVAL", 0.05)
    with serve() as door, door.client() as knowing, door.client() as other:
        knowing.open()
        other.open()
        assert [1] == knowing.call("connect_supports_feature", 10)
        # Where the machine is busy some may have come before the answer to that.
        early = knowing.pings
        frames = []
        with contextlib.suppress(ConnectionResetError):
            while (frame := knowing.receive()) is not None:
                frames.append(frame)
        pings = connections._SILENT_TICKS - early
        assert [Frame(KEEPALIVE, 1, 1, 2, 0, 0)] * pings == frames
        assert ["network"] == other.call("connect_get_type")


def test_a_client_that_answers_pings_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it likes."""
    monkeypatch.setattr(servers, "_KEEPALIVE_INTERVAL", 0.02)
    with serve() as door, door.client() as client:
        client.call("connect_supports_feature", 10)
        client.open()
        for _ in range(connections._SILENT_TICKS * 2):
            assert Frame(KEEPALIVE, 1, 1, 2, 0, 0) == client.receive()
            client.send(Frame(KEEPALIVE, 1, 2, 2, 0, 0))
        assert ["network"] == client.call("connect_get_type")


def test_events_go_to_those_who_asked(served: Served, client: RawClient) -> None:
    """Of one network or all, of one kind, until deregistered."""
    red, blue = client.lookup("red"), client.lookup("blue")
    assert [0] == client.call("register_event", 0, red)
    assert [1] == client.call("register_event", 0, None)
    assert [2] == client.call("register_event", 1, None)
    client.call("network_create", blue)
    assert [1, blue, 2, 0] == client.event(LIFECYCLE[1])
    client.call("network_create", red)
    assert [0, red, 2, 0] == client.event(LIFECYCLE[1])
    assert [1, red, 2, 0] == client.event(LIFECYCLE[1])
    client.call("network_set_metadata", red, 2, "<a/>", "k", "urn:x", 0)
    assert [2, red, 2, "urn:x"] == client.event(METADATA_CHANGE[1])
    client.call("deregister_event", 1)
    assert "internal error: network event callback 1 not registered" == (
        refused(client, "deregister_event", 1).message
    )
    client.call("network_destroy", blue)
    client.call("network_destroy", red)
    assert [0, red, 3, 0] == client.event(LIFECYCLE[1])


def test_parameters_of_ports(client: RawClient) -> None:
    """Every limit of a direction that has some; setting replaces both directions."""
    red = client.lookup("red")
    port: PortRef = client.call("port_create", red, PORT, 0)[0]
    assert [[], 0] == client.call("port_get_parameters", port, 0, 0)

    def uint(name: str, value: int) -> Parameter:
        return Parameter(name, ParameterType.UINT, value)

    wanted = [uint("inbound.average", 100), uint("inbound.peak", 200), uint("outbound.average", 7)]
    client.call("port_set_parameters", port, wanted, 0)
    names = ["inbound.average", "inbound.peak", "inbound.floor", "inbound.burst"]
    names += ["outbound.average", "outbound.peak", "outbound.burst"]
    found = client.call("port_get_parameters", port, 7, 0)[0]
    assert list(zip(names, (100, 200, 0, 0, 7, 0, 0), strict=True)) == [
        (item.name, item.value) for item in found
    ]
    client.call("port_set_parameters", port, [uint("outbound.average", 9)], 0)
    found = client.call("port_get_parameters", port, 7, 0)[0]
    assert ["outbound.average", "outbound.peak", "outbound.burst"] == [item.name for item in found]


def test_unknown_flags_are_refused(client: RawClient) -> None:
    """By every call that has flags, in libvirt's words, before the network is looked for."""
    red = NetworkRef("gone", UUID(int=9))
    port = PortRef(red, UUID(int=9))
    for name, args, function in (
        ("network_get_xml", (red,), "networkGetXMLDesc"),
        ("network_define_xml_flags", ("<network/>",), "networkDefineXMLFlags"),
        ("network_update", (red, 3, 4, -1, "<host/>"), "networkUpdate"),
        ("network_get_leases", (red, None, 1), "networkGetDHCPLeases"),
        ("list_all_networks", (1,), "networkConnectListAllNetworks"),
        ("list_all_ports", (red, 1), "networkListAllPorts"),
        ("port_create", (red, "<networkport/>"), "networkPortCreateXML"),
        ("port_delete", (port,), "networkPortDelete"),
        ("port_get_xml", (port,), "networkPortGetXMLDesc"),
        ("port_get_parameters", (port, 0), "networkPortGetParameters"),
        ("port_set_parameters", (port, []), "networkPortSetParameters"),
        ("network_set_metadata", (red, 0, "x", None, None), "networkSetMetadata"),
    ):
        error = refused(client, name, *args, 0x40)
        assert (8, 19) == (error.code, error.domain)
        assert f"unsupported flags (0x40) in function {function}" == error.message


def test_an_unknown_type_of_metadata(client: RawClient) -> None:
    """It is refused in libvirt's words."""
    red = client.lookup("red")
    told = (8, 19, "invalid argument: unknown metadata type '9'")
    for name, args in (
        ("network_set_metadata", (red, 9, "x", None, None, 0)),
        ("network_get_metadata", (red, 9, None, 0)),
    ):
        error = refused(client, name, *args)
        assert told == (error.code, error.domain, error.message)


@pytest.mark.parametrize(
    ("call", "arguments", "said"),
    [
        ("set", (1, "a\nb", "k", None, 0), "metadata title can't contain newlines"),
        ("set", (1, "a", "k", None, 0), "key in virNetworkSetMetadata must be NULL"),
        ("set", (0, "a", None, "urn:x", 0), "uri in virNetworkSetMetadata must be NULL"),
        ("set", (2, "<a/>", "k", None, 0), "uri in virNetworkSetMetadata must not be NULL"),
        ("set", (2, "<a/>", None, "urn:x", 0), "key in virNetworkSetMetadata must not be NULL"),
        ("get", (0, "urn:x", 0), "uri in virNetworkGetMetadata must be NULL"),
        ("get", (2, None, 0), "uri in virNetworkGetMetadata must not be NULL"),
        (
            "get",
            (0, None, 3),
            (
                "Flags 'VIR_NETWORK_UPDATE_AFFECT_LIVE' and 'VIR_NETWORK_UPDATE_AFFECT_CONFIG' are "
                "mutually exclusive"
            ),
        ),
        ("get", (0, None, 8), "unsupported flags (0x8) in function virNetworkObjGetMetadata"),
    ],
)
def test_arguments_of_metadata_are_checked_as_libvirts_library_does(
    client: RawClient, call: str, arguments: tuple[object, ...], said: str
) -> None:
    """A client that speaks the protocol itself is told the same as one with the library."""
    error = refused(client, f"network_{call}_metadata", client.lookup("red"), *arguments)
    assert (8, 19, said) == (error.code, error.domain, error.message)


@pytest.mark.parametrize(
    ("command", "section", "said"),
    [
        (3, 99, "can't update unrecognized section of network"),
        (99, 4, "unrecognized network update command code 99"),
        (0, 0, "can't update unrecognized section of network"),
    ],
)
def test_unknown_updates_are_told_in_libvirts_words(
    client: RawClient, command: int, section: int, said: str
) -> None:
    """Numbers that no version of libvirt has: error 84, and not before the network is found."""
    red = client.lookup("red")
    error = refused(client, "network_update", red, command, section, -1, "<host/>", 0)
    assert (84, 19) == (error.code, error.domain)
    assert f"Operation not supported: {said}" == error.message
    gone = NetworkRef("gone", UUID(int=9))
    assert 43 == refused(client, "network_update", gone, command, section, -1, "", 0).code


@pytest.mark.parametrize("name", ["list_active_names", "list_defined_names"])
def test_names_are_asked_for_in_a_number_that_can_be(client: RawClient, name: str) -> None:
    """From none to what libvirt's protocol lists at most."""
    assert [[]] == client.call(name, 0)
    client.call(name, 16384)
    for limit, said in (
        (-1, "maxnames must be non-negative"),
        (16385, "maxnames > REMOTE_NETWORK_LIST_MAX"),
    ):
        error = refused(client, name, limit)
        assert (39, 7, said) == (error.code, error.domain, error.message)


def test_read_only_connections_change_nothing(served: Served) -> None:
    """By the socket and by the flag of the call, for every call that changes something."""
    samples: dict[object, Any] = {}
    changing = [item for item in PROCEDURES.values() if item.needs.name == "WRITING"]
    assert 13 == len(changing)
    for read_only, flags in ((True, 0), (False, 1)):
        with served.client(read_only=read_only) as client:
            client.open(flags)
            red = client.lookup("red")
            samples.update(
                network_create=(red,),
                network_create_xml=("<network/>",),
                network_define_xml=("<network/>",),
                network_destroy=(red,),
                network_set_autostart=(red, 1),
                network_undefine=(red,),
                network_update=(red, 1, 1, -1, "", 0),
                port_create=(red, PORT, 0),
                port_set_parameters=(PortRef(red, UUID(int=1)), [], 0),
                port_delete=(PortRef(red, UUID(int=1)), 0),
                network_define_xml_flags=("<network/>", 0),
                network_create_xml_flags=("<network/>", 0),
                network_set_metadata=(red, 0, None, None, None, 0),
            )
            for procedure in changing:
                error = refused(client, procedure.name, *samples[procedure.name])
                assert (29, 19) == (error.code, error.domain)
                assert f"operation forbidden: read only access prevents {procedure.api}" == (
                    error.message
                )


def test_identity_is_told_to_the_log_only(
    client: RawClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that connects for somebody says who; names that nobody knows are refused."""
    error = refused(client, "set_identity", [Parameter("bogus", 7, "x")], 0)
    assert (74, 0, "argument unsupported: parameter 'bogus' not supported") == (
        error.code,
        error.domain,
        error.message,
    )
    # libvirt asks for no flags, and refuses none.
    client.call("set_identity", [Parameter("unix-user-id", 4, 1000)], 1)
    with caplog.at_level("INFO", logger="jackfield.operations"):
        client.call("network_create", client.lookup("red"))
        # The answer does not wait for the log.
        if os.geteuid() == 0:
            wait_for(lambda: "for user 1000" in caplog.text, 5, "who asked to be in the log")


def test_a_change_is_finished_though_its_client_is_gone(served: Served) -> None:
    """What has begun is done, and so is nothing that only waited."""
    gate = asyncio.Event()
    served.engine.gate = gate
    with served.client() as client:
        red = client.open().lookup("red")
        client.begin("network_create", red)
        client.begin("network_destroy", red)
        assert served.engine.waiting.wait(10)
    wait_for(lambda: not served.server._connections, 10, "the connection to end")
    served.call(gate.set)
    wait_for(lambda: "started" in served.engine.order, 10, "the start to be finished")
    # What waited for it would have had its turn before another client has its answer.
    goes_on(served)
    assert ["start", "started"] == served.engine.order


def test_the_end_of_the_daemon_waits_for_changes() -> None:
    """The reply to a change under way is sent before the connection is closed."""
    with serve() as door, door.client() as client:
        client.open()
        net = client.call("network_define_xml", "<network><name>red</name></network>")[0]
        gate = door.engine.gate = asyncio.Event()
        client.begin("network_create", net)
        assert door.engine.waiting.wait(10)
        ending = asyncio.run_coroutine_threadsafe(door.server.close(), door.loop)
        time.sleep(0.05)
        assert not ending.done()
        door.call(gate.set)
        assert 0 == client.reply().status
        assert client.receive() is None
        ending.result(10)


# asyncio leaves open what it was just accepting when it was told to accept no more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("turns", range(6))
def test_the_end_of_the_daemon_while_a_client_comes(turns: int) -> None:
    """It ends in order, however far the client has got."""
    with serve() as door, socket.socket(socket.AF_UNIX) as client:

        async def come_and_end() -> None:
            client.connect(str(door.directory / "rw"))
            for _ in range(turns):
                await asyncio.sleep(0)
            await door.server.close()

        asyncio.run_coroutine_threadsafe(come_and_end(), door.loop).result(10)
        assert not door.server._connections
    gc.collect()


# Hostile clients


def goes_on(served: Served) -> None:
    """Assert that the daemon answers others."""
    with served.client() as other:
        assert "red" == other.open().lookup("red").name


@pytest.mark.parametrize("length", [0, 4, 27, 64 * 1024 + 1, 2**32 - 1])
def test_a_wrong_length_ends_the_connection(served: Served, length: int) -> None:
    """Nothing can be read after it, and no memory is taken for it."""
    with served.client() as client:
        client.socket.sendall(struct.pack(">I", length))
        with contextlib.suppress(ConnectionResetError):
            assert client.receive() is None
    goes_on(served)


def test_long_frames_only_after_opening(served: Served) -> None:
    """An opened connection takes a document of megabytes."""
    with served.client() as client:
        client.open()
        text = "<network><name>long</name><description>" + "x" * 3_000_000
        client.call("network_define_xml", text + "</description></network>")
    goes_on(served)


SOME_NET = NetworkRef("red", UUID(int=1))
SAMPLES: tuple[object, ...] = (0, "red", [], None, SOME_NET, PortRef(SOME_NET, UUID(int=2)))


def sample(codec: Codec[Any]) -> bytes:
    """Return some value of a type, as bytes."""
    for value in (*SAMPLES, UUID(int=3)):
        with contextlib.suppress(ValueError, AttributeError, TypeError):
            return pack((codec,), (value,))
    raise AssertionError(f"no sample for {codec}")


def mutated(data: st.DataObject) -> bytes:
    """Return a valid call of which a few bytes are changed."""
    number = data.draw(st.sampled_from(sorted(PROCEDURES)))
    payload = b"".join(sample(codec) for codec in PROCEDURES[number].args)
    frame = bytearray(Frame(REMOTE, 1, number, 0, 1, 0, payload).encode())
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(4, len(frame) - 1))] = data.draw(st.integers(0, 255))
    return bytes(frame)


@settings(max_examples=FUZZ_EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_malformed_calls_get_an_answer_or_an_end(served: Served, data: st.DataObject) -> None:
    """Each is answered, ignored, or ends its own connection; the daemon goes on."""
    with served.client() as client:
        client.open()
        client.socket.sendall(b"".join(mutated(data) for _ in range(3)))
        with contextlib.suppress(ConnectionError):
            client.socket.sendall(Frame(KEEPALIVE, 1, 1, 2, 0, 0).encode())
            while (frame := client.receive()) is not None:
                if frame.program == KEEPALIVE:
                    break
                assert frame.type in {1, 2}
    goes_on(served)


@settings(max_examples=FUZZ_EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=400))
def test_garbage_gets_an_answer_or_an_end(served: Served, garbage: bytes) -> None:
    """Bytes that are no frames at all do not hurt others."""
    with served.client() as client, contextlib.suppress(ConnectionError):
        client.socket.sendall(garbage)
    goes_on(served)
