"""Frames: a header of 28 bytes and a payload, and their parsing from a stream.

See libvirt's ``virnetprotocol.x`` and https://libvirt.org/kbase/internals/rpc.html.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

__all__ = [
    "HEADER_SIZE",
    "KEEPALIVE",
    "REMOTE",
    "VERSION",
    "Frame",
    "FrameBuffer",
    "FrameError",
    "Status",
    "Type",
]

REMOTE = 0x20008086
KEEPALIVE = 0x6B656570
VERSION = 1

_HEADER = struct.Struct(">IIIiIII")
_LENGTH = struct.Struct(">I")
HEADER_SIZE = _HEADER.size

# Once this many bytes of a buffer are used up they are dropped from it.
_COMPACT = 256 * 1024


class Type(enum.IntEnum):
    """What a frame is (``virNetMessageType``)."""

    CALL = 0
    REPLY = 1
    MESSAGE = 2
    STREAM = 3
    CALL_WITH_FDS = 4
    REPLY_WITH_FDS = 5
    STREAM_HOLE = 6


class Status(enum.IntEnum):
    """How a call ended (``virNetMessageStatus``)."""

    OK = 0
    ERROR = 1
    CONTINUE = 2


class FrameError(ValueError):
    """A stream that holds no frames, or one that is too long; nothing after it can be read."""


class Frame(NamedTuple):
    """One message; ``type`` and ``status`` may be numbers that nobody knows."""

    program: int
    version: int
    procedure: int
    type: int
    serial: int
    status: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the frame's bytes."""
        head = _HEADER.pack(
            HEADER_SIZE + len(self.payload),
            self.program,
            self.version,
            self.procedure,
            self.type,
            self.serial,
            self.status,
        )
        return head + self.payload


class FrameBuffer:
    """Bytes as they arrive, and the frames that are complete in them.

    ``limit`` is the longest frame, in bytes; it may be raised once the peer is known.
    """

    def __init__(self, limit: int) -> None:
        """Begin empty."""
        self.limit = limit
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Append what has arrived."""
        self._data += data

    def __len__(self) -> int:
        """Return how many bytes wait."""
        return len(self._data) - self._at

    def next(self) -> Frame | None:
        """Return the next complete frame, ``None`` until there is one, or raise ``FrameError``."""
        data, at = self._data, self._at
        waiting = len(data) - at
        if not waiting:
            return None
        if waiting < HEADER_SIZE:
            if waiting >= _LENGTH.size:
                self._check(_LENGTH.unpack_from(data, at)[0])
            self._compact()
            return None
        length, program, version, procedure, kind, serial, status = _HEADER.unpack_from(data, at)
        self._check(length)
        if waiting < length:
            self._compact()
            return None
        end = at + length
        payload = bytes(memoryview(data)[at + HEADER_SIZE : end])
        if waiting == length:
            data.clear()
            self._at = 0
        else:
            self._at = end
            if end >= _COMPACT:
                self._compact()
        return Frame(program, version, procedure, kind, serial, status, payload)

    def _check(self, length: int) -> None:
        if not HEADER_SIZE <= length <= self.limit:
            raise FrameError(f"a frame of {length} bytes; {HEADER_SIZE} to {self.limit} may be")

    def _compact(self) -> None:
        if self._at:
            del self._data[: self._at]
            self._at = 0
