"""Virtual functions in rtnetlink: what a physical function's link tells of them, and requests.

Layouts and numbers are those of ``linux/if_link.h`` (``IFLA_VFINFO_LIST``).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from jackfield.host.netlink.link import AF_UNSPEC_LINK
from jackfield.host.netlink.message import (
    Message,
    attribute,
    attribute_list,
    attribute_text,
    attribute_u32,
    attributes,
    nested,
)

__all__ = [
    "FunctionInfo",
    "decode_functions",
    "get_functions",
    "set_mac",
    "set_rate",
    "set_spoof_check",
    "set_trust",
    "set_vlan",
]

_RTM_GETLINK = 18
_RTM_SETLINK = 19

_IFLA_IFNAME = 3
_IFLA_VFINFO_LIST = 22
_IFLA_EXT_MASK = 29
_RTEXT_FILTER_VF = 1
_RTEXT_FILTER_SKIP_STATS = 8

_IFLA_VF_INFO = 1
_IFLA_VF_MAC = 1
_IFLA_VF_VLAN = 2
_IFLA_VF_SPOOFCHK = 4
_IFLA_VF_RATE = 6
_IFLA_VF_TRUST = 9
_IFLA_VF_VLAN_LIST = 12
_IFLA_VF_VLAN_INFO = 1

_ETH_P_8021Q = 0x8100
_UNSUPPORTED = 0xFFFFFFFF

_HEADER = struct.Struct("=BxHiII")
_MAC = struct.Struct("=I32s")
_PAIR = struct.Struct("=II")
_THREE = struct.Struct("=III")
_VLAN_INFO = struct.Struct("=III2s2x")


class FunctionInfo(NamedTuple):
    """What is set for one virtual function.

    ``spoof_check`` and ``trust`` are ``None`` where the driver has no such thing; rates are in
    Mbit/s, 0 for no limit; ``vlan_protocol`` is an Ethernet type.
    """

    number: int
    mac: bytes
    vlan: int = 0
    priority: int = 0
    vlan_protocol: int = _ETH_P_8021Q
    spoof_check: bool | None = None
    trust: bool | None = None
    least_rate: int = 0
    most_rate: int = 0


def get_functions(name: str) -> Message:
    """Return the request for a physical function with all that is set for its functions."""
    body = (
        _HEADER.pack(AF_UNSPEC_LINK, 0, 0, 0, 0)
        + attribute_text(_IFLA_IFNAME, name)
        + attribute_u32(_IFLA_EXT_MASK, _RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
    )
    return Message(_RTM_GETLINK, 0, body, f"look at the virtual functions of {name}")


def decode_functions(body: bytes) -> dict[int, FunctionInfo]:
    """Return what an answer to ``get_functions`` tells, by the functions' numbers."""
    listed = attributes(body, _HEADER.size).get(_IFLA_VFINFO_LIST, b"")
    found = {}
    for kind, payload in attribute_list(listed):
        if kind == _IFLA_VF_INFO:
            info = _decode(attributes(payload))
            found[info.number] = info
    return found


def _decode(values: dict[int, bytes]) -> FunctionInfo:
    number, mac = _MAC.unpack_from(values[_IFLA_VF_MAC])
    vlan = priority = 0
    protocol = _ETH_P_8021Q
    if _IFLA_VF_VLAN in values:
        _, vlan, priority = _THREE.unpack_from(values[_IFLA_VF_VLAN])
    for kind, payload in attribute_list(values.get(_IFLA_VF_VLAN_LIST, b"")):
        if kind == _IFLA_VF_VLAN_INFO:
            _, vlan, priority, ethernet_type = _VLAN_INFO.unpack_from(payload)
            protocol = int.from_bytes(ethernet_type, "big")
    least = most = 0
    if _IFLA_VF_RATE in values:
        _, least, most = _THREE.unpack_from(values[_IFLA_VF_RATE])
    return FunctionInfo(
        number=number,
        mac=mac[:6],
        vlan=vlan,
        priority=priority,
        vlan_protocol=protocol if vlan else _ETH_P_8021Q,
        spoof_check=_switch(values.get(_IFLA_VF_SPOOFCHK)),
        trust=_switch(values.get(_IFLA_VF_TRUST)),
        least_rate=least,
        most_rate=most,
    )


def _switch(payload: bytes | None) -> bool | None:
    if payload is None:
        return None
    _, value = _PAIR.unpack_from(payload)
    return None if value == _UNSUPPORTED else bool(value)


def _request(index: int, what: str, value: bytes) -> Message:
    """Return the request that sets one thing through the link with an index."""
    listed = nested(_IFLA_VFINFO_LIST, nested(_IFLA_VF_INFO, value))
    return Message(_RTM_SETLINK, 0, _HEADER.pack(AF_UNSPEC_LINK, 0, index, 0, 0) + listed, what)


def set_mac(index: int, number: int, mac: bytes, what: str) -> Message:
    """Return the request that administers a function's address; zeros take it back."""
    return _request(index, what, attribute(_IFLA_VF_MAC, _MAC.pack(number, mac)))


def set_vlan(
    index: int, number: int, vlan: int, priority: int, what: str, *, protocol: int
) -> Message:
    """Return the request that has all frames of a function tagged; 0 takes the tag away."""
    value = attribute(_IFLA_VF_VLAN, _THREE.pack(number, vlan, priority))
    if protocol != _ETH_P_8021Q:
        info = _VLAN_INFO.pack(number, vlan, priority, protocol.to_bytes(2, "big"))
        value = nested(_IFLA_VF_VLAN_LIST, attribute(_IFLA_VF_VLAN_INFO, info))
    return _request(index, what, value)


def set_spoof_check(index: int, number: int, value: bool, what: str) -> Message:
    """Return the request that has a function's frames dropped unless they have its address."""
    return _request(index, what, attribute(_IFLA_VF_SPOOFCHK, _PAIR.pack(number, value)))


def set_trust(index: int, number: int, value: bool, what: str) -> Message:
    """Return the request that lets a function change its address and hear everything, or not."""
    return _request(index, what, attribute(_IFLA_VF_TRUST, _PAIR.pack(number, value)))


def set_rate(index: int, number: int, least: int, most: int, what: str) -> Message:
    """Return the request that limits what a function sends, in Mbit/s; 0 for no limit."""
    return _request(index, what, attribute(_IFLA_VF_RATE, _THREE.pack(number, least, most)))
