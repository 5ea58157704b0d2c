"""Ethernet frames, whole and as wrong as a test wants them."""

from __future__ import annotations

import ipaddress
import socket
import struct

from tests.lab.packets import checksum, udp_packet

__all__ = [
    "ARP",
    "BROADCAST",
    "IPV4",
    "IPV6",
    "RARP",
    "arp",
    "dhcp",
    "frame",
    "icmp6",
    "ipv6",
    "mac_bytes",
    "neighbour_advertisement",
    "neighbour_solicitation",
    "rarp",
    "router_advertisement",
    "udp4",
    "udp6",
]

IPV4, ARP, RARP, IPV6 = 0x0800, 0x0806, 0x8035, 0x86DD
BROADCAST = "ff:ff:ff:ff:ff:ff"
NOBODY = "00:00:00:00:00:00"


def mac_bytes(mac: str) -> bytes:
    """Return the six octets of an address."""
    return bytes.fromhex(mac.replace(":", ""))


def frame(source: str, kind: int, payload: bytes, *, target: str = BROADCAST) -> bytes:
    """Return an Ethernet frame, without padding."""
    return mac_bytes(target) + mac_bytes(source) + struct.pack("!H", kind) + payload


def arp(
    source: str,
    address: str,
    *,
    sender: str | None = None,
    asked: str = "10.0.1.200",
    operation: int = 1,
) -> bytes:
    """Return ARP from ``source`` that says ``address`` is at ``sender`` (``source`` itself)."""
    payload = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    payload += mac_bytes(sender or source) + socket.inet_aton(address)
    payload += mac_bytes(NOBODY) + socket.inet_aton(asked)
    return frame(source, ARP, payload)


def rarp(source: str, *, sender: str | None = None, target: str | None = None) -> bytes:
    """Return what QEMU sends for a guest that has arrived, as told by ``qemu-announce-self``."""
    payload = struct.pack("!HHBBH", 1, IPV4, 6, 4, 3)
    payload += mac_bytes(sender or source) + bytes(4) + mac_bytes(target or source) + bytes(4)
    return frame(source, RARP, payload)


def udp4(
    source: str,
    address: str,
    *,
    to: str = "10.0.1.200",
    ports: tuple[int, int] = (4000, 4001),
    payload: bytes = b"hello",
) -> bytes:
    """Return a datagram from ``address``, sent by ``source``."""
    return frame(source, IPV4, udp_packet(address, to, *ports, payload))


def udp6(
    source: str,
    address: str,
    *,
    to: str = "ff02::1",
    ports: tuple[int, int] = (4000, 4001),
    payload: bytes = b"hello",
) -> bytes:
    """Return a datagram from ``address``, sent by ``source``."""
    return frame(source, IPV6, udp_packet(address, to, *ports, payload))


def dhcp(
    source: str,
    address: str,
    *,
    client: str,
    kind: int,
    your: str = "0.0.0.0",
    own: str = "0.0.0.0",
    to: str = "255.255.255.255",
    target: str = BROADCAST,
) -> bytes:
    """Return a message of DHCP (RFC 2131); ``kind`` 2, 5 and 6 are a server's.

    ``client`` is the hardware address that it is about, ``your`` the address given, ``own`` the
    one that the client says it has.
    """
    reply = kind in (2, 5, 6)
    payload = struct.pack("!BBBBIHH", 2 if reply else 1, 1, 6, 0, 4711, 0, 0)
    payload += socket.inet_aton(own) + socket.inet_aton(your) + bytes(8)
    payload += mac_bytes(client).ljust(16, b"\0") + bytes(64 + 128)
    payload += bytes.fromhex("63825363") + bytes([53, 1, kind])
    payload += (b"\x36\x04" + socket.inet_aton(to) if kind == 7 else b"") + b"\xff"
    ports = (67, 68) if reply else (68, 67)
    return frame(source, IPV4, udp_packet(address, to, *ports, payload), target=target)


def ipv6(source: str, address: str, to: str, following: int, payload: bytes) -> bytes:
    """Return an IPv6 packet in a frame; ``following`` says what ``payload`` begins with."""
    head = struct.pack("!IHBB", 6 << 28, len(payload), following, 255)
    packed = ipaddress.ip_address(address).packed + ipaddress.ip_address(to).packed
    return frame(source, IPV6, head + packed + payload)


def icmp6(source: str, address: str, kind: int, body: bytes, *, to: str = "ff02::1") -> bytes:
    """Return an ICMPv6 message whose checksum is right."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = ipaddress.ip_address(address).packed + ipaddress.ip_address(to).packed
    pseudo += struct.pack("!II", len(message), 58)
    total = checksum(pseudo + message)
    return ipv6(source, address, to, 58, message[:2] + struct.pack("!H", total) + message[4:])


def neighbour_advertisement(
    source: str, address: str, about: str, *, option: str | None = None
) -> bytes:
    """Return a neighbour advertisement: ``about`` is at ``option`` (RFC 4861, 4.4)."""
    body = struct.pack("!I", 0x60000000) + ipaddress.ip_address(about).packed
    if option is not None:
        body += b"\x02\x01" + mac_bytes(option)
    return icmp6(source, address, 136, body)


def neighbour_solicitation(
    source: str, address: str, about: str, *, option: str | None = None
) -> bytes:
    """Return a neighbour solicitation for ``about`` (RFC 4861, 4.3)."""
    body = bytes(4) + ipaddress.ip_address(about).packed
    if option is not None:
        body += b"\x01\x01" + mac_bytes(option)
    return icmp6(source, address, 135, body)


def router_advertisement(source: str, address: str = "fe80::1234") -> bytes:
    """Return a router advertisement without options (RFC 4861, 4.2)."""
    return icmp6(source, address, 134, struct.pack("!BBHII", 64, 0, 1800, 0, 0))
