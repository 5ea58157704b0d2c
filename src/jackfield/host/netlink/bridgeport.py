"""What a bridge keeps of a port beside its flags: forwarding entries and VLANs, in rtnetlink.

Layouts and numbers are those of ``linux/neighbour.h`` and ``linux/if_bridge.h``.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from jackfield.host.netlink.message import (
    NLM_F_CREATE,
    NLM_F_REPLACE,
    Message,
    attribute,
    attribute_list,
    attribute_u32,
    attributes,
    nested,
)
from jackfield.model.vlan import NativeMode, Vlan, VlanTag

__all__ = [
    "DEFAULT_VLANS",
    "Entry",
    "PortVlan",
    "add_entry",
    "add_vlans",
    "decode_entry",
    "decode_vlans",
    "delete_entry",
    "delete_vlans",
    "dump_entries",
    "dump_vlans",
    "get_entry",
    "vlans_of",
    "vlans_to_model",
]

_RTM_DELLINK = 17
_RTM_GETLINK = 18
_RTM_SETLINK = 19
_RTM_NEWNEIGH = 28
_RTM_DELNEIGH = 29
_RTM_GETNEIGH = 30

_AF_BRIDGE = 7
_NDA_LLADDR = 2
_NDA_MASTER = 9
_NTF_MASTER = 0x04
_NUD_PERMANENT = 0x80
_NUD_STATIC = 0x40  # NUD_NOARP: never ages
_IFLA_AF_SPEC = 26
_IFLA_EXT_MASK = 29
_IFLA_BRIDGE_VLAN_INFO = 2
_RTEXT_FILTER_BRVLAN = 2
_VLAN_PVID = 2
_VLAN_UNTAGGED = 4

_LINK = struct.Struct("=BxHiII")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_VLAN = struct.Struct("=HH")


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a bridge's forwarding table: frames to ``mac`` leave by the port ``index``.

    ``static`` ones do not age.  ``own`` ones are the addresses of the bridge and its ports.
    """

    index: int
    mac: bytes
    static: bool
    own: bool


class PortVlan(NamedTuple):
    """A VLAN that a port is in: ``native`` is where untagged frames belong."""

    id: int
    native: bool = False
    untagged: bool = False


DEFAULT_VLANS = frozenset({PortVlan(1, native=True, untagged=True)})
"""Where a port is that nobody has said anything about: in the bridge's default VLAN."""


def add_entry(index: int, mac: bytes, what: str) -> Message:
    """Return the request for a static entry, which takes the place of a learned one."""
    return _entry(_RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, index, mac, what)


def delete_entry(index: int, mac: bytes, what: str) -> Message:
    """Return the request that removes an entry."""
    return _entry(_RTM_DELNEIGH, 0, index, mac, what)


def get_entry(index: int, mac: bytes) -> Message:
    """Return the request for the entry of ``mac`` at the bridge of the port ``index``."""
    what = "look at a bridge's forwarding table"
    return _entry(_RTM_GETNEIGH, 0, index, mac, what, state=0)


def _entry(
    kind: int, flags: int, index: int, mac: bytes, what: str, *, state: int = _NUD_STATIC
) -> Message:
    body = _NEIGHBOUR.pack(_AF_BRIDGE, index, state, _NTF_MASTER, 0)
    return Message(kind, flags, body + attribute(_NDA_LLADDR, mac), what)


def dump_entries(bridge: int) -> Message:
    """Return the dump request for the forwarding table of the bridge with that index."""
    body = _NEIGHBOUR.pack(_AF_BRIDGE, 0, 0, 0, 0) + attribute_u32(_NDA_MASTER, bridge)
    return Message(_RTM_GETNEIGH, 0, body, "list a bridge's forwarding table")


def decode_entry(body: bytes) -> Entry | None:
    """Return the entry of an ``RTM_NEWNEIGH`` body, ``None`` for one that is no bridge's."""
    family, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
    mac = attributes(body, _NEIGHBOUR.size).get(_NDA_LLADDR)
    if family != _AF_BRIDGE or mac is None:
        return None
    own = bool(state & _NUD_PERMANENT)
    return Entry(index, mac, bool(state & _NUD_STATIC) and not own, own)


def add_vlans(index: int, vlans: Iterable[PortVlan], what: str) -> list[Message]:
    """Return the requests that put a port into VLANs; one it is in already is changed."""
    return [_vlan(_RTM_SETLINK, index, vlan, what) for vlan in vlans]


def delete_vlans(index: int, ids: Iterable[int], what: str) -> list[Message]:
    """Return the requests that take a port out of VLANs."""
    return [_vlan(_RTM_DELLINK, index, PortVlan(number), what) for number in ids]


def _vlan(kind: int, index: int, vlan: PortVlan, what: str) -> Message:
    flags = (_VLAN_PVID if vlan.native else 0) | (_VLAN_UNTAGGED if vlan.untagged else 0)
    body = _LINK.pack(_AF_BRIDGE, 0, index, 0, 0) + nested(
        _IFLA_AF_SPEC, attribute(_IFLA_BRIDGE_VLAN_INFO, _VLAN.pack(flags, vlan.id))
    )
    return Message(kind, 0, body, what)


def dump_vlans() -> Message:
    """Return the dump request for all bridges' ports with their VLANs."""
    body = _LINK.pack(_AF_BRIDGE, 0, 0, 0, 0)
    body += attribute_u32(_IFLA_EXT_MASK, _RTEXT_FILTER_BRVLAN)
    return Message(_RTM_GETLINK, 0, body, "list the VLANs of bridges' ports")


def decode_vlans(body: bytes) -> tuple[int, frozenset[PortVlan]]:
    """Return a port's index and its VLANs from an ``RTM_NEWLINK`` body of that dump."""
    _, _, index, _, _ = _LINK.unpack_from(body)
    specification = attributes(body, _LINK.size).get(_IFLA_AF_SPEC, b"")
    return index, frozenset(_found(specification))


def _found(specification: bytes) -> Iterator[PortVlan]:
    for kind, data in attribute_list(specification):
        if kind == _IFLA_BRIDGE_VLAN_INFO:
            flags, number = _VLAN.unpack_from(data)
            yield PortVlan(number, bool(flags & _VLAN_PVID), bool(flags & _VLAN_UNTAGGED))


def vlans_of(vlan: Vlan) -> frozenset[PortVlan]:
    """Return the VLANs of a port with that setting.

    One tag without a trunk is where all its frames belong, which carry no tag there.  In a trunk
    frames are tagged; untagged ones belong to the tag with a native mode, or are dropped.
    """
    if not vlan.trunk:
        return frozenset(PortVlan(tag.id, native=True, untagged=True) for tag in vlan.tags)
    return frozenset(
        PortVlan(
            tag.id,
            native=tag.native_mode is not None,
            untagged=tag.native_mode is NativeMode.UNTAGGED,
        )
        for tag in vlan.tags
    )


def vlans_to_model(vlans: Iterable[PortVlan]) -> Vlan | None:
    """Return the setting that leads to ``vlans``; ``None`` for a port that is in none."""
    found = sorted(vlans)
    if not found:
        return None
    if len(found) == 1 and found[0].native and found[0].untagged:
        return Vlan(tags=(VlanTag(id=found[0].id),))
    tags = tuple(VlanTag(id=item.id, native_mode=_native_mode(item)) for item in found)
    return Vlan(tags=tags, trunk=True)


def _native_mode(vlan: PortVlan) -> NativeMode | None:
    if not vlan.native:
        return None
    return NativeMode.UNTAGGED if vlan.untagged else NativeMode.TAGGED
