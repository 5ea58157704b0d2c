"""Rules as the kernel's expressions: pure functions from ``state.rules`` to bytes.

An expression loads something into a register, compares it, or acts; a rule is a list of them,
left at the first comparison that fails (``linux/netfilter/nf_tables.h``).  Numbers in attributes
are big-endian; what is loaded and compared is in the order of the packet or of the host.

The byte sequences are those ``nft`` itself sends for the same rule, so that its listing shows
them as they are written in ``text.py``.
"""

from __future__ import annotations

import functools
import struct

from jackfield.host.netlink.message import attribute, attribute_text, nested
from jackfield.model.address import Address
from jackfield.model.values import InterfaceName
from jackfield.state.rules import (
    Action,
    Direction,
    Drop,
    Interface,
    Masquerade,
    Match,
    Peer,
    RateOver,
    Reject,
    Return,
    Rule,
    Snat,
    State,
    Transport,
)

__all__ = [
    "IFNAMSIZ",
    "NFT_GOTO",
    "NFT_JUMP",
    "attribute_be32",
    "encode_rule",
    "interface_key",
    "lookup_destination",
    "lookup_interface",
    "verdict_data",
]

IFNAMSIZ = 16

NFT_JUMP = -3
NFT_GOTO = -4
_NFT_RETURN = -5
_NF_DROP = 0

_LIST_ELEM = 1
_EXPR_NAME = 1
_EXPR_DATA = 2
_DATA_VALUE = 1
_DATA_VERDICT = 2
_VERDICT_CODE = 1
_VERDICT_CHAIN = 2

_REG_VERDICT = 0
_REG_1, _REG_2, _REG_3, _REG_4 = 1, 2, 3, 4

_CMP_EQ = 0
_CMP_NEQ = 1

_META_IIFNAME = 6
_META_OIFNAME = 7
_META_NFPROTO = 15
_META_L4PROTO = 16

_NETWORK_HEADER = 1
_TRANSPORT_HEADER = 2
# Of TCP (RFC 9293) and UDP (RFC 768) alike.
_DESTINATION_PORT_OFFSET = 2
_CT_STATE = 0
_LIMIT_BYTES = 1
_LIMIT_INVERTED = 1
_REJECT_ICMPX = 2
_ICMPX_PORT_UNREACHABLE = 1
_NAT_SOURCE = 0
_NF_NAT_RANGE_PROTO_SPECIFIED = 2

_NFPROTO = {4: 2, 6: 10}
_PROTOCOLS = {"tcp": 6, "udp": 17}
# Offsets of the source and destination address in the IPv4 (RFC 791) and IPv6 (RFC 8200) header.
_ADDRESS_OFFSET = {
    (4, Direction.SOURCE): 12,
    (4, Direction.DESTINATION): 16,
    (6, Direction.SOURCE): 8,
    (6, Direction.DESTINATION): 24,
}
_ADDRESS_LENGTH = {4: 4, 6: 16}

_BE16 = struct.Struct("!H")
_BE32 = struct.Struct("!HHI")
_U32 = struct.Struct("=I")
_HEADER = struct.Struct("=HH")


def attribute_be32(kind: int, value: int) -> bytes:
    """Return an attribute that holds 32 bits in network order; negative ones as in C."""
    return _HEADER.pack(8, kind) + (value & 0xFFFFFFFF).to_bytes(4, "big")


def _attribute_be64(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def _expression(name: str, *data: bytes) -> bytes:
    """Return one expression as an element of a list of expressions."""
    return nested(_LIST_ELEM, attribute_text(_EXPR_NAME, name), nested(_EXPR_DATA, *data))


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(_DATA_VALUE, data))


def _meta(key: int) -> bytes:
    return _expression("meta", attribute_be32(2, key), attribute_be32(1, _REG_1))


def _compare(operator: int, data: bytes) -> bytes:
    return _expression(
        "cmp", attribute_be32(1, _REG_1), attribute_be32(2, operator), _value(3, data)
    )


def _mask(mask: bytes) -> bytes:
    return _expression(
        "bitwise",
        attribute_be32(1, _REG_1),
        attribute_be32(2, _REG_1),
        attribute_be32(3, len(mask)),
        _value(4, mask),
        _value(5, bytes(len(mask))),
    )


def _load(header: int, offset: int, length: int) -> bytes:
    return _expression(
        "payload",
        attribute_be32(1, _REG_1),
        attribute_be32(2, header),
        attribute_be32(3, offset),
        attribute_be32(4, length),
    )


def _load_address(offset: int, length: int) -> bytes:
    return _load(_NETWORK_HEADER, offset, length)


def _immediate(register: int, data: bytes) -> bytes:
    return _expression("immediate", attribute_be32(1, register), _value(2, data))


def verdict_data(kind: int, code: int, chain: str | None = None) -> bytes:
    """Return the attribute ``kind`` that holds a verdict; jumps and gotos name a chain."""
    parts = [attribute_be32(_VERDICT_CODE, code)]
    if chain is not None:
        parts.append(attribute_text(_VERDICT_CHAIN, chain))
    return nested(kind, nested(_DATA_VERDICT, *parts))


def _verdict(code: int) -> bytes:
    return _expression("immediate", attribute_be32(1, _REG_VERDICT), verdict_data(2, code))


def interface_key(name: str) -> bytes:
    """Return an interface's name as registers and map keys hold it: 16 bytes, NUL-padded."""
    return name.encode().ljust(IFNAMSIZ, b"\0")


_LOAD_INTERFACE = {
    Direction.SOURCE: _meta(_META_IIFNAME),
    Direction.DESTINATION: _meta(_META_OIFNAME),
}
_FAMILY = {
    version: _meta(_META_NFPROTO) + _compare(_CMP_EQ, bytes([number]))
    for version, number in _NFPROTO.items()
}
_TRANSPORT = {
    name: _meta(_META_L4PROTO) + _compare(_CMP_EQ, bytes([number]))
    for name, number in _PROTOCOLS.items()
}
_LOAD_STATE = _expression("ct", attribute_be32(2, _CT_STATE), attribute_be32(1, _REG_1))
_COUNTER = _expression("counter")
_RETURN = _verdict(_NFT_RETURN)
_DROP = _COUNTER + _verdict(_NF_DROP)
_REJECT = _COUNTER + _expression(
    "reject",
    attribute_be32(1, _REJECT_ICMPX),
    attribute(2, bytes([_ICMPX_PORT_UNREACHABLE])),
)


def _lookup(name: str) -> bytes:
    return _expression(
        "lookup",
        attribute_text(1, name),
        attribute_be32(2, _REG_1),
        attribute_be32(3, _REG_VERDICT),
    )


def lookup_interface(direction: Direction, name: str) -> bytes:
    """Return ``iifname vmap @NAME`` or ``oifname vmap @NAME`` as a list of expressions."""
    return _LOAD_INTERFACE[direction] + _lookup(name)


def lookup_destination(version: int, name: str) -> bytes:
    """Return ``ip daddr vmap @NAME`` or ``ip6 daddr vmap @NAME`` as a list of expressions."""
    offset = _ADDRESS_OFFSET[version, Direction.DESTINATION]
    return _FAMILY[version] + _load_address(offset, _ADDRESS_LENGTH[version]) + _lookup(name)


def encode_rule(rule: Rule) -> bytes:
    """Return the expressions of ``rule``, ready for ``NFTA_RULE_EXPRESSIONS``."""
    parts: list[bytes] = []
    family = 0
    for match in rule.matches:
        if isinstance(match, Peer) and match.network.version != family:
            family = match.network.version
            parts.append(_FAMILY[family])
        parts.append(_encode_match(match))
    parts.append(_encode_action(rule.action))
    return b"".join(parts)


@functools.lru_cache(maxsize=512)
def _encode_match(match: Match) -> bytes:
    # A network's rules repeat a few matches: its bridge, its subnets.
    match match:
        case Interface(direction, name, negate):
            return _LOAD_INTERFACE[direction] + _encode_name(name, negate)
        case Peer():
            return _encode_peer(match)
        case Transport(protocol, port):
            return _TRANSPORT[protocol] + (b"" if port is None else _encode_port(port))
        case State(states):
            # The state is a bit in the order of the host, unlike a packet's fields.
            mask = _U32.pack(states.value)
            return _LOAD_STATE + _mask(mask) + _compare(_CMP_NEQ, bytes(4))
        case RateOver(rate, burst):
            return _expression(
                "limit",
                _attribute_be64(1, rate),
                _attribute_be64(2, 1),
                attribute_be32(3, burst),
                attribute_be32(4, _LIMIT_BYTES),
                attribute_be32(5, _LIMIT_INVERTED),
            )


def _encode_name(name: InterfaceName, negate: bool) -> bytes:
    return _compare(_CMP_NEQ if negate else _CMP_EQ, interface_key(name))


def _encode_port(port: int) -> bytes:
    return _load(_TRANSPORT_HEADER, _DESTINATION_PORT_OFFSET, 2) + _compare(
        _CMP_EQ, _BE16.pack(port)
    )


def _encode_peer(peer: Peer) -> bytes:
    """Load only as many octets as the prefix covers, and mask the rest of the last one."""
    network = peer.network
    offset = _ADDRESS_OFFSET[network.version, peer.direction]
    operator = _CMP_NEQ if peer.negate else _CMP_EQ
    address = network.network_address.packed
    length = network.prefixlen >> 3
    if length and not network.prefixlen & 7:
        return _load_address(offset, length) + _compare(operator, address[:length])
    return (
        _load_address(offset, len(address))
        + _mask(network.netmask.packed)
        + _compare(operator, address)
    )


@functools.lru_cache(maxsize=512)
def _encode_action(action: Action) -> bytes:
    match action:
        case Return():
            return _RETURN
        case Drop():
            return _DROP
        case Reject():
            return _REJECT
        case Masquerade(port_start, port_end):
            return _encode_masquerade(port_start, port_end)
        case Snat():
            return _encode_snat(action)


def _ports(first: int, start: int, end: int | None) -> tuple[bytes, tuple[int, int]]:
    """Return what loads a port range from register ``first``, and the registers of its ends."""
    loads = _immediate(first, _BE16.pack(start))
    if end is None or end == start:
        return loads, (first, first)
    return loads + _immediate(first + 1, _BE16.pack(end)), (first, first + 1)


def _encode_masquerade(start: int | None, end: int | None) -> bytes:
    if start is None:
        return _expression("masq")
    loads, (low, high) = _ports(_REG_1, start, end)
    attributes = [
        attribute_be32(1, _NF_NAT_RANGE_PROTO_SPECIFIED),
        attribute_be32(2, low),
    ]
    if high != low:
        attributes.append(attribute_be32(3, high))
    return loads + _expression("masq", *attributes)


def _encode_snat(action: Snat) -> bytes:
    start: Address = action.address_start
    loads = _immediate(_REG_1, start.packed)
    attributes = [
        attribute_be32(1, _NAT_SOURCE),
        attribute_be32(2, _NFPROTO[start.version]),
        attribute_be32(3, _REG_1),
    ]
    if action.address_end != start:
        loads += _immediate(_REG_2, action.address_end.packed)
        attributes.append(attribute_be32(4, _REG_2))
    if action.port_start is not None:
        more, (low, high) = _ports(_REG_3, action.port_start, action.port_end)
        loads += more
        attributes.append(attribute_be32(5, low))
        if high != low:
            attributes.append(attribute_be32(6, high))
    return loads + _expression("nat", *attributes)
