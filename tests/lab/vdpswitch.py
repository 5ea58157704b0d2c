"""The switch's side of 802.1Qbg, as much as an lldpad needs: a raw socket on one of its ports.

It says in LLDP that it does Edge Virtual Bridging, acknowledges what comes by ECP, and answers
VDP's requests.  The frames are those of the standard's draft 0, which lldpad speaks::

    LLDP  ethertype 88cc to 01:80:c2:00:00:00: chassis, port, time to live, EVB TLV, end
    ECP   ethertype 88b7, OUI 00-1b-3f, subtype 0, version, operation, sequence, TLVs, end
    TLV   7 bits type (127), 9 bits length, OUI 00-1b-3f, subtype, …
    VDP   subtype 2: mode, response, manager, type(3), version, instance(16), format, count(2),
          and for each guest MAC(6) VLAN(2)
"""

from __future__ import annotations

import dataclasses
import enum
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from uuid import UUID

from tests.lab.namespace import Namespace

__all__ = ["Mode", "VdpSwitch", "Vsi"]

_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_MULTICAST = 0
_PACKET_OUTGOING = 4

_OUI = bytes.fromhex("001b3f")
_LLDP, _ECP = 0x88CC, 0x88B7
_NEAREST_CUSTOMER_BRIDGE = bytes.fromhex("0180c2000000")
_NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
_EVB, _VDP = 0, 2
_REQUEST, _ACKNOWLEDGEMENT = 0, 1
_VDP_BODY = struct.Struct("!3sBBBB3sB16sBH")
_MAC_AND_VLAN = 2
_INTERVAL = 0.5


class Mode(enum.IntEnum):
    """What VDP asks for."""

    PREASSOCIATE = 0
    PREASSOCIATE_RR = 1
    ASSOCIATE = 2
    DEASSOCIATE = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vsi:
    """A guest's interface as the switch is told of it."""

    manager: int
    type_id: int
    version: int
    instance: UUID
    guests: tuple[tuple[str, int], ...]


class VdpSwitch:
    """A port of a switch that does 802.1Qbg, served by a thread until the ``with`` ends.

    ``associated`` is what the switch knows now, ``requests`` all that it was asked.  With
    ``response`` above 0 it refuses associations; while ``silent`` it answers nothing but LLDP.
    """

    def __init__(self, where: Namespace, port: str) -> None:
        """Serve the link ``port`` of a namespace."""
        self.associated: dict[UUID, Vsi] = {}
        self.requests: list[tuple[Mode, Vsi]] = []
        self.response = 0
        self.silent = False
        self._sequence = 0
        self._lock = threading.Lock()
        self._socket = where.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ECP))
        self._socket.bind((port, _ECP))
        self._mac: bytes = self._socket.getsockname()[4]
        with where.entered():
            index = socket.if_nametoindex(port)
        for group in (_NEAREST_BRIDGE, _NEAREST_CUSTOMER_BRIDGE):
            member = struct.pack("=iHH8s", index, _PACKET_MR_MULTICAST, 6, group)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="vdp-switch")
        self._thread.start()

    def asked(self, mode: Mode) -> list[Vsi]:
        """Return what was asked for with this mode, in order; keeping alive is no other asking."""
        found: list[Vsi] = []
        for one, vsi in self.requests:
            if one is mode:
                found.append(vsi)
        return found

    def forget(self, instance: UUID) -> None:
        """End an association as a switch may, and tell the station."""
        vsi = self.associated.pop(instance)
        self._send_vdp([_tlv(Mode.DEASSOCIATE, 0, vsi)])

    def close(self) -> None:
        """Serve no more."""
        self._end.close()
        self._thread.join(10)
        self._ended.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self) -> None:
        next_lldp = 0.0
        while True:
            if time.monotonic() >= next_lldp:
                self._send(self._lldp())
                next_lldp = time.monotonic() + _INTERVAL
            wait = max(0.0, next_lldp - time.monotonic())
            ready, _, _ = select.select([self._socket, self._ended], [], [], wait)
            if self._ended in ready:
                return
            if self._socket in ready:
                frame, address = self._socket.recvfrom(2048)
                if address[2] != _PACKET_OUTGOING and not self.silent:
                    self._take(frame)

    def _take(self, frame: bytes) -> None:
        """Acknowledge and answer what came by ECP."""
        if frame[14:19] != _OUI + b"\0\0" or frame[20] != _REQUEST:
            return
        self._send(frame[:6] + self._mac + frame[12:20] + bytes([_ACKNOWLEDGEMENT]) + frame[21:23])
        replies = []
        for body in _vdp_bodies(frame[23:]):
            mode, vsi = _read(body)
            response = self.response if mode is Mode.ASSOCIATE else 0
            self.requests.append((mode, vsi))
            if mode is Mode.ASSOCIATE and not response:
                self.associated[vsi.instance] = vsi
            elif mode is Mode.DEASSOCIATE:
                self.associated.pop(vsi.instance, None)
            replies.append(_tlv(mode, response, vsi))
        if replies:
            self._send_vdp(replies)

    def _send_vdp(self, tlvs: list[bytes]) -> None:
        with self._lock:
            self._sequence += 1
            head = struct.pack("!BBH", 0, _REQUEST, self._sequence)
        self._send(
            _NEAREST_BRIDGE
            + self._mac
            + struct.pack("!H", _ECP)
            + _OUI
            + b"\0\0"
            + head
            + b"".join(tlvs)
            + b"\0\0"
        )

    def _send(self, frame: bytes) -> None:
        try:
            self._socket.send(frame.ljust(60, b"\0"))
        except OSError:
            # The cable is out: nobody is there to hear it.
            return

    def _lldp(self) -> bytes:
        """Return the frame that offers reflective relay, ECP and VDP, which the station takes."""
        reflective, all_three, exponent = 0x40, 0x07, 15
        evb = struct.pack(
            "!3sBBBBBHHB",
            *(_OUI, _EVB),
            *(reflective, all_three),  # what the bridge can do
            *(reflective, all_three),  # what is in force
            *(3295, 0),  # VSIs that there may be, and that there are
            exponent,
        )
        return (
            _NEAREST_CUSTOMER_BRIDGE
            + self._mac
            + struct.pack("!H", _LLDP)
            + _pack(1, b"\4" + self._mac)
            + _pack(2, b"\3" + self._mac)
            + _pack(3, struct.pack("!H", 120))
            + _pack(127, evb)
            + b"\0\0"
        )


def _pack(kind: int, body: bytes) -> bytes:
    return struct.pack("!H", kind << 9 | len(body)) + body


def _vdp_bodies(data: bytes) -> Iterator[bytes]:
    """Yield the bodies of VDP's TLVs."""
    while len(data) >= 2:
        (head,) = struct.unpack_from("!H", data)
        kind, length = head >> 9, head & 0x1FF
        if kind == 0:
            return
        body, data = data[2 : 2 + length], data[2 + length :]
        if kind == 127 and body[:4] == _OUI + bytes([_VDP]):
            yield body


def _read(body: bytes) -> tuple[Mode, Vsi]:
    _, _, mode, _, manager, kind, version, instance, _, count = _VDP_BODY.unpack_from(body)
    rest = body[_VDP_BODY.size :]
    guests = []
    for number in range(count):
        mac, vlan = struct.unpack_from("!6sH", rest, number * 8)
        guests.append((mac.hex(":"), vlan))
    vsi = Vsi(
        manager=manager,
        type_id=int.from_bytes(kind, "big"),
        version=version,
        instance=UUID(bytes=instance),
        guests=tuple(guests),
    )
    return Mode(mode), vsi


def _tlv(mode: Mode, response: int, vsi: Vsi) -> bytes:
    body = _VDP_BODY.pack(
        *(_OUI, _VDP, mode, response, vsi.manager, vsi.type_id.to_bytes(3, "big"), vsi.version),
        *(vsi.instance.bytes, _MAC_AND_VLAN, len(vsi.guests)),
    )
    for mac, vlan in vsi.guests:
        body += struct.pack("!6sH", bytes.fromhex(mac.replace(":", "")), vlan)
    return _pack(127, body)
