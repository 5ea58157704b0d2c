"""VLAN tags of a port (libvirt's ``<vlan>``)."""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["NativeMode", "Vlan", "VlanTag"]


class NativeMode(enum.Enum):
    """How the native VLAN of a trunk leaves the port."""

    TAGGED = "tagged"
    UNTAGGED = "untagged"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VlanTag:
    """One tag, ``id`` 0 to 4095."""

    id: int
    native_mode: NativeMode | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vlan:
    """The tags of a port; several tags, or ``trunk``, make it a trunk."""

    tags: tuple[VlanTag, ...]
    trunk: bool = False
