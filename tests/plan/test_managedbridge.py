"""Bridges over uplinks: what is wanted, and what is refused."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable
from uuid import UUID

import msgspec
import pytest

from jackfield.errors import (
    Conflict,
    ForeignObject,
    JackfieldError,
    NotFound,
    UnsupportedConfiguration,
    WrongState,
)
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network, Portgroup
from jackfield.model.port import BridgePlug, Port
from jackfield.model.uplink import DeviceUplink, PciAddress, PciUplink
from jackfield.model.values import InterfaceName, MacAddress, NetworkName, Text
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.model.vlan import Vlan, VlanTag
from jackfield.plan.describe import describe, describe_resource
from jackfield.plan.managedbridge import check_bridges_kept, check_uplinks, plan_port_vlans
from jackfield.plan.network import plan_network
from jackfield.state.facts import Facts, LinkFact, RouteFact, UplinkFact
from jackfield.state.hoststate import HostState, difference, removal_order
from jackfield.state.links import BridgeLink, OwnerKind, alias_of
from jackfield.state.resources import BpduGuard, LinkUp, ManagedUplink, Resource
from jackfield.state.vlans import UplinkVlan, VlanFiltering

UUID_OF_RED = UUID(int=7)
ALIAS = alias_of(OwnerKind.NETWORK, UUID_OF_RED)
BR0, BR1 = InterfaceName("br0"), InterfaceName("br0-1")
ETH0, ETH1 = InterfaceName("eth0"), InterfaceName("eth1")


def network(*uplinks: str, mtu: int | None = None) -> Network:
    """Return a network of managed bridges."""
    return Network(
        name=NetworkName("red"),
        uuid=UUID_OF_RED,
        mode=Mode.BRIDGE,
        uplinks=tuple(DeviceUplink(dev=InterfaceName(name)) for name in uplinks),
        bridge=Bridge(name=BR0, uplinks_mtu=mtu),
    )


NIC = LinkFact(index=2, name="eth0", mac=MacAddress("52:54:00:00:00:02"), up=True, carrier=True)


def facts(*links: LinkFact, routes: tuple[RouteFact, ...] = ()) -> Facts:
    """Return a host with these links."""
    return Facts(links={link.name: link for link in links}, routes=routes)


def refusal(host: Facts, *, more: UplinkFact | None = None) -> JackfieldError:
    """Return why the network over eth0 cannot be on this host."""
    with pytest.raises(JackfieldError) as raised:
        check_uplinks(network("eth0"), host, {"eth0": more or UplinkFact()}, take_managed=False)
    return raised.value


def test_one_bridge_for_each_uplink() -> None:
    """Without spanning tree and without an address of their own; the uplink last."""
    assert [
        BridgeLink(name=BR0, alias=ALIAS, mac=None, mtu=9000, vlan_filtering=None),
        BridgeLink(name=BR1, alias=ALIAS, mac=None, mtu=9000, vlan_filtering=None),
        BpduGuard(link=ETH0),
        BpduGuard(link=ETH1),
        ManagedUplink(link=ETH0, bridge=BR0, mtu=9000),
        ManagedUplink(link=ETH1, bridge=BR1, mtu=9000),
        LinkUp(link=BR0),
        LinkUp(link=BR1),
    ] == list(plan_network(network("eth0", "eth1", mtu=9000)).values())


def test_an_uplink_is_set_free_before_its_bridge_goes() -> None:
    """Its addresses would go with the bridge; the guard stays until nobody needs it."""
    state = plan_network(network("eth0"))
    change = difference(HostState(), state)
    assert ["uplink", "bpdu-guard", "bridge"] == [item.kind for item in change.remove]
    order = [item.kind for item in removal_order(state.values())]
    assert order.index("uplink") < order.index("bridge")


def test_a_plan_in_words() -> None:
    """A line says whose addresses go where."""
    change = difference(plan_network(network("eth0", mtu=1400)), HostState())
    assert [
        "bridge br0, mtu 1400, stp off",
        "spanning tree frames of guests kept from eth0",
        (
            "uplink eth0 on bridge br0, which has its address, mtu 1400, and its IP addresses, "
            "routes and neighbours while the network runs"
        ),
        "br0 up",
    ] == [step.text for step in describe(change)]


def test_a_function_by_its_address_is_not_planned() -> None:
    """A bridge needs its interface."""
    address = PciAddress.of(domain=0, bus=1, slot=0, function=1)
    wanted = msgspec.structs.replace(network("eth0"), uplinks=(PciUplink(address=address),))
    with pytest.raises(UnsupportedConfiguration, match="cannot be made over"):
        plan_network(wanted)


def test_what_is_in_the_way_is_named() -> None:
    """An uplink that is not there, somebody's already, or cannot be a bridge's port."""
    other = LinkFact(index=9, name="br9", kind="bridge", mac=NIC.mac)
    bond = LinkFact(index=9, name="bond0", kind="bond", mac=NIC.mac)
    tap = LinkFact(index=5, name="mv0", kind="macvtap", lower=2, mac=NIC.mac)
    cases: list[tuple[Facts, type[JackfieldError], str]] = [
        (facts(), NotFound, "its uplink eth0 does not exist"),
        (facts(dataclasses.replace(NIC, master=9), other), ForeignObject, "bridge br9 already"),
        (facts(dataclasses.replace(NIC, master=9), bond), ForeignObject, "bond bond0 already"),
        (facts(NIC, tap), ForeignObject, "has mv0 on it"),
        (facts(dataclasses.replace(NIC, kind="bridge")), UnsupportedConfiguration, "bridge itself"),
        (
            facts(dataclasses.replace(NIC, mac=MacAddress("00:00:00:00:00:00"))),
            UnsupportedConfiguration,
            "not an Ethernet interface (loopback)",
        ),
        (
            facts(dataclasses.replace(NIC, mac=None, kind="wireguard")),
            UnsupportedConfiguration,
            "not an Ethernet interface (wireguard)",
        ),
        (
            facts(dataclasses.replace(NIC, alias=alias_of(OwnerKind.PORT, UUID(int=1)))),
            ForeignObject,
            "made for something else",
        ),
    ]
    for host, kind, words in cases:
        error = refusal(host)
        assert (kind, True) == (type(error), words in error.message), error.message


def test_a_wireless_uplink_cannot_be_bridged() -> None:
    """An access point takes frames of the station's own address only."""
    error = refusal(facts(NIC), more=UplinkFact(wireless=True))
    assert "wireless" in error.message
    assert "mode nat" in (error.hint or "")


def test_an_uplink_has_one_manager() -> None:
    """Who configures it is named; the configuration may allow it."""
    leased = RouteFact(
        destination=ipaddress.ip_network("0.0.0.0/0"), link="eth0", on_link=False, protocol=16
    )
    managed = UplinkFact(manager="NetworkManager")
    for host, more, who in (
        (facts(NIC), managed, "managed by NetworkManager"),
        (facts(NIC, routes=(leased,)), UplinkFact(), "a DHCP client"),
    ):
        error = refusal(host, more=more)
        assert (Conflict, True) == (type(error), who in error.message)
        assert "take_managed_uplinks" in (error.hint or "")
        check_uplinks(network("eth0"), host, {"eth0": more}, take_managed=True)


def test_an_uplink_on_its_own_bridge_is_fine() -> None:
    """Looked at again while the network runs, the uplink is where it belongs."""
    bridge = LinkFact(index=8, name="br0", kind="bridge", mac=NIC.mac, alias=ALIAS)
    host = facts(dataclasses.replace(NIC, master=8), bridge)
    check_uplinks(network("eth0"), host, {}, take_managed=False)
    foreign = facts(dataclasses.replace(NIC, master=8), dataclasses.replace(bridge, alias=""))
    assert "bridge br0 already" in refusal(foreign).message


def test_vlans_on_an_uplink_stay() -> None:
    """Their frames are taken out before the bridge sees them."""
    vlan = LinkFact(index=5, name="eth0.5", kind="vlan", lower=2, mac=NIC.mac)
    check_uplinks(network("eth0"), facts(NIC, vlan), {}, take_managed=False)


def tagged(*ids: int) -> Vlan:
    """Return one tag, or a trunk of several."""
    return Vlan(tags=tuple(VlanTag(id=number) for number in ids), trunk=len(ids) > 1)


def vlans(state: Iterable[Resource]) -> list[str]:
    """Return what is wanted of VLANs, in words."""
    found = (item for item in state if isinstance(item, VlanFiltering | UplinkVlan))
    return [describe_resource(item) for item in found]


def test_uplinks_carry_what_the_document_names() -> None:
    """Each those of portgroups that use it; untagged frames stay where they are."""
    plain = network("eth0", "eth1")
    assert [] == vlans(plan_network(plain).values())
    both = Portgroup(name=Text("both"), vlan=tagged(42, 43, 1))
    second = Portgroup(name=Text("second"), vlan=tagged(7), uplinks=plain.uplinks[1:])
    grouped = msgspec.structs.replace(plain, portgroups=(both, second))
    assert [
        "VLANs on bridge br0 kept apart: on",
        "VLANs on bridge br0-1 kept apart: on",
        "VLAN 42 on uplink eth0: tagged",
        "VLAN 43 on uplink eth0: tagged",
        "VLAN 7 on uplink eth1: tagged",
        "VLAN 42 on uplink eth1: tagged",
        "VLAN 43 on uplink eth1: tagged",
    ] == vlans(plan_network(grouped).values())
    with pytest.raises(UnsupportedConfiguration, match="cannot be in VLAN 4095"):
        plan_network(msgspec.structs.replace(plain, vlan=tagged(4095)))


def test_what_the_vlans_of_a_port_want() -> None:
    """Its bridge and that one's uplink, whether the document says anything of VLANs or not."""
    port = Port(vlan=tagged(9), plug=BridgePlug(bridge=BR1))
    plain = network("eth0", "eth1")
    wanted = ["VLANs on bridge br0-1 kept apart: on", "VLAN 9 on uplink eth1: tagged"]
    assert wanted == vlans(plan_port_vlans(plain, port))
    assert [] == plan_port_vlans(plain, msgspec.structs.replace(port, vlan=None))
    # A bridge of somebody else's is not changed, and one of Open vSwitch has VLANs of its own.
    assert [] == plan_port_vlans(msgspec.structs.replace(plain, uplinks=()), port)
    switched = VirtualPort(type=VirtualPortType.OPENVSWITCH)
    assert [] == plan_port_vlans(msgspec.structs.replace(plain, virtualport=switched), port)
    with pytest.raises(UnsupportedConfiguration, match="cannot be in VLAN 0"):
        plan_port_vlans(plain, msgspec.structs.replace(port, vlan=tagged(0)))


def test_uplinks_keep_their_bridges() -> None:
    """While a network runs, uplinks come and go at the end of the list only."""
    for former, later in ((("a",), ("a", "b")), (("a", "b"), ("a",)), (("a",), ("b",))):
        check_bridges_kept(network(*former), network(*later))
    for former, later in ((("a", "b"), ("b",)), (("a",), ("b", "a"))):
        with pytest.raises(WrongState, match="cannot move from bridge"):
            check_bridges_kept(network(*former), network(*later))
