"""Links of others that were ports of a network's bridge, as the store keeps them meanwhile."""

from __future__ import annotations

from uuid import UUID

from jackfield.engine.store import MemberRow
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.resources import BridgePort

__all__ = ["member_port", "member_row"]


def member_row(network: UUID, index: int, port: BridgePort) -> MemberRow:
    """Return the row of a port whose link has that index."""
    flags: dict[str, bool | list[str]] = {
        "isolated": port.isolated,
        "learning": port.learning,
        "unicast_flood": port.unicast_flood,
        "addresses": [str(mac) for mac in port.addresses],
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
    )
