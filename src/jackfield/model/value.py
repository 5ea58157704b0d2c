"""What the values of the model are made of."""

from __future__ import annotations

import msgspec

__all__ = ["Value"]


class Value(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A value that never changes, compared by its attributes.

    It is made in a tenth of the time of a frozen dataclass, and JSON of it by the library, in
    which attributes at their default are left out.  The garbage collector passes it by: what
    holds only values made before it is in no cycle.
    ``msgspec.structs.replace`` makes a changed one
    (``docs/decisions/0013-values-are-structs.md``).
    """
