"""What happens to links that are ports of Open vSwitch, and what Jackfield says and does then.

::

    guest a (namespace)     ┌ host ────────────────────────────┐
      eth0 ── veth ────────▶│ jfXXXXXXXXXX ┐                   │
                            │              ovs-out (ours)      │
                            │              └ eth0 ─────────────┼── LAN ── outside
                            └──────────────────────────────────┘          192.0.2.1
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.daemon import Daemon
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.openvswitch import OUT, PLACE, OpenVSwitch
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address
from tests.lab.troubles import problem, told
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("open_vswitch")]

OUTSIDE = "192.0.2.1"


@pytest.fixture
def switch(host: Host) -> Iterator[OpenVSwitch]:
    """Give the host an Open vSwitch."""
    with OpenVSwitch(host, PLACE, host.file(PLACE)) as running:
        yield running


@pytest.fixture
def cable(lan: Lan, host: Host, outside: Host, switch: OpenVSwitch, daemon: Daemon) -> str:
    """Start the network over the host's eth0; return the LAN's end of its cable."""
    assert outside.name == "outside"
    end = lan.plug(host, "eth0")
    daemon.cli("apply", daemon.document(OUT))
    return end


@pytest.fixture
def a(host: Host, daemon: Daemon, cable: str) -> Guest:
    """Plug in a guest that reaches the LAN."""
    guest = host.guest("a")
    daemon.cli("attach", "out", "--netns", "a", "--ifname", "eth0")
    add_address(guest, "eth0", "192.0.2.21/24")
    assert ping(guest, OUTSIDE, tries=10) is not None
    return guest


def steps(daemon: Daemon, *words: str) -> list[tuple[str, str]]:
    """Return what a command says that it does, or has done: actions and keys."""
    return [(step["action"], step["key"]) for step in daemon.cli(*words, json=True)["steps"]]


def test_an_uplink_that_comes_back(
    host: Host, lan: Lan, daemon: Daemon, a: Guest, cable: str
) -> None:
    """The network says that it is gone, and frames pass by the one that has its name then."""
    lan.unplug(cable)
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert "uplink eth0 of Open vSwitch bridge ovs-out is not there" in problem(daemon)
    lan.plug(host, "eth0")
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert ping(a, OUTSIDE, tries=10) is not None
    assert 1450 == host.ip("link", "show", "dev", "eth0")[0]["mtu"]
    assert ["network-problem", "network-repaired"] == [one["type"] for one in told(daemon)]
    assert [] == steps(daemon, "plan", "out")


def test_an_uplink_that_comes_back_to_a_daemon_that_starts(
    host: Host, lan: Lan, daemon: Daemon, a: Guest, cable: str
) -> None:
    """Also when it went and came while there was no daemon, or only went."""
    daemon.terminate()
    lan.unplug(cable)
    end = lan.plug(host, "eth0")
    daemon.start()
    assert ping(a, OUTSIDE, tries=10) is not None
    daemon.terminate()
    lan.unplug(end)
    daemon.start()
    assert "eth0" in problem(daemon)
    lan.plug(host, "eth0")
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert ping(a, OUTSIDE, tries=10) is not None


def test_an_uplink_that_somebody_sets_down(host: Host, daemon: Daemon, a: Guest) -> None:
    """The network says so, until somebody sets it up, or applies it."""
    host.run(["ip", "link", "set", "eth0", "down"])
    wait_for(lambda: "eth0" in problem(daemon), 10, "the network to say so")
    assert "is not up; set it up with: jackfield apply out" in problem(daemon)
    host.run(["ip", "link", "set", "eth0", "up"])
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    host.run(["ip", "link", "set", "eth0", "down"])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    assert ("change", "link-setting:eth0 state") in steps(daemon, "apply", "out")
    assert "" == problem(daemon)
    assert ping(a, OUTSIDE, tries=10) is not None
    host.run(["ip", "link", "set", "eth0", "down"])
    host.run(["ip", "link", "set", "eth0", "name", "lan0"])
    wait_for(lambda: "another name" in problem(daemon), 10, "the network to say so")
    host.run(["ip", "link", "set", "lan0", "name", "eth0"])
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    assert ping(a, OUTSIDE, tries=10) is not None


def test_a_device_that_is_made_again(host: Host, daemon: Daemon, a: Guest) -> None:
    """Frames pass by it, although Open vSwitch had the former one of its name."""
    host.run(["ip", "link", "del", daemon.cli("ports", json=True)[0]["device"]])
    wait_for(lambda: problem(daemon), 10, "the network to say so")
    made = steps(daemon, "apply", "out")
    assert {"create", "change"} == {action for action, _ in made}
    add_address(a, "eth0", "192.0.2.21/24")
    assert ping(a, OUTSIDE, tries=10) is not None
    assert [] == steps(daemon, "plan", "out")


def test_apply_says_what_it_did_to_ports(
    daemon: Daemon, switch: OpenVSwitch, a: Guest, cable: str
) -> None:
    """What of a port was mended is a step, and what could not be is a problem."""
    device = daemon.cli("ports", json=True)[0]["device"]
    switch.vsctl("set", "Port", device, "tag=77")
    assert f"(was: {device} on Open vSwitch bridge ovs-out, VLAN 77)" in daemon.cli("plan", "out")
    assert [("change", f"ovs-port:{device}")] == steps(daemon, "apply", "out")
    switch.vsctl("del-port", device)
    assert [("create", f"ovs-port:{device}")] == steps(daemon, "apply", "out")
    assert ping(a, OUTSIDE, tries=10) is not None
    assert "nothing of the host had to change" in daemon.cli("apply", "out")


def test_ports_that_cannot_be_mended(host: Host, daemon: Daemon, switch: OpenVSwitch) -> None:
    """A start and an apply that cannot plug the guests in say so, and the network goes on so."""
    switch.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
    red = OUT.replace("<name>out", "<name>red").replace("ovs-out", "br0")
    uplinks = red[red.index("<uplinks") : red.index("</bridge>")]
    daemon.cli("apply", daemon.document(red.replace(uplinks, "")))
    host.guest("a")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    daemon.cli("stop", "red")
    switch.stop("ovsdb-server")
    said = daemon.cli("start", "red")
    assert "Network red runs on br0, but: its ports are not as they should be" in said
    assert "nobody listens at /run/openvswitch/db.sock" in problem(daemon)
    assert "but: its ports are not as they should be" in daemon.cli("apply", "red")
    assert "try again with: jackfield apply red" in problem(daemon)
    daemon.restart()
    assert "nobody listens at /run/openvswitch/db.sock" in problem(daemon)
    switch.start_database()
    assert "but:" not in daemon.cli("apply", "red")
    assert "" == problem(daemon)


def test_limits_of_a_port_that_somebody_removes(
    host: Host, daemon: Daemon, switch: OpenVSwitch, cable: str
) -> None:
    """Their rows go with the port, although nothing in the database leads to them any more."""
    limit = "<portgroup name='slow'><bandwidth><inbound average='500'/></bandwidth></portgroup>"
    daemon.cli("apply", daemon.document(OUT.replace("</network>", f"{limit}</network>")))
    attach = ("attach", "out", "--portgroup", "slow", "--netns")
    for name in "a", "b":
        host.guest(name)
        daemon.cli(*attach, name, "--ifname", "eth0")
    for port in daemon.cli("ports", json=True):
        if port["owner"]["name"] == "a":
            switch.vsctl("del-port", port["device"])
        else:
            switch.vsctl("clear", "Port", port["device"], "qos")
    daemon.cli("apply", "out")
    daemon.cli("detach", "a")
    daemon.cli("detach", "b")
    assert [] == switch.rows("QoS")
    assert [] == switch.rows("Queue")
