"""How a thing in the kernel shows that it is ours: the alias of links, protocol numbers."""

from __future__ import annotations

__all__ = ["LINK_MARK", "PROTOCOL", "is_marked"]

PROTOCOL = 74
"""Our number as ``IFA_PROTO`` and ``RTA_PROTOCOL``: free in ``rtnetlink.h`` and in iproute2."""

LINK_MARK = "jackfield:"
"""What the alias of every link of ours begins with (``state.resources.alias_of``)."""


def is_marked(alias: str) -> bool:
    """Return whether a link with this ``alias`` is one of ours, whichever network's or port's."""
    return alias.startswith(LINK_MARK)
