"""Conversion: older forms of networks, and guests that name their host."""

from __future__ import annotations

import json

import pytest

from jackfield.document.convert import checked, convert, read_definition, write_definition
from jackfield.document.guest import read_guest
from jackfield.document.json import network_from_json, network_to_builtins
from jackfield.document.reader import read_network
from jackfield.errors import DocumentError, InvalidRequest
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName, NetworkName


def test_pool_with_limits_becomes_portgroups() -> None:
    """Each ``maxConnect`` is a portgroup's count; the rest share one without a limit."""
    old = """
        <network type='direct'><name>red-network</name><source mode='vepa'/>
          <pool><interface name='eth10' maxConnect='10'/><interface name='eth11'/>
            <interface name='eth12' maxConnect='5'/><interface name='eth13'/></pool>
          <virtualport type='802.1Qbg'><parameters typeid='7'/></virtualport></network>"""
    network = read_network(convert(old, "libvirt"))
    assert Mode.VEPA == network.mode
    assert ["eth10", "eth11", "eth12", "eth13"] == [
        one.dev for one in network.uplinks if isinstance(one, DeviceUplink)
    ]
    assert [
        ("portgroup0", 10, ("eth10",)),
        ("portgroup1", 5, ("eth12",)),
        ("portgroup2", None, ("eth11", "eth13")),
    ] == [
        (one.name, one.count, tuple(up.dev for up in one.uplinks if isinstance(up, DeviceUplink)))
        for one in network.portgroups
    ]
    assert network.virtualport is not None


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("<source dev='eth0'/>", Mode.VEPA),
        ("<source dev='eth0' mode='private'/>", Mode.PRIVATE),
        ("<source dev='eth0' mode='bridge'/>", Mode.MACVTAP_BRIDGE),
        ("<source dev='eth0' mode='passthrough'/>", Mode.PASSTHROUGH),
    ],
)
def test_older_direct_network(source: str, mode: Mode) -> None:
    """A single interface and a mode."""
    old = f"<network type='direct'><name>n</name>{source}</network>"
    network = read_network(convert(old, "layered"))
    assert (mode, ()) == (network.mode, network.portgroups)
    assert (DeviceUplink(dev=InterfaceName("eth0")),) == network.uplinks


def test_older_forms_are_for_convert_only() -> None:
    """Everybody else is told so, rather than given a network without its uplinks."""
    old = "<network type='direct'><name>n</name><source dev='eth0'/></network>"
    with pytest.raises(DocumentError) as caught:
        read_definition(old)
    assert "jackfield convert turns it into the present one" == caught.value.hint


def test_older_bridge_network() -> None:
    """A bridge that somebody else made."""
    old = "<network type='bridge'><name>n</name><source bridge='br0'/></network>"
    network = read_network(convert(old, "layered"))
    assert network.bridge is not None
    assert (Mode.BRIDGE, "br0") == (network.mode, network.bridge.name)


@pytest.mark.parametrize(
    "old",
    [
        "<network type='pudding'><name>n</name></network>",
        "<network type='direct'><name>n</name></network>",
        "<network type='bridge'><name>n</name><source/></network>",
        "<network type='direct'><name>n</name><source dev='e'/><forward/></network>",
        "<network type='direct'><name>n</name><pool><interface/></pool></network>",
        "<volume/>",
    ],
)
def test_older_forms_are_checked(old: str) -> None:
    """What cannot be understood is an error, not a guess."""
    with pytest.raises(DocumentError):
        convert(old, "libvirt")


GUEST = """
<domain type='kvm'>
  <name>web</name>
  <uuid>d54df46f-1ab5-4a22-8618-4560ef5fac2c</uuid>
  <devices>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <source bridge='br0'/>
      <target dev='vnet0'/>
      <model type='virtio'/>
    </interface>
    <interface type='direct'>
      <mac address='52:54:00:00:00:02'/>
      <source dev='eth0' mode='vepa'/>
      <virtualport type='802.1Qbg'>
        <parameters managerid='11' typeid='1193047' typeidversion='2'
                    instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>
      </virtualport>
      <bandwidth><inbound average='5'/></bandwidth>
    </interface>
    <interface type='direct'>
      <mac address='52:54:00:00:00:03'/>
      <source dev='eth0' mode='vepa'/>
    </interface>
    <interface type='network'><source network='default'/></interface>
    <disk type='file'/>
  </devices>
</domain>"""


def _split(text: str, root: str) -> tuple[list[Network], str]:
    head, mark, tail = text.partition(f"<{root}")
    parts = [part + "</network>" for part in head.split("</network>")[:-1]]
    return [read_network(part) for part in parts], mark + tail


def test_guest_becomes_independent_of_its_host() -> None:
    """What names the host moves to networks; what is left is accepted by our own reader."""
    networks, domain = _split(convert(GUEST, "libvirt"), "domain")
    assert ["bridge-br0", "direct-eth0-vepa", "direct-eth0-vepa-2"] == [
        one.name for one in networks
    ]
    assert [Mode.BRIDGE, Mode.VEPA, Mode.VEPA] == [one.mode for one in networks]
    profile = networks[1].virtualport
    assert profile is not None
    assert (11, 1193047, 2, None) == (
        profile.manager_id,
        profile.type_id,
        profile.type_id_version,
        profile.instance_id,
    )
    guest = read_guest(domain)
    assert ["bridge-br0", "direct-eth0-vepa", "direct-eth0-vepa-2", "default"] == [
        one.network for one in guest.interfaces
    ]
    kept = guest.interfaces[1].virtualport
    assert kept is not None
    assert (None, "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f") == (kept.type, str(kept.instance_id))
    assert guest.interfaces[1].bandwidth is not None
    assert "virtio" in domain
    assert "<disk" in domain
    assert "vnet0" not in domain


def test_lone_interface_and_json() -> None:
    """An interface alone works too; as JSON the networks stand beside the guest's text."""
    text = "<interface type='bridge'><source bridge='br0'/></interface>"
    networks, interface = _split(convert(text, "layered"), "interface")
    assert read_guest(interface).interfaces[0].network == networks[0].name
    found = json.loads(convert(text, "json"))
    assert "bridge-br0" == found["networks"][0]["name"]
    assert "bridge-br0" == read_guest(found["interface"]).interfaces[0].network


def test_json_is_checked_like_a_document() -> None:
    """A value that no document can say is refused, and the missing parts are filled in."""
    network = read_definition('{"name": "n"}')
    assert read_network("<network><name>n</name></network>") == network
    for text, said in (
        ('{"name": "n", "mode": "nat"}', "mode nat but no <ip>"),
        ('{"name": "n", "vlan": {"tags": [{"id": 5000}]}}', "from 0 to 4095"),
        ('{"name": "n", "nat": {}}', "<nat>, which mode isolated"),
        ('{"name": "n", "description": "a\\rb"}', "'description'"),
        ('{"name": "n", "metadata": "<x/>"}', "metadata is a <x>"),
        ('{"name": "n", "mtu": 1}', "from 68 to"),
        ('{"name": "n", "bandwidth": {}}', "'bandwidth'"),
        ('{"nome": "n"}', "'nome' is not a field"),
        ("[]", "root element|Start tag|expected an object"),
        ('{"name": 5}', "expected text, not 5"),
        ('{"name": "n", "ipv6": 1}', "expected true or false"),
        ('{"name": "n", "mtu": -1}', "from 0"),
        ('{"name": "n", "uplinks": {}}', "expected a list"),
        ('{"name": "n", "uplinks": [{"kind": "x"}]}', r"'uplinks\[0\]'.*not one of 'device'"),
        ('{"name": "n", "uplinks": [{"kind": "device"}]}', "lacks 'dev'"),
        ('{"name": "n", "bridge": {"name": "a/b"}}', "'bridge.name'"),
        ('{"name": "n"', "not JSON"),
    ):
        with pytest.raises(DocumentError, match=said):
            read_definition(text)


def test_json_leaves_out_defaults() -> None:
    """What is not said does not stand there."""
    network = Network(name=NetworkName("n"))
    assert {"name": "n"} == network_to_builtins(network)
    assert network == network_from_json('{"name": "n", "uuid": null, "uplinks": []}')
    assert checked(network) == read_definition(write_definition(network, "json"))


def test_unknown_dialect() -> None:
    """The error lists the dialects."""
    with pytest.raises(InvalidRequest, match="no dialect 'toml'"):
        convert("<network><name>n</name></network>", "toml")  # type: ignore[arg-type]
