"""Whether what the kernel shows is what was sent.

The kernel shows a rule as the attributes it was made from, plus defaults and counts of its own,
which differ between versions.  So a rule is as wanted when everything that was sent for it is
there, and nothing is said about the rest.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence

from jackfield.host.netlink.message import attribute_list, attributes

__all__ = ["contains", "same_rules"]

_NLA_F_NESTED = 0x8000
_HEADER = struct.Struct("=HH")


def same_rules(present: Sequence[bytes], wanted: Sequence[bytes]) -> bool:
    """Tell whether rules, as lists of expressions, are those that were sent, in their order."""
    return len(present) == len(wanted) and all(map(_same_rule, present, wanted))


def _same_rule(present: bytes, wanted: bytes) -> bool:
    ours = [payload for _, payload in attribute_list(wanted)]
    theirs = [payload for _, payload in attribute_list(present)]
    return len(ours) == len(theirs) and all(map(_same_expression, theirs, ours))


# Most expressions are the same few in every network.
@functools.lru_cache(maxsize=4096)
def _same_expression(present: bytes, wanted: bytes) -> bool:
    return contains(attributes(present), wanted)


def contains(present: Mapping[int, bytes], wanted: bytes) -> bool:
    """Tell whether every attribute of ``wanted`` is among ``present``, however deep."""
    for kind, is_nested, payload in _wanted_attributes(wanted):
        found = present.get(kind)
        if found is None:
            # The kernel leaves out a nest that would be empty.
            if is_nested and not payload:
                continue
            return False
        if is_nested:
            if not contains(attributes(found), payload):
                return False
        elif found != payload:
            return False
    return True


def _wanted_attributes(data: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """Yield (type, whether it is a nest, payload); what we send says which are nests."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _HEADER.unpack_from(data, offset)
        yield kind & ~_NLA_F_NESTED, bool(kind & _NLA_F_NESTED), data[offset + 4 : offset + length]
        offset += length + 3 & ~3
