"""What networks and ports of Open vSwitch want of the host."""

from __future__ import annotations

import dataclasses
import ipaddress
from uuid import UUID

import msgspec
import pytest

from jackfield.document.reader import read_network
from jackfield.errors import Conflict, UnsupportedConfiguration, WrongState
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, Owner, Port
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.model.vlan import NativeMode, Vlan, VlanTag
from jackfield.plan.describe import describe
from jackfield.plan.network import check_host, plan_network
from jackfield.plan.port import PortDevice, plan_port
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.hoststate import HostState, difference
from jackfield.state.openvswitch import OvsBridge, OvsPort, OvsVlan
from jackfield.state.settings import LinkAttribute, LinkSetting

PLAIN = """
<network>
  <name>red</name><uuid>00000000-0000-0000-0000-000000000002</uuid>
  <forward mode='bridge'/><bridge name='br0'/>
  <virtualport type='openvswitch'/>
</network>
"""
LINUX = PLAIN.replace("<virtualport type='openvswitch'/>", "")
MANAGED = PLAIN.replace(
    "<bridge name='br0'/>",
    "<bridge name='br0'><uplinks mtu='9000'><interface dev='eth0'/><interface dev='eth1'/>"
    "</uplinks></bridge>",
)
ALIAS = "jackfield:network:00000000-0000-0000-0000-000000000002"
PORT = Port(
    uuid=UUID(int=1),
    owner=Owner(name=Text("guest"), uuid=UUID(int=5)),
    mac=MacAddress("52:54:00:00:00:01"),
    virtualport=VirtualPort(
        type=VirtualPortType.OPENVSWITCH, interface_id=UUID(int=7), profile_id=Text("web")
    ),
    plug=BridgePlug(bridge=InterfaceName("br0")),
)
TAP = PortDevice(name=InterfaceName("tap0"), mtu=1500)


def network(text: str = PLAIN) -> Network:
    """Return the network of a document."""
    return read_network(text.encode())


def row(port: Port, text: str = PLAIN, device: PortDevice = TAP) -> OvsPort:
    """Return the row that a port wants."""
    (found,) = (
        item for item in plan_port(network(text), port, device).values() if item.kind == "ovs-port"
    )
    assert isinstance(found, OvsPort)
    return found


def test_a_bridge_of_somebody_else_wants_nothing() -> None:
    """It is only used."""
    assert not plan_network(network())


def test_bridges_over_uplinks() -> None:
    """One for each uplink, which is up, has the MTU that is said, and is a port."""
    names = {"br0": InterfaceName("eth0"), "br0-1": InterfaceName("eth1")}
    wanted = [
        resource
        for bridge, uplink in names.items()
        for resource in (
            LinkSetting(link=uplink, attribute=LinkAttribute.MTU, value="9000"),
            LinkSetting(link=uplink, attribute=LinkAttribute.STATE, value="up"),
            OvsBridge(name=InterfaceName(bridge), alias=ALIAS, uplink=uplink),
            OvsPort(link=uplink, bridge=InterfaceName(bridge), alias=ALIAS),
        )
    ]
    assert dict(HostState(wanted)) == dict(plan_network(network(MANAGED)))


def test_an_uplink_is_a_device() -> None:
    """A PCI function by its address is none."""
    address = "<address type='pci' domain='0' bus='1' slot='2' function='0'/>"
    text = PLAIN.replace(
        "<bridge name='br0'/>", f"<bridge name='br0'><uplinks>{address}</uplinks></bridge>"
    )
    with pytest.raises(UnsupportedConfiguration, match="an uplink of an Open vSwitch bridge is a"):
        plan_network(network(text))


def test_midonet_is_refused() -> None:
    """It is another switch, to which we do not speak."""
    with pytest.raises(UnsupportedConfiguration, match="<virtualport>, which this version"):
        plan_network(network(PLAIN.replace("openvswitch", "midonet")))


def test_a_vde_switch_is_refused() -> None:
    """It would hang on a bridge of Linux."""
    with pytest.raises(UnsupportedConfiguration, match="<vde> on a bridge of Open vSwitch"):
        plan_network(network(PLAIN.replace("</network>", "<vde/></network>")))


def test_what_only_a_linux_bridge_can_do_is_refused() -> None:
    """A guest is not believed to be kept to its addresses where nothing keeps it."""
    text = PLAIN.replace("</network>", "<portgroup name='g' antiSpoofing='yes'/></network>")
    with pytest.raises(UnsupportedConfiguration, match="antiSpoofing on a bridge of Open vSwitch"):
        plan_network(network(text))


def facts(*addresses: str) -> Facts:
    """Return a host with both uplinks, the first of these addresses."""
    interfaces = tuple(ipaddress.ip_interface(text) for text in addresses)
    links = {
        name: LinkFact(index=number, name=name, addresses=interfaces if number == 1 else ())
        for number, name in enumerate(("eth0", "eth1"), start=1)
    }
    return Facts(links=links)


def test_uplinks_are_checked() -> None:
    """They must be there, and have no addresses but link-local ones."""
    check_host(network(MANAGED), facts("fe80::1/64"))
    with pytest.raises(Conflict, match=r"uplink eth0 has the address 192\.0\.2\.1/24, which would"):
        check_host(network(MANAGED), facts("fe80::1/64", "192.0.2.1/24"))
    with pytest.raises(WrongState, match="its uplink eth0 does not exist"):
        check_host(network(MANAGED), Facts())
    check_host(network(), Facts())


def test_a_ports_row() -> None:
    """Its identity is what libvirt says as well; the rest is as for any bridge."""
    state = plan_port(network(), PORT, TAP)
    assert ["tap", "setting", "ovs-port"] == [item.kind for item in state.values()]
    assert OvsPort(
        link=InterfaceName("tap0"),
        bridge=InterfaceName("br0"),
        alias="jackfield:port:00000000-0000-0000-0000-000000000001",
        identity=(
            ("attached-mac", "52:54:00:00:00:01"),
            ("iface-id", str(UUID(int=7))),
            ("iface-status", "active"),
            ("ifname", "tap0"),
            ("port-profile", "web"),
            ("vm-id", str(UUID(int=5))),
        ),
    ) == row(PORT)


def test_a_port_is_on_the_bridge_it_was_given() -> None:
    """Of several bridges of a network the one of its uplink."""
    port = msgspec.structs.replace(PORT, plug=BridgePlug(bridge=InterfaceName("br0-1")))
    assert "br0-1" == row(port, MANAGED).bridge


def test_a_guests_end_is_known() -> None:
    """Whose checksums are to be whole."""
    device = dataclasses.replace(TAP, netns="/run/netns/a", ifname=InterfaceName("eth0"))
    found = row(PORT, device=device)
    assert ("/run/netns/a", "eth0") == (found.guest_netns, found.guest_ifname)


TAGGED = VlanTag(id=43, native_mode=NativeMode.TAGGED)
UNTAGGED = VlanTag(id=43, native_mode=NativeMode.UNTAGGED)
ONE = VlanTag(id=42)


@pytest.mark.parametrize(
    ("vlan", "wanted"),
    [
        (Vlan(tags=(ONE,)), OvsVlan(mode="access", tag=42)),
        (Vlan(tags=(ONE,), trunk=True), OvsVlan(mode="trunk", trunks=(42,))),
        (
            Vlan(tags=(VlanTag(id=43), ONE), trunk=True),
            OvsVlan(mode="trunk", trunks=(42, 43)),
        ),
        (
            Vlan(tags=(ONE, TAGGED), trunk=True),
            OvsVlan(mode="native-tagged", tag=43, trunks=(42, 43)),
        ),
        (
            Vlan(tags=(ONE, UNTAGGED), trunk=True),
            OvsVlan(mode="native-untagged", tag=43, trunks=(42, 43)),
        ),
    ],
)
def test_vlans(vlan: Vlan, wanted: OvsVlan) -> None:
    """Every form of ``<vlan>`` as the table Port spells it."""
    assert wanted == row(msgspec.structs.replace(PORT, vlan=vlan)).vlan


def test_bandwidth() -> None:
    """Both directions; a guarantee alone limits nothing."""
    slow, fast = Rate(average=100), Rate(average=200, peak=300)
    found = row(msgspec.structs.replace(PORT, bandwidth=Bandwidth(inbound=slow, outbound=fast)))
    assert (slow, fast) == (found.inbound, found.outbound)
    found = row(msgspec.structs.replace(PORT, bandwidth=Bandwidth(inbound=Rate(floor=10))))
    assert (None, None) == (found.inbound, found.outbound)


def test_the_plan_in_words() -> None:
    """What a reader of the plan wants to know of a port and a bridge."""
    port = msgspec.structs.replace(
        PORT,
        vlan=Vlan(tags=(ONE, UNTAGGED), trunk=True),
        bandwidth=Bandwidth(inbound=Rate(average=100)),
    )
    state = HostState([*plan_network(network(MANAGED)).values(), row(port)])
    told = [step.text for step in describe(difference(state, HostState()))]
    for line in (
        "mtu of eth0 = 9000",
        "Open vSwitch bridge br0",
        "eth0 on Open vSwitch bridge br0",
        (
            "tap0 on Open vSwitch bridge br0, VLAN native-untagged 43 of 42, 43, "
            "100 KiB/s to the guest"
        ),
    ):
        assert line in told


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (PLAIN, "bridge", "is one of Open vSwitch, and br0 is a Linux bridge"),
        (LINUX, "openvswitch", "needs a Linux bridge, and br0 is a bridge of Open vSwitch"),
        (LINUX, "tun", "needs a Linux bridge, and br0 is tun"),
        (LINUX, "", "needs a Linux bridge, and br0 is a NIC"),
        (PLAIN, "openvswitch", None),
        # The datapath in user space makes a tap.
        (PLAIN, "tun", None),
        (LINUX, "bridge", None),
    ],
)
def test_a_bridge_of_the_other_kind_is_refused(text: str, kind: str, words: str | None) -> None:
    """No port could be on it; one that is not there may come later."""
    check_host(network(text), Facts())
    there = Facts(links={"br0": LinkFact(index=2, name="br0", kind=kind)})
    if words is None:
        check_host(network(text), there)
    else:
        with pytest.raises(WrongState, match=words) as refused:
            check_host(network(text), there)
        assert refused.value.hint is not None
