"""Guests of mode private: what keeps them from each other where the kernel does not."""

from __future__ import annotations

import dataclasses
from typing import ClassVar
from uuid import UUID

from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import Standing

__all__ = ["PrivateGuard"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrivateGuard(Standing):
    """No guest over ``link`` hears others of its ``network``, and none of them hears ``mac``.

    The kernel's private mode leaves it to the switch whether a frame for a known address comes
    back, and knows nothing of guests over other NICs.
    """

    kind: ClassVar[str] = "private-guard"
    network: UUID
    link: InterfaceName
    mac: MacAddress

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"private-guard:{self.network}:{self.link}:{self.mac}"
