"""One rule of others, looked at for one packet: what its expressions load, change and compare.

It holds, it does not, or that cannot be told, for want of what a register is to have in it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Protocol

from jackfield.diagnosis.bits import Bits, compare, known, unknown, within
from jackfield.state.ruleset import (
    Assign,
    Bitwise,
    Byteorder,
    Compare,
    Decide,
    Doubt,
    Expression,
    Fib,
    ForeignSet,
    Group,
    Immediate,
    IpSet,
    Load,
    Lookup,
    Never,
    Not,
    Payload,
    Range,
    SetElement,
    Verdict,
    VerdictKind,
)

__all__ = ["NotThere", "Registers", "Surroundings"]

_REGISTERS = 80
"""Bytes, as of the kernel's ``struct nft_regs``."""


class NotThere(Exception):
    """What a rule asks for is not there, so it does not hold."""


class Surroundings(Protocol):
    """What a rule sees beside its registers: the packet, its marks, and the sets of the table."""

    def load(self, what: str | Payload | Fib) -> Bits:
        """Return what a rule asks for, or raise ``NotThere``."""
        ...

    def change(self, what: str, value: Bits, *, certain: bool) -> None:
        """Keep a mark that is set; one that perhaps is set is not known any more."""
        ...

    def set_of(self, name: str) -> ForeignSet | None:
        """Return a set of the table."""
        ...


class Registers:
    """The registers while one rule is looked at."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._value = bytearray(_REGISTERS)
        self._known = bytearray(_REGISTERS)
        self.verdicts: list[Verdict] = []

    def run(self, expressions: Iterable[Expression]) -> bool | None:
        """Tell whether all of them let the packet go on, ``None`` where that is not known."""
        certain: bool | None = True
        for expression in expressions:
            try:
                holds = self._one(expression, certain=certain is True)
            except NotThere:
                holds = False
            if holds is False:
                return False
            if holds is None:
                certain = None
            if self.verdicts:
                break
        return certain

    def _get(self, at: int, length: int) -> Bits:
        end = at + length
        if end > _REGISTERS:
            return unknown(length)
        return Bits(bytes(self._value[at:end]), bytes(self._known[at:end]))

    def _put(self, at: int, bits: Bits) -> None:
        # What is left of the last four bytes is set to 0.
        padding = -len(bits.value) % 4
        end = at + len(bits.value) + padding
        if end <= _REGISTERS:
            self._value[at:end] = bits.value + bytes(padding)
            self._known[at:end] = bits.known + b"\xff" * padding

    def _one(self, item: Expression, *, certain: bool) -> bool | None:
        match item:
            case Load():
                self._put(item.at, self._surroundings.load(item.what))
            case Immediate():
                self._put(item.at, known(item.data))
            case Assign():
                self._surroundings.change(item.what, self._get(item.at, 4), certain=certain)
            case Bitwise():
                bits = self._get(item.source, len(item.mask))
                self._put(item.target, bits.combined(item.mask, item.xor))
            case Byteorder():
                bits = self._get(item.source, item.length)
                self._put(item.target, bits.reversed(item.size))
            case Compare():
                return compare(self._get(item.at, len(item.data)), item.how, item.data)
            case Range():
                inside = within(self._get(item.at, len(item.low)), item.low, item.high)
                return inside if inside is None else inside is not item.inverted
            case Lookup():
                return self._look_up(item)
            case Decide():
                if item.verdict.kind is not VerdictKind.CONTINUE:
                    self.verdicts = [item.verdict]
            case Never():
                return False
            case Doubt() | IpSet():
                return None
            case Group():
                return Registers(self._surroundings).run(item.inner)
            case Not():
                holds = Registers(self._surroundings).run(item.inner)
                return holds if holds is None else not holds
        return True

    def _look_up(self, item: Lookup) -> bool | None:
        place = self._surroundings.set_of(item.name)
        if place is None:
            return None
        bits = self._get(item.at, place.length)
        perhaps: list[SetElement] = []
        candidates = place.elements
        if bits.is_known:
            single = place.single.get(bits.value)
            if single is not None:
                self._take(item, [single])
                return not item.inverted
            candidates = place.ranges
            if len(place.fields) == 1:
                # Of one field, no two overlap.
                key = bits.value[: place.fields[0]]
                end = bisect.bisect_right(candidates, key, key=lambda item: item.low)
                candidates = candidates[max(end - 1, 0) : end]
        for element in candidates:
            holds = _is_element(bits, place.fields, element)
            if holds:
                self._take(item, [*perhaps, element])
                return not item.inverted
            if holds is None:
                perhaps.append(element)
        if place.catch_all is not None:
            self._take(item, [*perhaps, place.catch_all])
            return not item.inverted
        self._take(item, perhaps)
        return None if perhaps else item.inverted

    def _take(self, item: Lookup, elements: list[SetElement]) -> None:
        """Take what elements have beside their keys; it may be any of them."""
        if item.target == 0:
            verdicts = [element.verdict for element in elements if element.verdict is not None]
            self.verdicts = list(dict.fromkeys(verdicts))
        elif item.target and len(elements) == 1:
            self._put(item.target, known(elements[0].data))
        elif item.target and elements:
            self._put(item.target, unknown(len(elements[0].data)))


def _is_element(bits: Bits, fields: tuple[int, ...], element: SetElement) -> bool | None:
    """Tell whether a key is one of those that an element stands for."""
    found: bool | None = True
    offset = 0
    for length in fields:
        part = bits.part(offset, length)
        assert part is not None
        low, high = (
            item[offset : offset + length].ljust(length, b"\0")
            for item in (element.low, element.high)
        )
        inside = within(part, low, high)
        if inside is False:
            return False
        if inside is None:
            found = None
        offset += -(-length // 4) * 4
    return found
