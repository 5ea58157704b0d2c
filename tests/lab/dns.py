"""A DNS question over UDP (RFC 1035), asked by the test process from a namespace."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import struct

from tests.lab.namespace import Namespace
from tests.lab.packets import ask_udp

__all__ = ["Answer", "resolve"]

TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
RCODES = {0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said: ``rcode`` by name, the records of the wanted type as text.

    An MX record is ``PREFERENCE NAME``, an SRV record ``PRIORITY WEIGHT PORT NAME``, a TXT record
    its strings joined; names have no final dot.
    """

    rcode: str
    records: tuple[str, ...]
    authoritative: bool


def resolve(
    where: Namespace,
    name: str,
    server: str,
    kind: str = "A",
    *,
    timeout: float = 2.0,
    tries: int = 2,
) -> Answer | None:
    """Ask ``server`` for the records of ``name``; ``None`` when no answer came.

    For ``PTR`` an address may stand for its name in the reverse tree.
    """
    if kind == "PTR" and not name.endswith(".arpa"):
        name = ipaddress.ip_address(name).reverse_pointer
    number = next(_numbers) & 0xFFFF
    labels = b"".join(
        bytes([len(label)]) + label for label in name.encode("idna").rstrip(b".").split(b".")
    )
    question = (
        struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0)
        + labels
        + b"\0"
        + struct.pack("!HH", TYPES[kind], 1)
    )
    reply = ask_udp(where, server, 53, question, timeout=timeout, tries=tries)
    return None if reply is None else _parse(reply, TYPES[kind])


def _parse(message: bytes, wanted: int) -> Answer:
    """Return the records of one type of a reply."""
    _number, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", message)
    offset = 12
    for _ in range(questions):
        _name, offset = _read_name(message, offset)
        offset += 4
    records = []
    for _ in range(answers):
        _name, offset = _read_name(message, offset)
        kind, _class, _ttl, length = struct.unpack_from("!HHIH", message, offset)
        offset += 10
        if kind == wanted:
            records.append(_read_record(message, kind, offset, length))
        offset += length
    rcode = flags & 15
    return Answer(
        rcode=RCODES.get(rcode, str(rcode)),
        records=tuple(records),
        authoritative=bool(flags & 0x0400),
    )


def _read_record(message: bytes, kind: int, offset: int, length: int) -> str:
    """Return one record's data as text."""
    data = message[offset : offset + length]
    if kind in (TYPES["A"], TYPES["AAAA"]):
        return str(ipaddress.ip_address(data))
    if kind == TYPES["TXT"]:
        strings = []
        while data:
            strings.append(data[1 : 1 + data[0]])
            data = data[1 + data[0] :]
        return b"".join(strings).decode()
    fixed = {TYPES["MX"]: "!H", TYPES["SRV"]: "!HHH"}.get(kind, "!")
    numbers = struct.unpack_from(fixed, message, offset)
    name, _end = _read_name(message, offset + struct.calcsize(fixed))
    return " ".join([*map(str, numbers), name])


def _read_name(message: bytes, offset: int) -> tuple[str, int]:
    """Return the name at ``offset`` and where what follows it begins."""
    labels = []
    end = None
    while message[offset]:
        if message[offset] >= 0xC0:
            end = end or offset + 2
            offset = struct.unpack_from("!H", message, offset)[0] & 0x3FFF
            continue
        labels.append(message[offset + 1 : offset + 1 + message[offset]].decode())
        offset += 1 + message[offset]
    return ".".join(labels), end or offset + 1
