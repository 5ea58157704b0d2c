"""What lldpad is asked, in rtnetlink's words, and what it answers.

The requests are those of libvirt: ``RTM_SETLINK`` with what the kernel's own VN-Link drivers are
told (``IFLA_VF_PORTS``, ``linux/if_link.h``), sent to a process instead of the kernel.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Mapping
from uuid import UUID

from jackfield.host.netlink.message import (
    NLM_F_ACK,
    Message,
    attribute,
    attribute_list,
    attribute_text,
    attribute_u8,
    attribute_u32,
    attributes,
    nested,
)
from jackfield.state.association import SwitchAssociation

__all__ = [
    "SUCCESS",
    "Request",
    "Shown",
    "Station",
    "ask",
    "describe_response",
    "read",
    "tell",
]

_RTM_GETLINK = 18
_RTM_SETLINK = 19
_IFLA_IFNAME = 3
_IFLA_VFINFO_LIST = 22
_IFLA_VF_PORTS = 24
_IFLA_VF_INFO = 1
_IFLA_VF_MAC = 1
_IFLA_VF_VLAN = 2
_IFLA_VF_PORT = 1
_IFLA_PORT_VF = 1
_IFLA_PORT_VSI_TYPE = 3
_IFLA_PORT_INSTANCE_UUID = 4
_IFLA_PORT_REQUEST = 6
_IFLA_PORT_RESPONSE = 7
_PORT_SELF_VF = 0xFFFFFFFF

_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg
_MAC = struct.Struct("=I32s")  # struct ifla_vf_mac
_VLAN = struct.Struct("=III")  # struct ifla_vf_vlan
_TYPE = struct.Struct("=B3sB3x")  # struct ifla_port_vsi
_RESPONSE = struct.Struct("=H")

SUCCESS = 0
"""The response of a switch that has done what was asked (``PORT_VDP_RESPONSE_SUCCESS``)."""

_MOST_SHOWN = 92
"""How many VSI instances lldpad's buffer of 4 KiB has room for, the newest ones first."""

# linux/if_link.h, PORT_VDP_RESPONSE_*; the words are those of the standard's draft 0.
_RESPONSES = {
    1: "invalid format",
    2: "insufficient resources",
    3: "unused VTID: it does not know this typeid",
    4: "VTID violation: it does not allow this typeid here",
    5: "VTID version violation: it does not know this typeidversion",
    6: "out of sync",
}


class Request(enum.IntEnum):
    """What is to become of a VSI instance (``PORT_REQUEST_*``)."""

    ASSOCIATE = 2
    DISASSOCIATE = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A NIC that faces a switch; ``vlan`` is the tag that guests' frames have there, 0 for none."""

    index: int
    name: str
    vlan: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The switch's response for each VSI instance at a NIC, ``None`` while there is none.

    Unless it is ``whole`` there are more instances than lldpad can show.
    """

    responses: Mapping[UUID, int | None]
    whole: bool = True

    def lacks(self, instance: UUID) -> bool:
        """Tell whether lldpad does not know ``instance``."""
        return self.whole and instance not in self.responses


def tell(station: Station, item: SwitchAssociation, request: Request) -> Message:
    """Return the message that asks for a VSI instance to be known to the switch, or forgotten."""
    verb = "associate" if request is Request.ASSOCIATE else "de-associate"
    mac = bytes.fromhex(item.mac.replace(":", ""))
    body = (
        _HEADER.pack(0, 0, station.index, 0, 0)
        + attribute_text(_IFLA_IFNAME, station.name)
        + nested(
            _IFLA_VFINFO_LIST,
            nested(
                _IFLA_VF_INFO,
                attribute(_IFLA_VF_MAC, _MAC.pack(_PORT_SELF_VF, mac)),
                attribute(_IFLA_VF_VLAN, _VLAN.pack(_PORT_SELF_VF, station.vlan, 0)),
            ),
        )
        + nested(
            _IFLA_VF_PORTS,
            nested(
                _IFLA_VF_PORT,
                attribute(
                    _IFLA_PORT_VSI_TYPE,
                    # The only number here that is little-endian on every machine.
                    _TYPE.pack(item.manager, item.type_id.to_bytes(3, "little"), item.type_version),
                ),
                attribute(_IFLA_PORT_INSTANCE_UUID, item.instance.bytes),
                attribute_u32(_IFLA_PORT_VF, _PORT_SELF_VF),
                attribute_u8(_IFLA_PORT_REQUEST, request),
            ),
        )
    )
    what = f"{verb} VSI instance {item.instance} at {station.name}"
    return Message(_RTM_SETLINK, NLM_F_ACK, body, what)


def ask(station: Station) -> Message:
    """Return the message that asks what became of the VSI instances at a NIC."""
    body = _HEADER.pack(0, 0, station.index, 0, 0) + attribute_text(_IFLA_IFNAME, station.name)
    return Message(_RTM_GETLINK, 0, body, f"see the VSI instances at {station.name}")


def read(body: bytes) -> Shown:
    """Return what lldpad answered to ``ask``."""
    found: dict[UUID, int | None] = {}
    ports = attributes(body, _HEADER.size).get(_IFLA_VF_PORTS, b"")
    for kind, payload in attribute_list(ports):
        if kind != _IFLA_VF_PORT:
            continue
        inner = attributes(payload)
        instance = inner.get(_IFLA_PORT_INSTANCE_UUID, b"")
        if len(instance) != 16:
            continue
        response = inner.get(_IFLA_PORT_RESPONSE)
        found[UUID(bytes=instance)] = (
            None if response is None else int(_RESPONSE.unpack_from(response)[0])
        )
    return Shown(responses=found, whole=len(found) < _MOST_SHOWN)


def describe_response(number: int) -> str:
    """Return what a switch that refuses says, for people."""
    return f"{_RESPONSES.get(number, 'a reason that nobody has a name for')} (response {number})"
