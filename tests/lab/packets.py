"""Packets sent and awaited by the test process itself, through sockets of a namespace."""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterable

from tests.lab.namespace import Namespace

__all__ = [
    "ask_udp",
    "can_connect",
    "ping",
    "send_forged_udp",
    "source_as_asked",
    "tell_targets",
    "udp_packet",
]

ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY = 8, 0
ICMP6_ECHO_REQUEST, ICMP6_ECHO_REPLY = 128, 129
IP_PKTINFO = 8
IPV6_HDRINCL = 36

_sequence = itertools.count(1)


def family_of(address: str) -> socket.AddressFamily:
    """Return the socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def destination(address: str, port: int) -> tuple[str | int, ...]:
    """Return what ``sendto`` wants; ``fe80::1%eth0`` must be of the namespace entered."""
    if ":" not in address:
        return (address, port)
    host, _, scope = address.partition("%")
    return (host, port, 0, socket.if_nametoindex(scope) if scope else 0)


def ping(where: Namespace, address: str, *, timeout: float = 1.0, tries: int = 1) -> float | None:
    """Send up to ``tries`` echo requests; return the first answer's time in seconds, or ``None``.

    The tries are ``timeout`` seconds apart.  A local refusal (no route yet) counts as no answer.
    """
    version6 = ":" in address
    with where.entered():
        target = destination(address, 0)
        if version6:
            pinger = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        else:
            pinger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with pinger:
        for remaining in reversed(range(tries)):
            number = next(_sequence) & 0xFFFF
            kind = ICMP6_ECHO_REQUEST if version6 else ICMP_ECHO_REQUEST
            identity = struct.pack("!HH", os.getpid() & 0xFFFF, number)
            head = struct.pack("!BBH", kind, 0, 0) + identity
            if not version6:
                head = struct.pack("!BBH", kind, 0, checksum(head)) + identity
            begun = time.monotonic()
            try:
                pinger.sendto(head, target)
            except OSError:
                if remaining:
                    time.sleep(timeout)
                continue
            while (left := begun + timeout - time.monotonic()) > 0:
                pinger.settimeout(left)
                try:
                    packet = pinger.recv(65535)
                except OSError:
                    break
                body = packet if version6 else packet[(packet[0] & 15) * 4 :]
                reply = ICMP6_ECHO_REPLY if version6 else ICMP_ECHO_REPLY
                if body[0] == reply and body[4:8] == identity:
                    return time.monotonic() - begun
    return None


def ask_udp(
    where: Namespace,
    address: str,
    port: int,
    payload: bytes = b"hello",
    *,
    timeout: float = 1.0,
    tries: int = 1,
    source: str | None = None,
    source_port: int = 0,
) -> bytes | None:
    """Send a datagram up to ``tries`` times, ``timeout`` seconds apart; return the answer.

    ``None`` when none came; a local refusal (no route yet) counts as no answer.
    """
    with where.entered():
        target = destination(address, port)
        asker = socket.socket(family_of(address), socket.SOCK_DGRAM)
    with asker:
        asker.bind((source or ("::" if ":" in address else "0.0.0.0"), source_port))
        asker.settimeout(timeout)
        for remaining in reversed(range(tries)):
            try:
                asker.sendto(payload, target)
                return asker.recv(65535)
            except TimeoutError:
                continue
            except OSError:
                if remaining:
                    time.sleep(timeout)
    return None


def can_connect(where: Namespace, address: str, port: int, *, timeout: float = 1.0) -> bool:
    """Return whether a TCP connection to there is accepted within ``timeout`` seconds."""
    with where.entered():
        target = destination(address, port)
        client = socket.socket(family_of(address), socket.SOCK_STREAM)
    with client:
        client.settimeout(timeout)
        try:
            client.connect(target)
        except OSError:
            return False
    return True


def tell_targets(udp: socket.socket) -> None:
    """Have a socket that is bound to any address tell which one each datagram was sent to."""
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def source_as_asked(ancillary: Iterable[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Return what has an answer leave from the address that was asked, by a question's data."""
    reply = []
    for level, kind, data in ancillary:
        # Index 0 leaves the way out to routing.
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            reply.append((level, kind, struct.pack("=i", 0) + data[4:]))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            reply.append((level, kind, data[:16] + struct.pack("=i", 0)))
    return reply


def send_forged_udp(
    where: Namespace, source: str, address: str, port: int, payload: bytes = b"forged"
) -> None:
    """Send a datagram that claims to come from ``source``, routed as any other from there."""
    packet = udp_packet(source, address, 40000, port, payload)
    if ":" in address:
        sender = where.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        option = (socket.IPPROTO_IPV6, IPV6_HDRINCL)
    else:
        sender = where.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        option = (socket.IPPROTO_IP, socket.IP_HDRINCL)
    with sender:
        sender.setsockopt(*option, 1)
        sender.sendto(packet, (address, 0))


def udp_packet(source: str, target: str, source_port: int, port: int, payload: bytes) -> bytes:
    """Return a whole IP packet of either family, with right checksums."""
    sender, receiver = ipaddress.ip_address(source).packed, ipaddress.ip_address(target).packed
    length = 8 + len(payload)
    unsummed = struct.pack("!HHHH", source_port, port, length, 0) + payload
    if len(sender) == 4:
        pseudo = sender + receiver + struct.pack("!BBH", 0, socket.IPPROTO_UDP, length)
    else:
        pseudo = sender + receiver + struct.pack("!IHBB", length, 0, 0, socket.IPPROTO_UDP)
    total = checksum(pseudo + unsummed) or 0xFFFF
    datagram = struct.pack("!HHHH", source_port, port, length, total) + payload
    if len(sender) == 16:
        return struct.pack("!IHBB", 6 << 28, length, 17, 64) + sender + receiver + datagram
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 17, 0) + sender + receiver
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + datagram


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
