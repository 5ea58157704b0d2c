"""Addresses in rtnetlink (``linux/if_addr.h``)."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import socket
import struct

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    attribute,
    attribute_u8,
    attributes,
)
from jackfield.model.address import IpInterface

__all__ = [
    "RTM_DELADDR",
    "RTM_NEWADDR",
    "AddressEntry",
    "add_address",
    "decode_address",
    "delete_address",
    "dump_addresses",
    "interface_of",
]

RTM_NEWADDR = 20
RTM_DELADDR = 21
RTM_GETADDR = 22

_IFA_ADDRESS = 1
_IFA_LOCAL = 2
_IFA_BROADCAST = 4
_IFA_PROTO = 11
_IFA_F_NODAD = 2

_HEADER = struct.Struct("=BBBBi")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclasses.dataclass(frozen=True, slots=True)
class AddressEntry:
    """One address of the link ``index``; ``protocol`` is ``IFA_PROTO``, ``None`` where not kept."""

    index: int
    interface: IpInterface
    protocol: int | None


@functools.lru_cache(maxsize=32768)
def interface_of(packed: bytes, prefix: int) -> IpInterface:
    """Return address and prefix length; kept, because making one is slow and they come again."""
    if len(packed) == 4:
        return ipaddress.IPv4Interface((packed, prefix))
    return ipaddress.IPv6Interface((packed, prefix))


def decode_address(body: bytes) -> AddressEntry | None:
    """Return the address of an ``RTM_NEWADDR`` or ``RTM_DELADDR`` body; other families ``None``."""
    family, prefix, _, _, index = _HEADER.unpack_from(body)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    found = attributes(body, 8)
    # On a point-to-point link IFA_ADDRESS is the other end's.
    packed = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if packed is None:
        return None
    protocol = found.get(_IFA_PROTO)
    return AddressEntry(
        index, interface_of(packed, prefix), None if protocol is None else protocol[0]
    )


def dump_addresses(index: int) -> Message:
    """Return the dump request for the addresses of one link, or of all (0)."""
    return Message(RTM_GETADDR, 0, _HEADER.pack(0, 0, 0, 0, index), "list the addresses")


def add_address(index: int, interface: IpInterface, protocol: int, what: str) -> Message:
    """Return the request that adds an address, or makes it ours again.

    An IPv6 address skips duplicate detection: on a bridge without ports it would never end.
    An IPv4 address gets its subnet's broadcast address where the subnet has one.
    """
    body = _header(index, interface, _IFA_F_NODAD if interface.version == 6 else 0)
    if isinstance(interface, ipaddress.IPv4Interface) and interface.network.prefixlen <= 30:
        body += attribute(_IFA_BROADCAST, interface.network.broadcast_address.packed)
    body += attribute_u8(_IFA_PROTO, protocol)
    return Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def delete_address(index: int, interface: IpInterface, what: str) -> Message:
    """Return the request that removes an address."""
    return Message(RTM_DELADDR, 0, _header(index, interface, 0), what)


def _header(index: int, interface: IpInterface, flags: int) -> bytes:
    packed = interface.ip.packed
    return (
        _HEADER.pack(_FAMILIES[interface.version], interface.network.prefixlen, flags, 0, index)
        + attribute(_IFA_LOCAL, packed)
        + attribute(_IFA_ADDRESS, packed)
    )
