"""Routes through a link, to be led through another (``linux/rtnetlink.h``)."""

from __future__ import annotations

import dataclasses
import socket
import struct
from collections.abc import Collection, Iterator
from typing import ClassVar

from jackfield.host.belongings.belonging import Belonging, Place, ip_text
from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    attribute,
    attribute_u32,
    attributes,
)
from jackfield.host.netlink.routing import RTM_DELROUTE, RTM_NEWROUTE
from jackfield.host.ownership import PROTOCOL

__all__ = ["HeldRoute", "on_link"]

_RTA_DST = 1
_RTA_SRC = 2
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6
_RTA_PREFSRC = 7
_RTA_METRICS = 8
_RTA_MULTIPATH = 9
_RTA_FLOW = 11
_RTA_CACHEINFO = 12
_RTA_TABLE = 15
_RTA_VIA = 18
_RTA_PREF = 20
_RTA_ENCAP_TYPE = 21
_RTA_ENCAP = 22
_RTA_EXPIRES = 23
_RTA_NH_ID = 30
_NAMED = (_RTA_DST, _RTA_SRC, _RTA_PRIORITY, _RTA_PREFSRC, _RTA_TABLE)
_KEPT = (*_NAMED, _RTA_METRICS, _RTA_FLOW, _RTA_PREF, _RTA_ENCAP_TYPE, _RTA_ENCAP)
_WAYS = (_RTA_GATEWAY, _RTA_VIA)

_RTN_UNICAST = 1
_RTPROT_KERNEL = 2
_RTPROT_RA = 9
_RTM_F_CLONED = 0x200
_RTNH_F_ONLINK = 4
_EXPIRES_OFFSET = 8
# USER_HZ: in which the kernel says when a route ends.
_TICKS_A_SECOND = 100

_HEADER = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=HBBi")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")


class HeldRoute(Belonging):
    """A route of any table that leads through the link."""

    __slots__ = ()
    kind: ClassVar[str] = "route"

    @property
    def identity(self) -> tuple[object, ...]:
        """Where it leads, by which table, metric and gateway."""
        found = self._found
        table = found.get(_RTA_TABLE) or _U32.pack(self.body[4])
        ways = tuple(found.get(kind) for kind in (_RTA_DST, _RTA_SRC, _RTA_PRIORITY, *_WAYS))
        return (self.kind, self.family, *self.body[1:4], table, *ways)

    @property
    def text(self) -> str:
        """Where it leads, and through which gateway."""
        found = self._found
        default = "default" if self.family == socket.AF_INET else "default of IPv6"
        destination = default
        if _RTA_DST in found:
            destination = f"{ip_text(found[_RTA_DST])}/{self.body[1]}"
        gateway = f" via {ip_text(found[_RTA_GATEWAY])}" if _RTA_GATEWAY in found else ""
        return f"route {destination}{gateway}"

    @property
    def has_gateway(self) -> bool:
        """Whether it needs another route, to its gateway, to be there before it."""
        return bool(self._found.keys() & {*_WAYS, _RTA_MULTIPATH})

    @property
    def protocol(self) -> int:
        """Who made it (``RTPROT_*``)."""
        return self.body[5]

    @property
    def is_learned(self) -> bool:
        """Whether the kernel learned it from a router's advertisement, and will again."""
        return self.protocol == _RTPROT_RA

    @property
    def next_hop_object(self) -> int | None:
        """The number of the next hop object (``ip nexthop``) that it uses, if it does."""
        payload = self._found.get(_RTA_NH_ID)
        return None if payload is None else int(_U32.unpack(payload)[0])

    @property
    def _found(self) -> dict[int, bytes]:
        return attributes(self.body, _HEADER.size)

    def stands_alone(self, connected: Collection[tuple[int, int, bytes]]) -> bool:
        """Whether it is through the link, and no address brings it along.

        ``connected`` are the networks to which the link's addresses make a route.
        """
        found = self._found
        if _HEADER.unpack_from(self.body)[8] & _RTM_F_CLONED:
            return False
        if self.place.index not in _links(found):
            return False
        if self.protocol != _RTPROT_KERNEL:
            return True
        packed = found.get(_RTA_DST) or bytes(4 if self.family == socket.AF_INET else 16)
        if self.family == socket.AF_INET6 and (packed[0] == 0xFF or packed[:2] == b"\xfe\x80"):
            return False
        return self.body[7] == _RTN_UNICAST and (
            (self.family, self.body[1], packed) not in connected
        )

    def legs(self) -> list[HeldRoute]:
        """Return an IPv6 route of several ways as one for each that is through the link.

        That is what they are in the kernel; the others stay as they are.
        """
        found = self._found
        if self.family != socket.AF_INET6 or _RTA_MULTIPATH not in found:
            return [self]
        shared = self.body[: _HEADER.size] + b"".join(
            attribute(kind, payload) for kind, payload in found.items() if kind != _RTA_MULTIPATH
        )
        return [
            dataclasses.replace(self, body=shared + inner + attribute_u32(_RTA_OIF, index))
            for _, _, index, inner in _next_hops(found[_RTA_MULTIPATH])
            if index == self.place.index
        ]

    def placed(self, target: Place) -> list[Message]:
        """Return what leads it through ``target``.

        One that the kernel learned is marked as ours, with a metric above that of the one it is
        going to learn, and ends when it would have ended.
        """
        header = list(_HEADER.unpack_from(self.body))
        header[8] &= _RTNH_F_ONLINK
        found = self._found
        if self.is_learned:
            header[5] = PROTOCOL
            metric = _U32.unpack(found.get(_RTA_PRIORITY, bytes(4)))[0]
            found[_RTA_PRIORITY] = _U32.pack(metric + 1)
        body = _HEADER.pack(*header) + b"".join(
            attribute(kind, found[kind]) for kind in _KEPT if kind in found
        )
        body += _ways(found, self.place.index, target.index)
        if self.family == socket.AF_INET6 and _RTA_CACHEINFO in found:
            ticks = _S32.unpack_from(found[_RTA_CACHEINFO], _EXPIRES_OFFSET)[0]
            if ticks > 0:
                body += attribute_u32(_RTA_EXPIRES, max(1, ticks // _TICKS_A_SECOND))
        # Of IPv4 routes alike the newest comes first; those of IPv6 become several ways of one.
        mode = NLM_F_APPEND if self.family == socket.AF_INET6 else 0
        what = f"lead the {self.text} through {target.name}"
        return [Message(RTM_NEWROUTE, NLM_F_CREATE | mode, body, what)]

    def removed(self) -> list[Message]:
        """Return what ends it."""
        header = list(_HEADER.unpack_from(self.body))
        header[8] = 0
        found = self._found
        body = _HEADER.pack(*header) + b"".join(
            attribute(kind, found[kind]) for kind in _NAMED if kind in found
        )
        body += _ways(found, self.place.index, self.place.index)
        return [Message(RTM_DELROUTE, 0, body, f"take the {self.text} off {self.place.name}")]


def on_link(message: Message, index: int) -> Message:
    """Return the request that adds a route, made to believe that link ``index`` has its gateway.

    A route outlives the address by which its gateway was reached, but could not be added again.
    """
    header = list(_HEADER.unpack_from(message.body))
    found = attributes(message.body, _HEADER.size)
    if _RTA_MULTIPATH not in found:
        header[8] |= _RTNH_F_ONLINK
        return message._replace(body=_HEADER.pack(*header) + message.body[_HEADER.size :])
    hops = b"".join(
        _NEXTHOP.pack(
            _NEXTHOP.size + len(inner), flags | _RTNH_F_ONLINK * (link == index), weight, link
        )
        + inner
        for flags, weight, link, inner in _next_hops(found[_RTA_MULTIPATH])
    )
    body = b"".join(
        attribute(kind, hops if kind == _RTA_MULTIPATH else payload)
        for kind, payload in found.items()
    )
    return message._replace(body=_HEADER.pack(*header) + body)


def _links(found: dict[int, bytes]) -> set[int]:
    """Return the indexes of the links that a route leads through."""
    links = {_S32.unpack(found[_RTA_OIF])[0]} if _RTA_OIF in found else set()
    return links | {index for _, _, index, _ in _next_hops(found.get(_RTA_MULTIPATH, b""))}


def _next_hops(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield flags, hops (the weight less 1), link and attributes of each of several ways."""
    offset = 0
    while offset + _NEXTHOP.size <= len(data):
        length, flags, hops, index = _NEXTHOP.unpack_from(data, offset)
        if length < _NEXTHOP.size:
            return
        yield flags, hops, index, data[offset + _NEXTHOP.size : offset + length]
        offset += length + 3 & ~3


def _ways(found: dict[int, bytes], source: int, target: int) -> bytes:
    """Return the attributes that say which way, by ``target`` in the place of ``source``."""
    ways = b"".join(attribute(kind, found[kind]) for kind in _WAYS if kind in found)
    if _RTA_OIF in found:
        return ways + attribute_u32(_RTA_OIF, target)
    hops = b""
    for flags, weight, index, inner in _next_hops(found[_RTA_MULTIPATH]):
        link = target if index == source else index
        length = _NEXTHOP.size + len(inner)
        hops += _NEXTHOP.pack(length, flags & _RTNH_F_ONLINK, weight, link) + inner
    return ways + attribute(_RTA_MULTIPATH, hops)
