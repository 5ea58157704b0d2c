"""Whether a gateway answers: ARP requests (RFC 826) or neighbour solicitations (RFC 4861).

On the event loop, in the daemon's network namespace; nothing waits for anything else.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import dataclasses
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Awaitable, Callable

from jackfield.host.icmpv6 import icmpv6_socket
from jackfield.model.values import InterfaceName

__all__ = ["Gateway", "answers"]

_ETH_P_ARP = 0x0806
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_ETHERNET = 1
_ETH_P_IP = 0x0800
_REQUEST = 1
_BROADCAST = b"\xff" * 6

_SOLICITATION = 135
_ADVERTISEMENT = 136
_SOURCE_LINK_ADDRESS = 1
_ICMPV6 = struct.Struct("!BBHI16s")
# Neighbour discovery is refused with any other: it has crossed a router.
_HOP_LIMIT = 255

_SIOCGIFHWADDR = 0x8927
# Name, and the Ethernet address behind its type.
_IFREQ = struct.Struct("=16s2x6s16x")

_LONGEST = 512
_INTERVAL = 0.3
"""Seconds after which an unanswered question is asked again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A default route's next hop, and the own IPv4 address to ask it from, if there is one."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    source: ipaddress.IPv4Address | None = None


async def answers(
    gateway: Gateway,
    link: InterfaceName,
    seconds: float,
    close: Callable[[socket.socket], Awaitable[None]],
) -> bool:
    """Return whether the gateway answers on ``link`` within so many seconds.

    A link that cannot be asked on, because it is down or gone, gives no answer.  ``close`` closes
    a socket elsewhere: of a packet socket that waits for the kernel.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    kind = _Arp if isinstance(gateway.address, ipaddress.IPv4Address) else _Neighbour
    question = kind(gateway, link)
    while (left := deadline - loop.time()) > 0:
        asker = None
        try:
            asker = question.open()
            asker.setblocking(False)
            while (left := deadline - loop.time()) > 0:
                question.ask(asker)
                if await _heard(asker, question, min(left, _INTERVAL)):
                    return True
        except OSError:
            await asyncio.sleep(min(left, _INTERVAL))
        finally:
            if asker is not None:
                await close(asker)
    return False


async def _heard(asker: socket.socket, question: _Question, seconds: float) -> bool:
    """Return whether an answer comes in within so many seconds."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not question.is_answer(await loop.sock_recv(asker, _LONGEST)):
                pass
            return True
    return False


class _Question(abc.ABC):
    """How a gateway is asked, through one link."""

    def __init__(self, gateway: Gateway, link: InterfaceName) -> None:
        self._gateway = gateway
        self._link = link
        self._wanted = gateway.address.packed

    @abc.abstractmethod
    def open(self) -> socket.socket:
        """Open the socket."""

    @abc.abstractmethod
    def ask(self, asker: socket.socket) -> None:
        """Send the question."""

    @abc.abstractmethod
    def is_answer(self, data: bytes) -> bool:
        """Whether what came in is from the gateway."""


class _Arp(_Question):
    """Ask who has an IPv4 address."""

    def open(self) -> socket.socket:
        return _packet_socket(self._link, _ETH_P_ARP)

    def ask(self, asker: socket.socket) -> None:
        source = bytes(4) if self._gateway.source is None else self._gateway.source.packed
        own = asker.getsockname()[4]
        request = _ARP.pack(
            *(_ARP_ETHERNET, _ETH_P_IP, 6, 4, _REQUEST, own, source, bytes(6), self._wanted)
        )
        asker.sendto(request, (self._link, _ETH_P_ARP, 0, _ARP_ETHERNET, _BROADCAST))

    def is_answer(self, data: bytes) -> bool:
        return len(data) >= _ARP.size and _ARP.unpack_from(data)[6] == self._wanted


class _Neighbour(_Question):
    """Ask who has an IPv6 address."""

    def open(self) -> socket.socket:
        asker = icmpv6_socket(_ADVERTISEMENT)
        try:
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._link.encode())
            asker.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        except BaseException:
            asker.close()
            raise
        return asker

    def ask(self, asker: socket.socket) -> None:
        tail = self._wanted[13:]
        group = f"ff02::1:ff{tail[0]:02x}:{tail[1]:02x}{tail[2]:02x}"
        # The kernel fills in the checksum.  Without our own link address nobody would answer.
        told = fcntl.ioctl(asker, _SIOCGIFHWADDR, _IFREQ.pack(self._link.encode(), b""))
        option = bytes([_SOURCE_LINK_ADDRESS, 1]) + _IFREQ.unpack(told)[1]
        request = _ICMPV6.pack(_SOLICITATION, 0, 0, 0, self._wanted) + option
        asker.sendto(request, (group, 0, 0, socket.if_nametoindex(self._link)))

    def is_answer(self, data: bytes) -> bool:
        return len(data) >= _ICMPV6.size and _ICMPV6.unpack_from(data)[4] == self._wanted


def _packet_socket(link: InterfaceName, protocol: int) -> socket.socket:
    """Return a socket for one protocol's packets on one link."""
    # No protocol before it is bound: it would take in the whole host's packets meanwhile.
    asker = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    try:
        asker.bind((link, protocol))
    except BaseException:
        asker.close()
        raise
    return asker
