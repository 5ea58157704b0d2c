"""Netlink messages as bytes: headers, attributes, and the kernel's acknowledgements.

Pure functions over ``bytes``; nothing here knows a socket or a protocol.  Layouts are those of
``linux/netlink.h``: native byte order, everything aligned to 4 bytes::

    message    = header(16: length, type, flags, sequence, port id) body padding
    body       = family header, attributes
    attribute  = length(2, without padding) type(2) payload padding
"""

from __future__ import annotations

import errno as errno_names
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

__all__ = [
    "NLMSG_DONE",
    "NLMSG_ERROR",
    "NLMSG_HEADER",
    "NLM_F_ACK",
    "NLM_F_APPEND",
    "NLM_F_CREATE",
    "NLM_F_DUMP",
    "NLM_F_DUMP_INTR",
    "NLM_F_ECHO",
    "NLM_F_EXCL",
    "NLM_F_NONREC",
    "NLM_F_REPLACE",
    "NLM_F_REQUEST",
    "Message",
    "Reply",
    "acknowledgement",
    "attribute",
    "attribute_list",
    "attribute_text",
    "attribute_u8",
    "attribute_u32",
    "attribute_u64",
    "attributes",
    "encode",
    "errno_text",
    "nested",
    "split",
    "text",
]

NLMSG_ERROR = 2
NLMSG_DONE = 3

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_ECHO = 0x008
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300
NLM_F_REPLACE = 0x100
NLM_F_NONREC = 0x100
NLM_F_EXCL = 0x200
NLM_F_CREATE = 0x400
NLM_F_APPEND = 0x800

_NLM_F_CAPPED = 0x100
_NLM_F_ACK_TLVS = 0x200
_NLMSGERR_ATTR_MSG = 1
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF

NLMSG_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ATTRIBUTE_U8 = struct.Struct("=HHBxxx")
_ATTRIBUTE_U32 = struct.Struct("=HHI")
_ATTRIBUTE_U64 = struct.Struct("=HHQ")
_ERROR = struct.Struct("=i")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Message(NamedTuple):
    """A message to send: ``type``, ``flags`` (without ``NLM_F_REQUEST``) and ``body``.

    ``what`` says in words what is asked, on which object (``create bridge virbr0``): it begins
    the error when the kernel refuses.
    """

    type: int
    flags: int
    body: bytes
    what: str


class Reply(NamedTuple):
    """A message received: ``type``, ``flags`` and ``body`` (without the netlink header)."""

    type: int
    flags: int
    body: bytes


def encode(message: Message, sequence: int) -> bytes:
    """Return ``message`` as the kernel reads it, padded; port id 0 lets the kernel fill it in."""
    body = message.body
    length = 16 + len(body)
    flags = message.flags | NLM_F_REQUEST
    return NLMSG_HEADER.pack(length, message.type, flags, sequence, 0) + body + _PADDING[length & 3]


def split(data: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (type, flags, sequence, start, end) of each message in ``data``.

    ``start`` and ``end`` bound the body.  A header that claims more than there is ends the
    iteration: the kernel never cuts a datagram that fits the buffer.
    """
    offset, size = 0, len(data)
    unpack = NLMSG_HEADER.unpack_from
    while offset + 16 <= size:
        length, kind, flags, sequence, _ = unpack(data, offset)
        end = offset + length
        if length < 16 or end > size:
            return
        yield kind, flags, sequence, offset + 16, end
        offset = end + 3 & ~3


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute of type ``kind``, padded."""
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + _PADDING[length & 3]


def attribute_u8(kind: int, value: int) -> bytes:
    """Return an attribute that holds one octet."""
    return _ATTRIBUTE_U8.pack(5, kind, value)


def attribute_u32(kind: int, value: int) -> bytes:
    """Return an attribute that holds 32 bits in host order."""
    return _ATTRIBUTE_U32.pack(8, kind, value)


def attribute_u64(kind: int, value: int) -> bytes:
    """Return an attribute that holds 64 bits in host order."""
    return _ATTRIBUTE_U64.pack(12, kind, value)


def attribute_text(kind: int, value: str) -> bytes:
    """Return an attribute that holds a string and its NUL."""
    return attribute(kind, value.encode() + b"\0")


def nested(kind: int, *inner: bytes) -> bytes:
    """Return an attribute that holds the packed attributes ``inner``, flagged as nested."""
    return attribute(kind | _NLA_F_NESTED, b"".join(inner))


def attribute_list(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (type, payload) of each attribute in ``data`` from ``offset``, in order."""
    size = len(data)
    unpack = _ATTRIBUTE.unpack_from
    while offset + 4 <= size:
        length, kind = unpack(data, offset)
        end = offset + length
        if length < 4 or end > size:
            return
        yield kind & _NLA_TYPE_MASK, data[offset + 4 : end]
        offset = end + 3 & ~3


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Return the payloads of the attributes in ``data`` from ``offset`` by type; the last wins."""
    found: dict[int, bytes] = {}
    size = len(data)
    # The loop of attribute_list written out, because it runs for every object of a dump.
    unpack, mask = _ATTRIBUTE.unpack_from, _NLA_TYPE_MASK
    while offset + 4 <= size:
        length, kind = unpack(data, offset)
        end = offset + length
        if length < 4 or end > size:
            break
        found[kind & mask] = data[offset + 4 : end]
        offset = end + 3 & -4
    return found


def text(payload: bytes) -> str:
    """Return the string in an attribute's payload, without its NUL."""
    return payload.rstrip(b"\0").decode("utf-8", "backslashreplace")


def acknowledgement(kind: int, flags: int, body: bytes) -> tuple[int, str]:
    """Return (errno, words) of an ``NLMSG_ERROR`` or ``NLMSG_DONE``; errno 0 is success.

    ``words`` is the kernel's extended acknowledgement (``NLMSGERR_ATTR_MSG``) or empty.
    ``NLMSG_DONE`` has the error alone, ``NLMSG_ERROR`` also the header of the message refused.
    """
    if len(body) < 4:
        return 0, ""
    number = -_ERROR.unpack_from(body)[0]
    if not flags & _NLM_F_ACK_TLVS:
        return number, ""
    offset = 4
    if kind == NLMSG_ERROR and len(body) >= 20:
        # An acknowledgement that is not capped repeats the whole message, not only its header.
        length = NLMSG_HEADER.unpack_from(body, 4)[0]
        offset += 16 if number == 0 or flags & _NLM_F_CAPPED else length + 3 & ~3
    return number, text(attributes(body, offset).get(_NLMSGERR_ATTR_MSG, b""))


def errno_text(number: int) -> str:
    """Return an errno for people: ``EBUSY (Device or resource busy)``."""
    # Python's table has ENOTSUP under the number that Linux calls EOPNOTSUPP.
    name = "EOPNOTSUPP" if number == errno_names.EOPNOTSUPP else errno_names.errorcode.get(number)
    return f"{name or number} ({os.strerror(number)})"
