"""A new definition does not take uplinks from the ports there are."""

from __future__ import annotations

from uuid import UUID

import pytest

from jackfield.allocation.change import check_change, check_kind, uplinks_in_use
from jackfield.document.reader import read_network
from jackfield.errors import Conflict
from jackfield.model.network import Network
from jackfield.model.port import (
    BridgePlug,
    DirectPlug,
    HostdevPlug,
    NetworkPlug,
    Owner,
    Plug,
    Port,
    VdePlug,
)
from jackfield.model.uplink import DeviceUplink, PciAddress, PhysicalFunction
from jackfield.model.values import InterfaceName, Text
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.state.facts import Facts, VirtualFunctionFact


def network(body: str) -> Network:
    """Read a network called ``n``."""
    return read_network(f"<network><name>n</name>{body}</network>")


ETH0, ETH1 = (DeviceUplink(dev=InterfaceName(name)) for name in ("eth0", "eth1"))
TWO = network(
    "<forward mode='vepa'><interface dev='eth0'/><interface dev='eth1'/></forward>"
    "<portgroup name='g' count='2'><interface dev='eth1'/></portgroup>"
)
ONE = network("<forward mode='vepa'><interface dev='eth0'/></forward>")


def _direct(name: str) -> Port:
    return Port(plug=DirectPlug(dev=InterfaceName(name), mode="vepa"))


def test_used_uplink_stays_and_unused_one_goes() -> None:
    """Only ports count, not the wish."""
    check_change(TWO, ONE, [_direct("eth0")], Facts())
    with pytest.raises(Conflict, match="cannot lose the uplink eth1: it has 2 ports"):
        check_change(TWO, ONE, [_direct("eth1"), _direct("eth1")], Facts())


def test_lowered_count_is_accepted() -> None:
    """Below what is used: no port loses anything."""
    lowered = network(
        "<forward mode='vepa'><interface dev='eth0'/><interface dev='eth1'/></forward>"
        "<portgroup name='g' count='0'><interface dev='eth1'/></portgroup>"
    )
    check_change(TWO, lowered, [_direct("eth1")], Facts())


def test_bridges_and_functions_count_for_their_uplink() -> None:
    """A managed bridge stands for its uplink, a virtual function for its physical one."""
    bridge = network(
        "<forward mode='bridge'/><bridge name='br0'><uplinks><interface dev='eth0'/>"
        "<interface dev='eth1'/></uplinks></bridge>"
    )
    port = Port(plug=BridgePlug(bridge=InterfaceName("br0-1")))
    assert {ETH1: 1} == uplinks_in_use(bridge, [port], Facts())
    pool = network("<forward mode='hostdev'><pf dev='eth2'/></forward>")
    address = PciAddress.of(bus=3)
    facts = Facts(virtual_functions={"eth2": (VirtualFunctionFact(address=address),)})
    taken = Port(plug=HostdevPlug(address=address))
    physical = PhysicalFunction(dev=InterfaceName("eth2"))
    assert {physical: 1} == uplinks_in_use(pool, [taken, Port()], facts)


OVS = VirtualPort(type=VirtualPortType.OPENVSWITCH)
NAT = network("<forward mode='nat'/><bridge name='br0'/><ip address='10.0.0.1' prefix='24'/>")
BRIDGE = network("<forward mode='bridge'/><bridge name='br0'/>")
SWITCH = network(
    "<forward mode='bridge'/><bridge name='br0'/><virtualport type='openvswitch'/><vde/>"
)
HOSTDEV = network("<forward mode='hostdev'><pf dev='eth0'/></forward>")
PLUGS: dict[str, tuple[Plug, VirtualPort | None]] = {
    "routed": (NetworkPlug(bridge=InterfaceName("br0")), None),
    "bridged": (BridgePlug(bridge=InterfaceName("br0")), None),
    "switched": (BridgePlug(bridge=InterfaceName("br0")), OVS),
    "direct": (DirectPlug(dev=InterfaceName("eth0"), mode="vepa"), None),
    "private": (DirectPlug(dev=InterfaceName("eth0"), mode="private"), None),
    "function": (HostdevPlug(address=PciAddress.of(bus=3)), None),
    "vde": (VdePlug(path=Text("/run/vde")), None),
}


@pytest.mark.parametrize(
    ("defined", "fitting"),
    [
        (NAT, {"routed", "bridged"}),
        (BRIDGE, {"routed", "bridged"}),
        (SWITCH, {"switched", "vde"}),
        (ONE, {"direct"}),
        (HOSTDEV, {"function"}),
    ],
)
def test_devices_fit_their_kind_of_network(defined: Network, fitting: set[str]) -> None:
    """A device is a port of the kind of network that it was made for, and the others are named."""
    for name, (plug, virtualport) in PLUGS.items():
        owner = Owner(name=Text(name), uuid=UUID(int=1))
        ports = [Port(owner=owner, plug=plug, virtualport=virtualport)]
        if name in fitting:
            check_kind(defined, ports)
            continue
        with pytest.raises(Conflict, match=rf"cannot have 1 of its ports \({name}\)"):
            check_kind(defined, ports)
