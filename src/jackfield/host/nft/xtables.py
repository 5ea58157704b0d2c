"""Matches and targets of iptables inside nftables' rules: from their bytes to ``state.ruleset``.

``iptables-nft`` writes what nftables has no expression for as the structures of the old tables.
Layouts are those of ``linux/netfilter/xt_*.h``; what is not known here is a ``Doubt``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from jackfield.host.nft.ebtables import EBTABLES_MATCHES
from jackfield.state.ruleset import (
    Assign,
    Base,
    Bitwise,
    Compare,
    Comparison,
    Decide,
    Doubt,
    Expression,
    Fib,
    IpSet,
    Load,
    Never,
    Not,
    Payload,
    Range,
    Verdict,
    VerdictKind,
)

__all__ = [
    "address_type",
    "any_of",
    "connection_state",
    "decode_match",
    "decode_target",
    "hops",
    "owner",
    "port",
]

_AT = 16
"""The register that is used for all of it."""

_STATES = 0xF
_STATE_SNAT = 64
_CT_STATE, _CT_STATUS, _CT_DIRECTION = 1, 1 << 6, 1 << 12
_CT_ALIAS = 1 << 13
"""It was written as ``-m state``, which means the same."""

_BACK = Fib("oif", frozenset({"saddr", "iif", "present"}))
_TYPE = {source: Fib("type", frozenset({source})) for source in ("saddr", "daddr")}
_PORTS = {"source": Payload(Base.TRANSPORT, 0, 2), "target": Payload(Base.TRANSPORT, 2, 2)}

_BRIDGED = 4  # XT_PHYSDEV_OP_BRIDGED

_Expressions = Sequence[Expression]


def any_of(ways: Sequence[_Expressions]) -> list[Expression]:
    """Return what holds when one of ``ways`` does."""
    if len(ways) == 1:
        return list(ways[0])
    return [Not(tuple(Not(tuple(way)) for way in ways))]


def connection_state(states: int, *, translated: bool = False) -> list[Expression]:
    """Return what holds for connections in one of ``states``; ``translated``, or hidden ones."""
    ways: list[_Expressions] = []
    if states:
        ways.append(_masked("ct state", states))
    if translated:
        ways.append([Doubt("conntrack SNAT")])
    return any_of(ways) if ways else [Never()]


def address_type(end: str, kinds: int) -> list[Expression]:
    """Return what holds when the type of the address is among ``kinds``, as bits of RTN_*."""
    numbers = [number for number in range(16) if kinds >> number & 1]
    return any_of(
        [
            [Load(_TYPE[end], _AT), Compare(_AT, Comparison.EQ, struct.pack("=I", number))]
            for number in numbers
        ]
    )


def port(end: str, low: int, high: int) -> list[Expression]:
    """Return what holds when the port of that ``end`` is in the range."""
    if (low, high) == (0, 0xFFFF):
        return []
    bounds = struct.pack("!H", low), struct.pack("!H", high)
    return [Load(_PORTS[end], _AT), Range(_AT, *bounds)]


def hops(version: int, how: Comparison, number: int) -> list[Expression]:
    """Return what holds when so many hops are left."""
    offset = 8 if version == 4 else 7
    return [
        Load(Payload(Base.NETWORK, offset, 1), _AT),
        Compare(_AT, how, bytes([number])),
    ]


def owner(who: str) -> list[Expression]:
    """Return what holds for what programs of the host send, if it is from this one."""
    return [Load("socket", _AT), Compare(_AT, Comparison.EQ, b"\1"), Doubt(who)]


def decode_match(name: str, revision: int, info: bytes) -> list[Expression]:
    """Return what a match asks."""
    decode = _MATCHES.get(name)
    found = None if decode is None else decode(revision, info)
    return [Doubt(name)] if found is None else found


def decode_target(name: str, revision: int, info: bytes) -> list[Expression]:
    """Return what a target does."""
    if name in _GOES_ON:
        return []
    if name == "MARK" and revision == 2:
        mark, mask = struct.unpack_from("=II", info)
        kept = struct.pack("=I", ~mask & 0xFFFFFFFF)
        held = Bitwise(_AT, _AT, kept, struct.pack("=I", mark))
        return [Load("mark", _AT), held, Assign("mark", _AT)]
    if name in {"MARK", "CONNMARK"}:
        return [Load("result", _AT), Assign("mark", _AT), Assign("ct mark", _AT)]
    return [Decide(Verdict(_ENDS.get(name, VerdictKind.ELSEWHERE)))]


def _masked(what: str, bits: int) -> list[Expression]:
    mask = struct.pack("=I", bits)
    none = bytes(len(mask))
    return [Load(what, _AT), Bitwise(_AT, _AT, mask, none), Compare(_AT, Comparison.NEQ, none)]


def _inverted(expressions: _Expressions, inverted: int) -> list[Expression]:
    return [Not(tuple(expressions))] if inverted else list(expressions)


def _conntrack(revision: int, info: bytes) -> list[Expression] | None:
    if revision not in (1, 2, 3):
        return None
    asked, inverted = struct.unpack_from("=HH", info, 146)
    states, statuses = struct.unpack_from("=BB" if revision == 1 else "=HH", info, 150)
    found: list[Expression] = []
    if asked & _CT_STATE:
        state = connection_state(states & _STATES, translated=bool(states & _STATE_SNAT))
        found += _inverted(state, inverted & _CT_STATE)
    if asked & _CT_STATUS:
        found += _inverted(_masked("ct status", statuses), inverted & _CT_STATUS)
    if asked & _CT_DIRECTION:
        direction = bytes([bool(inverted & _CT_DIRECTION)])
        found += [Load("ct direction", _AT), Compare(_AT, Comparison.EQ, direction)]
    if asked & ~(_CT_STATE | _CT_STATUS | _CT_DIRECTION | _CT_ALIAS):
        found.append(Doubt("conntrack"))
    return found


def _state(_revision: int, info: bytes) -> list[Expression]:
    (states,) = struct.unpack_from("=I", info)
    return connection_state(states & _STATES)


def _addrtype(revision: int, info: bytes) -> list[Expression] | None:
    source, target, flags, other = struct.unpack("=HHII", info[:12].ljust(12, b"\0"))
    not_source, not_target = (flags & 1, flags & 2) if revision else (flags, other)
    found: list[Expression] = []
    if source:
        found += _inverted(address_type("saddr", source), not_source)
    if target:
        found += _inverted(address_type("daddr", target), not_target)
    return found


def _tcp(_revision: int, info: bytes) -> list[Expression]:
    *ports, option, mask, flags, inverted = struct.unpack_from("=4H4B", info)
    found = _both_ports(ports, inverted)
    if option:
        found.append(Doubt("tcp option"))
    if mask:
        test: list[Expression] = [
            Load(Payload(Base.TRANSPORT, 13, 1), _AT),
            Bitwise(_AT, _AT, bytes([mask]), b"\0"),
            Compare(_AT, Comparison.EQ, bytes([flags])),
        ]
        found += _inverted(test, inverted & 4)
    return found


def _udp(_revision: int, info: bytes) -> list[Expression]:
    *ports, inverted = struct.unpack_from("=4HB", info)
    return _both_ports(ports, inverted)


def _both_ports(ports: Sequence[int], inverted: int) -> list[Expression]:
    source, target = port("source", *ports[:2]), port("target", *ports[2:])
    return [
        *(_inverted(source, inverted & 1) if source or inverted & 1 else []),
        *(_inverted(target, inverted & 2) if target or inverted & 2 else []),
    ]


def _icmp(_revision: int, info: bytes) -> list[Expression]:
    kind, low, high, inverted = struct.unpack_from("=4B", info)
    if kind == 0xFF:
        return _inverted([], inverted)
    codes = Range(_AT, bytes([low]), bytes([high]))
    test: list[Expression] = [
        Load(Payload(Base.TRANSPORT, 0, 1), _AT),
        Compare(_AT, Comparison.EQ, bytes([kind])),
        Load(Payload(Base.TRANSPORT, 1, 1), _AT),
        codes,
    ]
    return _inverted(test, inverted & 1)


def _multiport(revision: int, info: bytes) -> list[Expression] | None:
    if revision != 1:
        return None
    flags, count = info[0], info[1]
    ports = struct.unpack_from("=15H", info, 2)
    ranges = info[32:47]
    inverted = info[47]
    ends = {0: ["source"], 1: ["target"]}.get(flags, ["source", "target"])
    ways: list[_Expressions] = []
    position = 0
    while position < count:
        low = high = ports[position]
        if ranges[position] and position + 1 < count:
            position += 1
            high = ports[position]
        ways += [port(end, low, high) for end in ends]
        position += 1
    return _inverted(any_of(ways), inverted)


def _mark(what: str) -> Callable[[int, bytes], list[Expression] | None]:
    def decode(revision: int, info: bytes) -> list[Expression] | None:
        if revision != 1:
            return None
        mark, mask, inverted = struct.unpack_from("=IIB", info)
        words = struct.pack("=I", mask), struct.pack("=I", mark)
        test: list[Expression] = [
            Load(what, _AT),
            Bitwise(_AT, _AT, words[0], bytes(4)),
            Compare(_AT, Comparison.EQ, words[1]),
        ]
        return _inverted(test, inverted)

    return decode


def _physdev(_revision: int, info: bytes) -> list[Expression] | None:
    inverted, asked = info[64], info[65]
    if asked != _BRIDGED:
        return None
    test: _Expressions = [Load("bridged", _AT), Compare(_AT, Comparison.EQ, b"\1")]
    return _inverted(test, inverted & _BRIDGED)


def _owner(_revision: int, info: bytes) -> list[Expression]:
    asked, inverted = struct.unpack_from("=BB", info, 16)
    found = owner("owner") if asked & ~inverted else []
    return [*found, *([Not(tuple(owner("owner")))] if inverted else [])]


def _pkttype(_revision: int, info: bytes) -> list[Expression]:
    kind, inverted = struct.unpack_from("=ii", info)
    test: _Expressions = [Load("pkttype", _AT), Compare(_AT, Comparison.EQ, bytes([kind & 0xFF]))]
    return _inverted(test, inverted)


def _rpfilter(_revision: int, info: bytes) -> list[Expression]:
    test: _Expressions = [Load(_BACK, _AT), Compare(_AT, Comparison.EQ, b"\1")]
    return _inverted(test, info[0] & 8)


def _hops(version: int) -> Callable[[int, bytes], list[Expression] | None]:
    def decode(_revision: int, info: bytes) -> list[Expression] | None:
        # IPT_TTL_EQ, _NE, _LT and _GT; so it is with IPv6.
        comparisons = (Comparison.EQ, Comparison.NEQ, Comparison.LT, Comparison.GT)
        return hops(version, comparisons[info[0]], info[1])

    return decode


def _set(revision: int, info: bytes) -> list[Expression] | None:
    if revision not in (1, 2, 4):
        return None
    number, dimension, flags = struct.unpack_from("=HBB", info)
    # XT_SET_OP of packets and bytes: how often it has matched is nobody's knowledge.
    if revision == 4 and (info[16] or info[32]):
        return None
    ends = tuple("src" if flags >> place & 1 else "dst" for place in range(1, dimension + 1))
    return _inverted([IpSet(number, ends)], flags & 1)


def _absent(_revision: int, _info: bytes) -> list[Expression]:
    """Read what asks for headers that sample packets have not."""
    return [Never()]


def _nothing(_revision: int, _info: bytes) -> list[Expression]:
    return []


_MATCHES: dict[str, Callable[[int, bytes], list[Expression] | None]] = {
    "conntrack": _conntrack,
    "state": _state,
    "addrtype": _addrtype,
    "tcp": _tcp,
    "udp": _udp,
    "icmp": _icmp,
    "icmp6": _icmp,
    "multiport": _multiport,
    "mark": _mark("mark"),
    "connmark": _mark("ct mark"),
    "physdev": _physdev,
    "owner": _owner,
    "pkttype": _pkttype,
    "rpfilter": _rpfilter,
    "set": _set,
    "comment": _nothing,
    "ttl": _hops(4),
    "hl": _hops(6),
    **dict.fromkeys(("rt", "frag", "hbh", "dst", "ah", "esp", "ipv6header"), _absent),
    # A single packet is within it.
    "limit": _nothing,
    **EBTABLES_MATCHES,
}

_GOES_ON = frozenset(
    {
        *("LOG", "NFLOG", "ULOG", "AUDIT", "TRACE", "TEE", "SET", "CT", "NOTRACK"),
        *("CHECKSUM", "TCPMSS", "TCPOPTSTRIP", "TTL", "HL", "DSCP", "TOS", "ECN", "CLASSIFY"),
        *("SECMARK", "CONNSECMARK", "IDLETIMER", "LED", "RATEEST"),
    }
)
_ENDS = {
    "REJECT": VerdictKind.DROP,
    "ACCEPT": VerdictKind.ACCEPT,
    "DROP": VerdictKind.DROP,
    **dict.fromkeys(("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"), VerdictKind.ACCEPT),
}
