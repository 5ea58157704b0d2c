"""What ports want of the host, as pure values."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from jackfield.errors import MissingFeature, UnsupportedConfiguration
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, MacTableManager, Network
from jackfield.model.port import DirectPlug, NetworkPlug, Port
from jackfield.model.values import InterfaceName, MacAddress, NetworkName
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.model.vlan import Vlan, VlanTag
from jackfield.plan.describe import describe_resource
from jackfield.plan.macvtap import plan_association
from jackfield.plan.port import PortDevice, plan_guarantee, plan_port
from jackfield.state.association import SwitchAssociation
from jackfield.state.hoststate import HostState, removal_order
from jackfield.state.links import MacvtapLink
from jackfield.state.resources import BridgePort
from jackfield.state.traffic import Guarantee, Policing, Shaping

BRIDGE = InterfaceName("red0")
MAC = MacAddress("52:54:00:00:00:01")
NETWORK = Network(
    name=NetworkName("red"),
    mode=Mode.ROUTE,
    bridge=Bridge(name=BRIDGE),
    bandwidth=Bandwidth(inbound=Rate(average=1000, peak=3000)),
)
PORT = Port(uuid=UUID(int=1), mac=MAC, plug=NetworkPlug(bridge=BRIDGE))
DIRECT = msgspec.structs.replace(PORT, plug=DirectPlug(dev=InterfaceName("eth1"), mode="vepa"))
TAP = PortDevice(name=InterfaceName("tap0"))
INSIDE = PortDevice(name=InterfaceName("jf0"), netns="/run/netns/a", ifname=InterfaceName("eth0"))
LIMITS = Bandwidth(
    inbound=Rate(average=100, peak=200, floor=50), outbound=Rate(average=10, burst=20), class_id=3
)


def limits(state: HostState) -> list[object]:
    """Return what limits traffic in a host state."""
    return [item for item in state.values() if isinstance(item, Shaping | Policing | Guarantee)]


def place(port: Port) -> BridgePort:
    """Return the place of a port on the bridge."""
    found = plan_port(NETWORK, port, TAP)["bridge-port:tap0"]
    assert isinstance(found, BridgePort)
    return found


def test_which_way_is_limited_how() -> None:
    """What the guest gets leaves by a device on a bridge, and comes in by a macvtap."""
    into, out = Rate(average=100, peak=200), Rate(average=10, burst=20)
    promised = Guarantee(link=BRIDGE, number=3, mac=MAC, floor=50, ceiling=3000)
    port = msgspec.structs.replace(PORT, bandwidth=LIMITS)
    assert [
        Policing(link=TAP.name, rate=out),
        Shaping(link=TAP.name, rate=into),
        promised,
    ] == limits(plan_port(NETWORK, port, TAP))
    direct = msgspec.structs.replace(DIRECT, bandwidth=LIMITS)
    network = msgspec.structs.replace(NETWORK, mode=Mode.VEPA, bridge=None, bandwidth=None)
    assert [Policing(link=TAP.name, rate=into), Shaping(link=TAP.name, rate=out)] == limits(
        plan_port(network, direct, TAP)
    )
    with pytest.raises(MissingFeature, match="a macvlan inside a guest's namespace"):
        plan_port(network, direct, INSIDE)


def test_a_guarantee_needs_a_rate_of_the_network() -> None:
    """Where the network has none any more, nothing is wanted; clients' ports want nothing else."""
    port = msgspec.structs.replace(PORT, bandwidth=LIMITS)
    assert ["guarantee:red0:3"] == list(plan_guarantee(NETWORK, port))
    for without in (None, Bandwidth(outbound=Rate(average=5))):
        network = msgspec.structs.replace(NETWORK, bandwidth=without)
        assert HostState() == plan_guarantee(network, port)
    assert HostState() == plan_guarantee(NETWORK, PORT)


@pytest.mark.parametrize(
    ("isolated", "manager", "learning", "flooded", "known"),
    [
        (None, None, True, True, False),
        (True, None, True, False, True),
        (None, MacTableManager.KERNEL, True, True, False),
        (None, MacTableManager.LIBVIRT, False, False, True),
        (True, MacTableManager.LIBVIRT, False, False, True),
    ],
)
def test_who_is_known_to_the_bridge(
    isolated: bool | None,
    manager: MacTableManager | None,
    learning: bool,
    flooded: bool,
    known: bool,
) -> None:
    """Whoever is not flooded is known by address."""
    plug = NetworkPlug(bridge=BRIDGE, mac_table_manager=manager)
    assert BridgePort(
        link=TAP.name,
        bridge=BRIDGE,
        isolated=bool(isolated),
        learning=learning,
        unicast_flood=flooded,
        addresses=(MAC,) if known else (),
    ) == place(msgspec.structs.replace(PORT, isolated=isolated, plug=plug))


def test_vlans_of_a_bridge() -> None:
    """The port is in its VLANs, of those that there are."""
    vlan = Vlan(tags=(VlanTag(id=42), VlanTag(id=4094)), trunk=True)
    found = place(msgspec.structs.replace(PORT, vlan=vlan))
    assert vlan == found.vlan
    assert "tap0 on bridge red0, trunk of VLANs 42 4094" == describe_resource(found)
    for number in (0, 4095):
        tagged = msgspec.structs.replace(PORT, vlan=Vlan(tags=(VlanTag(id=number),)))
        with pytest.raises(UnsupportedConfiguration, match=f"cannot be in VLAN {number}"):
            place(tagged)


@pytest.mark.parametrize("trusted", [None, False, True])
def test_trusted_guests_get_multicast(trusted: bool | None) -> None:
    """A macvtap lets all multicast in where its guest is trusted with it."""
    port = msgspec.structs.replace(DIRECT, trust_guest_rx_filters=trusted)
    link = plan_port(NETWORK, port, TAP)["link:tap0"]
    assert isinstance(link, MacvtapLink)
    assert bool(trusted) is link.all_multicast


def test_limits_in_words() -> None:
    """Each limit is a line."""
    port = msgspec.structs.replace(PORT, bandwidth=LIMITS)
    assert [
        "at most 10 KiB/s, 20 KiB at once in by tap0",
        "traffic control on tap0: 100 KiB/s, up to 200 out",
        "50 KiB/s of red0 for 52:54:00:00:00:01, up to 3000",
    ] == [
        describe_resource(item)
        for item in plan_port(NETWORK, port, TAP).values()
        if isinstance(item, Shaping | Policing | Guarantee)
    ]


def test_switch_is_told_last_and_first() -> None:
    """A port's VSI instance is associated when its device is up, and before that goes."""
    virtualport = VirtualPort(
        type=VirtualPortType.VEPA,
        manager_id=11,
        type_id=1193046,
        type_id_version=1,
        instance_id=UUID(int=7),
    )
    port = msgspec.structs.replace(DIRECT, virtualport=virtualport)
    wanted = SwitchAssociation(
        link=InterfaceName("eth1"),
        mac=MAC,
        instance=UUID(int=7),
        manager=11,
        type_id=1193046,
        type_version=1,
    )
    for device in (TAP, INSIDE):
        state = plan_port(NETWORK, port, device)
        assert wanted == list(state.values())[-1]
        assert wanted == removal_order(state.values())[0]
    assert (
        "VSI instance 00000000-0000-0000-0000-000000000007 (52:54:00:00:00:01) of type 1193046, "
        "version 1, manager 11, associated with the switch at eth1"
    ) == describe_resource(wanted)
    other = msgspec.structs.replace(virtualport, type=VirtualPortType.VN_LINK)
    assert [] == plan_association(msgspec.structs.replace(port, virtualport=other))
