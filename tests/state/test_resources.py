"""What is recorded of shared settings, and read again."""

from __future__ import annotations

import pytest

from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName
from jackfield.state.functions import FunctionAspect, FunctionCount, FunctionSetting
from jackfield.state.settings import (
    LinkAttribute,
    LinkSetting,
    Setting,
    SharedSetting,
    shared_setting,
)
from jackfield.state.vlans import Membership, UplinkVlan, VlanFiltering


@pytest.mark.parametrize(
    "setting",
    [
        Setting(name="net/ipv4/ip_forward", value="1", shared=True),
        *(
            LinkSetting(link=InterfaceName("eth0.functions"), attribute=attribute, value="x")
            for attribute in LinkAttribute
        ),
        FunctionCount(link=InterfaceName("eth0"), value="4"),
        VlanFiltering(link=InterfaceName("br0")),
        UplinkVlan(link=InterfaceName("eth0.7"), vlan=42, value=Membership.NATIVE.value),
        *(
            FunctionSetting(address=PciAddress.of(bus=1, slot=16), aspect=aspect, value="")
            for aspect in FunctionAspect
        ),
    ],
    ids=lambda setting: setting.name,
)
def test_a_shared_setting_is_known_by_its_name(setting: SharedSetting) -> None:
    """Name and value are all that the store keeps."""
    assert setting == shared_setting(setting.name, setting.value)
