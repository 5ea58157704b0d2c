"""A raw client of libvirt's protocol: frames out, frames in, nothing of libvirt."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from jackfield.rpc.errors import WireError
from jackfield.rpc.frame import HEADER_SIZE, KEEPALIVE, REMOTE, Frame, FrameBuffer
from jackfield.rpc.procedures import PROCEDURES, NetworkRef
from jackfield.rpc.xdr import Codec, pack, unpack

__all__ = ["RawClient", "Refused", "decode"]

NUMBERS = {procedure.name: number for number, procedure in PROCEDURES.items()}


class Refused(Exception):
    """The daemon answered with an error."""

    def __init__(self, error: WireError) -> None:
        super().__init__(f"{error.code}/{error.domain}: {error.message}")
        self.error = error


def decode(data: bytes) -> Frame:
    """Return the one frame that ``data`` is."""
    buffer = FrameBuffer(len(data))
    buffer.feed(data)
    frame = buffer.next()
    assert frame is not None
    assert len(buffer) == 0
    return frame


class RawClient:
    """One connection; ``events`` collects what the daemon sends unasked."""

    def __init__(self, path: Path, *, timeout: float = 10) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.serial = 0
        self.events: list[Frame] = []
        self.pings = 0

    def send(self, frame: Frame) -> None:
        self.socket.sendall(frame.encode())

    def receive(self) -> Frame | None:
        """Return the next frame, ``None`` at the end of the connection."""
        head = self._exactly(HEADER_SIZE)
        if head is None:
            return None
        (length,) = struct.unpack_from(">I", head)
        rest = self._exactly(length - HEADER_SIZE) if length > HEADER_SIZE else b""
        assert rest is not None
        return decode(head + rest)

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                return None
            data += part
        return data

    def begin(self, name: str, *args: object) -> int:
        """Send a call and return its serial."""
        number = NUMBERS[name]
        serial, self.serial = self.serial, self.serial + 1
        self.send(Frame(REMOTE, 1, number, 0, serial, 0, pack(PROCEDURES[number].args, args)))
        return serial

    def reply(self) -> Frame:
        """Return the next reply; events and pings before it are collected."""
        while True:
            frame = self.receive()
            if frame is None:
                raise ConnectionError("the daemon closed the connection")
            if frame.program == KEEPALIVE:
                self.pings += frame.procedure == 1
            elif frame.type == 2:
                self.events.append(frame)
            else:
                return frame

    def result(self, frame: Frame) -> list[Any]:
        if frame.status:
            raise Refused(WireError.decode(frame.payload))
        return unpack(PROCEDURES[frame.procedure].returns, frame.payload)

    def call(self, name: str, *args: object) -> list[Any]:
        """Return the values of a call's reply; ``Refused`` when it is an error."""
        serial = self.begin(name, *args)
        frame = self.reply()
        assert (NUMBERS[name], serial) == (frame.procedure, frame.serial)
        return self.result(frame)

    def open(self, flags: int = 0) -> RawClient:
        """Do the handshake."""
        assert self.call("auth_list") == [[0]]
        self.call("connect_open", "network:///system", flags)
        return self

    def lookup(self, name: str) -> NetworkRef:
        found: NetworkRef = self.call("network_lookup_by_name", name)[0]
        return found

    def event(self, codecs: Sequence[Codec[Any]]) -> list[Any]:
        """Return the next event."""
        while not self.events:
            frame = self.receive()
            assert frame is not None
            if frame.program != KEEPALIVE:
                self.events.append(frame)
        return unpack(codecs, self.events.pop(0).payload)

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def network(name: str = "red", number: int = 1) -> NetworkRef:
    """Return a reference to a network that nobody has looked up."""
    return NetworkRef(name, UUID(int=number))
