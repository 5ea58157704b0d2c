"""Addresses of a link, to be given to another (``linux/if_addr.h``)."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import struct
from typing import ClassVar, Self

from jackfield.host.belongings.belonging import Belonging, Place
from jackfield.host.netlink.address import RTM_DELADDR, RTM_NEWADDR
from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    attribute,
    attribute_list,
    attribute_text,
    attribute_u32,
    attributes,
    text,
)

__all__ = ["HeldAddress"]

_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_LABEL = 3
_IFA_BROADCAST = 4
_IFA_CACHEINFO = 6
_IFA_FLAGS = 8
_IFA_RT_PRIORITY = 9
_IFA_PROTO = 11
_KEPT = (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_RT_PRIORITY, _IFA_PROTO)

_IFA_F_NODAD = 0x002
_IFA_F_DADFAILED = 0x008
_IFA_F_TENTATIVE = 0x040
_IFA_F_NOPREFIXROUTE = 0x200
# What may be asked for (inet_rtm_newaddr, inet6_rtm_newaddr); the rest is the kernel's finding.
_ASKED: dict[int, int] = {socket.AF_INET: 0x600, socket.AF_INET6: 0x716}
_IFAPROT_KERNEL_LL = 3

_HEADER = struct.Struct("=BBBBI")
_CACHEINFO = struct.Struct("=IIII")
_U32 = struct.Struct("=I")
_FOREVER = 0xFFFFFFFF
_LABEL_LENGTH = 15


class HeldAddress(Belonging):
    """An address, with its lifetimes and label."""

    __slots__ = ()
    kind: ClassVar[str] = "address"

    @property
    def identity(self) -> tuple[object, ...]:
        """Family, prefix, own and peer's address."""
        found = attributes(self.body, 8)
        own = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]
        return self.kind, self.family, self.body[1], own, found.get(_IFA_ADDRESS)

    @property
    def index(self) -> int:
        """The link that the kernel says has it."""
        return int(_HEADER.unpack_from(self.body)[4])

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address itself."""
        found = attributes(self.body, 8)
        return ipaddress.ip_address(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS])

    @property
    def text(self) -> str:
        """The address and its prefix length."""
        return f"address {self.ip}/{self.body[1]}"

    @property
    def is_automatic(self) -> bool:
        """Whether it is the link-local one that the kernel gives every link by itself.

        A kernel before 5.18 does not say who made an address: all link-local ones are taken as
        its own then.
        """
        said = attributes(self.body, 8).get(_IFA_PROTO, bytes([_IFAPROT_KERNEL_LL]))[0]
        return (
            self.family == socket.AF_INET6
            and self.ip.is_link_local
            and (said == _IFAPROT_KERNEL_LL)
        )

    @property
    def connected(self) -> tuple[int, int, bytes] | None:
        """The network (family, prefix, address) to which the kernel makes a route with it."""
        if self._flags & _IFA_F_NOPREFIXROUTE:
            return None
        found = attributes(self.body, 8)
        packed = found.get(_IFA_ADDRESS) or found[_IFA_LOCAL]
        bits = len(packed) * 8
        mask = (1 << bits) - (1 << bits - self.body[1])
        masked = int.from_bytes(packed, "big") & mask
        return self.family, self.body[1], masked.to_bytes(len(packed), "big")

    @property
    def _flags(self) -> int:
        payload = attributes(self.body, 8).get(_IFA_FLAGS)
        return self.body[2] if payload is None else int(_U32.unpack(payload)[0])

    def aged(self, seconds: int) -> Self | None:
        """Return it with what is left of its lifetimes."""
        preferred, valid = _lifetimes(attributes(self.body, 8))
        if valid == _FOREVER:
            return self
        if valid <= seconds:
            return None
        left = preferred if preferred == _FOREVER else max(0, preferred - seconds)
        times = _CACHEINFO.pack(left, valid - seconds, 0, 0)
        kept = [
            attribute(kind, times if kind == _IFA_CACHEINFO else payload)
            for kind, payload in attribute_list(self.body, 8)
        ]
        return dataclasses.replace(self, body=self.body[:8] + b"".join(kept))

    def placed(self, target: Place) -> list[Message]:
        """Return what gives it to ``target``.

        It is known to be nobody else's, so an IPv6 address is usable at once, without duplicate
        detection; a second message takes that flag off again where it had not been asked for.
        """
        flags, asked = self._flags, self._flags & _ASKED[self.family]
        found = attributes(self.body, 8)
        head = _HEADER.pack(self.family, self.body[1], 0, self.body[3], target.index)
        head += b"".join(attribute(kind, found[kind]) for kind in _KEPT if kind in found)
        head += attribute(_IFA_CACHEINFO, _CACHEINFO.pack(*_lifetimes(found), 0, 0))
        label = text(found.get(_IFA_LABEL, b""))
        if label.startswith(f"{self.place.name}:"):
            label = target.name + label.removeprefix(self.place.name)
            head += attribute_text(_IFA_LABEL, label[:_LABEL_LENGTH])
        undoubted = self.family == socket.AF_INET6 and not flags & (
            _IFA_F_TENTATIVE | _IFA_F_DADFAILED
        )
        first = asked | _IFA_F_NODAD if undoubted else asked
        what = f"give {target.name} the {self.text}"
        return [
            Message(
                RTM_NEWADDR,
                NLM_F_CREATE | NLM_F_REPLACE,
                head + attribute_u32(_IFA_FLAGS, value),
                what,
            )
            for value in dict.fromkeys((first, asked))
        ]

    def removed(self) -> list[Message]:
        """Return what takes it off its link."""
        found = attributes(self.body, 8)
        body = _HEADER.pack(self.family, self.body[1], 0, 0, self.place.index) + b"".join(
            attribute(kind, found[kind]) for kind in (_IFA_LOCAL, _IFA_ADDRESS) if kind in found
        )
        return [Message(RTM_DELADDR, 0, body, f"take the {self.text} off {self.place.name}")]


def _lifetimes(found: dict[int, bytes]) -> tuple[int, int]:
    """Return the seconds for which an address is still preferred, and valid."""
    if _IFA_CACHEINFO not in found:
        return _FOREVER, _FOREVER
    preferred, valid, _, _ = _CACHEINFO.unpack(found[_IFA_CACHEINFO])
    return preferred, valid
