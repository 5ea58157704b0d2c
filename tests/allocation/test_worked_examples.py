"""The examples that started the project, and every rule of allocation once."""

from __future__ import annotations

import ipaddress
import uuid

import pytest

from jackfield.allocation.allocate import allocate, allocate_bandwidth, usage_key
from jackfield.allocation.request import Allocation, Request
from jackfield.allocation.usage import Usage
from jackfield.document.reader import read_network
from jackfield.errors import (
    CapacityExhausted,
    Conflict,
    HostError,
    InvalidRequest,
    JackfieldError,
    UnsupportedConfiguration,
    UnsupportedOperation,
)
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, DirectPlug, HostdevPlug, NetworkPlug, Owner, VdePlug
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.model.vlan import Vlan, VlanTag
from jackfield.state.facts import Facts, LinkFact, VirtualFunctionFact

OWNER = Owner(name=Text("web"), uuid=uuid.UUID("d54df46f-1ab5-4a22-8618-4560ef5fac2c"))
MAC = MacAddress("52:54:00:7b:35:93")
GENERATED = uuid.uuid5(OWNER.uuid, str(MAC))


def facts(*names: str, **changed: LinkFact) -> Facts:
    """Links that are up, and ``changed`` ones."""
    links = {name: LinkFact(index=index, name=name, up=True) for index, name in enumerate(names)}
    return Facts(links={**links, **changed})


def wish(**fields: object) -> Request:
    """Return a request of the one guest."""
    return Request(owner=OWNER, mac=MAC, **fields)  # type: ignore[arg-type]


def give(network: Network, host: Facts, usage: Usage, request: Request) -> tuple[Allocation, Usage]:
    """Allocate and count."""
    allocation = allocate(network, host, usage, request)
    return allocation, usage.with_port(usage_key(network), allocation.port)


VEPA = read_network("""
<network><name>red-network</name>
  <forward layer='link' mode='vepa'>
    <interface dev='eth10'/><interface dev='eth11'/><interface dev='eth12'/></forward>
  <portgroup count='10'><interface dev='eth10'/></portgroup>
  <portgroup count='5'><interface dev='eth11'/></portgroup>
  <portgroup count='5'><interface dev='eth12'/></portgroup></network>""")


def test_three_uplinks_admit_exactly_what_their_portgroups_allow() -> None:
    """Groups of 10, 5 and 5 admit 20 ports, spread evenly, and refuse the 21st with the list."""
    host, usage = facts("eth10", "eth11", "eth12"), Usage()
    order = []
    for _ in range(20):
        allocation, usage = give(VEPA, host, usage, wish())
        assert isinstance(allocation.port.plug, DirectPlug)
        order.append(allocation.port.plug.dev)
    assert {"eth10": 10, "eth11": 5, "eth12": 5} == dict(usage.uplinks)
    assert ["eth10", "eth11", "eth12"] * 5 + ["eth10"] * 5 == order
    with pytest.raises(CapacityExhausted) as caught:
        allocate(VEPA, host, usage, wish())
    assert (
        "network 'red-network' has no free port: portgroup 'portgroup0' 10/10 (eth10 10); "
        "portgroup 'portgroup1' 5/5 (eth11 5); portgroup 'portgroup2' 5/5 (eth12 5)"
    ) == caught.value.message


QBG = read_network("""
<network><name>red-network</name><forward mode='vepa'><interface dev='eth0'/></forward>
  <virtualport type='802.1Qbg'>
    <parameters managerid='11' typeid='1193047' typeidversion='2'/></virtualport></network>""")
SWITCH = read_network("""
<network><name>red-network</name><forward mode='bridge'/><bridge name='ovsbr0'/>
  <virtualport type='openvswitch'><parameters profileid='web'/></virtualport></network>""")
NAT = read_network("""
<network><name>red-network</name><forward mode='nat'/><bridge name='virbr0'/>
  <ip address='10.0.0.1' prefix='24'/></network>""")


def test_a_guests_instance_joins_the_networks_parameters() -> None:
    """A guest with only an instanceid ends with all four parameters."""
    instance = uuid.UUID("09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f")
    request = wish(virtualport=VirtualPort(type=VirtualPortType.VEPA, instance_id=instance))
    port = allocate(QBG, facts("eth0"), Usage(), request).port
    expected = VirtualPort(
        type=VirtualPortType.VEPA,
        manager_id=11,
        type_id=1193047,
        type_id_version=2,
        instance_id=instance,
    )
    assert expected == port.virtualport


@pytest.mark.parametrize("given", [None, uuid.UUID("09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f")])
def test_the_same_guest_starts_on_three_kinds_of_host(given: uuid.UUID | None) -> None:
    """Without a type the guest's virtualport fits any host; generated ids are the same."""
    request = wish(
        virtualport=VirtualPort(instance_id=given, interface_id=given, profile_id=Text("web"))
    )
    external = allocate(QBG, facts("eth0"), Usage(), request).port.virtualport
    virtual = allocate(SWITCH, facts("ovsbr0"), Usage(), request).port.virtualport
    routed = allocate(NAT, facts(), Usage(), request)
    assert external is not None
    assert virtual is not None
    identity = given or GENERATED
    assert (identity, None) == (external.instance_id, external.interface_id)
    assert (identity, None) == (virtual.interface_id, virtual.instance_id)
    assert (None, "web") == (external.profile_id, virtual.profile_id)
    assert routed.port.virtualport is None
    assert "ignored" in routed.notes[0]


def test_a_parameter_with_two_values_is_refused() -> None:
    """The error names the parameter, both values and both places."""
    request = wish(virtualport=VirtualPort(type_id=42))
    with pytest.raises(UnsupportedConfiguration) as caught:
        allocate(QBG, facts("eth0"), Usage(), request)
    assert (
        "virtualport parameter typeid is '1193047' in network 'red-network' but '42' in the guest"
    ) == caught.value.message


def test_types_must_match() -> None:
    """A guest's type must be the network's, and one that the mode can use."""
    request = wish(virtualport=VirtualPort(type=VirtualPortType.OPENVSWITCH))
    with pytest.raises(
        UnsupportedConfiguration, match=r"'openvswitch' in the guest but '802.1Qbg'"
    ):
        allocate(QBG, facts("eth0"), Usage(), request)
    bare = read_network(
        "<network><name>n</name><forward mode='vepa'><interface dev='eth0'/></forward></network>"
    )
    with pytest.raises(UnsupportedConfiguration, match="does not fit network"):
        allocate(bare, facts("eth0"), Usage(), request)


def test_required_parameters_must_be_there() -> None:
    """Each type is complete after merging, or the error says what is missing."""
    bare = read_network(
        "<network><name>n</name><forward mode='vepa'><interface dev='eth0'/></forward></network>"
    )
    request = wish(virtualport=VirtualPort(type=VirtualPortType.VEPA, type_id=3))
    with pytest.raises(UnsupportedConfiguration, match="lacks managerid, typeidversion"):
        allocate(bare, facts("eth0"), Usage(), request)
    request = wish(virtualport=VirtualPort(type=VirtualPortType.VN_LINK))
    with pytest.raises(UnsupportedConfiguration, match="lacks profileid"):
        allocate(bare, facts("eth0"), Usage(), request)


def test_a_plain_bridge_ignores_the_guests_virtualport() -> None:
    """Only a bridge that the host calls virtual has a use for it."""
    plain = read_network(
        "<network><name>n</name><forward mode='bridge'/><bridge name='br0'/></network>"
    )
    request = wish(virtualport=VirtualPort(type=VirtualPortType.OPENVSWITCH))
    allocation = allocate(plain, facts("br0"), Usage(), request)
    assert (None, 1) == (allocation.port.virtualport, len(allocation.notes))
    assert BridgePlug(bridge=InterfaceName("br0")) == allocation.port.plug


GROUPS = read_network("""
<network><name>n</name>
  <forward mode='vepa'><interface dev='eth0'/><interface dev='eth1'/></forward>
  <portgroup name='silver'><bandwidth><inbound average='100'/></bandwidth></portgroup>
  <portgroup name='gold' default='yes' count='2'><interface dev='eth1'/></portgroup>
</network>""")


def test_portgroup_by_name_by_default_and_unknown() -> None:
    """The named one, else the default one, which does not spill; an unknown one is an error."""
    host, usage = facts("eth0", "eth1"), Usage()
    named = allocate(GROUPS, host, usage, wish(portgroup=Text("silver"))).port
    assert ("silver", 100) == (named.group, named.bandwidth and named.bandwidth.inbound.average)  # type: ignore[union-attr]
    for _ in range(2):
        allocation, usage = give(GROUPS, host, usage, wish())
        assert ("gold", "eth1") == (allocation.port.group, allocation.port.plug.dev)  # type: ignore[union-attr]
    with pytest.raises(CapacityExhausted, match=r"for portgroup 'gold'.*'gold' 2/2"):
        allocate(GROUPS, host, usage, wish())
    with pytest.raises(InvalidRequest) as caught:
        allocate(GROUPS, host, usage, wish(portgroup=Text("bronze")))
    assert "it has 'silver', 'gold'" == caught.value.hint


def test_a_lowered_count_admits_no_new_port() -> None:
    """A count below what is used is accepted, and simply full."""
    host, usage = facts("eth0", "eth1"), Usage()
    allocation, usage = give(GROUPS, host, usage, wish())
    lowered = read_network(
        f"<network><name>{GROUPS.name}</name>"
        "<forward mode='vepa'><interface dev='eth1'/></forward>"
        "<portgroup name='gold' default='yes' count='0'/></network>"
    )
    with pytest.raises(CapacityExhausted, match="'gold' 1/0"):
        allocate(lowered, host, usage, wish())
    assert {} == dict(usage.without_port(GROUPS.name, allocation.port).uplinks)


def test_uplinks_of_portgroups_are_given_out_by_them_alone() -> None:
    """Without portgroup there is no way around the settings of the groups that own uplinks."""
    network = read_network("""
        <network><name>n</name>
          <forward mode='vepa'><interface dev='eth0'/><interface dev='eth1'/></forward>
          <portgroup name='tagged' count='1'>
            <interface dev='eth0'/><bandwidth><inbound average='1'/></bandwidth></portgroup>
        </network>""")
    with pytest.raises(CapacityExhausted, match="'tagged' 0/1"):
        allocate(network, facts("eth0", "eth1"), Usage(), wish())


def test_links_down_absent_and_without_carrier() -> None:
    """A link that is down is brought up; absent ones and ones without carrier are named."""
    network = read_network("""
        <network><name>n</name><forward mode='private'>
          <interface dev='eth0'/><interface dev='eth1'/><interface dev='eth2'/></forward>
        </network>""")
    dead = LinkFact(index=8, name="eth1", up=True, carrier=False)
    down = LinkFact(index=9, name="eth2", up=False, carrier=False)
    allocation = allocate(network, facts(eth1=dead, eth2=down), Usage(), wish())
    assert ("eth2", "eth2") == (allocation.port.plug.dev, allocation.bring_up)  # type: ignore[union-attr]
    with pytest.raises(CapacityExhausted) as caught:
        allocate(network, facts(eth1=dead), Usage(), wish())
    assert "uplink eth0 is absent; uplink eth1 has no carrier; uplink eth2 is absent" in str(
        caught.value
    )
    port = LinkFact(index=8, name="eth1", up=True, carrier=True, master=9)
    bridge = LinkFact(index=9, name="br0", kind="bridge")
    with pytest.raises(CapacityExhausted, match="eth1 is a port of bridge br0"):
        allocate(network, facts(eth1=port, br0=bridge), Usage(), wish())
    domain = LinkFact(index=9, name="vrf0", kind="vrf")
    assert allocate(network, facts(eth1=port, vrf0=domain), Usage(), wish()).bring_up is None


PASSTHROUGH = read_network("""
<network><name>n</name><forward mode='passthrough'>
  <interface dev='eth0'/><interface dev='eth1'/></forward></network>""")


def test_passthrough_uplinks_have_one_port_over_all_networks() -> None:
    """An uplink that another network uses, in whatever mode, is not free, and the other way."""
    host = facts("eth0", "eth1", "eth10", "eth11", "eth12")
    usage = Usage()
    first, usage = give(PASSTHROUGH, host, usage, wish())
    shared = read_network(
        "<network><name>m</name><forward mode='vepa'><interface dev='eth0'/>"
        "<interface dev='eth1'/></forward></network>"
    )
    other = allocate(shared, host, usage, wish()).port
    assert ("eth0", "eth1") == (first.port.plug.dev, other.plug.dev)  # type: ignore[union-attr]
    usage = usage.with_port("m", other)
    with pytest.raises(CapacityExhausted, match=r"uplink eth0 1/1; uplink eth1 1/1"):
        allocate(PASSTHROUGH, host, usage, wish())
    usage = usage.without_port("m", other)
    again, usage = give(PASSTHROUGH, host, usage, wish())
    assert "eth1" == again.port.plug.dev  # type: ignore[union-attr]


def test_private_with_vn_link_is_exclusive() -> None:
    """802.1Qbh gives each port an uplink of its own; plain private mode shares."""
    network = read_network("""
        <network><name>n</name><forward mode='private'><interface dev='eth0'/></forward>
          <virtualport type='802.1Qbh'><parameters profileid='x'/></virtualport></network>""")
    _, usage = give(network, facts("eth0"), Usage(), wish())
    with pytest.raises(CapacityExhausted):
        allocate(network, facts("eth0"), usage, wish())


FUNCTIONS = tuple(
    VirtualFunctionFact(
        address=PciAddress.of(bus=3, slot=16, function=number), dev=InterfaceName(f"eth2v{number}")
    )
    for number in range(3)
)


def test_physical_function_expands_to_virtual_ones() -> None:
    """HOSTDEV gives PCI functions, PASSTHROUGH their devices, and they know of each other."""
    host = Facts(
        links={
            one.dev: LinkFact(index=n, name=one.dev, up=True)
            for n, one in enumerate(FUNCTIONS)
            if one.dev
        },
        virtual_functions={"eth2": FUNCTIONS},
    )
    whole = read_network("""
        <network><name>n</name><forward mode='hostdev' managed='yes'>
          <driver name='vfio'/><pf dev='eth2'/></forward></network>""")
    devices = read_network(
        "<network><name>m</name><forward mode='passthrough'><pf dev='eth2'/></forward></network>"
    )
    usage = Usage()
    given = []
    for network in (whole, devices, whole):
        allocation = allocate(network, host, usage, wish())
        usage = usage.with_port(network.name, allocation.port)
        given.append(allocation.port.plug)
    assert [
        HostdevPlug(address=FUNCTIONS[0].address, managed=True, driver="vfio"),
        DirectPlug(dev=InterfaceName("eth2v1"), mode="passthrough"),
        HostdevPlug(address=FUNCTIONS[2].address, managed=True, driver="vfio"),
    ] == given
    with pytest.raises(
        CapacityExhausted, match=r"0000:03:10.0 1/1; uplink 0000:03:10.1 1/1"
    ) as full:
        allocate(whole, host, usage, wish())
    assert "detach a port, raise a count, or add an uplink" == full.value.hint
    with pytest.raises(CapacityExhausted, match="eth2 has no virtual functions") as absent:
        allocate(whole, Facts(), Usage(), wish())
    made = "[virtual_functions] in the daemon's configuration has functions made"
    assert made == absent.value.hint
    pool = read_network(
        "<network><name>p</name><forward mode='bridge'><interface dev='eth7'/></forward></network>"
    )
    with pytest.raises(CapacityExhausted, match="uplink eth7 is absent") as absent:
        allocate(pool, Facts(), Usage(), wish())
    assert "`ip link` shows which NICs are there and have a carrier" == absent.value.hint


def test_functions_that_the_host_uses_are_passed_over() -> None:
    """Those whose interface has an address or a master; a carrier may come later."""
    whole = read_network("""
        <network><name>n</name><forward mode='hostdev' managed='yes'><pf dev='eth2'/></forward>
        </network>""")
    used = {
        "eth2v0": LinkFact(
            index=1,
            name="eth2v0",
            addresses=(
                ipaddress.ip_interface("fe80::1/64"),
                ipaddress.ip_interface("192.0.2.1/24"),
            ),
        ),
        "eth2v1": LinkFact(index=2, name="eth2v1", master=9),
        "eth2v2": LinkFact(
            index=3, name="eth2v2", up=True, addresses=(ipaddress.ip_interface("fe80::1/64"),)
        ),
    }
    host = Facts(links=used, virtual_functions={"eth2": FUNCTIONS})
    allocation = allocate(whole, host, Usage(), wish())
    assert isinstance(allocation.port.plug, HostdevPlug)
    assert FUNCTIONS[2].address == allocation.port.plug.address
    full = Usage().with_port("n", allocation.port)
    with pytest.raises(CapacityExhausted) as caught:
        allocate(whole, host, full, wish())
    for words in (
        "0000:03:10.0 is in use here: eth2v0 has the address 192.0.2.1/24",
        "0000:03:10.1 is in use here: eth2v1 is a port of a bridge",
        "0000:03:10.2 1/1",
    ):
        assert words in caught.value.message
    just_up = LinkFact(index=4, name="eth2", up=True, carrier=False)
    host = Facts(links={"eth2": just_up}, virtual_functions={"eth2": FUNCTIONS})
    assert allocate(whole, host, Usage(), wish()).port.plug is not None


def test_managed_bridges_share_the_load() -> None:
    """One bridge for each uplink; the first has the network's name."""
    network = read_network("""
        <network><name>n</name><forward mode='bridge'/><bridge name='br0'>
          <uplinks><interface dev='eth0'/><interface dev='eth1'/></uplinks></bridge></network>""")
    usage = Usage()
    names = []
    for _ in range(3):
        allocation, usage = give(network, facts("eth0", "eth1"), usage, wish())
        names.append(allocation.port.plug.bridge)  # type: ignore[union-attr]
    assert ["br0", "br0-1", "br0"] == names


def test_absent_bridge_is_named() -> None:
    """A network on somebody else's bridge says that the bridge is not there."""
    network = read_network(
        "<network><name>n</name><forward mode='bridge'/><bridge name='br0'/></network>"
    )
    with pytest.raises(HostError, match="'br0', which is not on this host"):
        allocate(network, Facts(), Usage(), wish())


def test_vlan_isolation_and_filters_are_inherited() -> None:
    """The guest's word comes first, then the portgroup's, then the network's."""
    network = read_network("""
        <network trustGuestRxFilters='no'><name>n</name><forward mode='nat'/>
          <bridge name='virbr0'/><vlan><tag id='1'/></vlan><port isolated='yes'/>
          <bandwidth><inbound average='1000'/></bandwidth>
          <ip address='10.0.0.1' prefix='24'/>
          <portgroup name='g' trustGuestRxFilters='yes'><vlan><tag id='2'/></vlan></portgroup>
        </network>""")

    def got(request: Request) -> tuple[object, ...]:
        port = allocate(network, Facts(), Usage(), request).port
        assert port.vlan is not None
        return port.vlan.tags[0].id, port.isolated, port.trust_guest_rx_filters, port.bandwidth

    assert (1, True, False, None) == got(wish())
    assert (2, True, True, None) == got(wish(portgroup=Text("g")))
    own = Vlan(tags=(VlanTag(id=3),))
    limit = Bandwidth(outbound=Rate(average=5))
    assert (3, False, False, limit) == got(wish(vlan=own, isolated=False, bandwidth=limit))


@pytest.mark.parametrize(
    "request_",
    [wish(vlan=Vlan(tags=(VlanTag(id=3),))), wish(isolated=True)],
)
def test_what_macvtap_cannot_do_is_refused(request_: Request) -> None:
    """Tags and isolation are for bridges."""
    network = read_network(
        "<network><name>n</name><forward mode='vepa'><interface dev='eth0'/></forward></network>"
    )
    with pytest.raises(UnsupportedConfiguration):
        allocate(network, facts("eth0"), Usage(), request_)


def test_guaranteed_bandwidth_is_a_part_of_the_networks() -> None:
    """Floors get classes, add up to no more than the network has, and need it to say how much."""
    network = read_network("""
        <network><name>n</name><forward mode='nat'/><bridge name='virbr0'/>
          <bandwidth><inbound average='100'/></bandwidth><ip address='10.0.0.1' prefix='24'/>
        </network>""")
    request = wish(bandwidth=Bandwidth(inbound=Rate(floor=40)))
    usage = Usage()
    classes = []
    for _ in range(2):
        allocation, usage = give(network, Facts(), usage, request)
        classes.append(allocation.port.bandwidth and allocation.port.bandwidth.class_id)
    assert [3, 4] == classes
    with pytest.raises(Conflict, match="80 of its 100"):
        allocate(network, Facts(), usage, request)
    with pytest.raises(UnsupportedOperation):
        allocate(NAT, Facts(), Usage(), request)


def test_a_class_is_kept() -> None:
    """A port whose limits change, or that is reclaimed, has the class it had, if that is free."""
    network = read_network("""
        <network><name>n</name><forward mode='nat'/><bridge name='virbr0'/>
          <bandwidth><inbound average='100'/></bandwidth><ip address='10.0.0.1' prefix='24'/>
        </network>""")
    promised = Bandwidth(inbound=Rate(floor=40), class_id=7)
    assert promised == allocate_bandwidth(network, Usage(), promised)
    usage = Usage(classes={"n": frozenset({3, 7})})
    assert 4 == allocate_bandwidth(network, usage, promised).class_id
    # One that tc cannot have is none; what a new port asks for is not heard.
    beyond = Bandwidth(inbound=Rate(floor=40), class_id=2**32 - 1)
    assert 4 == allocate_bandwidth(network, usage, beyond).class_id
    given = allocate(network, Facts(), Usage(), wish(bandwidth=promised)).port.bandwidth
    assert 3 == (given and given.class_id)
    # Whoever is promised nothing has none.
    plain = Bandwidth(inbound=Rate(average=40), class_id=7)
    assert allocate_bandwidth(network, usage, plain).class_id is None


def test_vde_when_asked_for() -> None:
    """A port may be on the network's VDE switch instead of its bridge."""
    network = read_network(
        "<network><name>n</name><bridge name='virbr0'/><vde group='kvm'/></network>"
    )
    path = Text("/run/jackfield/vde/n")
    assert VdePlug(path=path) == allocate(network, Facts(), Usage(), wish(vde=path)).port.plug
    bridge = NetworkPlug(bridge=InterfaceName("virbr0"))
    assert bridge == allocate(network, Facts(), Usage(), wish()).port.plug


def test_missing_identity_is_an_error_of_ours() -> None:
    """Where identifiers must be generated, the guest has to say who it is."""
    with pytest.raises(JackfieldError, match="uuid and the interface's MAC"):
        allocate(QBG, facts("eth0"), Usage(), Request())
