"""Links of others that were ports of a network's bridge, as the store keeps them meanwhile."""

from __future__ import annotations

from uuid import UUID

from jackfield.engine.store.rows import MemberRow
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.model.vlan import NativeMode, Vlan, VlanTag
from jackfield.state.resources import BridgePort

__all__ = ["member_port", "member_row"]


def member_row(network: UUID, index: int, port: BridgePort) -> MemberRow:
    """Return the row of a port whose link has that index."""
    vlan = port.vlan
    flags: dict[str, bool | list[str]] = {
        "isolated": port.isolated,
        "learning": port.learning,
        "unicast_flood": port.unicast_flood,
        "addresses": [str(mac) for mac in port.addresses],
        "trunk": vlan is not None and vlan.trunk,
        "vlans": [] if vlan is None else [_tag_text(tag) for tag in vlan.tags],
    }
    return MemberRow(network, port.link, index, flags, port.bridge)


def member_port(row: MemberRow, bridge: InterfaceName) -> BridgePort:
    """Return the port that a row speaks of, on ``bridge``."""
    addresses = row.flags["addresses"]
    assert isinstance(addresses, list)
    return BridgePort(
        link=InterfaceName(row.name),
        bridge=bridge,
        isolated=bool(row.flags["isolated"]),
        learning=bool(row.flags["learning"]),
        unicast_flood=bool(row.flags["unicast_flood"]),
        addresses=tuple(MacAddress(mac) for mac in addresses),
        vlan=_vlan(row),
    )


def _tag_text(tag: VlanTag) -> str:
    """Return ``ID`` or, for a native VLAN, ``ID MODE``."""
    return str(tag.id) if tag.native_mode is None else f"{tag.id} {tag.native_mode.value}"


def _vlan(row: MemberRow) -> Vlan | None:
    """Return the VLANs of a port; a row of an earlier version knows none."""
    texts = row.flags.get("vlans", [])
    assert isinstance(texts, list)
    if not texts:
        return None
    tags = []
    for text in texts:
        number, _, mode = text.partition(" ")
        tags.append(VlanTag(id=int(number), native_mode=NativeMode(mode) if mode else None))
    return Vlan(tags=tuple(tags), trunk=bool(row.flags["trunk"]))
