"""Taps in a guest: a function that ``inside.py`` runs there, for tests outside."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import time

from tests.guests.taps import IFF_NO_PI, IFF_TAP, TUNSETIFF
from tests.lab.frames import ARP, arp, mac_bytes

__all__ = ["ask_arp"]

SECONDS = 10


def ask_arp(name: str, mac: str, own: str, asked: str) -> str:
    """Return who has the address ``asked``, as a guest at the tap ``name`` hears it."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(
            descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI)
        )
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            os.write(descriptor, arp(mac, own, asked=asked))
            while select.select([descriptor], [], [], 1)[0]:
                found = os.read(descriptor, 2000)
                # An answer (RFC 826) to us; frames of its VLAN come without a tag.
                head = mac_bytes(mac), ARP.to_bytes(2, "big"), b"\0\2"
                if (found[:6], found[12:14], found[20:22]) == head:
                    return found[22:28].hex(":")
        raise AssertionError(f"nobody says at {name} who has {asked}")
    finally:
        os.close(descriptor)
