"""What a port in mode private wants besides its device."""

from __future__ import annotations

from uuid import UUID

import pytest

from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, DirectPlug, Plug, Port
from jackfield.model.values import InterfaceName, MacAddress, NetworkName
from jackfield.plan.describe import describe_resource
from jackfield.plan.port import PortDevice, plan_port
from jackfield.plan.private import plan_privacy
from jackfield.state.links import MacvtapLink
from jackfield.state.private import PrivateGuard

MAC = MacAddress("52:54:00:00:00:42")
ETH1 = InterfaceName("eth1")
NETWORK = Network(name=NetworkName("red"), uuid=UUID(int=7), mode=Mode.PRIVATE)


def port(plug: Plug) -> Port:
    """Return a port with this plug."""
    return Port(uuid=UUID(int=1), mac=MAC, plug=plug)


def test_a_private_port_is_guarded_from_before_its_device() -> None:
    """So the guest is never there without it: what is made first goes last."""
    private = port(DirectPlug(dev=ETH1, mode="private"))
    guard = PrivateGuard(network=UUID(int=7), link=ETH1, mac=MAC)
    assert [guard] == plan_privacy(NETWORK, private)
    assert "52:54:00:00:00:42 over eth1 kept from its network's guests" == describe_resource(guard)
    planned = list(plan_port(NETWORK, private, PortDevice(name=InterfaceName("jf0"))).values())
    (device,) = (item for item in planned if isinstance(item, MacvtapLink))
    assert planned.index(guard) < planned.index(device)


@pytest.mark.parametrize(
    "plug",
    [
        *(DirectPlug(dev=ETH1, mode=mode) for mode in ("bridge", "vepa", "passthrough")),
        BridgePlug(bridge=InterfaceName("br0")),
    ],
)
def test_other_ports_are_not(plug: Plug) -> None:
    """Their guests may meet, or cannot."""
    assert [] == plan_privacy(NETWORK, port(plug))
