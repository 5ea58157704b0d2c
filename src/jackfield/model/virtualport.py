"""Parameters for an external or virtual switch (libvirt's ``<virtualport>``)."""

from __future__ import annotations

import dataclasses
import enum
from uuid import UUID

from jackfield.model.values import Text

__all__ = ["VirtualPort", "VirtualPortType"]


class VirtualPortType(enum.Enum):
    """Which kind of switch the parameters are for."""

    VEPA = "802.1Qbg"
    VN_LINK = "802.1Qbh"
    OPENVSWITCH = "openvswitch"
    MIDONET = "midonet"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VirtualPort:
    """Parameters, each ``None`` where not given; ``type`` ``None`` contributes parameters only.

    ``manager_id`` 8 bit, ``type_id`` 24 bit, ``type_id_version`` 8 bit (802.1Qbg);
    ``profile_id`` at most 39 bytes (802.1Qbh, Open vSwitch).
    """

    type: VirtualPortType | None = None
    manager_id: int | None = None
    type_id: int | None = None
    type_id_version: int | None = None
    instance_id: UUID | None = None
    profile_id: Text | None = None
    interface_id: UUID | None = None
