"""Bytes of which some bits are not known."""

from __future__ import annotations

from typing import NamedTuple

from jackfield.state.ruleset import Comparison

__all__ = ["Bits", "compare", "known", "unknown", "within"]


class Bits(NamedTuple):
    """Bytes, and which of their bits are ``known``; both are of one length."""

    value: bytes
    known: bytes

    def part(self, offset: int, length: int) -> Bits | None:
        """Return some of the bytes, ``None`` where there are not so many."""
        end = offset + length
        if offset < 0 or end > len(self.value):
            return None
        return Bits(self.value[offset:end], self.known[offset:end])

    @property
    def is_known(self) -> bool:
        """Whether every bit is."""
        return self.known.count(0xFF) == len(self.known)

    def combined(self, mask: bytes, xor: bytes) -> Bits:
        """Return the bits after ``& mask ^ xor``; what is masked out is known to be 0."""
        value = bytes(
            (octet & held) ^ flipped
            for octet, held, flipped in zip(self.value, mask, xor, strict=True)
        )
        sure = bytes(octet | ~held & 0xFF for octet, held in zip(self.known, mask, strict=True))
        return Bits(value, sure)

    def reversed(self, size: int) -> Bits:
        """Return numbers of ``size`` bytes in the other order."""
        return Bits(_swapped(self.value, size), _swapped(self.known, size))


def known(value: bytes) -> Bits:
    """Return bytes that are all known."""
    return Bits(value, b"\xff" * len(value))


def unknown(length: int) -> Bits:
    """Return so many bytes of which nothing is known."""
    return Bits(bytes(length), bytes(length))


def compare(bits: Bits, how: Comparison, data: bytes) -> bool | None:
    """Return how ``bits`` compare with ``data``, ``None`` where that cannot be told."""
    if how in (Comparison.EQ, Comparison.NEQ):
        if bits.is_known:
            # Most are, and of rules there may be thousands.
            return (bits.value == data) is (how is Comparison.EQ)
        differs = any(
            (octet ^ other) & sure
            for octet, other, sure in zip(bits.value, data, bits.known, strict=True)
        )
        return (how is Comparison.NEQ) if differs else None
    low, high = _bounds(bits)
    if how in (Comparison.LT, Comparison.GTE):
        below = True if high < data else False if low >= data else None
        return below if how is Comparison.LT or below is None else not below
    above = True if low > data else False if high <= data else None
    return above if how is Comparison.GT or above is None else not above


def within(bits: Bits, low: bytes, high: bytes) -> bool | None:
    """Tell whether ``bits`` lie between both, them included, as a big number."""
    if bits.is_known:
        return low <= bits.value <= high
    above, below = compare(bits, Comparison.GTE, low), compare(bits, Comparison.LTE, high)
    if above is False or below is False:
        return False
    return True if above and below else None


def _bounds(bits: Bits) -> tuple[bytes, bytes]:
    """Return the least and the greatest that the bits may be."""
    low = bytes(octet & sure for octet, sure in zip(bits.value, bits.known, strict=True))
    high = bytes(octet | ~sure & 0xFF for octet, sure in zip(bits.value, bits.known, strict=True))
    return low, high


def _swapped(data: bytes, size: int) -> bytes:
    return b"".join(data[start : start + size][::-1] for start in range(0, len(data), size))
