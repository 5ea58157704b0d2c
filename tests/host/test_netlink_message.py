"""Netlink framing, attributes and acknowledgements, without a kernel."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jackfield.errors import KernelError
from jackfield.host.netlink import message as wire
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.socket import NETLINK_ROUTE, NetlinkSocket

HEADER = struct.Struct("=IHHII")


def frame(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """Return one message as the kernel would send it."""
    data = HEADER.pack(16 + len(body), kind, flags, sequence, 7) + body
    return data + bytes(-len(data) % 4)


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=12))
def test_attributes_come_back(pairs: list[tuple[int, bytes]]) -> None:
    """What is packed is found again, in order, whatever the lengths."""
    data = b"".join(wire.attribute(kind, payload) for kind, payload in pairs)
    assert len(data) % 4 == 0
    assert pairs == list(wire.attribute_list(data))
    assert dict(pairs) == wire.attributes(data)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    """Reading never fails and never reads beyond the end."""
    for _, payload in wire.attribute_list(data):
        assert payload in data
    list(wire.split(data))


@pytest.mark.parametrize(
    ("packed", "payload"),
    [
        (wire.attribute_u8(5, 7), b"\x07"),
        (wire.attribute_u32(5, 7), struct.pack("=I", 7)),
        (wire.attribute_u64(5, 7), struct.pack("=Q", 7)),
        (wire.attribute_text(5, "red"), b"red\0"),
        (wire.nested(5, wire.attribute_u32(1, 2)), wire.attribute_u32(1, 2)),
    ],
)
def test_typed_attributes(packed: bytes, payload: bytes) -> None:
    """Each packer makes an aligned attribute of the right type and payload."""
    assert len(packed) % 4 == 0
    assert [(5, payload)] == list(wire.attribute_list(packed))


def test_messages_of_a_datagram() -> None:
    """A datagram is split at its headers, padding left out."""
    data = frame(16, 2, 5, b"abc") + frame(3, 0, 6, b"")
    found = [(kind, flags, seq, data[a:b]) for kind, flags, seq, a, b in wire.split(data)]
    assert [(16, 2, 5, b"abc"), (3, 0, 6, b"")] == found


def test_encode_is_what_split_reads() -> None:
    """An encoded message has its number, the request flag, and padding outside its length."""
    data = wire.encode(Message(16, wire.NLM_F_ACK, b"abcde", "test"), 9)
    assert [(16, wire.NLM_F_ACK | wire.NLM_F_REQUEST, 9, 16, 21)] == list(wire.split(data))
    assert 24 == len(data)


def test_acknowledgement_with_words() -> None:
    """The kernel's own words are found after a capped and after a repeated request."""
    words = wire.attribute(1, b"no such thing\0")
    number = struct.pack("=i", -errno.ENODEV)
    capped = number + HEADER.pack(48, 16, 5, 1, 0) + words
    whole = number + HEADER.pack(48, 16, 5, 1, 0) + bytes(32) + words
    expected = (errno.ENODEV, "no such thing")
    assert expected == wire.acknowledgement(wire.NLMSG_ERROR, 0x300, capped)
    assert expected == wire.acknowledgement(wire.NLMSG_ERROR, 0x200, whole)
    assert expected == wire.acknowledgement(wire.NLMSG_DONE, 0x202, number + words)
    assert (0, "") == wire.acknowledgement(wire.NLMSG_ERROR, 0x100, bytes(20))


class ScriptedSocket(NetlinkSocket):
    """A socket whose kernel answers from a list: one list of (type, flags, body) per send."""

    def __init__(self, answers: list[list[tuple[int, int, bytes]]]) -> None:
        super().__init__(NETLINK_ROUTE)
        self.answers = answers
        self.sent = 0
        self._waiting: list[bytes] = []

    def _transmit(self, data: bytes) -> None:
        sequence = HEADER.unpack_from(data)[3]
        answer = self.answers[self.sent]
        self.sent += 1
        # What an earlier, abandoned request left behind comes first and must be passed over.
        self._waiting = [frame(2, 0, sequence - 1 & 0xFFFFFFFF, struct.pack("=i", -1) + bytes(16))]
        self._waiting += [frame(kind, flags, sequence, body) for kind, flags, body in answer]

    def _receive_datagram(self, flags: int) -> bytes:
        return self._waiting.pop(0)


DONE = (wire.NLMSG_DONE, 0, bytes(4))
INTERRUPTED = (wire.NLMSG_DONE, wire.NLM_F_DUMP_INTR, bytes(4))


def test_an_interrupted_dump_is_asked_for_again() -> None:
    """Objects of an interrupted dump are thrown away, wherever the flag was."""
    request = Message(18, 0, b"", "list the links")
    answers = [
        [(16, wire.NLM_F_DUMP_INTR, b"half"), DONE],
        [(16, 0, b"half"), INTERRUPTED],
        [(16, 0, b"whole"), DONE],
    ]
    with ScriptedSocket(answers) as scripted:
        assert [b"whole"] == [reply.body for reply in scripted.dump(request)]
        assert 3 == scripted.sent


def test_a_dump_is_not_asked_for_without_end() -> None:
    """A dump that never succeeds is an error that says so."""
    with (
        ScriptedSocket([[INTERRUPTED]] * 50) as scripted,
        pytest.raises(KernelError, match="cannot list the links: interrupted") as caught,
    ):
        scripted.dump(Message(18, 0, b"", "list the links"))
    assert errno.EINTR == caught.value.errno
    assert 50 > scripted.sent


def test_a_refused_dump_says_why() -> None:
    """An error at the end of a dump is raised, with the kernel's words."""
    body = struct.pack("=i", -errno.EINVAL) + wire.attribute(1, b"Invalid header\0")
    with (
        ScriptedSocket([[(wire.NLMSG_DONE, 0x202, body)]]) as scripted,
        pytest.raises(KernelError, match=r"cannot list: EINVAL \(.*\): Invalid header"),
    ):
        scripted.dump(Message(18, 0, b"", "list"))


def test_an_atomic_batch_ends_with_its_first_message() -> None:
    """When the kernel throws a whole batch away it answers the first message only."""
    refused = (wire.NLMSG_ERROR, 0, struct.pack("=i", -errno.EPERM) + bytes(16))
    messages = [Message(16, 0, b"", "begin"), Message(0xA00, wire.NLM_F_ACK, b"", "make a table")]
    with ScriptedSocket([[refused]]) as scripted:
        refusals = scripted.batch(messages, atomic=True)
    assert [(0, errno.EPERM)] == [(item.index, item.errno) for item in refusals]
