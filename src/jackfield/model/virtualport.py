"""Parameters for an external or virtual switch (libvirt's ``<virtualport>``)."""

from __future__ import annotations

import enum
from uuid import UUID

from jackfield.model.mode import Mode
from jackfield.model.value import Value
from jackfield.model.values import Text

__all__ = ["PARAMETERS", "VirtualPort", "VirtualPortType", "is_openvswitch", "virtualport_types"]


class VirtualPortType(enum.Enum):
    """Which kind of switch the parameters are for."""

    VEPA = "802.1Qbg"
    VN_LINK = "802.1Qbh"
    OPENVSWITCH = "openvswitch"
    MIDONET = "midonet"


class VirtualPort(Value, frozen=True, kw_only=True):
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


def is_openvswitch(virtualport: VirtualPort | None) -> bool:
    """Whether a virtualport is for Open vSwitch."""
    return virtualport is not None and virtualport.type is VirtualPortType.OPENVSWITCH


_EXTERNAL = frozenset({VirtualPortType.VEPA, VirtualPortType.VN_LINK})
_VIRTUAL = frozenset({VirtualPortType.OPENVSWITCH, VirtualPortType.MIDONET})

PARAMETERS: dict[str, tuple[str, frozenset[VirtualPortType]]] = {
    "managerid": ("manager_id", frozenset({VirtualPortType.VEPA})),
    "typeid": ("type_id", frozenset({VirtualPortType.VEPA})),
    "typeidversion": ("type_id_version", frozenset({VirtualPortType.VEPA})),
    "instanceid": ("instance_id", frozenset({VirtualPortType.VEPA})),
    "interfaceid": ("interface_id", _VIRTUAL),
    "profileid": (
        "profile_id",
        frozenset({VirtualPortType.VN_LINK, VirtualPortType.OPENVSWITCH}),
    ),
}
"""Field and types of each parameter as documents spell it, in the order libvirt writes them."""


def virtualport_types(mode: Mode) -> frozenset[VirtualPortType]:
    """Return the types of virtualport that ports of a network of ``mode`` can use."""
    if mode is Mode.BRIDGE:
        return _VIRTUAL
    if mode is Mode.HOSTDEV:
        return frozenset({VirtualPortType.VN_LINK})
    return _EXTERNAL if mode.is_macvtap else frozenset()
