"""Stand-ins: what libvirt has under the name of a network of ours."""

from __future__ import annotations

from uuid import UUID

import pytest

from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.errors import UnsupportedConfiguration
from jackfield.plan.standin import stand_in, stands_in

ROUTED = """
<network>
  <name>red</name>
  <uuid>00000000-0000-0000-0000-00000000000a</uuid>
  <forward mode='nat'/>
  <bridge name='red0' stp='on' delay='0'/>
  <mtu size='9000'/>
  <mac address='52:54:00:00:00:0a'/>
  <bandwidth><inbound average='1000'/></bandwidth>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp><range start='10.0.0.10' end='10.0.0.99'/></dhcp>
  </ip>
  <portgroup name='gold'><bandwidth><inbound average='100'/></bandwidth></portgroup>
</network>
"""
SWITCHED = """
<network>
  <name>blue</name>
  <uuid>00000000-0000-0000-0000-00000000000b</uuid>
  <forward mode='bridge'/>
  <bridge name='ovs0'/>
  <vlan><tag id='42'/></vlan>
  <virtualport type='openvswitch'/>
</network>
"""
OVER_UPLINKS = """
<network>
  <name>green</name>
  <uuid>00000000-0000-0000-0000-00000000000c</uuid>
  <forward mode='bridge'/>
  <bridge name='br0'><uplinks>{}</uplinks></bridge>
</network>
"""


def test_guests_alone_are_libvirts() -> None:
    """Subnets, services and limits of the whole network are left to us; a guest's are there."""
    shown = write_network(stand_in(read_network(ROUTED)), inactive=True)
    assert (
        """<network>
  <name>red</name>
  <uuid>00000000-0000-0000-0000-00000000000a</uuid>
  <forward mode='bridge'/>
  <bridge name='red0'/>
  <portgroup name='gold'>
    <bandwidth>
      <inbound average='100'/>
    </bandwidth>
  </portgroup>
</network>
"""
        == shown
    )


def test_a_switch_and_its_vlan_are_kept() -> None:
    """A guest that lost its VLAN would be in somebody else's."""
    shown = write_network(stand_in(read_network(SWITCHED)), inactive=True)
    assert "<virtualport type='openvswitch'/>" in shown
    assert "<tag id='42'/>" in shown


@pytest.mark.parametrize(
    "text",
    [
        "<network><name>direct</name><forward mode='vepa' dev='eth0'/></network>",
        OVER_UPLINKS.format("<interface dev='eth0'/><interface dev='eth1'/>"),
    ],
    ids=["macvtap", "two bridges"],
)
def test_what_has_no_one_bridge(text: str) -> None:
    """Which bridge, or which NIC, is our choice for each guest, and libvirt does not ask."""
    with pytest.raises(UnsupportedConfiguration, match="not plugged into one bridge"):
        stand_in(read_network(text))


@pytest.mark.parametrize("text", [ROUTED, OVER_UPLINKS.format("<interface dev='eth0'/>")])
def test_a_stand_in_is_known_again(text: str) -> None:
    """As long as it has the network's uuid and bridge."""
    ours = read_network(text)
    theirs = read_network(write_network(stand_in(ours), inactive=True))
    assert stands_in(theirs, ours)
    other = UUID("00000000-0000-0000-0000-0000000000ff")
    assert not stands_in(read_network(text.replace(str(ours.uuid), str(other))), ours)
