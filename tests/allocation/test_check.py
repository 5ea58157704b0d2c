"""What a guest would get here and now."""

from __future__ import annotations

from jackfield.allocation.check import check_guest, verdict_lines
from jackfield.allocation.usage import Usage
from jackfield.document.guest import read_guest
from jackfield.document.reader import read_network
from jackfield.errors import CapacityExhausted, NetworkNotFound, UnsupportedConfiguration
from jackfield.state.facts import Facts, LinkFact
from jackfield.web.verdicts import verdict_to_builtins

RED = read_network("""
<network><name>red</name><forward mode='passthrough' dev='eth0'/>
  <portgroup name='gold' default='yes' count='5'/></network>""")
SWITCH = read_network("""
<network><name>blue</name><forward mode='bridge'/><bridge name='ovsbr0'/>
  <vlan><tag id='42'/></vlan><virtualport type='openvswitch'/></network>""")
GUEST = read_guest("""
<domain type='kvm'><name>web</name><uuid>d54df46f-1ab5-4a22-8618-4560ef5fac2c</uuid><devices>
  <interface type='network'><mac address='52:54:00:00:00:01'/><source network='red'/></interface>
  <interface type='network'><mac address='52:54:00:00:00:02'/><source network='red'/></interface>
  <interface type='network'><mac address='52:54:00:00:00:03'/><source network='blue'/>
    <bandwidth><outbound average='10'/></bandwidth></interface>
  <interface type='network'><source network='green'/></interface>
  <interface type='bridge'><source bridge='br0'/></interface>
</devices></domain>""")
NETWORKS = {"red": RED, "blue": SWITCH}
HOST = Facts(links={"eth0": LinkFact(index=1, name="eth0"), "ovsbr0": LinkFact(index=2, name="x")})


def test_each_interface_gets_a_verdict() -> None:
    """An interface counts for those after it; each that gets nothing says why."""
    verdicts = check_guest(GUEST, NETWORKS, HOST, Usage())
    assert [
        type(None),
        CapacityExhausted,
        type(None),
        NetworkNotFound,
        UnsupportedConfiguration,
    ] == [type(one.error) for one in verdicts]
    first, _, third, *_ = verdicts
    assert [
        "network red 52:54:00:00:00:01: yes",
        "  portgroup: gold",
        "  uplink: eth0 (eth0 is brought up)",
        "  plug: macvtap over eth0, mode passthrough",
    ] == verdict_lines(first)
    assert third.allocation is not None
    port = third.allocation.port
    assert port.virtualport is not None
    assert [
        "network blue 52:54:00:00:00:03: yes",
        "  plug: bridge ovsbr0",
        f"  virtualport: openvswitch interfaceid={port.virtualport.interface_id}",
        "  vlan: 42",
        "  bandwidth: outbound average 10 KiB/s",
    ] == verdict_lines(third)
    assert "hint" in verdict_lines(verdicts[3])[1]


def test_verdicts_as_json() -> None:
    """The same for programs."""
    found = [verdict_to_builtins(one) for one in check_guest(GUEST, NETWORKS, HOST, Usage())]
    assert ("eth0", "eth0", "gold") == (
        found[0]["uplink"],
        found[0]["bring_up"],
        found[0]["port"]["group"],
    )
    assert "capacity-exhausted" == found[1]["error"]["name"]


def test_nothing_is_allocated() -> None:
    """Asking twice gives the same, and the usage is as it was."""
    usage = Usage()
    once = check_guest(GUEST, NETWORKS, HOST, usage)
    twice = check_guest(GUEST, NETWORKS, HOST, usage)
    assert [one.allocation for one in once] == [one.allocation for one in twice]
    assert Usage() == usage


def test_examples_are_called_examples() -> None:
    """A guest without a uuid gets no identifiers that could be relied upon."""
    guest = read_guest("<interface type='network'><source network='blue'/></interface>")
    (verdict,) = check_guest(guest, NETWORKS, HOST, Usage())
    assert verdict.allocation is not None
    assert "examples" in verdict.allocation.notes[0]
