"""Traffic control in rtnetlink: an htb qdisc with one class, and the checksum filter.

Layouts are those of ``linux/pkt_sched.h``, ``linux/pkt_cls.h`` and ``linux/tc_act/tc_csum.h``.
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
    "add_checksum_filter",
    "add_clsact",
    "add_htb",
    "ask_for_action",
    "decode_class",
    "decode_qdisc",
    "delete_qdisc",
    "dump_classes",
    "dump_filters",
    "dump_qdiscs",
    "get_qdisc",
    "is_filter_of",
    "least_burst",
    "set_class",
]

_RTM_NEWQDISC = 36
_RTM_DELQDISC = 37
_RTM_GETQDISC = 38
_RTM_NEWTCLASS = 40
_RTM_GETTCLASS = 42
_RTM_NEWTFILTER = 44
_RTM_GETTFILTER = 46
_RTM_NEWACTION = 48

_TCA_KIND = 1
_TCA_OPTIONS = 2
_TCA_HTB_PARMS = 1
_TCA_HTB_INIT = 2
_TCA_HTB_RTAB = 4
_TCA_HTB_CTAB = 3
_TCA_HTB_RATE64 = 6
_TCA_HTB_CEIL64 = 7
_TCA_U32_SEL = 5
_TCA_U32_ACT = 7
_TCA_ACT_TAB = 1
_TCA_ACT_KIND = 1
_TCA_ACT_OPTIONS = 2
_TCA_CSUM_PARMS = 1

TC_H_ROOT = 0xFFFFFFFF
TC_H_CLSACT = 0xFFFFFFF1
_TC_H_EGRESS = 0xFFFFFFF3
_CLSACT_HANDLE = 0xFFFF0000

_HEADER = struct.Struct("=BxxxiIII")
_HTB_GLOBAL = struct.Struct("=IIIII")
_RATE_SPEC = struct.Struct("=BBHhHI")
_HTB_TAIL = struct.Struct("=IIIII")
_U64 = struct.Struct("=Q")
_U32_SELECTOR = struct.Struct("=BBBxHHhhI")
_U32_KEY = struct.Struct("=IIii")
_CHECKSUM = struct.Struct("=IIiiiI")

_HTB_VERSION = 3
_RATE_TO_QUANTUM = 10
_LINKLAYER_ETHERNET = 1
_NANOSECONDS_A_TICK = 64
_MAXIMUM = 0xFFFFFFFF
# htb refuses a quantum above 200000 bytes with a warning, and below 1000; a lone class is never
# shared, so the quantum has no effect but must be sane.
_QUANTUM = 10000

_ETH_P_IP = 0x0800
_CHECKSUM_PRIORITY = 68
_CSUM_IPV4_HEADER_AND_UDP = 1 | 16


@dataclasses.dataclass(frozen=True, slots=True)
class Qdisc:
    """A queueing discipline of a link: ``handle`` 0 is one the kernel put there itself."""

    index: int
    kind: str
    handle: int
    parent: int


@dataclasses.dataclass(frozen=True, slots=True)
class HtbClass:
    """An htb class: ``rate`` and ``ceil`` in bytes a second, ``burst`` in bytes."""

    handle: int
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
    return Qdisc(index, text(attributes(body, 20)[_TCA_KIND]), handle, parent)


def add_htb(index: int, handle: int, what: str) -> Message:
    """Return the request that makes an htb the root qdisc; all traffic goes to its class 1."""
    options = attribute(_TCA_HTB_INIT, _HTB_GLOBAL.pack(_HTB_VERSION, _RATE_TO_QUANTUM, 1, 0, 0))
    body = (
        _HEADER.pack(0, index, handle, TC_H_ROOT, 0)
        + attribute_text(_TCA_KIND, "htb")
        + nested(_TCA_OPTIONS, options)
    )
    # CREATE and REPLACE together take the place of the kernel's own default qdisc as well.
    return Message(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def set_class(index: int, qdisc: int, *, rate: int, ceil: int, burst: int, what: str) -> Message:
    """Return the request that makes or changes class 1 of the htb ``qdisc``.

    ``rate`` and ``ceil`` in bytes a second, ``burst`` in bytes at ``rate``; at ``ceil`` it is
    ``least_burst`` where that is more.  A change takes the place of the old values at once;
    queued packets stay.
    """
    ceil_burst = max(burst, least_burst(ceil))
    parameters = (
        _rate_spec(rate)
        + _rate_spec(ceil)
        + _HTB_TAIL.pack(_ticks(burst, rate), _ticks(ceil_burst, ceil), _QUANTUM, 0, 0)
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
        _HEADER.pack(0, index, qdisc | 1, qdisc, 0)
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
    _, _, handle, _, _ = _HEADER.unpack_from(body)
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
    return HtbClass(handle, rate, ceil, _bytes(buffer, rate))


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


def add_checksum_filter(index: int, what: str, *, action: str = "csum") -> Message:
    """Return the request that fills the checksums of IPv4 UDP to port 68 that leaves a link.

    Like ``tc filter add dev LINK egress protocol ip prio 68 u32 match ip protocol 17 0xff
    match ip dport 68 0xffff action csum ip and udp``.
    """
    parameters = _CHECKSUM.pack(0, 0, 0, 0, 0, _CSUM_IPV4_HEADER_AND_UDP)
    act = nested(
        1,
        attribute_text(_TCA_ACT_KIND, action),
        nested(_TCA_ACT_OPTIONS, attribute(_TCA_CSUM_PARMS, parameters)),
    )
    terminal = 1  # TC_U32_TERMINAL: a packet that matches goes to the action
    selector = (
        _U32_SELECTOR.pack(terminal, 0, 2, 0, 0, 0, 0, 0)
        + _U32_KEY.pack(_network_order(0x00FF0000), _network_order(0x00110000), 8, 0)
        + _U32_KEY.pack(_network_order(0x0000FFFF), _network_order(68), 20, 0)
    )
    body = (
        _HEADER.pack(0, index, 0, _TC_H_EGRESS, _filter_info())
        + attribute_text(_TCA_KIND, "u32")
        + nested(_TCA_OPTIONS, nested(_TCA_U32_ACT, act), attribute(_TCA_U32_SEL, selector))
    )
    return Message(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body, what)


def _network_order(value: int) -> int:
    """Return the number whose bytes in memory are ``value``'s in network order."""
    return int(struct.unpack("=I", struct.pack("!I", value))[0])


def _filter_info() -> int:
    """Return priority and protocol as a filter's header has them."""
    protocol = struct.unpack("=H", struct.pack("!H", _ETH_P_IP))[0]
    return _CHECKSUM_PRIORITY << 16 | int(protocol)


def ask_for_action(kind: str) -> Message:
    """Return a request that is refused: with ``ENOENT`` if the kernel lacks the action.

    The action's own parameters are missing, so a kernel that has it, or has just loaded it,
    refuses for another reason, and nothing is made.
    """
    body = bytes(4) + nested(_TCA_ACT_TAB, nested(1, attribute_text(_TCA_ACT_KIND, kind)))
    return Message(_RTM_NEWACTION, NLM_F_CREATE | NLM_F_EXCL, body, f"find the action {kind}")


def dump_filters(index: int) -> Message:
    """Return the dump request for the filters on what leaves a link."""
    body = _HEADER.pack(0, index, 0, _TC_H_EGRESS, 0)
    return Message(_RTM_GETTFILTER, 0, body, "list the filters")


def is_filter_of(body: bytes, kind: str = "csum") -> bool:
    """Return whether an ``RTM_NEWTFILTER`` body is a u32 filter of ours with that action."""
    if _HEADER.unpack_from(body)[4] != _filter_info():
        return False
    options = attributes(attributes(body, 20).get(_TCA_OPTIONS, b""))
    actions = attributes(options.get(_TCA_U32_ACT, b""))
    return any(text(attributes(item).get(_TCA_ACT_KIND, b"")) == kind for item in actions.values())
