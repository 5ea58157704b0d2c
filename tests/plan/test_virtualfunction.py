"""What a port on a virtual function wants."""

from __future__ import annotations

import dataclasses
from uuid import UUID

import msgspec
import pytest

from jackfield.document.reader import read_network
from jackfield.errors import HostError, UnsupportedConfiguration
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.port import BridgePlug, DirectPlug, HostdevPlug, Plug, Port
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.vlan import NativeMode, Vlan, VlanTag
from jackfield.plan.describe import describe_resource
from jackfield.plan.network import plan_network
from jackfield.plan.port import PortDevice, plan_port
from jackfield.plan.virtualfunction import (
    carrier_of,
    check_function,
    place_of,
    plan_carrier,
    plan_function,
)
from jackfield.state.facts import Facts, LinkFact, VirtualFunctionFact
from jackfield.state.functions import FunctionPlace, FunctionSetting

ADDRESS = PciAddress.of(bus=1, slot=16)
MAC = MacAddress("52:54:00:00:00:42")
PASSED_ON = HostdevPlug(address=ADDRESS, managed=True)
UNDER = DirectPlug(dev=InterfaceName("eth1"), mode="passthrough")
FACTS = Facts(
    virtual_functions={
        "eth0": (
            VirtualFunctionFact(address=ADDRESS, dev=InterfaceName("eth1"), driver="igbvf"),
            VirtualFunctionFact(address=PciAddress.of(bus=1, slot=16, function=2)),
        )
    }
)
PLACE = FunctionPlace(address=ADDRESS, physical=InterfaceName("eth0"), driver="igbvf", count=2)
OF_ALL = ["state of eth0 = up", "2 virtual functions of eth0"]


def port(plug: Plug = PASSED_ON, **more: object) -> Port:
    """Return a port with this plug."""
    return Port(uuid=UUID(int=1), mac=MAC, plug=plug, **more)  # type: ignore[arg-type]


def wanted(one: Port) -> list[str]:
    """Return in words what it wants, without what all want of their card."""
    words = [describe_resource(item) for item in plan_function(one, PLACE)]
    assert OF_ALL == words[:2]
    return [text.replace(" of virtual function 0000:01:10.0", "") for text in words[2:]]


def test_where_a_port_is() -> None:
    """A function is found by its address or its interface; what is none has no place."""
    assert PLACE == place_of(PASSED_ON, FACTS)
    assert PLACE == place_of(UNDER, FACTS)
    # In the other modes several guests share it.
    assert place_of(DirectPlug(dev=InterfaceName("eth1"), mode="bridge"), FACTS) is None
    assert place_of(DirectPlug(dev=InterfaceName("eth9"), mode="passthrough"), FACTS) is None
    with pytest.raises(HostError, match=r"0000:01:00\.0 is not a virtual function"):
        place_of(HostdevPlug(address=PciAddress.of(bus=1)), FACTS)


def test_a_function_that_is_passed_on() -> None:
    """It is bound to vfio-pci, or the driver named, unless the administrator does that."""
    settings = ["mac = 52:54:00:00:00:42", "spoof-check = on"]
    assert ["override = vfio-pci", "driver = vfio-pci", *settings] == wanted(port())
    special = HostdevPlug(address=ADDRESS, managed=True, driver="vfio", model=Text("mlx5_vfio_pci"))
    assert ["override = mlx5_vfio_pci", "driver = mlx5_vfio_pci", *settings] == wanted(
        port(special)
    )
    assert settings == wanted(port(HostdevPlug(address=ADDRESS)))
    with pytest.raises(UnsupportedConfiguration, match="<driver name='xen'/>"):
        wanted(port(HostdevPlug(address=ADDRESS, managed=True, driver="xen")))


def test_a_function_under_a_macvtap() -> None:
    """It keeps its driver, and has the guest's address, on the card and itself."""
    assert [
        "driver = igbvf",
        "mac = 52:54:00:00:00:42",
        "own-mac = 52:54:00:00:00:42",
        "spoof-check = on",
    ] == wanted(port(UNDER))
    device = PortDevice(name=InterfaceName("jf1"), function=PLACE)
    network = read_network(
        "<network><name>n</name><forward mode='passthrough'><pf dev='eth0'/></forward></network>"
    )
    planned = [describe_resource(item) for item in plan_port(network, port(UNDER), device).values()]
    # The interface's own address is not set as that of any NIC.
    assert "address of eth1 = 52:54:00:00:00:42" not in planned
    assert "state of eth1 = up" in planned


def link(name: str, index: int, **more: object) -> LinkFact:
    """Return a link of the host."""
    return LinkFact(name=name, index=index, **more)  # type: ignore[arg-type]


def test_what_carries_a_ports_frames() -> None:
    """A function under macvtaps or a bridge, or under the VLAN device that is."""
    links = (
        link("br0", 5, kind="bridge"),
        link("tap0", 2, kind="tun", master=5),
        link("eth1", 3, master=5),
        link("eth1.7", 6, kind="vlan", lower=3, master=7),
        link("br7", 7, kind="bridge"),
    )
    facts = dataclasses.replace(FACTS, links={one.name: one for one in links})
    shared = DirectPlug(dev=InterfaceName("eth1"), mode="vepa")
    assert PLACE == carrier_of(shared, facts)
    assert PLACE == carrier_of(msgspec.structs.replace(shared, dev=InterfaceName("eth1.7")), facts)
    for bridge, way in (("br0", "eth1"), ("br7", "eth1.7")):
        place = dataclasses.replace(PLACE, way=InterfaceName(way))
        assert place == carrier_of(BridgePlug(bridge=InterfaceName(bridge)), facts)
    for plug in (UNDER, PASSED_ON, BridgePlug(bridge=InterfaceName("br9")), None):
        assert carrier_of(plug, facts) is None
    no_cards = dataclasses.replace(facts, virtual_functions={})
    assert carrier_of(BridgePlug(bridge=InterfaceName("br0")), no_cards) is None


@pytest.mark.parametrize("by_bridge", [False, True])
def test_a_function_that_carries(by_bridge: bool) -> None:
    """It is trusted and not checked; under a bridge it has the guest's address as its own."""
    place = dataclasses.replace(PLACE, way=InterfaceName("eth1") if by_bridge else None)
    planned = plan_carrier(port(), place)
    words = [describe_resource(item) for item in planned]
    assert [
        *OF_ALL,
        "trust of virtual function 0000:01:10.0 = on",
        "spoof-check of virtual function 0000:01:10.0 = off",
    ] == words[:4]
    assert (
        [
            "frames to 52:54:00:00:00:42 received by eth1 = on",
            "frames from 52:54:00:00:00:42 that come back by eth1 dropped",
        ]
        if by_bridge
        else []
    ) == words[4:]
    # A card that has no such thing does as is wanted anyhow.
    assert all(item.optional for item in planned if isinstance(item, FunctionSetting))


def test_limits_of_a_macvtap_that_is_not_alone() -> None:
    """The card would limit all that share the function."""
    network = read_network(
        "<network><name>n</name><forward mode='bridge'><pf dev='eth0'/></forward></network>"
    )
    plug = DirectPlug(dev=InterfaceName("eth1"), mode="bridge")
    limited = port(plug, bandwidth=Bandwidth(outbound=Rate(average=100)))
    device = PortDevice(name=InterfaceName("jf1"), function=PLACE)
    assert "shaping" in [item.kind for item in plan_port(network, limited, device).values()]


@pytest.mark.parametrize(
    ("average", "megabits"),
    [(1, 1), (122, 1), (123, 2), (12500, 103), (125_000, 1024), (2**51 - 1, 2**32 - 1)],
)
def test_rates_are_rounded_up(average: int, megabits: int) -> None:
    """KiB a second in the document, Mbit a second on the card."""
    bandwidth = Bandwidth(outbound=Rate(average=average))
    assert f"rate = 0 {megabits}" == wanted(port(bandwidth=bandwidth))[-1]


def test_tag_and_trust() -> None:
    """Each is set where the document says it, and left alone where it does not."""
    tagged = port(vlan=Vlan(tags=(VlanTag(id=42),)))
    assert "vlan = 42 0" in wanted(tagged)
    assert ["trust = on", "spoof-check = off"] == wanted(port(trust_guest_rx_filters=True))[-2:]
    assert ["trust = off", "spoof-check = on"] == wanted(port(trust_guest_rx_filters=False))[-2:]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (port(vlan=Vlan(tags=(VlanTag(id=1), VlanTag(id=2)))), "a trunk"),
        (port(vlan=Vlan(tags=(VlanTag(id=1),), trunk=True)), "a trunk"),
        (port(vlan=Vlan(tags=(VlanTag(id=1, native_mode=NativeMode.TAGGED),))), "a trunk"),
        (port(bandwidth=Bandwidth(inbound=Rate(average=1))), "what the guest receives"),
    ],
)
def test_what_no_function_can_do_is_refused(one: Port, words: str) -> None:
    """The error says what, before anything is set."""
    with pytest.raises(UnsupportedConfiguration, match=words):
        check_function(one)
    check_function(port(bandwidth=Bandwidth(outbound=Rate(average=1))))


def test_pools_are_as_large_as_configured() -> None:
    """Functions are asked for only of cards that the configuration names, once each."""
    network = read_network("""
        <network><name>n</name><uuid>00000000-0000-0000-0000-000000000001</uuid>
          <forward mode='hostdev' managed='yes'>
          <pf dev='eth0'/></forward>
          <portgroup name='gold'><pf dev='eth0'/></portgroup></network>""")
    assert [] == list(plan_network(network))
    planned = plan_network(network, virtual_functions={"eth0": 4, "eth5": 2})
    assert ["state of eth0 = up", "4 virtual functions of eth0"] == [
        describe_resource(item) for item in planned.values()
    ]
