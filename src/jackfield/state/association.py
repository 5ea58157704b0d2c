"""What an external switch is told of a port right on an uplink (IEEE 802.1Qbg)."""

from __future__ import annotations

import dataclasses
from typing import ClassVar
from uuid import UUID

from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import Standing

__all__ = ["SwitchAssociation"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SwitchAssociation(Standing):
    """The switch at the uplink ``link`` knows the guest's interface as a VSI instance.

    ``manager`` (8 bit), ``type_id`` (24 bit) and ``type_version`` (8 bit) name what it is to do
    for it in the switch's own database; ``instance`` is the same wherever the guest is.

    On no link by ``carrier``: the switch is to be told before the guest's device goes.
    """

    kind: ClassVar[str] = "switch-association"
    link: InterfaceName
    mac: MacAddress
    instance: UUID
    manager: int
    type_id: int
    type_version: int

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"switch-association:{self.instance}"
