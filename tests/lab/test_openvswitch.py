"""Networks on Open vSwitch, with the datapath in user space: to us the kernel's is the same.

::

    guests a, b, c (namespaces)    ┌ host ───────────────────────────┐
      eth0 ── veth ───────────────▶│ jfXXXXXXXXXX ── br0 (not ours)  │
                                   │                                 │
      eth0 ── veth ───────────────▶│ jfXXXXXXXXXX ┐                  │
                                   │              ovs-out (ours)     │
                                   │              └ eth0 ────────────┼── LAN ── outside
                                   └─────────────────────────────────┘          192.0.2.1
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jackfield.client import Client
from tests.lab import libvirtd
from tests.lab.crash import CrashingDaemon, Operation, crash_everywhere, crash_twice
from tests.lab.daemon import Daemon
from tests.lab.flow import EchoServer, TcpFlow
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.openvswitch import OUT, PLACE, OpenVSwitch
from tests.lab.packets import ping, udp_packet
from tests.lab.switch import Lan, add_address
from tests.lab.troubles import problem
from tests.lab.virsh import CONFIG, URI
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("open_vswitch")]

SHOWN = pytest.mark.shows("bridge of Open vSwitch", "guests in namespaces")
NETNS_A = ("--netns", "a", "--ifname", "eth0")
NETNS_B = ("--netns", "b", "--ifname", "eth0")

RED = """
<network>
  <name>red</name>
  <forward mode='bridge'/>
  <bridge name='br0'/>
  <virtualport type='openvswitch'/>
  <portgroup name='plain' default='yes'/>
  <portgroup name='blue'><vlan><tag id='42'/></vlan></portgroup>
  <portgroup name='green'><vlan><tag id='43'/></vlan></portgroup>
  <portgroup name='both'>
    <vlan trunk='yes'><tag id='42'/><tag id='43' nativeMode='untagged'/></vlan>
  </portgroup>
  <portgroup name='slow'>
    <virtualport type='openvswitch'><parameters profileid='web'/></virtualport>
    <bandwidth><inbound average='500' peak='1000' burst='64'/></bandwidth>
  </portgroup>
  <portgroup name='polite'><bandwidth><outbound average='500'/></bandwidth></portgroup>
</network>
"""


@pytest.fixture
def switch(host: Host) -> Iterator[OpenVSwitch]:
    """Give the host an Open vSwitch with a bridge of somebody else."""
    with OpenVSwitch(host, PLACE, host.file(PLACE)) as running:
        add_bridge(running)
        yield running


@pytest.fixture
def red(switch: OpenVSwitch, daemon: Daemon) -> None:
    """Start the network red on the bridge of somebody else."""
    daemon.cli("define", daemon.document(RED))
    daemon.cli("start", "red")


@pytest.fixture
def cable(host: Host, lan: Lan, outside: Host) -> str:
    """Plug the host into the LAN, without addresses; return the switch's end."""
    assert outside.name == "outside"
    return lan.plug(host, "eth0")


def add_bridge(switch: OpenVSwitch) -> None:
    """Make the bridge br0, as an administrator would."""
    switch.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")


def plug(daemon: Daemon, network: str, guest: Guest, address: str, *words: str) -> dict[str, Any]:
    """Plug a guest in, give it an address, and return the port."""
    where = ("--netns", guest.name, "--ifname", "eth0")
    port: dict[str, Any] = daemon.cli("attach", network, *where, *words, json=True)
    add_address(guest, "eth0", address)
    return port


def guards(host: Host) -> set[str]:
    """Return the chains, and with one the table, that keep frames from the host."""
    found = [item.get("table") or item.get("chain") for item in host.nft()]
    return {item["name"] for item in found if item and item["family"] == "netdev"}


def interface(switch: OpenVSwitch, device: str) -> dict[str, Any]:
    """Return a device's row of the table Interface."""
    row = switch.row("Interface", device)
    assert row is not None
    return row


@SHOWN
def test_vlans_are_apart(host: Host, daemon: Daemon, switch: OpenVSwitch, red: None) -> None:
    """Guests of VLAN 42 talk, 42 and 43 do not; a trunk carries both, 43 without a tag."""
    a, b, c, both = (host.guest(name) for name in ("a", "b", "c", "both"))
    plug(daemon, "red", a, "10.0.0.1/24", "--portgroup", "blue")
    plug(daemon, "red", b, "10.0.0.2/24", "--portgroup", "blue")
    plug(daemon, "red", c, "10.0.0.3/24", "--portgroup", "green")
    trunk = plug(daemon, "red", both, "10.0.0.4/24", "--portgroup", "both")
    assert ping(a, "10.0.0.2", tries=10) is not None
    assert ping(a, "10.0.0.3") is None
    assert ping(c, "10.0.0.1") is None
    assert ping(both, "10.0.0.3", tries=10) is not None
    assert ping(both, "10.0.0.1") is None
    # With a tag of its own the trunk speaks to the others.
    packet = udp_packet("10.0.0.9", "10.0.0.1", 4000, 7, b"tagged")
    addresses = bytes.fromhex((a.mac() + both.mac()).replace(":", ""))
    frame = addresses + struct.pack("!HHH", 0x8100, 42, 0x0800) + packet
    with EchoServer(a) as server, both.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
        wire.bind(("eth0", 0))
        wire.send(frame)
        wait_for(lambda: server.seen("udp"), 5, "the tagged frame")
        assert [b"tagged"] == [one.payload for one in server.seen("udp")]
    row = switch.row("Port", trunk["device"])
    assert row is not None
    assert ("native-untagged", 43, [42, 43]) == (row["vlan_mode"], row["tag"], row["trunks"])


def test_vlans_follow_their_portgroup(
    host: Host, daemon: Daemon, switch: OpenVSwitch, red: None
) -> None:
    """A portgroup's other tag is that of the ports that are plugged in, and no packet is lost."""
    a, b = host.guest("a"), host.guest("b")
    device = plug(daemon, "red", a, "10.0.0.1/24", "--portgroup", "blue")["device"]
    plug(daemon, "red", b, "10.0.0.2/24", "--portgroup", "green")
    assert ping(a, "10.0.0.2") is None
    daemon.cli("define", daemon.document(RED.replace("'42'", "'43'", 1)))
    (step,) = daemon.cli("plan", "red", json=True)["steps"]
    assert ("change", f"ovs-port:{device}") == (step["action"], step["key"])
    assert 42 == (switch.row("Port", device) or {})["tag"]
    daemon.cli("apply", "red")
    assert 43 == (switch.row("Port", device) or {})["tag"]
    assert ping(a, "10.0.0.2", tries=10) is not None
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def test_tcp_gets_through(host: Host, daemon: Daemon, red: None) -> None:
    """Guests' checksums are whole, which a datapath in user space would not mend."""
    a, b = host.guest("a"), host.guest("b")
    plug(daemon, "red", a, "10.0.0.1/24")
    plug(daemon, "red", b, "10.0.0.2/24")
    assert ping(a, "10.0.0.2", tries=10) is not None
    with EchoServer(b), TcpFlow(a, "10.0.0.2") as flow:
        wait_for(lambda: flow.received > 20, 10, "records to come back")
    assert flow.error is None


def test_the_host_keeps_out(host: Host, daemon: Daemon, switch: OpenVSwitch, red: None) -> None:
    """The host does not answer for its addresses on a switch that it is no part of."""
    host.run(["ip", "addr", "add", "10.0.0.254/32", "dev", "lo"])
    a, b = host.guest("a"), host.guest("b")
    port = plug(daemon, "red", a, "10.0.0.1/24")
    plug(daemon, "red", b, "10.0.0.2/24")
    assert ping(a, "10.0.0.2", tries=10) is not None
    assert ping(a, "10.0.0.254") is None
    # It is the guard that does it.
    daemon.terminate()
    host.run(["nft", "delete", "chain", "netdev", "jackfield", port["device"]])
    host.run(["ip", "route", "add", "10.0.0.0/24", "dev", port["device"]])
    assert ping(a, "10.0.0.254", tries=10) is not None
    daemon.start()
    assert ping(a, "10.0.0.254") is None
    host.run(["nft", "flush", "ruleset"])
    wait_for(lambda: 3 == len(guards(host)), 5, "the guards to be back")
    daemon.cli("detach", "a")
    daemon.cli("detach", "b")
    assert set() == guards(host)


def test_what_the_switch_is_told(
    daemon: Daemon, host: Host, switch: OpenVSwitch, red: None
) -> None:
    """Its identity is that of the allocation, its limit that of the portgroup; all of it goes."""
    port = plug(daemon, "red", host.guest("a"), "10.0.0.1/24", "--portgroup", "slow")
    (listed,) = daemon.cli("ports", json=True)
    assert {
        "attached-mac": port["mac"],
        "iface-id": listed["virtualport"]["interface_id"],
        "iface-status": "active",
        "ifname": port["device"],
        "port-profile": "web",
        "vm-id": listed["owner"]["uuid"],
        "jackfield": f"port:{port['uuid']}",
        "jackfield-state": interface(switch, port["device"])["external_ids"]["jackfield-state"],
    } == interface(switch, port["device"])["external_ids"]
    (queue,) = switch.rows("Queue")
    assert {"min-rate": "4096000", "max-rate": "8192000", "burst": "524288"} == queue[
        "other_config"
    ]
    assert "ceil 8192Kbit" in host.run(["tc", "class", "show", "dev", port["device"]]).stdout
    daemon.cli("detach", "a")
    assert set() == switch.ports("br0")
    assert ([], []) == (switch.rows("QoS"), switch.rows("Queue"))


def test_a_tap(daemon: Daemon, host: Host, switch: OpenVSwitch, red: None) -> None:
    """A tap is a port like any other, and has the MTU of the bridge."""
    host.run(["ip", "link", "set", "br0", "mtu", "1400"])
    daemon.cli("attach", "red", "--tap", "tap0", "--portgroup", "blue")
    row = switch.row("Port", "tap0")
    assert row is not None
    assert ("access", 42) == (row["vlan_mode"], row["tag"])
    assert [] == interface(switch, "tap0")["error"]
    (link,) = host.ip("link", "show", "tap0")
    assert (1400, True) == (link["mtu"], "UP" in link["flags"])
    daemon.cli("detach", "tap0")
    assert set() == switch.ports("br0")
    assert "tap0" not in host.links()


def test_a_killed_daemon_drops_nothing(
    host: Host, daemon: Daemon, switch: OpenVSwitch, red: None
) -> None:
    """Guests talk on, the next daemon finds all as it was; what lost its guest meanwhile goes."""
    a, b, gone = (host.guest(name) for name in ("a", "b", "gone"))
    first = plug(daemon, "red", a, "10.0.0.1/24")
    plug(daemon, "red", b, "10.0.0.2/24")
    lost = plug(daemon, "red", gone, "10.0.0.3/24", "--portgroup", "slow")
    assert ping(a, "10.0.0.2", tries=10) is not None
    before = switch.row("Port", first["device"])
    with EchoServer(b), TcpFlow(a, "10.0.0.2") as flow:
        daemon.kill9()
        received = flow.received
        wait_for(lambda: flow.received > received + 20, 10, "records without a daemon")
        gone.delete()
        wait_for(lambda: lost["device"] not in host.links(), 10, "the guest's device to go")
        daemon.start()
    assert flow.error is None
    assert before == switch.row("Port", first["device"])
    assert lost["device"] not in switch.ports("br0")
    assert [] == switch.rows("QoS")
    assert [] == [entry for entry in daemon.log() if "mended" in entry["message"]]
    for name in ("a", "b", "gone"):
        daemon.cli("detach", name)
    assert set() == switch.ports("br0")


def test_without_open_vswitch(host: Host, daemon: Daemon, switch: OpenVSwitch, red: None) -> None:
    """The error names the socket; what is detached meanwhile is removed before the next port."""
    a, b = host.guest("a"), host.guest("b")
    plug(daemon, "red", a, "10.0.0.1/24")
    switch.stop("ovsdb-server")
    refused = daemon.cli("attach", "red", *NETNS_B, check=False)
    assert 7 == refused.returncode
    assert "Open vSwitch does not run on this host: nobody listens at" in refused.stderr
    assert f"{PLACE}/db.sock" in refused.stderr
    host.file(PLACE / "db.sock").unlink()
    refused = daemon.cli("attach", "red", *NETNS_B, check=False)
    assert f"there is no socket {PLACE}/db.sock" in refused.stderr
    assert "hint: start its service" in refused.stderr
    assert 1 == len(daemon.cli("ports", json=True))
    daemon.cli("detach", "a")
    switch.start_database()
    wait_for(lambda: not switch.ports("br0"), 20, "what was detached to be gone")
    port = plug(daemon, "red", b, "10.0.0.2/24")
    assert {port["device"]} == switch.ports("br0")


@pytest.mark.parametrize("killed", [False, True])
def test_a_tap_of_the_same_name(
    host: Host, daemon: Daemon, switch: OpenVSwitch, red: None, killed: bool
) -> None:
    """What was detached while Open vSwitch was away is not in the way, nor left for ever."""
    for name in ("t1", "t2"):
        daemon.cli("attach", "red", "--tap", name)
    switch.stop("ovs-vswitchd")
    switch.stop("ovsdb-server")
    for name in ("t1", "t2"):
        daemon.cli("detach", name)
    if killed:
        daemon.kill9()
        daemon.start()
    switch.start_database()
    switch.start_switch()
    daemon.cli("attach", "red", "--tap", "t1")
    assert {"t1"} == switch.ports("br0")


def test_a_lost_database(host: Host, daemon: Daemon, switch: OpenVSwitch, red: None) -> None:
    """A restart of Open vSwitch loses nothing; after a reset our rows are put back.

    By themselves when it works again, or by the daemon's next start.
    """
    a, b = host.guest("a"), host.guest("b")
    plug(daemon, "red", a, "10.0.0.1/24", "--portgroup", "blue")
    plug(daemon, "red", b, "10.0.0.2/24", "--portgroup", "blue")
    assert ping(a, "10.0.0.2", tries=10) is not None

    def restart(*, empty: bool) -> None:
        for program in ("ovs-vswitchd", "ovsdb-server"):
            switch.stop(program)
        if empty:
            switch.make_database()
        switch.start_database()
        switch.vsctl("--no-wait", "init")
        switch.start_switch()
        if empty:
            add_bridge(switch)

    restart(empty=False)
    assert ping(a, "10.0.0.2", tries=10) is not None
    restart(empty=True)
    wait_for(lambda: 2 == len(switch.ports("br0")), 20, "the ports to be back")
    assert ping(a, "10.0.0.2", tries=10) is not None
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    restart(empty=True)
    daemon.kill9()
    daemon.start()
    assert ping(a, "10.0.0.2", tries=10) is not None


def test_one_of_its_programs_dies(
    host: Host, daemon: Daemon, switch: OpenVSwitch, red: None
) -> None:
    """The network names what does not run, and is well again when it does."""
    plug(daemon, "red", host.guest("a"), "10.0.0.1/24")
    words = "Open vSwitch does not work: "
    switch.stop("ovs-vswitchd")
    wait_for(lambda: problem(daemon).startswith(f"{words}ovs-vswitchd "), 20, "the problem")
    assert "ovs-vswitchd does not run" in daemon.cli("list")
    # Who asks does not keep it from starting.
    switch.start_switch()
    wait_for(lambda: not problem(daemon), 20, "the network to be well again")
    assert ["network-problem", "network-repaired"] == events(daemon)[-2:]
    switch.stop("ovsdb-server")
    wait_for(lambda: f"nobody listens at {PLACE}/db.sock" in problem(daemon), 20, "the problem")
    # What somebody takes from the database before it is there again is put back.
    switch.stop("ovs-vswitchd")
    switch.make_database()
    switch.start_database()
    switch.vsctl("--no-wait", "init")
    add = ("--no-wait", "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    switch.vsctl(*add)
    wait_for(lambda: problem(daemon).startswith(f"{words}ovs-vswitchd "), 20, "the problem")
    switch.start_switch()
    wait_for(lambda: 1 == len(ports_of(switch, "br0")), 20, "the port to be back")
    wait_for(lambda: not problem(daemon), 20, "the network to be well again")
    assert "network-repaired" == events(daemon)[-1]


def test_one_of_its_programs_hangs(
    host: Host, daemon: Daemon, switch: OpenVSwitch, red: None
) -> None:
    """An ovs-vswitchd that is there and does nothing is told of, and so is that it is well."""
    plug(daemon, "red", host.guest("a"), "10.0.0.1/24")
    (pid,) = switch.pids("ovs-vswitchd")
    os.kill(int(pid), signal.SIGSTOP)
    try:
        said = wait_for(lambda: problem(daemon), 30, "the network to say so")
    finally:
        os.kill(int(pid), signal.SIGCONT)
    assert "ovs-vswitchd has not answered" in said
    assert "restart its service" in said
    wait_for(lambda: not problem(daemon), 20, "the network to be well again")
    assert ["network-problem", "network-repaired"] == events(daemon)[-2:]


def test_what_is_refused(host: Host, daemon: Daemon, switch: OpenVSwitch, red: None) -> None:
    """Each refusal names what is at fault, and nothing of the port is left."""
    host.guest("a")
    switch.vsctl("--no-wait", "add-port", "br0", "tap9")

    def refusal(*words: str) -> str:
        result = daemon.cli("attach", "red", *words, check=False)
        assert result.returncode
        return str(result.stderr)

    told = refusal("--tap", "tap9")
    assert "port tap9 of Open vSwitch bridge br0 is in the way and is not ours" in told
    told = refusal(*NETNS_A, "--portgroup", "polite")
    assert "bridge br0 of Open vSwitch has its datapath in user space" in told
    switch.vsctl("del-br", "br0")
    told = refusal(*NETNS_A)
    assert "Open vSwitch has no bridge br0" in told
    assert [] == daemon.cli("ports", json=True)
    # The devices of the bridge went with it.
    assert {"lo"} == host.links()


def test_a_bridge_of_the_other_kind(host: Host, daemon: Daemon, switch: OpenVSwitch) -> None:
    """A network that no port could be on is not started; the bridge in its place is named."""
    host.run(["ip", "link", "add", "br1", "type", "bridge"])
    plain = "<network><name>plain</name><forward mode='bridge'/><bridge name='br0'/></network>"
    other = RED.replace("br0", "br1")
    for name, text, words in (
        ("plain", plain, "'plain' needs a Linux bridge, and br0 is tun"),
        ("red", other, "'red' is one of Open vSwitch, and br1 is a Linux bridge"),
    ):
        daemon.cli("define", daemon.document(text))
        refused = daemon.cli("start", name, check=False)
        assert 5 == refused.returncode
        assert words in refused.stderr
        assert "hint: " in refused.stderr


def test_stopping_a_network_on_anothers_bridge(
    host: Host, daemon: Daemon, switch: OpenVSwitch, red: None
) -> None:
    """As on a Linux bridge of somebody else, guests stay plugged in and talk."""
    a, b = host.guest("a"), host.guest("b")
    plug(daemon, "red", a, "10.0.0.1/24")
    plug(daemon, "red", b, "10.0.0.2/24")
    daemon.cli("stop", "red")
    assert ping(a, "10.0.0.2", tries=10) is not None
    daemon.cli("start", "red")
    assert 2 == len(switch.ports("br0"))
    assert ping(a, "10.0.0.2", tries=10) is not None


@SHOWN
def test_a_bridge_of_ours(
    host: Host, daemon: Daemon, switch: OpenVSwitch, cable: str, outside: Host
) -> None:
    """A guest reaches the LAN; a stop gives the uplink back, a start finds guests and strangers."""
    assert cable
    (link,) = host.ip("link", "show", "eth0")
    assert 1500 == link["mtu"]
    host.run(["ip", "link", "set", "eth0", "down"])
    daemon.cli("define", daemon.document(OUT))
    daemon.cli("start", "out")
    row = switch.row("Bridge", "ovs-out")
    assert row is not None
    assert "netdev" == row["datapath_type"]
    a = host.guest("a")
    plug(daemon, "out", a, "192.0.2.77/24")
    assert ping(a, "192.0.2.1", tries=10) is not None
    (link,) = host.ip("link", "show", "eth0")
    assert (1450, True) == (link["mtu"], "UP" in link["flags"])
    host.run(["ip", "link", "add", "stranger", "type", "veth", "peer", "name", "theirs"])
    switch.vsctl("add-port", "ovs-out", "stranger", "tag=7")
    daemon.kill9()
    daemon.start()
    assert [] == [entry for entry in daemon.log() if "mended" in entry["message"]]

    daemon.cli("stop", "out")
    assert ["br0"] == (switch.vsctl("list-br") or "").split()
    assert "ovs-out" not in host.links()
    (link,) = host.ip("link", "show", "eth0")
    assert (1500, False) == (link["mtu"], "UP" in link["flags"])
    daemon.cli("start", "out")
    assert ping(a, "192.0.2.1", tries=10) is not None
    stranger = switch.row("Port", "stranger")
    assert stranger is not None
    assert 7 == stranger["tag"]
    daemon.cli("detach", "a")
    daemon.cli("stop", "out")
    assert set() == guards(host)


@pytest.mark.parametrize("killed", [False, True])
def test_stopped_while_open_vswitch_is_away(
    host: Host, daemon: Daemon, switch: OpenVSwitch, cable: str, outside: Host, killed: bool
) -> None:
    """The next start works at once, when what was left over there is only being removed."""
    assert cable
    assert "outside" == outside.name
    daemon.cli("apply", daemon.document(OUT))
    a = host.guest("a")
    plug(daemon, "out", a, "192.0.2.77/24")
    for program in ("ovs-vswitchd", "ovsdb-server"):
        switch.stop(program)
    daemon.cli("stop", "out")
    if killed:
        daemon.kill9()
        daemon.start()
    switch.start_database()
    switch.start_switch()
    wait_for(lambda: "ovs-out" in host.links(), 10, "the bridge to be there again")
    daemon.cli("start", "out")
    assert ping(a, "192.0.2.1", tries=10) is not None
    daemon.cli("detach", "a")
    daemon.cli("stop", "out")
    assert "ovs-out" not in host.links()


def test_an_uplink_with_an_address(
    host: Host, daemon: Daemon, switch: OpenVSwitch, cable: str
) -> None:
    """It is refused and named, and so is an uplink that is another switch's."""
    assert cable
    add_address(host, "eth0", "192.0.2.10/24")
    daemon.cli("define", daemon.document(OUT))
    refused = daemon.cli("start", "out", check=False)
    assert "uplink eth0 has the address 192.0.2.10/24, which would have to move" in refused.stderr
    host.run(["ip", "addr", "flush", "dev", "eth0"])
    switch.vsctl("add-port", "br0", "eth0")
    refused = daemon.cli("start", "out", check=False)
    assert "port eth0 of Open vSwitch bridge br0 is in the way" in refused.stderr
    assert {"eth0"} == switch.ports("br0")
    switch.vsctl("del-port", "br0", "eth0")
    switch.vsctl("add-br", "ovs-out", "--", "set", "Bridge", "ovs-out", "datapath_type=netdev")
    refused = daemon.cli("start", "out", check=False)
    assert "Open vSwitch bridge ovs-out is in the way" in refused.stderr
    assert set() == switch.ports("ovs-out")


def test_libvirts_clients(host: Host, switch: OpenVSwitch) -> None:
    """virsh sees libvirt's own words; a port of libvirt's own drivers is put there by them."""
    reason = libvirtd.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    libvirtd.use_stock_programs(host)
    with Daemon(host, config=CONFIG) as daemon:
        daemon.cli("define", daemon.document(RED))
        daemon.cli("start", "red")
        shown = host.run(["virsh", "-q", "-c", URI, "net-dumpxml", "red"]).stdout
        assert "<virtualport type='openvswitch'/>" in shown
        assert "<bridge name='br0'/>" in shown
        assert "<tag id='43' nativeMode='untagged'/>" in shown
        program = Path(__file__).with_name("libvirt_client.py")
        made = json.loads(host.run(["/usr/bin/python3", str(program), "port", URI]).stdout)
        assert "<virtualport type='openvswitch'>" in made["xml"]
        owner = "00000000-0000-0000-0000-000000000005"
        (listed,) = daemon.cli("ports", json=True)
        assert owner == listed["owner"]["uuid"]
        identifier = listed["virtualport"]["interface_id"]
        assert f"interfaceid='{identifier}'" in made["xml"]
        assert "<plug type='bridge' bridge='br0'" in made["xml"]
        assert set() == switch.ports("br0")


UUID = "6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c3d"


@pytest.fixture
def crashing(host: Host, switch: OpenVSwitch, lan: Lan) -> Iterator[CrashingDaemon]:
    """Give a daemon that can be armed, and an uplink without addresses."""
    # An address that is still being checked would be another thing each time it is looked at.
    host.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
    lan.plug(host, "eth0")
    host.guest("a")

    def rows() -> list[str]:
        columns = {"Port": "name,tag,external_ids", "Bridge": "name,external_ids"}
        told = [
            switch.vsctl(f"--columns={columns.get(table, 'external_ids')}", "list", table) or ""
            for table in ("Port", "Bridge", "QoS", "Queue")
        ]
        return sorted(row for text in told for row in text.split("\n\n"))

    with (
        tempfile.TemporaryDirectory(prefix="jackfield-") as state,
        CrashingDaemon(host, Path(state)) as daemon,
    ):
        daemon.probe = rows
        yield daemon


def define(client: Client, text: str) -> None:
    """Define a network."""
    client.request("POST", "/v1/networks", text.replace("</name>", f"</name><uuid>{UUID}</uuid>"))


def attach(client: Client) -> None:
    """Plug the guest's namespace in, with a limit."""
    body = {"netns": "a", "ifname": "eth0", "mac": "52:54:00:aa:bb:01", "portgroup": "slow"}
    client.request("POST", "/v1/networks/red/ports", body)


def detach(client: Client) -> None:
    """Unplug the guest."""
    client.request("DELETE", "/v1/ports/a")


def test_attach_is_whole_or_has_not_been(crashing: CrashingDaemon) -> None:
    """Killed anywhere, no device, guard or row is left of a port that was not acknowledged."""
    define(crashing.client, RED)
    crashing.client.request("POST", "/v1/networks/red/start")
    acts = crash_everywhere(crashing, Operation(do=attach, undo=detach))
    assert any("Open vSwitch" in act for act in acts)
    crash_twice(crashing, Operation(do=attach, undo=detach), at=len(acts))


def test_detach_is_whole_or_has_not_been(crashing: CrashingDaemon) -> None:
    """The same when it goes."""
    define(crashing.client, RED)
    crashing.client.request("POST", "/v1/networks/red/start")
    attach(crashing.client)
    crash_everywhere(crashing, Operation(do=detach, undo=attach))


def start(client: Client) -> None:
    """Start the network on a bridge of ours."""
    client.request("POST", "/v1/networks/out/start")


def stop(client: Client) -> None:
    """Stop it."""
    client.request("POST", "/v1/networks/out/stop")


def test_a_bridges_start_is_whole_or_has_not_been(crashing: CrashingDaemon) -> None:
    """Bridge, uplink, and what the uplink was before: all of it, or none."""
    define(crashing.client, OUT)
    acts = crash_everywhere(crashing, Operation(do=start, undo=stop))
    crash_twice(crashing, Operation(do=start, undo=stop), at=len(acts))


def test_a_bridges_stop_is_whole_or_has_not_been(crashing: CrashingDaemon) -> None:
    """The same when it goes."""
    define(crashing.client, OUT)
    start(crashing.client)
    crash_everywhere(crashing, Operation(do=stop, undo=start))


def ports_of(switch: OpenVSwitch, bridge: str) -> set[str]:
    """Return the names of a bridge's ports; none where there is no bridge."""
    return set((switch.vsctl("list-ports", bridge, check=False) or "").split())


def events(daemon: Daemon) -> list[str]:
    """Return the types of all events so far."""
    lines = daemon.cli("events", "--no-follow", "--since", "0", "--json").splitlines()
    return [json.loads(line)["type"] for line in lines]


def test_a_removed_bridge_of_ours_is_made_again(
    host: Host, outside: Host, daemon: Daemon, switch: OpenVSwitch, cable: str
) -> None:
    """Somebody's ``del-br`` is mended: the uplink and the guests are ports of it again."""
    daemon.cli("apply", daemon.document(OUT))
    a = host.guest("a")
    plug(daemon, "out", a, "192.0.2.21/24")
    before = switch.ports("ovs-out")
    assert ping(a, "192.0.2.1", tries=10) is not None
    switch.vsctl("del-br", "ovs-out")
    wait_for(lambda: before == ports_of(switch, "ovs-out"), 10, "the bridge and its ports")
    assert ping(a, "192.0.2.1", tries=10) is not None
    wait_for(lambda: "network-repaired" in events(daemon), 10, "the event")
    assert "" == problem(daemon)
    # The same when its database can be asked for nothing, and later can.
    switch.stop("ovsdb-server")
    switch.stop("ovs-vswitchd")
    host.run(["ip", "link", "del", "ovs-out"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    switch.start_database()
    switch.start_switch()
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert ping(a, "192.0.2.1", tries=10) is not None


def test_a_removed_bridge_of_others_is_told_of(
    host: Host, daemon: Daemon, switch: OpenVSwitch, red: None
) -> None:
    """A network says that its bridge is gone, and has its ports again on another of that name."""
    device = plug(daemon, "red", host.guest("a"), "10.0.0.1/24")["device"]
    switch.vsctl("del-br", "br0")
    wait_for(lambda: "br0" in problem(daemon), 10, "the network to say so")
    add_bridge(switch)
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    wait_for(lambda: {device} == switch.ports("br0"), 10, "the port to be back")
