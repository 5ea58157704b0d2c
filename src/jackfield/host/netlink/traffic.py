"""Traffic control in rtnetlink: qdiscs, and the classes of htb.

Layouts are those of ``linux/pkt_sched.h``.
Times inside htb are ticks of 64 ns (``PSCHED_SHIFT`` in ``net/pkt_sched.h``), the same on every
Linux since 2.6.31.
"""

from __future__ import annotations

import dataclasses
import struct

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    attribute,
    attribute_text,
    attribute_u64,
    attributes,
    nested,
    text,
)

__all__ = [
    "TC_H_CLSACT",
    "TC_H_ROOT",
    "HtbClass",
    "Qdisc",
    "add_clsact",
    "add_htb",
    "ask_for_clsact",
    "ask_for_htb",
    "decode_class",
    "decode_qdisc",
    "delete_class",
    "delete_qdisc",
    "dump_classes",
    "dump_qdiscs",
    "get_qdisc",
    "least_burst",
    "set_class",
]

_RTM_NEWQDISC = 36
_RTM_DELQDISC = 37
_RTM_GETQDISC = 38
_RTM_NEWTCLASS = 40
_RTM_DELTCLASS = 41
_RTM_GETTCLASS = 42

_TCA_KIND = 1
_TCA_OPTIONS = 2
_TCA_EGRESS_BLOCK = 14
_TCA_HTB_PARMS = 1
_TCA_HTB_INIT = 2
_TCA_HTB_RTAB = 4
_TCA_HTB_CTAB = 3
_TCA_HTB_RATE64 = 6
_TCA_HTB_CEIL64 = 7

TC_H_ROOT = 0xFFFFFFFF
TC_H_CLSACT = 0xFFFFFFF1
_CLSACT_HANDLE = 0xFFFF0000

_HEADER = struct.Struct("=BxxxiIII")
_HTB_GLOBAL = struct.Struct("=IIIII")
_RATE_SPEC = struct.Struct("=BBHhHI")
_HTB_TAIL = struct.Struct("=IIIII")
_U64 = struct.Struct("=Q")

_HTB_VERSION = 3
_RATE_TO_QUANTUM = 10
_LINKLAYER_ETHERNET = 1
_NANOSECONDS_A_TICK = 64
_MAXIMUM = 0xFFFFFFFF
# What htb takes without a warning, in bytes: how much a class may send in its turn.
_QUANTUM_MINIMUM = 1600
_QUANTUM_MAXIMUM = 200_000
# The loopback's index is the same everywhere (LOOPBACK_IFINDEX in net/flow.h).
_LOOPBACK = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline of a link: ``handle`` 0 is one the kernel put there itself.

    ``default`` is the class of an htb that takes what no filter sends elsewhere.
    """

    index: int
    kind: str
    handle: int
    parent: int
    default: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class HtbClass:
    """An htb class: ``rate`` and ``ceil`` in bytes a second, ``burst`` in bytes."""

    handle: int
    parent: int
    rate: int
    ceil: int
    burst: int


def dump_qdiscs() -> Message:
    """Return the dump request for the qdiscs of all links: the kernel does not filter them."""
    return Message(_RTM_GETQDISC, 0, _HEADER.pack(0, 0, 0, 0, 0), "list the qdiscs")


def get_qdisc(index: int, parent: int) -> Message:
    """Return the request for a link's qdisc at ``parent`` (``TC_H_ROOT``, ``TC_H_CLSACT``).

    Refused with ``ENOENT`` or ``EINVAL`` where there is none but the kernel's own.
    """
    # Without ECHO the answer goes to those who listen to changes, and not to who asked.
    body = _HEADER.pack(0, index, 0, parent, 0)
    return Message(_RTM_GETQDISC, NLM_F_ECHO, body, "look at a qdisc")


def decode_qdisc(body: bytes) -> Qdisc:
    """Return the qdisc of an ``RTM_NEWQDISC`` body."""
    _, index, handle, parent, _ = _HEADER.unpack_from(body)
    found = attributes(body, 20)
    kind, default = text(found[_TCA_KIND]), 0
    if kind == "htb":
        options = attributes(found[_TCA_OPTIONS])
        _, _, default, _, _ = _HTB_GLOBAL.unpack(options[_TCA_HTB_INIT])
    return Qdisc(index, kind, handle, parent, default)


def add_htb(index: int, handle: int, what: str, *, default: int) -> Message:
    """Return the request that makes an htb the root qdisc; traffic goes to its class ``default``.

    What a filter says goes elsewhere.
    """
    options = attribute(
        _TCA_HTB_INIT, _HTB_GLOBAL.pack(_HTB_VERSION, _RATE_TO_QUANTUM, default, 0, 0)
    )
    body = (
        _HEADER.pack(0, index, handle, TC_H_ROOT, 0)
        + attribute_text(_TCA_KIND, "htb")
        + nested(_TCA_OPTIONS, options)
    )
    # CREATE and REPLACE together take the place of the kernel's own default qdisc as well.
    return Message(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def ask_for_htb() -> Message:
    """Return a request that is refused: with ``ENOENT`` if the kernel lacks htb.

    Its options are missing, so a kernel that has htb refuses it as well, and nothing is made.
    """
    body = _HEADER.pack(0, _LOOPBACK, 0, TC_H_ROOT, 0) + attribute_text(_TCA_KIND, "htb")
    return Message(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body, "find the queue htb")


def set_class(
    index: int,
    qdisc: int,
    *,
    rate: int,
    ceil: int,
    burst: int,
    what: str,
    number: int = 1,
    parent: int = 0,
) -> Message:
    """Return the request that makes or changes the class ``number`` of the htb ``qdisc``.

    ``parent`` is the number of the class that it is a part of, 0 for none.  ``rate`` and ``ceil``
    are in bytes a second, ``burst`` in bytes at ``rate``; at ``ceil`` it is ``least_burst`` where
    that is more.  A change takes the place of the old values at once; queued packets stay.
    """
    ceil_burst = max(burst, least_burst(ceil))
    parameters = (
        _rate_spec(rate)
        + _rate_spec(ceil)
        + _HTB_TAIL.pack(_ticks(burst, rate), _ticks(ceil_burst, ceil), _quantum(rate), 0, 0)
    )
    # The tables are how old tc told the kernel transmission times; it still wants to see them.
    table = bytes(1024)
    options = (
        attribute(_TCA_HTB_PARMS, parameters)
        + attribute_u64(_TCA_HTB_RATE64, rate)
        + attribute_u64(_TCA_HTB_CEIL64, ceil)
        + attribute(_TCA_HTB_RTAB, table)
        + attribute(_TCA_HTB_CTAB, table)
    )
    body = (
        _HEADER.pack(0, index, qdisc | number, qdisc | parent, 0)
        + attribute_text(_TCA_KIND, "htb")
        + nested(_TCA_OPTIONS, options)
    )
    return Message(_RTM_NEWTCLASS, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def least_burst(rate: int) -> int:
    """Return the smallest useful burst, in bytes, at ``rate`` bytes a second.

    A whole frame, and what is due after a timer that fires one millisecond late: with less a
    fast class never reaches its rate.
    """
    return 1600 + rate // 1000


def delete_class(index: int, handle: int, what: str) -> Message:
    """Return the request that removes a class, to which no filter may lead any more."""
    body = _HEADER.pack(0, index, handle, 0, 0)
    return Message(_RTM_DELTCLASS, 0, body, what)


def _quantum(rate: int) -> int:
    """Return the turn of a class: what is over is shared out as the rates are."""
    return max(_QUANTUM_MINIMUM, min(rate // _RATE_TO_QUANTUM, _QUANTUM_MAXIMUM))


def _rate_spec(rate: int) -> bytes:
    return _RATE_SPEC.pack(3, _LINKLAYER_ETHERNET, 0, -1, 0, min(rate, _MAXIMUM))


def _ticks(size: int, rate: int) -> int:
    """Return how long ``size`` bytes take at ``rate``."""
    return min(size * 1_000_000_000 // (rate * _NANOSECONDS_A_TICK), _MAXIMUM)


def _bytes(ticks: int, rate: int) -> int:
    """Return how much goes out at ``rate`` in ``ticks``, to the nearest byte."""
    return (ticks * _NANOSECONDS_A_TICK * rate + 500_000_000) // 1_000_000_000


def dump_classes(index: int) -> Message:
    """Return the dump request for the classes of one link."""
    return Message(_RTM_GETTCLASS, 0, _HEADER.pack(0, index, 0, 0, 0), "list the classes")


def decode_class(body: bytes) -> HtbClass | None:
    """Return the htb class of an ``RTM_NEWTCLASS`` body, ``None`` for one of another kind."""
    _, _, handle, parent, _ = _HEADER.unpack_from(body)
    found = attributes(body, 20)
    if text(found[_TCA_KIND]) != "htb":
        return None
    options = attributes(found[_TCA_OPTIONS])
    parameters = options[_TCA_HTB_PARMS]
    rate = _RATE_SPEC.unpack_from(parameters)[5]
    ceil = _RATE_SPEC.unpack_from(parameters, 12)[5]
    buffer = _HTB_TAIL.unpack_from(parameters, 24)[0]
    # The 64-bit values are there only where 32 bits do not do.
    if _TCA_HTB_RATE64 in options:
        rate = _U64.unpack(options[_TCA_HTB_RATE64])[0]
    if _TCA_HTB_CEIL64 in options:
        ceil = _U64.unpack(options[_TCA_HTB_CEIL64])[0]
    return HtbClass(handle, parent, rate, ceil, _bytes(buffer, rate))


def ask_for_clsact() -> Message:
    """Return a request that is refused: with ``ENOENT`` if the kernel lacks clsact.

    There is no block 0, so a kernel that has clsact refuses it as well, and nothing is made.
    """
    body = (
        _HEADER.pack(0, _LOOPBACK, 0, TC_H_CLSACT, 0)
        + attribute_text(_TCA_KIND, "clsact")
        + attribute(_TCA_EGRESS_BLOCK, bytes(4))
    )
    return Message(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, "find the qdisc clsact")


def delete_qdisc(index: int, qdisc: Qdisc, what: str) -> Message:
    """Return the request that removes a qdisc with its classes and filters."""
    body = _HEADER.pack(0, index, qdisc.handle, qdisc.parent, 0) + attribute_text(
        _TCA_KIND, qdisc.kind
    )
    return Message(_RTM_DELQDISC, 0, body, what)


def add_clsact(index: int, what: str) -> Message:
    """Return the request that adds the qdisc on which filters act without any queueing."""
    body = _HEADER.pack(0, index, _CLSACT_HANDLE, TC_H_CLSACT, 0) + attribute_text(
        _TCA_KIND, "clsact"
    )
    return Message(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body, what)
