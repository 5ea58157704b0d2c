"""XDR and frames: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.errors import WrongState
from jackfield.rpc.errors import WireError, to_wire
from jackfield.rpc.foreign import FOREIGN
from jackfield.rpc.frame import Frame, FrameBuffer, FrameError
from jackfield.rpc.handlers import HANDLERS
from jackfield.rpc.procedures import PROCEDURES, Lease, NetworkRef, PortRef
from jackfield.rpc.xdr import (
    HYPER,
    INT,
    OPTIONAL_STRING,
    PARAMETERS,
    STRING,
    UHYPER,
    UINT,
    Array,
    Codec,
    Parameter,
    ParameterType,
    XdrError,
    pack,
    unpack,
)
from tests.corpus import corpus, needs_corpus
from tests.rpc.client import decode

INTS = st.integers(-(2**31), 2**31 - 1)
UINTS = st.integers(0, 2**32 - 1)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
NETS = st.builds(NetworkRef, TEXTS, st.uuids())
LEASES = st.builds(
    Lease,
    TEXTS,
    st.integers(-(2**63), 2**63 - 1),
    INTS,
    st.none() | TEXTS,
    st.none() | TEXTS,
    TEXTS,
    UINTS,
    st.none() | TEXTS,
    st.none() | TEXTS,
)
VALUES: dict[int, st.SearchStrategy[Any]] = {
    ParameterType.INT: INTS,
    ParameterType.UINT: UINTS,
    ParameterType.LLONG: st.integers(-(2**63), 2**63 - 1),
    ParameterType.ULLONG: st.integers(0, 2**64 - 1),
    ParameterType.DOUBLE: st.floats(allow_nan=False),
    ParameterType.BOOLEAN: st.integers(0, 1),
    ParameterType.STRING: TEXTS,
}
PARAMETER = st.sampled_from(sorted(VALUES)).flatmap(
    lambda kind: st.builds(Parameter, TEXTS, st.just(kind), VALUES[kind])
)
LEASE_CODEC = PROCEDURES[341].returns[0]
PORT_CODEC = PROCEDURES[409].args[0]


@given(
    st.tuples(
        INTS,
        UINTS,
        st.integers(-(2**63), 2**63 - 1),
        st.integers(0, 2**64 - 1),
        TEXTS,
        st.none() | TEXTS,
        st.lists(LEASES, max_size=3),
        st.builds(PortRef, NETS, st.uuids()),
        st.lists(PARAMETER, max_size=5),
    )
)
def test_what_is_packed_is_unpacked(values: tuple[Any, ...]) -> None:
    """Every type of the protocol survives the way there and back, aligned to four bytes."""
    codecs: list[Codec[Any]] = [
        *(INT, UINT, HYPER, UHYPER, STRING, OPTIONAL_STRING),
        *(LEASE_CODEC, PORT_CODEC, Array(PARAMETERS, 16)),
    ]
    data = pack(codecs, values)
    assert 0 == len(data) % 4
    assert list(values) == unpack(codecs, data)


@given(st.sampled_from(sorted(PROCEDURES)), st.binary(max_size=200))
def test_any_bytes_are_values_or_an_error(number: int, data: bytes) -> None:
    """No bytes lead to anything but values that pack again, or ``XdrError``."""
    procedure = PROCEDURES[number]
    try:
        values = unpack(procedure.args, data)
    except XdrError:
        return
    assert values == unpack(procedure.args, pack(procedure.args, values))


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (STRING, "ffffffff"),
        (STRING, "0000000561626364"),
        (STRING, "0000000161"),
        (STRING, "00000001ff000000"),
        (STRING, "0000000100000000"),
        (OPTIONAL_STRING, "00000002"),
        (Array(INT, 2), "00000003000000010000000100000001"),
        (Array(STRING, 2**31), "7fffffff"),
        (PARAMETERS, "00000000000000080000000000000000"),
        (UHYPER, "00000000"),
    ],
)
def test_wrong_bytes_are_refused(codec: Codec[Any], data: str) -> None:
    """Lengths beyond the message or the limit, padding that lacks, text that is none."""
    with pytest.raises(XdrError):
        codec.unpack(bytes.fromhex(data), 0)


@needs_corpus
def test_recorded_frames_are_packed_alike() -> None:
    """What libvirt's client and daemon sent is understood, and packed again to the same bytes."""
    for line in corpus("rpc", "libvirtd-11.3-replies.jsonl").read_text().splitlines():
        entry = json.loads(line)
        request, reply = (decode(bytes.fromhex(entry[key])) for key in ("req", "rep"))
        assert bytes.fromhex(entry["req"]) == request.encode()
        procedure = PROCEDURES.get(request.procedure)
        if procedure is None or entry["name"] in {"GARBAGE args", "TRAILING"}:
            continue
        assert request.payload == pack(procedure.args, unpack(procedure.args, request.payload))
        if reply.status:
            error = WireError.decode(reply.payload)
            assert reply.payload == error.encode()
        else:
            values = unpack(procedure.returns, reply.payload)
            assert reply.payload == pack(procedure.returns, values)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=5), st.integers(1, 40))
def test_frames_come_out_of_any_pieces(payloads: list[bytes], size: int) -> None:
    """However the stream is cut, its frames are the same."""
    frames = [Frame(1, 2, number, 0, number, 0, payload) for number, payload in enumerate(payloads)]
    stream = b"".join(frame.encode() for frame in frames)
    buffer, found = FrameBuffer(1000), []
    for at in range(0, len(stream), size):
        buffer.feed(stream[at : at + size])
        while (frame := buffer.next()) is not None:
            found.append(frame)
    assert frames == found
    assert 0 == len(buffer)


@pytest.mark.parametrize("length", [0, 4, 27, 1001, 2**32 - 1])
def test_a_frame_has_its_limits(length: int) -> None:
    """A length below a header's or above the limit ends the stream before memory is taken."""
    buffer = FrameBuffer(1000)
    buffer.feed(length.to_bytes(4, "big"))
    with pytest.raises(FrameError):
        buffer.next()


def test_the_table_is_complete() -> None:
    """Every procedure has a handler, every handler a procedure, and none is another driver's."""
    assert set(HANDLERS) == {procedure.name for procedure in PROCEDURES.values()}
    assert len(HANDLERS) == len(PROCEDURES)
    assert not FOREIGN.keys() & PROCEDURES.keys()


def test_our_explanation_goes_with_libvirts_words() -> None:
    """The message is libvirt's, the second string ours with what to do."""
    error = WrongState("network 'red' runs", hint="stop it").in_libvirt("network is active")
    wire = to_wire(error.with_context("cannot start"))
    assert "Requested operation is not valid: network is active" == wire.message
    assert "cannot start: network 'red' runs; stop it" == wire.str2
    assert (55, 19) == (wire.code, wire.domain)


@given(st.lists(NETS, max_size=6), st.lists(st.integers(0, 5), max_size=8))
def test_a_list_of_networks_that_is_told_again(nets: list[NetworkRef], places: list[int]) -> None:
    """What is kept of one list for the next does not change what either says."""
    codecs = PROCEDURES[283].returns
    other = [nets[place] for place in places if place < len(nets)]
    for told in (nets, other, other, [], nets, [*nets, *other]):
        assert [told, len(told)] == unpack(codecs, pack(codecs, (told, len(told))))
