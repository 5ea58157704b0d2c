"""XDR (RFC 4506), as far as libvirt's protocol uses it: typed codecs over plain values.

Integers are big-endian; everything is padded to four bytes.  A codec packs one Python value
and unpacks it again; what is longer than the protocol allows, or not what its type says, is
refused with ``XdrError`` before memory is taken for it.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

__all__ = [
    "HYPER",
    "INT",
    "OPTIONAL_STRING",
    "PARAMETERS",
    "STRING",
    "STRING_MAX",
    "UHYPER",
    "UINT",
    "UUID_BYTES",
    "Array",
    "Codec",
    "Optional",
    "Parameter",
    "ParameterType",
    "Record",
    "XdrError",
    "pack",
    "unpack",
]

T = TypeVar("T")

STRING_MAX = 4 * 1024 * 1024
"""The longest string, in bytes (``VIR_NET_MESSAGE_STRING_MAX``)."""

_PAD = (b"", b"\0\0\0", b"\0\0", b"\0")
_LENGTH = struct.Struct(">I")


class XdrError(ValueError):
    """Bytes that are not what their type says, or a value that its type cannot hold."""


class Codec(Protocol[T]):
    """How values of one type become bytes and come back."""

    def pack(self, out: bytearray, value: T) -> None:
        """Append ``value`` to ``out``."""
        ...

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[T, int]:
        """Return the value at ``at`` and where the next one begins."""
        ...


class _Number:
    """An integer or float of fixed size."""

    def __init__(self, form: str) -> None:
        self._struct = struct.Struct(form)

    def pack(self, out: bytearray, value: int) -> None:
        try:
            out += self._struct.pack(value)
        except struct.error as error:
            raise XdrError(f"{value} does not fit: {error}") from None

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[int, int]:
        try:
            (value,) = self._struct.unpack_from(data, at)
        except struct.error:
            raise XdrError("the message ends in a number") from None
        return value, at + self._struct.size


INT = _Number(">i")
UINT = _Number(">I")
HYPER = _Number(">q")
UHYPER = _Number(">Q")


class _Double:
    """A floating point number of 8 bytes."""

    def pack(self, out: bytearray, value: float) -> None:
        out += struct.pack(">d", value)

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[float, int]:
        try:
            (value,) = struct.unpack_from(">d", data, at)
        except struct.error:
            raise XdrError("the message ends in a number") from None
        return value, at + 8


class _String:
    """UTF-8 with its length before it."""

    def pack(self, out: bytearray, value: str) -> None:
        data = value.encode(errors="surrogateescape")
        length = len(data)
        if length > STRING_MAX:
            raise XdrError(f"a string of {length} bytes is longer than {STRING_MAX}")
        out += _LENGTH.pack(length)
        out += data
        out += _PAD[length & 3]

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[str, int]:
        if at + 4 > len(data):
            raise XdrError("the message ends in a string")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        end = at + length
        if length > STRING_MAX or end > len(data):
            raise XdrError(f"a string of {length} bytes is longer than its message")
        padded = end + (-length & 3)
        if padded > len(data):
            raise XdrError("the message ends in a string")
        try:
            text = str(data[at:end], "utf-8")
        except UnicodeDecodeError:
            raise XdrError("a string is not UTF-8") from None
        if "\0" in text:
            raise XdrError("a string holds a NUL")
        return text, padded


STRING = _String()


@functools.lru_cache(4096)
def _uuid(data: bytes) -> UUID:
    """Return the uuid of these bytes; clients name the same networks and ports again and again."""
    return UUID(bytes=data)


class _Uuid:
    """Sixteen bytes without a length."""

    def pack(self, out: bytearray, value: UUID) -> None:
        out += value.bytes

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[UUID, int]:
        if at + 16 > len(data):
            raise XdrError("the message ends in a uuid")
        return _uuid(bytes(data[at : at + 16])), at + 16


UUID_BYTES = _Uuid()


class Optional(Generic[T]):
    """A value, or ``None``."""

    def __init__(self, codec: Codec[T]) -> None:
        """Use ``codec`` for the value where there is one."""
        self._codec = codec

    def pack(self, out: bytearray, value: T | None) -> None:
        """Append ``value`` after a word that says whether there is one."""
        UINT.pack(out, value is not None)
        if value is not None:
            self._codec.pack(out, value)

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[T | None, int]:
        """Return the value, or ``None``."""
        there, at = UINT.unpack(data, at)
        if there > 1:
            raise XdrError(f"{there} is neither true nor false")
        if not there:
            return None, at
        return self._codec.unpack(data, at)


OPTIONAL_STRING = Optional(STRING)


class Array(Generic[T]):
    """Values of one type, at most ``limit``."""

    def __init__(self, codec: Codec[T], limit: int) -> None:
        """Use ``codec`` for each of the values."""
        self._codec = codec
        self._limit = limit

    def pack(self, out: bytearray, value: Sequence[T]) -> None:
        """Append the values after their number."""
        if len(value) > self._limit:
            raise XdrError(f"{len(value)} values are more than {self._limit}")
        UINT.pack(out, len(value))
        for item in value:
            self._codec.pack(out, item)

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[list[T], int]:
        """Return the list of values."""
        count, at = UINT.unpack(data, at)
        if count > self._limit or count > len(data) - at:
            raise XdrError(f"{count} values are more than allowed")
        values = []
        for _ in range(count):
            value, at = self._codec.unpack(data, at)
            values.append(value)
        return values, at


class Record(Generic[T]):
    """Fields in order, made into a ``make(*fields)`` whose attributes they are."""

    def __init__(self, make: type[T], **fields: Codec[Any]) -> None:
        """Give the codec of each attribute of ``make``, which takes them in this order."""
        self._make = make
        self._fields = tuple(fields.items())
        self._codecs = tuple(fields.values())

    def pack(self, out: bytearray, value: T) -> None:
        """Append every field."""
        for name, codec in self._fields:
            codec.pack(out, getattr(value, name))

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[T, int]:
        """Return the value made of the fields."""
        found = []
        for codec in self._codecs:
            value, at = codec.unpack(data, at)
            found.append(value)
        return self._make(*found), at


class ParameterType:
    """The types of a typed parameter (``virTypedParameterType``)."""

    INT = 1
    UINT = 2
    LLONG = 3
    ULLONG = 4
    DOUBLE = 5
    BOOLEAN = 6
    STRING = 7


_VALUES: dict[int, Codec[Any]] = {
    ParameterType.INT: INT,
    ParameterType.UINT: UINT,
    ParameterType.LLONG: HYPER,
    ParameterType.ULLONG: UHYPER,
    ParameterType.DOUBLE: _Double(),
    ParameterType.BOOLEAN: INT,
    ParameterType.STRING: STRING,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """A typed parameter; ``type`` is one of ``ParameterType``."""

    name: str
    type: int
    value: object


class _ParameterCodec:
    """A name, a type, and a value of that type."""

    def pack(self, out: bytearray, value: Parameter) -> None:
        STRING.pack(out, value.name)
        INT.pack(out, value.type)
        _VALUES[value.type].pack(out, value.value)

    def unpack(self, data: bytes | memoryview, at: int) -> tuple[Parameter, int]:
        name, at = STRING.unpack(data, at)
        kind, at = INT.unpack(data, at)
        codec = _VALUES.get(kind)
        if codec is None:
            raise XdrError(f"parameter {name!r} has the unknown type {kind}")
        value, at = codec.unpack(data, at)
        return Parameter(name, kind, value), at


PARAMETERS = _ParameterCodec()
"""One typed parameter; put it in an ``Array`` of the procedure's limit."""


def pack(codecs: Sequence[Codec[Any]], values: Sequence[object]) -> bytes:
    """Return ``values`` as bytes, each by its codec."""
    out = bytearray()
    for codec, value in zip(codecs, values, strict=True):
        codec.pack(out, value)
    return bytes(out)


def unpack(codecs: Sequence[Codec[Any]], data: bytes | memoryview) -> list[object]:
    """Return the values in ``data``; bytes after the last one are ignored, as libvirt does."""
    at = 0
    values = []
    for codec in codecs:
        value, at = codec.unpack(data, at)
        values.append(value)
    return values
