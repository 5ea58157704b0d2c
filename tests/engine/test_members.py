"""What is kept of links that were on a bridge, until it is there again."""

from __future__ import annotations

import dataclasses
import json
from uuid import UUID

import pytest

from jackfield.engine.members import member_port, member_row
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.model.vlan import NativeMode, Vlan, VlanTag
from jackfield.state.resources import BridgePort

NATIVE = VlanTag(id=7, native_mode=NativeMode.UNTAGGED)


@pytest.mark.parametrize(
    "vlan",
    [
        None,
        Vlan(tags=(VlanTag(id=42),)),
        Vlan(tags=(NATIVE, VlanTag(id=42)), trunk=True),
    ],
)
def test_a_port_comes_back_as_it_was(vlan: Vlan | None) -> None:
    """With its flags, its addresses and its VLANs, through the text that the store keeps."""
    port = BridgePort(
        link=InterfaceName("vnet0"),
        bridge=InterfaceName("br0"),
        isolated=True,
        learning=False,
        addresses=(MacAddress("52:54:00:00:00:01"),),
        vlan=vlan,
    )
    row = member_row(UUID(int=1), 9, port)
    kept = dataclasses.replace(row, flags=json.loads(json.dumps(row.flags)))
    assert port == member_port(kept, port.bridge)


def test_a_row_of_an_earlier_version() -> None:
    """It knows nothing of VLANs."""
    port = BridgePort(link=InterfaceName("vnet0"), bridge=InterfaceName("br0"))
    row = member_row(UUID(int=1), 9, port)
    old = {key: value for key, value in row.flags.items() if key not in ("vlans", "trunk")}
    assert port == member_port(dataclasses.replace(row, flags=old), port.bridge)
