"""VLAN tags of a port (libvirt's ``<vlan>``)."""

from __future__ import annotations

import enum

from jackfield.model.value import Value

__all__ = ["NativeMode", "Vlan", "VlanTag"]


class NativeMode(enum.Enum):
    """How the native VLAN of a trunk leaves the port."""

    TAGGED = "tagged"
    UNTAGGED = "untagged"


class VlanTag(Value, frozen=True, kw_only=True):
    """One tag, ``id`` 0 to 4095."""

    id: int
    native_mode: NativeMode | None = None


class Vlan(Value, frozen=True, kw_only=True):
    """The tags of a port; several tags, or ``trunk``, make it a trunk."""

    tags: tuple[VlanTag, ...]
    trunk: bool = False
