"""Somebody else's expressions: from the kernel's attributes to ``state.ruleset``.

What only counts, notes or changes a packet is left out.  Numbers are those of
``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from jackfield.host.netlink.message import attribute_list, attributes, text
from jackfield.host.nft.xtables import decode_match, decode_target
from jackfield.state.ruleset import (
    Assign,
    Base,
    Bitwise,
    Byteorder,
    Compare,
    Comparison,
    Decide,
    Doubt,
    Expression,
    Fib,
    Immediate,
    Load,
    Lookup,
    Never,
    Payload,
    Range,
    Verdict,
    VerdictKind,
)

__all__ = ["decode_expressions", "decode_verdict"]

_NAME, _DATA = 1, 2
_VALUE, _VERDICT = 1, 2

_VERDICTS = {
    0: VerdictKind.DROP,
    1: VerdictKind.ACCEPT,
    -1: VerdictKind.CONTINUE,
    -3: VerdictKind.JUMP,
    -4: VerdictKind.GOTO,
    -5: VerdictKind.RETURN,
}

_META = (
    *("length", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname"),
    *("iiftype", "oiftype", "skuid", "skgid", "nftrace", "rtclassid", "secmark", "nfproto"),
    *("l4proto", "ibrname", "obrname", "pkttype", "cpu", "iifgroup", "oifgroup", "cgroup"),
    *("random", "secpath", "iifkind", "oifkind", "ibrpvid", "ibrvproto", "time", "day", "hour"),
)
_CT = (
    *("state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3proto"),
    *("saddr", "daddr", "protocol", "proto-src", "proto-dst", "label", "packets", "bytes"),
    *("avgpkt", "zone", "event"),
)
_BASES = {0: Base.LINK, 1: Base.NETWORK, 2: Base.TRANSPORT}
_FIB_RESULTS = {1: "oif", 2: "oifname", 3: "type"}
_FIB_FLAGS = {1: "saddr", 2: "daddr", 4: "mark", 8: "iif", 16: "oif", 32: "present"}
_EXTHDR_TCP, _EXTHDR_SCTP = 1, 3

_Attributes = Mapping[int, bytes]


def decode_expressions(data: bytes) -> tuple[Expression, ...]:
    """Return the expressions of a rule."""
    found: list[Expression] = []
    for _, item in attribute_list(data):
        expression = attributes(item)
        name = text(expression.get(_NAME, b""))
        if name in _WITHOUT_EFFECT:
            continue
        decode = _DECODERS.get(name)
        try:
            decoded = [] if decode is None else [*decode(attributes(expression.get(_DATA, b"")))]
        except (LookupError, ValueError, struct.error):
            # A later kernel says it otherwise.
            decode = None
        found += [Doubt(name)] if decode is None else decoded
    return tuple(found)


def decode_verdict(data: bytes) -> Verdict:
    """Return a verdict; a queue leads to a program."""
    verdict = attributes(data)
    (code,) = struct.unpack("!i", verdict[1])
    kind = _VERDICTS.get(code, VerdictKind.ELSEWHERE)
    return Verdict(kind, text(verdict.get(2, b"")))


def _number(found: _Attributes, kind: int) -> int:
    return int.from_bytes(found.get(kind, b""), "big")


def _register(found: _Attributes, kind: int) -> int:
    """Return the byte at which a register begins: 1 to 4 have 16, those from 8 on have 4."""
    number = _number(found, kind)
    return number * 16 if number < 8 else (number - 4) * 4


def _value(data: bytes) -> bytes:
    return attributes(data).get(_VALUE, b"")


def _immediate(found: _Attributes) -> Iterator[Expression]:
    data = attributes(found[2])
    if _VERDICT in data:
        yield Decide(decode_verdict(data[_VERDICT]))
    else:
        yield Immediate(data[_VALUE], _register(found, 1))


def _compare(found: _Attributes) -> Iterator[Expression]:
    yield Compare(_register(found, 1), Comparison(_number(found, 2)), _value(found[3]))


def _range(found: _Attributes) -> Iterator[Expression]:
    inverted = _number(found, 2) == 1
    yield Range(_register(found, 1), _value(found[3]), _value(found[4]), inverted)


def _bitwise(found: _Attributes) -> Iterator[Expression]:
    target = _register(found, 2)
    if _number(found, 6) or 4 not in found:
        # A shift, or a register with a register.
        yield Load("result", target)
    else:
        mask, xor = _value(found[4]), _value(found[5])
        yield Bitwise(_register(found, 1), target, mask, xor.ljust(len(mask), b"\0")[: len(mask)])


def _byteorder(found: _Attributes) -> Iterator[Expression]:
    length, size = _number(found, 4), _number(found, 5)
    # To and from are the same where the machine's order is another, and nothing where it is not.
    if struct.pack("=H", 1) == struct.pack("!H", 1):
        size = 1
    yield Byteorder(_register(found, 1), _register(found, 2), length, size)


def _lookup(found: _Attributes) -> Iterator[Expression]:
    target = _register(found, 3) if 3 in found else None
    yield Lookup(text(found[1]), _register(found, 2), target, bool(_number(found, 5) & 1))


def _payload(found: _Attributes) -> Iterator[Expression]:
    if 1 not in found:
        return
    base = _BASES.get(_number(found, 2))
    what = "payload" if base is None else Payload(base, _number(found, 3), _number(found, 4))
    yield Load(what, _register(found, 1))


def _extension(found: _Attributes) -> Iterator[Expression]:
    """Read what sample packets lack: extension headers; of TCP's options it is not known."""
    if 1 not in found:
        return
    if _number(found, 6) in (_EXTHDR_TCP, _EXTHDR_SCTP):
        yield Load("option", _register(found, 1))
    elif _number(found, 5) & 1:
        yield Immediate(b"\0", _register(found, 1))
    else:
        yield Never()


def _named(names: tuple[str, ...], prefix: str) -> Callable[[_Attributes], Iterator[Expression]]:
    def decode(found: _Attributes) -> Iterator[Expression]:
        key = _number(found, 2)
        name = prefix + (names[key] if key < len(names) else "something")
        # The register that it is set from is the third of a meta, and the fourth of a ct.
        source = 4 if prefix else 3
        if source in found:
            yield Assign(name, _register(found, source))
        else:
            yield Load(name, _register(found, 1))

    return decode


def _fib(found: _Attributes) -> Iterator[Expression]:
    flags = _number(found, 3)
    named = frozenset(name for bit, name in _FIB_FLAGS.items() if flags & bit)
    yield Load(Fib(_FIB_RESULTS.get(_number(found, 2), ""), named), _register(found, 1))


def _limit(kind: int) -> Callable[[_Attributes], Iterator[Expression]]:
    """Read a limit: a single packet is within every one, and over none."""

    def decode(found: _Attributes) -> Iterator[Expression]:
        if _number(found, kind) & 1:
            yield Never()

    return decode


def _dynset(found: _Attributes) -> Iterator[Expression]:
    inner = [found[7]] if 7 in found else []
    inner += [item for _, item in attribute_list(found.get(10, b""))]
    for item in inner:
        expression = attributes(item)
        decode = _DECODERS.get(text(expression.get(_NAME, b"")))
        if decode in (_DECODERS["limit"], _DECODERS["connlimit"], _DECODERS["quota"]):
            assert decode is not None
            yield from decode(attributes(expression.get(_DATA, b"")))


def _quota(found: _Attributes) -> Iterator[Expression]:
    """Read a quota; what is used up (``NFT_QUOTA_F_DEPLETED``) holds only if inverted."""
    flags = _number(found, 2)
    over = bool(flags & 2) or _number(found, 4) > _number(found, 1)
    if over is not bool(flags & 1):
        yield Never()


def _ends(kind: VerdictKind) -> Callable[[_Attributes], Iterator[Expression]]:
    def decode(_found: _Attributes) -> Iterator[Expression]:
        yield Decide(Verdict(kind))

    return decode


def _result_in(kind: int) -> Callable[[_Attributes], Iterator[Expression]]:
    """Read what puts something into a register, nobody knows what."""

    def decode(found: _Attributes) -> Iterator[Expression]:
        yield Load("result", _register(found, kind))

    return decode


def _match(found: _Attributes) -> Iterator[Expression]:
    yield from decode_match(text(found[1]), _number(found, 2), found.get(3, b""))


def _target(found: _Attributes) -> Iterator[Expression]:
    yield from decode_target(text(found[1]), _number(found, 2), found.get(3, b""))


_WITHOUT_EFFECT = frozenset({"counter", "log", "notrack", "last", "objref", "dup", "flow_offload"})

_DECODERS: dict[str, Callable[[_Attributes], Iterator[Expression]]] = {
    "immediate": _immediate,
    "cmp": _compare,
    "range": _range,
    "bitwise": _bitwise,
    "byteorder": _byteorder,
    "lookup": _lookup,
    "payload": _payload,
    "exthdr": _extension,
    "meta": _named(_META, ""),
    "ct": _named(_CT, "ct "),
    "fib": _fib,
    "limit": _limit(5),
    "connlimit": _limit(2),
    "quota": _quota,
    "dynset": _dynset,
    "reject": _ends(VerdictKind.DROP),
    "nat": _ends(VerdictKind.ACCEPT),
    "masq": _ends(VerdictKind.ACCEPT),
    "redir": _ends(VerdictKind.ACCEPT),
    "queue": _ends(VerdictKind.ELSEWHERE),
    "fwd": _ends(VerdictKind.ELSEWHERE),
    "synproxy": _ends(VerdictKind.ELSEWHERE),
    "numgen": _result_in(1),
    "rt": _result_in(1),
    "osf": _result_in(1),
    "xfrm": _result_in(1),
    "hash": _result_in(2),
    "socket": _result_in(2),
    "tunnel": _result_in(2),
    "match": _match,
    "target": _target,
}
