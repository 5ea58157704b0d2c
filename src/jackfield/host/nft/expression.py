"""Rules as the kernel's expressions: pure functions from ``state.rules`` to bytes.

An expression loads something into a register, compares it, or acts; a rule is a list of them,
left at the first comparison that fails (``linux/netfilter/nf_tables.h``).  Numbers in attributes
are big-endian; what is loaded and compared is in the order of the packet or of the host.

The byte sequences are those ``nft`` itself sends for the same rule, so that its listing shows
them as they are written in ``text.py``.
"""

from __future__ import annotations

import functools
import ipaddress
import struct

from jackfield.host.netlink.message import attribute, attribute_text, nested, text
from jackfield.model.address import Address
from jackfield.state.rules import (
    Action,
    AddressOf,
    Direction,
    Drop,
    Element,
    Field,
    Goto,
    InSet,
    Interface,
    InterfaceOf,
    Jump,
    Masquerade,
    Match,
    NamedSet,
    Part,
    RateOver,
    Reject,
    Return,
    Rule,
    Selector,
    Snat,
    State,
    To,
    Transport,
    TransportField,
    VerdictOf,
)

__all__ = [
    "FIELD_LENGTHS",
    "attribute_be32",
    "encode_key",
    "encode_rule",
    "expression",
    "jump_data",
    "key_text",
]

_IFNAMSIZ = 16

FIELD_LENGTHS = {
    Field.INTERFACE: _IFNAMSIZ,
    Field.IPV4: 4,
    Field.IPV6: 16,
    # Padded: each part of a key begins on 4 bytes.
    Field.PROTOCOL: 4,
    Field.PORT: 4,
}
"""How many bytes a part of a key takes."""

_NFT_JUMP = -3
_NFT_GOTO = -4
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
_REG32_00 = 8

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
_PROTOCOL_NAMES = {number: name for name, number in _PROTOCOLS.items()}
# Offsets of the source and destination address in the IPv4 (RFC 791) and IPv6 (RFC 8200) header.
_ADDRESS_OFFSET = {
    (4, Direction.SOURCE): 12,
    (4, Direction.DESTINATION): 16,
    (6, Direction.SOURCE): 8,
    (6, Direction.DESTINATION): 24,
}
_ADDRESS_LENGTH = {4: 4, 6: 16}

_BE16 = struct.Struct("!H")
_U32 = struct.Struct("=I")
_HEADER = struct.Struct("=HH")


def attribute_be32(kind: int, value: int) -> bytes:
    """Return an attribute that holds 32 bits in network order; negative ones as in C."""
    return _HEADER.pack(8, kind) + (value & 0xFFFFFFFF).to_bytes(4, "big")


def _attribute_be64(kind: int, value: int) -> bytes:
    return attribute(kind, value.to_bytes(8, "big"))


def expression(kind: int, name: str, *data: bytes) -> bytes:
    """Return an attribute of type ``kind`` that holds one expression."""
    return nested(kind, attribute_text(_EXPR_NAME, name), nested(_EXPR_DATA, *data))


def _expression(name: str, *data: bytes) -> bytes:
    """Return one expression as an element of a list of expressions."""
    return expression(_LIST_ELEM, name, *data)


def _value(kind: int, data: bytes) -> bytes:
    return nested(kind, attribute(_DATA_VALUE, data))


def _meta(key: int, register: int = _REG_1) -> bytes:
    return _expression("meta", attribute_be32(2, key), attribute_be32(1, register))


def _compare(operator: int, data: bytes) -> bytes:
    return _expression(
        "cmp", attribute_be32(1, _REG_1), attribute_be32(2, operator), _value(3, data)
    )


def _mask(mask: bytes, register: int = _REG_1) -> bytes:
    return _expression(
        "bitwise",
        attribute_be32(1, register),
        attribute_be32(2, register),
        attribute_be32(3, len(mask)),
        _value(4, mask),
        _value(5, bytes(len(mask))),
    )


def _load(header: int, offset: int, length: int, register: int = _REG_1) -> bytes:
    return _expression(
        "payload",
        attribute_be32(1, register),
        attribute_be32(2, header),
        attribute_be32(3, offset),
        attribute_be32(4, length),
    )


def _immediate(register: int, data: bytes) -> bytes:
    return _expression("immediate", attribute_be32(1, register), _value(2, data))


def _verdict_data(code: int, chain: str | None) -> bytes:
    parts = [attribute_be32(_VERDICT_CODE, code)]
    if chain is not None:
        parts.append(attribute_text(_VERDICT_CHAIN, chain))
    # NFTA_IMMEDIATE_DATA and NFTA_SET_ELEM_DATA have one number.
    return nested(2, nested(_DATA_VERDICT, *parts))


def jump_data(chain: str) -> bytes:
    """Return the data of a map's element that jumps to ``chain``."""
    return _verdict_data(_NFT_JUMP, chain)


def _verdict(code: int, chain: str | None = None) -> bytes:
    return _expression("immediate", attribute_be32(1, _REG_VERDICT), _verdict_data(code, chain))


def encode_key(element: Element) -> bytes:
    """Return an element's key as registers and sets hold it: its parts, each padded to 4 bytes."""
    return b"".join(
        _encode_part(field, part)
        for field, part in zip(element.place.fields, element.key, strict=True)
    )


def _encode_part(field: Field, part: Part) -> bytes:
    if isinstance(part, int):
        return _BE16.pack(part) + bytes(2)
    if not isinstance(part, str):
        return part.packed
    if field is Field.PROTOCOL:
        return bytes([_PROTOCOLS[part], 0, 0, 0])
    return part.encode().ljust(_IFNAMSIZ, b"\0")


def key_text(place: NamedSet, key: bytes) -> str:
    """Return a key as nft writes it."""
    parts = []
    offset = 0
    for field in place.fields:
        part = key[offset : offset + FIELD_LENGTHS[field]]
        offset += FIELD_LENGTHS[field]
        match field:
            case Field.INTERFACE:
                parts.append(text(part))
            case Field.IPV4 | Field.IPV6:
                parts.append(str(ipaddress.ip_address(part)))
            case Field.PROTOCOL:
                parts.append(_PROTOCOL_NAMES.get(part[0], str(part[0])))
            case Field.PORT:
                parts.append(str(_BE16.unpack_from(part)[0]))
    return " . ".join(parts)


_INTERFACE_KEYS = {Direction.SOURCE: _META_IIFNAME, Direction.DESTINATION: _META_OIFNAME}
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


def _lookup(place: NamedSet, by: tuple[Selector, ...]) -> bytes:
    """Load what ``by`` selects into registers side by side, and look it up."""
    parts = [_FAMILY[item.version] for item in by if isinstance(item, AddressOf)]
    offset = 0
    for field, selector in zip(place.fields, by, strict=True):
        # The kernel has one name for the registers of 4 bytes and another for those of 16.
        register = _REG32_00 + offset // 4 if offset % 16 else _REG_1 + offset // 16
        parts.append(_select(selector, register))
        offset += FIELD_LENGTHS[field]
    attributes = [attribute_text(1, place.name), attribute_be32(2, _REG_1)]
    if place.verdicts:
        attributes.append(attribute_be32(3, _REG_VERDICT))
    return b"".join(parts) + _expression("lookup", *attributes)


def _select(selector: Selector, register: int) -> bytes:
    match selector:
        case InterfaceOf(direction):
            return _meta(_INTERFACE_KEYS[direction], register)
        case AddressOf(direction, version, length):
            octets = _ADDRESS_LENGTH[version]
            offset = _ADDRESS_OFFSET[version, direction]
            load = _load(_NETWORK_HEADER, offset, octets, register)
            if length == 8 * octets:
                return load
            return load + _mask(selector.mask.packed, register)
        case TransportField.PROTOCOL:
            return _meta(_META_L4PROTO, register)
        case TransportField.PORT:
            return _load(_TRANSPORT_HEADER, _DESTINATION_PORT_OFFSET, 2, register)


@functools.lru_cache(maxsize=512)
def encode_rule(rule: Rule) -> bytes:
    """Return the expressions of ``rule``, ready for ``NFTA_RULE_EXPRESSIONS``."""
    action = b"" if rule.action is None else _encode_action(rule.action)
    return b"".join(map(_encode_match, rule.matches)) + action


def _encode_match(match: Match) -> bytes:
    match match:
        case InSet(place, by):
            return _lookup(place, by)
        case Interface(direction, name):
            key = name.encode().ljust(_IFNAMSIZ, b"\0")
            return _meta(_INTERFACE_KEYS[direction]) + _compare(_CMP_EQ, key)
        case To():
            return _encode_destination(match)
        case Transport(protocol):
            return _TRANSPORT[protocol]
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


def _encode_destination(match: To) -> bytes:
    """Load only as many octets as the prefix covers, and mask the rest of the last one."""
    network = match.network
    offset = _ADDRESS_OFFSET[network.version, Direction.DESTINATION]
    address = network.network_address.packed
    length = network.prefixlen >> 3
    if length and not network.prefixlen & 7:
        load, wanted = _load(_NETWORK_HEADER, offset, length), address[:length]
    else:
        load = _load(_NETWORK_HEADER, offset, len(address)) + _mask(network.netmask.packed)
        wanted = address
    return _FAMILY[network.version] + load + _compare(_CMP_EQ, wanted)


def _encode_action(action: Action) -> bytes:
    match action:
        case Return():
            return _RETURN
        case Drop():
            return _DROP
        case Reject():
            return _REJECT
        case Jump(chain):
            return _verdict(_NFT_JUMP, chain)
        case Goto(chain):
            return _verdict(_NFT_GOTO, chain)
        case VerdictOf(place, by):
            return _lookup(place, by)
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
