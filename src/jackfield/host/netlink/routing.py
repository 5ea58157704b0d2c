"""Routes of the main table in rtnetlink (``linux/rtnetlink.h``)."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import socket
import struct

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    attribute,
    attribute_u32,
    attributes,
)
from jackfield.model.address import Address, IpNetwork

__all__ = [
    "RTM_DELROUTE",
    "RTM_NEWROUTE",
    "RouteEntry",
    "add_route",
    "decode_route",
    "delete_route",
    "dump_all_tables",
    "dump_routes",
]

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26

_RTA_DST = 1
_RTA_OIF = 4
_RTA_GATEWAY = 5
_RTA_PRIORITY = 6
_RTA_PREFSRC = 7
_RTA_MULTIPATH = 9
_RTA_TABLE = 15
_RTA_VIA = 18

_RT_TABLE_MAIN = 254
_RT_SCOPE_UNIVERSE = 0
_RT_SCOPE_NOWHERE = 255
_RTN_UNICAST = 1
_RTM_F_CLONED = 0x200

_HEADER = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")
_NEXTHOP = struct.Struct("=HBBi")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclasses.dataclass(frozen=True, slots=True)
class RouteEntry:
    """One route of the main table; ``index`` is its (first) outgoing link's, 0 without one.

    One that is ``shared`` has further next hops.
    """

    destination: IpNetwork
    index: int
    gateway: bytes
    metric: int
    protocol: int
    source: bytes
    shared: bool = False


@functools.lru_cache(maxsize=32768)
def _network_of(packed: bytes, prefix: int) -> IpNetwork:
    if len(packed) == 4:
        return ipaddress.IPv4Network((packed, prefix))
    return ipaddress.IPv6Network((packed, prefix))


def decode_route(body: bytes) -> RouteEntry | None:
    """Return the route of an ``RTM_NEWROUTE`` or ``RTM_DELROUTE`` body.

    ``None`` for what is not a plain route of the main table.
    """
    header = _HEADER.unpack_from(body)
    family, prefix, table, protocol, kind, flags = (*header[:2], *header[4:6], *header[7:])
    if (
        family not in (socket.AF_INET, socket.AF_INET6)
        or kind != _RTN_UNICAST
        or flags & _RTM_F_CLONED
        or table != _RT_TABLE_MAIN
    ):
        return None
    found = attributes(body, 12)
    index = _U32.unpack(found[_RTA_OIF])[0] if _RTA_OIF in found else 0
    gateway = found.get(_RTA_GATEWAY) or found.get(_RTA_VIA) or b""
    paths = found.get(_RTA_MULTIPATH)
    shared = False
    if paths:
        length, _, _, index = _NEXTHOP.unpack_from(paths)
        shared = length < len(paths)
        gateway = attributes(paths[:length], 8).get(_RTA_GATEWAY, b"")
    packed = found.get(_RTA_DST) or bytes(4 if family == socket.AF_INET else 16)
    metric = _U32.unpack(found[_RTA_PRIORITY])[0] if _RTA_PRIORITY in found else 0
    return RouteEntry(
        _network_of(packed, prefix),
        index,
        gateway,
        metric,
        protocol,
        found.get(_RTA_PREFSRC, b""),
        shared,
    )


def dump_routes(version: int, index: int) -> Message:
    """Return the dump request for the main table.

    ``version`` (4, 6) and ``index`` (the outgoing link's) narrow it; 0 is any.
    """
    family = _FAMILIES.get(version, socket.AF_UNSPEC)
    body = _HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    # With AF_UNSPEC the kernel asks every family that has routes, multicast ones too, and those
    # refuse the filter.
    if version:
        body += attribute_u32(_RTA_TABLE, _RT_TABLE_MAIN)
        if index:
            body += attribute_u32(_RTA_OIF, index)
    return Message(RTM_GETROUTE, 0, body, "list the routes")


def dump_all_tables(family: int, index: int) -> Message:
    """Return the dump request for a family's routes of every table through one link."""
    body = _HEADER.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + attribute_u32(_RTA_OIF, index)
    return Message(RTM_GETROUTE, 0, body, "list the routes of every table")


def add_route(
    destination: IpNetwork,
    gateway: Address,
    index: int,
    metric: int,
    protocol: int,
    what: str,
    *,
    replace: bool,
) -> Message:
    """Return the request that adds a route, or with ``replace`` changes one of ours.

    Without ``replace`` a route to the same destination of the same metric is in the way
    (``EEXIST``).  ``metric`` 0 leaves it to the kernel.
    """
    body = _route(destination, gateway, index, metric, protocol, _RT_SCOPE_UNIVERSE)
    mode = NLM_F_REPLACE if replace else NLM_F_EXCL
    return Message(RTM_NEWROUTE, NLM_F_CREATE | mode, body, what)


def delete_route(
    destination: IpNetwork, gateway: Address, index: int, metric: int, protocol: int, what: str
) -> Message:
    """Return the request that removes a route with exactly these properties."""
    body = _route(destination, gateway, index, metric, protocol, _RT_SCOPE_NOWHERE)
    return Message(RTM_DELROUTE, 0, body, what)


def _route(
    destination: IpNetwork, gateway: Address, index: int, metric: int, protocol: int, scope: int
) -> bytes:
    body = (
        _HEADER.pack(
            _FAMILIES[destination.version],
            destination.prefixlen,
            0,
            0,
            _RT_TABLE_MAIN,
            protocol,
            scope,
            _RTN_UNICAST,
            0,
        )
        + attribute(_RTA_DST, destination.network_address.packed)
        + attribute(_RTA_GATEWAY, gateway.packed)
        + attribute_u32(_RTA_OIF, index)
    )
    return body + attribute_u32(_RTA_PRIORITY, metric) if metric else body
