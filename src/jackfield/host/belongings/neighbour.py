"""Neighbours that somebody entered for a link, to be entered for another.

Layouts are those of ``linux/neighbour.h``.
"""

from __future__ import annotations

import struct
from typing import ClassVar

from jackfield.host.belongings.belonging import Belonging, Place, ip_text
from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    attribute,
    attribute_u32,
    attributes,
)

__all__ = ["HeldNeighbour", "dump_neighbours"]

_RTM_NEWNEIGH = 28
_RTM_DELNEIGH = 29
_RTM_GETNEIGH = 30

_NDA_DST = 1
_NDA_LLADDR = 2
_NDA_IFINDEX = 8
_NDA_PROTOCOL = 12
_KEPT = (_NDA_DST, _NDA_LLADDR, _NDA_PROTOCOL)
_NUD_PERMANENT = 0x80
_NTF_PROXY = 0x08

_HEADER = struct.Struct("=BxxxiHBB")


class HeldNeighbour(Belonging):
    """A permanent or proxy neighbour entry."""

    __slots__ = ()
    kind: ClassVar[str] = "neighbour"

    @property
    def identity(self) -> tuple[object, ...]:
        """Whose address, and whether it is answered for."""
        return self.kind, self.family, self._is_proxy, self._address

    @property
    def text(self) -> str:
        """Whose address."""
        return f"{'proxy ' if self._is_proxy else ''}neighbour {ip_text(self._address)}"

    @property
    def was_entered(self) -> bool:
        """Whether somebody entered it for this link, to stay."""
        _, index, state, _, _ = _HEADER.unpack_from(self.body)
        return index == self.place.index and bool(state & _NUD_PERMANENT or self._is_proxy)

    @property
    def _is_proxy(self) -> bool:
        return bool(_HEADER.unpack_from(self.body)[3] & _NTF_PROXY)

    @property
    def _address(self) -> bytes:
        return attributes(self.body, _HEADER.size)[_NDA_DST]

    def placed(self, target: Place) -> list[Message]:
        """Return what enters it for ``target``."""
        what = f"give {target.name} the {self.text}"
        return [Message(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, self._of(target), what)]

    def removed(self) -> list[Message]:
        """Return what deletes it."""
        what = f"take the {self.text} off {self.place.name}"
        return [Message(_RTM_DELNEIGH, 0, self._of(self.place), what)]

    def _of(self, place: Place) -> bytes:
        family, _, state, flags, kind = _HEADER.unpack_from(self.body)
        found = attributes(self.body, _HEADER.size)
        return _HEADER.pack(family, place.index, state, flags, kind) + b"".join(
            attribute(name, found[name]) for name in _KEPT if name in found
        )


def dump_neighbours(family: int, index: int, *, proxy: bool) -> Message:
    """Return the dump request for the entries of one link: its own, or those it answers for."""
    body = _HEADER.pack(family, 0, 0, _NTF_PROXY if proxy else 0, 0)
    body += attribute_u32(_NDA_IFINDEX, index)
    return Message(_RTM_GETNEIGH, 0, body, "list the neighbours")
