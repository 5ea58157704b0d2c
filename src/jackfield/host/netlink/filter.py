"""Filters of traffic control in rtnetlink, all of the classifier u32.

Layouts are those of ``linux/pkt_cls.h`` and ``linux/tc_act/tc_csum.h``.  A filter's priority says
which it is: those of a parent have each their own.
"""

from __future__ import annotations

import struct
import sys

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attribute_text,
    attribute_u32,
    attributes,
    nested,
    text,
)

__all__ = [
    "add_checksum_filter",
    "add_destination_filter",
    "ask_for_checksums",
    "delete_destination_filter",
    "dump_class_filters",
    "dump_filters",
    "found_destination",
    "is_checksum_filter",
]

_RTM_NEWTFILTER = 44
_RTM_DELTFILTER = 45
_RTM_GETTFILTER = 46
_RTM_NEWACTION = 48

_TCA_KIND = 1
_TCA_OPTIONS = 2
_TCA_U32_CLASSID = 1
_TCA_U32_SEL = 5
_TCA_U32_ACT = 7
_TCA_ACT_TAB = 1
_TCA_ACT_KIND = 1
_TCA_ACT_OPTIONS = 2
_TCA_CSUM_PARMS = 1

_TC_H_EGRESS = 0xFFFFFFF3
_TERMINAL = 1  # TC_U32_TERMINAL: what matches goes to the action or class

_HEADER = struct.Struct("=BxxxiIII")
_U32_SELECTOR = struct.Struct("=BBBxHHhhI")
_U32_KEY = struct.Struct("=IIii")
_CHECKSUM = struct.Struct("=IIiiiI")

_ETH_P_ALL = 0x0003
_ETH_P_IP = 0x0800
_CHECKSUM_PRIORITY = 68
_CHECKSUM_ACTION = "csum"
_CSUM_IPV4_HEADER_AND_UDP = 1 | 16
# Where the frame's destination is, seen from the network header: whole words only.
_DESTINATION_HIGH = -16
_DESTINATION_LOW = -12


def add_destination_filter(index: int, qdisc: int, number: int, mac: bytes, what: str) -> Message:
    """Return the request that leads frames to ``mac`` to the class ``number`` of ``qdisc``."""
    body = (
        _HEADER.pack(0, index, 0, qdisc, _info(number, _ETH_P_ALL))
        + attribute_text(_TCA_KIND, "u32")
        + nested(
            _TCA_OPTIONS,
            attribute_u32(_TCA_U32_CLASSID, qdisc | number),
            attribute(_TCA_U32_SEL, _destination(mac)),
        )
    )
    return Message(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body, what)


def delete_destination_filter(index: int, qdisc: int, number: int, what: str) -> Message:
    """Return the request that removes what leads to the class ``number``."""
    body = _HEADER.pack(0, index, 0, qdisc, _info(number, _ETH_P_ALL))
    return Message(_RTM_DELTFILTER, 0, body, what)


def dump_class_filters(index: int, qdisc: int) -> Message:
    """Return the dump request for the filters that lead to the classes of ``qdisc``."""
    body = _HEADER.pack(0, index, 0, qdisc, 0)
    return Message(_RTM_GETTFILTER, 0, body, "list the filters")


def found_destination(body: bytes) -> tuple[int, bytes] | None:
    """Return class and destination of an ``RTM_NEWTFILTER`` body, ``None`` for another filter.

    The class is its whole handle, the destination 6 bytes.
    """
    options = attributes(attributes(body, 20).get(_TCA_OPTIONS, b""))
    selector = options.get(_TCA_U32_SEL, b"")
    if _TCA_U32_CLASSID not in options or len(selector) < len(_destination(bytes(6))):
        return None
    keys = selector[_U32_SELECTOR.size :]
    mac = keys[6:8] + keys[_U32_KEY.size + 4 : _U32_KEY.size + 8]
    if _destination(mac)[_U32_SELECTOR.size :] != keys[: 2 * _U32_KEY.size]:
        return None
    return int.from_bytes(options[_TCA_U32_CLASSID], sys.byteorder), mac


def _destination(mac: bytes) -> bytes:
    high, low = bytes(2) + mac[:2], mac[2:]
    return (
        _U32_SELECTOR.pack(_TERMINAL, 0, 2, 0, 0, 0, 0, 0)
        + _U32_KEY.pack(_network_order(0x0000FFFF), _as_word(high), _DESTINATION_HIGH, 0)
        + _U32_KEY.pack(0xFFFFFFFF, _as_word(low), _DESTINATION_LOW, 0)
    )


def _as_word(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def add_checksum_filter(index: int, what: str) -> Message:
    """Return the request that fills the checksums of IPv4 UDP to port 68 that leaves a link.

    Like ``tc filter add dev LINK egress protocol ip prio 68 u32 match ip protocol 17 0xff
    match ip dport 68 0xffff action csum ip and udp``.
    """
    parameters = _CHECKSUM.pack(0, 0, 0, 0, 0, _CSUM_IPV4_HEADER_AND_UDP)
    act = nested(
        1,
        attribute_text(_TCA_ACT_KIND, _CHECKSUM_ACTION),
        nested(_TCA_ACT_OPTIONS, attribute(_TCA_CSUM_PARMS, parameters)),
    )
    selector = (
        _U32_SELECTOR.pack(_TERMINAL, 0, 2, 0, 0, 0, 0, 0)
        + _U32_KEY.pack(_network_order(0x00FF0000), _network_order(0x00110000), 8, 0)
        + _U32_KEY.pack(_network_order(0x0000FFFF), _network_order(68), 20, 0)
    )
    body = (
        _HEADER.pack(0, index, 0, _TC_H_EGRESS, _checksum_info())
        + attribute_text(_TCA_KIND, "u32")
        + nested(_TCA_OPTIONS, nested(_TCA_U32_ACT, act), attribute(_TCA_U32_SEL, selector))
    )
    return Message(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body, what)


def _network_order(value: int) -> int:
    """Return the number whose bytes in memory are ``value``'s in network order."""
    return int(struct.unpack("=I", struct.pack("!I", value))[0])


def _info(priority: int, protocol: int) -> int:
    """Return priority and protocol as a filter's header has them."""
    return priority << 16 | int(struct.unpack("=H", struct.pack("!H", protocol))[0])


def _checksum_info() -> int:
    return _info(_CHECKSUM_PRIORITY, _ETH_P_IP)


def ask_for_checksums() -> Message:
    """Return a request that is refused: with ``ENOENT`` if the kernel cannot fill checksums.

    The action's own parameters are missing, so a kernel that has it, or has just loaded it,
    refuses for another reason, and nothing is made.
    """
    body = bytes(4) + nested(
        _TCA_ACT_TAB, nested(1, attribute_text(_TCA_ACT_KIND, _CHECKSUM_ACTION))
    )
    return Message(
        _RTM_NEWACTION, NLM_F_CREATE | NLM_F_EXCL, body, f"find the action {_CHECKSUM_ACTION}"
    )


def dump_filters(index: int) -> Message:
    """Return the dump request for the filters on what leaves a link."""
    body = _HEADER.pack(0, index, 0, _TC_H_EGRESS, 0)
    return Message(_RTM_GETTFILTER, 0, body, "list the filters")


def is_checksum_filter(body: bytes) -> bool:
    """Return whether an ``RTM_NEWTFILTER`` body is what ``add_checksum_filter`` makes."""
    if _HEADER.unpack_from(body)[4] != _checksum_info():
        return False
    options = attributes(attributes(body, 20).get(_TCA_OPTIONS, b""))
    actions = attributes(options.get(_TCA_U32_ACT, b""))
    return any(
        text(attributes(item).get(_TCA_ACT_KIND, b"")) == _CHECKSUM_ACTION
        for item in actions.values()
    )
