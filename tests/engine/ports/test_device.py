"""What the store keeps of ports' devices."""

from __future__ import annotations

import dataclasses

from jackfield.engine.ports.device import (
    carrier_from_text,
    device_from_text,
    device_to_text,
    former_from_text,
)
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName
from jackfield.plan.port import PortDevice
from jackfield.state.functions import FunctionPlace

PLACE = FunctionPlace(
    address=PciAddress.of(bus=1),
    physical=InterfaceName("eth0"),
    driver="igbvf",
    count=3,
    way=InterfaceName("eth1"),
)


def test_a_device_of_ours() -> None:
    """It comes back as it was, with its function or without one."""
    for function in (PLACE, dataclasses.replace(PLACE, way=None), None):
        device = PortDevice(name=InterfaceName("jf1"), owner=5, queues=2, function=function)
        text = device_to_text(device)
        assert device == device_from_text(text)
        assert carrier_from_text(text) is None


def test_a_clients_port() -> None:
    """Of its device nothing is known; what carries its frames is kept."""
    text = device_to_text(None, PLACE)
    assert (None, PLACE) == (device_from_text(text), carrier_from_text(text))
    assert frozenset() == former_from_text(text)
    assert device_to_text(None) is None
    text = device_to_text(None, former={"vlan"})
    assert (None, None) == (device_from_text(text), carrier_from_text(text))
    assert {"vlan"} == former_from_text(text)
    assert (None, None) == (device_from_text(None), carrier_from_text(None))
