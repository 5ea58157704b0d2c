"""Matches of ebtables inside nftables' rules, as ``ebtables-nft`` writes them.

Layouts are those of ``linux/netfilter_bridge/ebt_*.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from jackfield.state.ruleset import (
    Base,
    Bitwise,
    Compare,
    Comparison,
    Doubt,
    Expression,
    Load,
    Not,
    Payload,
    Range,
)

__all__ = ["EBTABLES_MATCHES"]

_AT = 16
"""The register that is used for all of it."""

_SOURCE, _TARGET, _SERVICE, _PROTOCOL, _SOURCE_PORT, _TARGET_PORT, _ICMP, _IGMP = (
    1 << bit for bit in range(8)
)
_OPERATION, _HARDWARE, _SPOKEN, _SENDER, _ASKED, _SENDER_MAC, _ASKED_MAC, _GRATUITOUS = (
    1 << bit for bit in range(8)
)

_IP = struct.Struct("=4s4s4s4sBBBB4s2H")
_IP6 = struct.Struct("=16s16s16s16sBBBB4s2H")
_ARP = struct.Struct("=2s2s2s2x4s4s4s4s6s6s6s6sBB")
_MARK = struct.Struct("@LLBB")
_OR = 2


def _part(base: Base, offset: int, value: bytes, mask: bytes) -> list[Expression]:
    """Return what holds where these bytes are there, under the mask."""
    found: list[Expression] = [Load(Payload(base, offset, len(value)), _AT)]
    if mask.strip(b"\xff"):
        found.append(Bitwise(_AT, _AT, mask, bytes(len(mask))))
    return [*found, Compare(_AT, Comparison.EQ, value)]


def _ports(offset: int, low: int, high: int) -> list[Expression]:
    bounds = struct.pack("!H", low), struct.pack("!H", high)
    return [Load(Payload(Base.TRANSPORT, offset, 2), _AT), Range(_AT, *bounds)]


def _together(tests: Iterator[tuple[int, list[Expression]]], inverted: int) -> list[Expression]:
    """Return what holds where all tests do, but those whose flag is inverted."""
    found: list[Expression] = []
    for flag, test in tests:
        found += [Not(tuple(test))] if inverted & flag else test
    return found


def _ip(version: int) -> Callable[[int, bytes], list[Expression]]:
    layout = _IP if version == 4 else _IP6
    addresses = (12, 16) if version == 4 else (8, 24)

    def decode(_revision: int, info: bytes) -> list[Expression]:
        source, target, source_mask, target_mask, _, protocol, asked, inverted, *ports = (
            layout.unpack_from(info)
        )
        source_ports = struct.unpack("=2H", ports[0])

        def tests() -> Iterator[tuple[int, list[Expression]]]:
            if asked & _SOURCE:
                yield _SOURCE, _part(Base.NETWORK, addresses[0], source, source_mask)
            if asked & _TARGET:
                yield _TARGET, _part(Base.NETWORK, addresses[1], target, target_mask)
            if asked & _PROTOCOL:
                test: list[Expression] = [Load("l4proto", _AT)]
                yield _PROTOCOL, [*test, Compare(_AT, Comparison.EQ, bytes([protocol]))]
            if asked & _SOURCE_PORT:
                yield _SOURCE_PORT, _ports(0, *source_ports)
            if asked & _TARGET_PORT:
                yield _TARGET_PORT, _ports(2, *ports[1:])
            if asked & _ICMP:
                # Types and codes are where the source's ports would be.
                low, high, least, most = ports[0]
                kinds = Range(_AT, bytes([low]), bytes([high]))
                codes = Range(_AT, bytes([least]), bytes([most]))
                kind, code = (Load(Payload(Base.TRANSPORT, at, 1), _AT) for at in (0, 1))
                yield _ICMP, [kind, kinds, code, codes]
            if asked & (_SERVICE | _IGMP):
                yield 0, [Doubt(f"ebtables ip{'' if version == 4 else 6}")]

        return _together(tests(), inverted)

    return decode


def _arp(_revision: int, info: bytes) -> list[Expression]:
    hardware, spoken, operation, *addresses, asked, inverted = _ARP.unpack_from(info)
    sender, sender_mask, target, target_mask, own, own_mask, other, other_mask = addresses
    parts = {
        _OPERATION: (6, operation, b""),
        _HARDWARE: (0, hardware, b""),
        _SPOKEN: (2, spoken, b""),
        _SENDER: (14, sender, sender_mask),
        _ASKED: (24, target, target_mask),
        _SENDER_MAC: (8, own, own_mask),
        _ASKED_MAC: (18, other, other_mask),
    }

    def tests() -> Iterator[tuple[int, list[Expression]]]:
        for flag, (offset, value, mask) in parts.items():
            if asked & flag:
                yield flag, _part(Base.NETWORK, offset, value, mask)
        if asked & _GRATUITOUS:
            yield 0, [Doubt("ebtables arp-gratuitous")]

    return _together(tests(), inverted)


def _mark(_revision: int, info: bytes) -> list[Expression]:
    mark, mask, inverted, how = _MARK.unpack_from(info)
    words = [struct.pack("=I", number & 0xFFFFFFFF) for number in (mask, mark)]
    same = Compare(_AT, Comparison.EQ, words[1])
    some = Compare(_AT, Comparison.NEQ, bytes(4))
    test: list[Expression] = [
        Load("mark", _AT),
        Bitwise(_AT, _AT, words[0], bytes(4)),
        some if how & _OR else same,
    ]
    return [Not(tuple(test))] if inverted else test


EBTABLES_MATCHES: dict[str, Callable[[int, bytes], list[Expression]]] = {
    "ip": _ip(4),
    "ip6": _ip(6),
    "arp": _arp,
    "mark_m": _mark,
}
