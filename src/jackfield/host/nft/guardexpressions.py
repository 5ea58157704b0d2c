"""Matches of the ports' rules: pure functions to the kernel's expressions, and to nft's words.

A rule of the guard looks concatenations up in sets: the port's name beside an address of the
packet.  Each part of a key is loaded into the registers behind those of the part before it; a
part of 6 bytes takes 8.

As in ``expression.py`` the bytes are those that ``nft`` itself sends, so that it lists the rules
as they are written here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jackfield.host.netlink.message import attribute, attribute_text, nested
from jackfield.host.nft.expression import attribute_be32, expression

__all__ = [
    "ACCEPT",
    "DROP",
    "IFNAMSIZ",
    "RETURN",
    "Clause",
    "Field",
    "equal",
    "field",
    "goto",
    "jump",
    "looked_up",
    "masked",
    "remember",
    "unequal",
]

IFNAMSIZ = 16

_META_IIFNAME, _META_OIFNAME, _META_PROTOCOL, _META_L4PROTO = 6, 7, 1, 16
_LINK, _NETWORK, _TRANSPORT = 0, 1, 2
_BASES = {"ll": _LINK, "nh": _NETWORK, "th": _TRANSPORT}

_FIRST_REGISTER = 1
_EQUAL, _UNEQUAL = 0, 1
_INVERTED = 1
_UPDATE = 1
_NF_DROP, _NF_ACCEPT = 0, 1
_NFT_JUMP, _NFT_GOTO, _NFT_RETURN = -3, -4, -5


@dataclasses.dataclass(frozen=True, slots=True)
class Clause:
    """A part of a rule, as nft writes it and as the kernel takes it."""

    words: str
    expressions: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """Something of a packet: its ``words``, how many bytes it has, and what loads it."""

    words: str
    length: int
    load: Callable[[int], bytes]

    @property
    def room(self) -> int:
        """How many bytes of registers it takes."""
        return self.length + 3 & ~3


def _expression(name: str, *data: bytes) -> bytes:
    return expression(1, name, *data)


def _meta(key: int) -> Callable[[int], bytes]:
    return lambda register: _expression("meta", attribute_be32(2, key), attribute_be32(1, register))


def _payload(base: int, offset: int, length: int) -> Callable[[int], bytes]:
    return lambda register: _expression(
        "payload",
        attribute_be32(1, register),
        attribute_be32(2, base),
        attribute_be32(3, offset),
        attribute_be32(4, length),
    )


_META = {
    "iifname": (_META_IIFNAME, IFNAMSIZ),
    "oifname": (_META_OIFNAME, IFNAMSIZ),
    "meta protocol": (_META_PROTOCOL, 2),
    "meta l4proto": (_META_L4PROTO, 1),
}


def field(words: str, base: str = "", offset: int = 0, length: int = 0) -> Field:
    """Return a field: one of meta's by its name, or ``length`` bytes from ``offset`` of a header.

    ``base`` is nft's ``ll``, ``nh`` or ``th``; without ``words`` the field is called as nft calls
    one that it has no name for (``@th,288,48``, in bits).
    """
    if not base:
        key, size = _META[words]
        return Field(words, size, _meta(key))
    words = words or f"@{base},{offset * 8},{length * 8}"
    return Field(words, length, _payload(_BASES[base], offset, length))


def masked(one: Field, mask: bytes, words: str) -> Field:
    """Return ``one`` with only the bits of ``mask``, which nft writes as ``words``."""

    def load(register: int) -> bytes:
        return one.load(register) + _expression(
            "bitwise",
            attribute_be32(1, register),
            attribute_be32(2, register),
            attribute_be32(3, len(mask)),
            nested(4, attribute(1, mask)),
            nested(5, attribute(1, bytes(len(mask)))),
        )

    return Field(f"{one.words} & {words}", one.length, load)


def _compared(one: Field, operator: int, value: bytes) -> bytes:
    return one.load(_FIRST_REGISTER) + _expression(
        "cmp",
        attribute_be32(1, _FIRST_REGISTER),
        attribute_be32(2, operator),
        nested(3, attribute(1, value)),
    )


def equal(one: Field, value: bytes, words: str) -> Clause:
    """Match packets whose field has this value."""
    return Clause(f"{one.words} {words}", _compared(one, _EQUAL, value))


def unequal(one: Field, value: bytes, words: str) -> Clause:
    """Match packets that have the field, with another value."""
    return Clause(f"{one.words} != {words}", _compared(one, _UNEQUAL, value))


def _loaded(fields: tuple[Field, ...]) -> bytes:
    """Load fields behind each other."""
    offset = 0
    loads = b""
    for one in fields:
        loads += one.load(_register(offset))
        offset += one.room
    return loads


def _register(offset: int) -> int:
    """Return the number of the register at that byte (``enum nft_registers``).

    Every 16 bytes have a number from 1, every 4 bytes one from 8; the kernel tells the former
    where both are right.
    """
    return 8 + offset // 4 if offset % 16 else 1 + offset // 16


def _concatenated(fields: tuple[Field, ...]) -> str:
    return " . ".join(one.words for one in fields)


def looked_up(name: str, *fields: Field, negate: bool = False) -> Clause:
    """Match packets whose fields are together in the set ``name``; with ``negate`` are not.

    A packet without one of the fields does not match in either case.
    """
    attributes = [attribute_text(1, name), attribute_be32(2, _FIRST_REGISTER)]
    if negate:
        attributes.append(attribute_be32(5, _INVERTED))
    return Clause(
        f"{_concatenated(fields)} {'!= ' if negate else ''}@{name}",
        _loaded(fields) + _expression("lookup", *attributes),
    )


def remember(name: str, *fields: Field) -> Clause:
    """Add the packet's fields to the set ``name``, or begin its element's time anew."""
    return Clause(
        f"update @{name} {{ {_concatenated(fields)} }}",
        _loaded(fields)
        + _expression(
            "dynset",
            attribute_text(1, name),
            attribute_be32(3, _UPDATE),
            attribute_be32(4, _FIRST_REGISTER),
        ),
    )


def _verdict(code: int, chain: str | None = None) -> bytes:
    parts = [attribute_be32(1, code)]
    if chain is not None:
        parts.append(attribute_text(2, chain))
    return _expression("immediate", attribute_be32(1, 0), nested(2, nested(2, *parts)))


def goto(chain: str) -> Clause:
    """Go on in ``chain`` and do not come back."""
    return Clause(f"goto {chain}", _verdict(_NFT_GOTO, chain))


def jump(chain: str) -> Clause:
    """Go on in ``chain``, and come back from there."""
    return Clause(f"jump {chain}", _verdict(_NFT_JUMP, chain))


ACCEPT = Clause("accept", _verdict(_NF_ACCEPT))
RETURN = Clause("return", _verdict(_NFT_RETURN))
DROP = Clause("counter drop", _expression("counter") + _verdict(_NF_DROP))
