"""Guests at a network's VDE switch: programs of users without privileges.

::

    anna (vde_plug2tap, of group audio) ── vde_switch ── jfv… ─┐
                                              bert (a veth) ─┼─ virbr0 ── host ─ eth0 ─ outside
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Uplink
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.flow import EchoServer, TcpFlow, go_on
from tests.lab.guest import Guest
from tests.lab.host import Host, HostProcess
from tests.lab.packets import ping
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

UUID = "0c0f7f4e-6f0e-4d61-8f5b-7f6f5a1c2b3d"
TAP = "jfv0c0f7f4e6f"
SOCKET = f"{RUN_DIR}/vde/{UUID}"
OUTSIDE = "203.0.113.1"
#: What every Debian has: a user, and a group that this user is not in.
USER, GROUP = "games", "audio"

DOCUMENT = f"""
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name><uuid>{UUID}</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='off' delay='0'/>
  <vde group='{GROUP}'/>
  <ip address='192.168.122.1' prefix='24'>
    <dhcp><range start='192.168.122.10' end='192.168.122.99'/></dhcp>
  </ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""
PLAIN = DOCUMENT.replace(f"<vde group='{GROUP}'/>", "")


@pytest.fixture
def daemon(host: Host) -> Iterator[Daemon]:
    """Give a daemon on a host where taps have owners."""
    host.open_tun()
    with Daemon(host) as jackfieldd:
        yield jackfieldd


def guest_with_tap(host: Host, name: str, mac: str) -> Guest:
    """Return a guest with a tap of the unprivileged user's, as a QEMU of his would bring it."""
    guest = host.guest(name)
    guest.run(["ip", "tuntap", "add", "eth0", "mode", "tap", "user", USER])
    guest.run(["ip", "link", "set", "eth0", "address", mac])
    return guest


def as_user(groups: str, *command: str) -> list[str]:
    """Return ``command`` run by the unprivileged user, ``groups`` as setpriv(1) takes them."""
    return ["setpriv", f"--reuid={USER}", "--regid=games", groups, *command]


@contextlib.contextmanager
def plugged(guest: Guest) -> Iterator[HostProcess]:
    """Have the unprivileged user, as a member of the group, plug the guest in meanwhile."""
    command = as_user(f"--groups={GROUP}", "vde_plug2tap", f"--sock={SOCKET}", "eth0")
    client = guest.host.start(["ip", "netns", "exec", guest.name, *command])
    try:
        wait_for(lambda: guest.host.processes("vde_plug2tap"), 5, "the guest's program")
        yield client
    finally:
        client.stop()


def switches(host: Host) -> list[int]:
    """Return the host's switches."""
    return host.processes("vde_switch")


def attach_vde(daemon: Daemon, name: str) -> dict[str, Any]:
    """Make a port at the switch."""
    port: dict[str, Any] = daemon.cli("attach", "red", "--vde", "--name", name, json=True)
    return port


@pytest.mark.shows("vde", "a program of an unprivileged user")
def test_an_unprivileged_guest_is_on_the_network(
    host: Host, uplink: Uplink, outside: Host, daemon: Daemon
) -> None:
    """It leases an address and reaches a guest on the bridge and the outside; strangers do not."""
    assert uplink.ifname == "eth0"
    daemon.cli("apply", daemon.document(DOCUMENT))
    port = attach_vde(daemon, "anna")
    assert {"kind": "vde", "path": SOCKET} == port["plug"]
    assert ("jackfield", None) == (port["realiser"], port["device"])
    bert = host.guest("bert")
    daemon.cli("attach", "red", "--netns", "bert", "--ifname", "eth0")
    theirs = bert.dhcp4()
    assert theirs is not None

    anna = guest_with_tap(host, "anna", port["mac"])
    with plugged(anna):
        lease = anna.dhcp4()
        assert lease is not None
        assert "192.168.122.1" == lease.server
        assert ping(anna, theirs.address, tries=3) is not None
        assert ping(bert, lease.address, tries=3) is not None
        assert ping(anna, OUTSIDE, tries=3) is not None
        told = {one["mac"]: one["address"] for one in daemon.cli("leases", "red", json=True)}
        assert lease.address == told[port["mac"]]

    table = daemon.cli("ports", "red").splitlines()
    assert any("anna" in row and SOCKET in row for row in table)
    stranger = host.run(
        [
            *("ip", "netns", "exec", "anna"),
            *as_user("--clear-groups", "vde_plug2tap", f"--sock={SOCKET}", "eth0"),
        ],
        check=False,
    )
    assert 0 != stranger.returncode
    assert "Permission denied" in stranger.stderr
    said = daemon.cli("attach", "red", "--vde", "--name", "carl", "--mac", "52:54:00:00:00:07")
    assert (
        f"Plug into network red with address 52:54:00:00:00:07 at {SOCKET}; free the port with: "
    ) in said
    daemon.cli("detach", "carl")
    daemon.cli("detach", "anna")
    assert {"bert"} == {one["owner"]["name"] for one in daemon.cli("ports", json=True)}
    assert outside.name == "outside"


def test_a_restart_of_the_daemon_drops_nothing(
    host: Host, uplink: Uplink, outside: Host, daemon: Daemon
) -> None:
    """The switch, its socket and the flow through it are the same, also after kill -9."""
    assert uplink.ifname == "eth0"
    daemon.cli("apply", daemon.document(DOCUMENT))
    anna = guest_with_tap(host, "anna", attach_vde(daemon, "anna")["mac"])
    before = switches(host)
    with plugged(anna), EchoServer(outside):
        assert anna.dhcp4() is not None
        with TcpFlow(anna, OUTSIDE) as flow:
            for end in (daemon.terminate, daemon.kill9):
                go_on(flow)
                end()
                daemon.start()
                go_on(flow)
        assert flow.error is None
        assert flow.sent == flow.received
        assert flow.longest_gap < 1.0
    assert before == switches(host)
    (port,) = daemon.cli("ports", json=True)
    assert {"kind": "vde", "path": SOCKET} == port["plug"]


def test_a_switch_that_dies_is_started_again(host: Host, daemon: Daemon) -> None:
    """Its guests have to plug in again; the port and the socket's path are the same."""
    daemon.cli("apply", daemon.document(DOCUMENT))
    anna = guest_with_tap(host, "anna", attach_vde(daemon, "anna")["mac"])
    (before,) = switches(host)
    with plugged(anna) as client:
        assert anna.dhcp4() is not None
        host.run(["kill", "-9", str(before)])
        # It watches its connection to the switch, which QEMU does not.
        client.wait()
    wait_for(lambda: switches(host) not in ([], [before]), 10, "another switch")
    wait_for(lambda: told_of(daemon, "network-repaired"), 10, "the event")
    with plugged(anna):
        assert ping(anna, "192.168.122.1", tries=10) is not None
    assert ["anna"] == [port["owner"]["name"] for port in daemon.cli("ports", json=True)]


def told_of(daemon: Daemon, event_type: str) -> list[dict[str, Any]]:
    """Return the events of a type so far."""
    lines = daemon.cli("events", "--no-follow", "--since", "0", "--json").splitlines()
    return [event for event in map(json.loads, lines) if event["type"] == event_type]


def test_a_removed_tap_comes_back(host: Host, daemon: Daemon) -> None:
    """A tap that somebody deletes is made again, with a switch that has it."""
    daemon.cli("apply", daemon.document(DOCUMENT))
    before = switches(host)
    host.run(["ip", "link", "del", TAP])
    wait_for(lambda: TAP in host.links() and switches(host) not in ([], before), 10, "the tap")
    anna = guest_with_tap(host, "anna", attach_vde(daemon, "anna")["mac"])
    with plugged(anna):
        assert anna.dhcp4() is not None


def test_a_restart_of_the_network_keeps_the_ports(host: Host, daemon: Daemon) -> None:
    """Stopped, it has no switch, tap or socket; started, its ports are those from before."""
    daemon.cli("apply", daemon.document(DOCUMENT))
    port = attach_vde(daemon, "anna")
    anna = guest_with_tap(host, "anna", port["mac"])
    with plugged(anna) as client:
        assert anna.dhcp4() is not None
        daemon.cli("stop", "red")
        client.wait()
    assert [] == switches(host)
    assert {"lo"} == host.links()
    assert not host.file(SOCKET).exists()
    assert [] == list(host.file(f"{RUN_DIR}/vde-switch").iterdir())
    daemon.cli("start", "red")
    assert [port] == daemon.cli("ports", json=True)
    with plugged(anna):
        assert ping(anna, "192.168.122.1", tries=10) is not None


def test_a_switch_comes_and_goes_while_the_network_runs(host: Host, daemon: Daemon) -> None:
    """Applying a document with or without it changes nothing else; never from under its ports."""
    daemon.cli("apply", daemon.document(PLAIN))
    (dnsmasq,) = host.processes("dnsmasq")
    refused = daemon.cli("attach", "red", "--vde", check=False)
    assert 0 != refused.returncode
    assert "network 'red' has no VDE switch" in refused.stderr

    steps = daemon.cli("apply", daemon.document(DOCUMENT), json=True)["steps"]
    assert [
        ("create", "tap"),
        ("create", "setting"),
        ("create", "vde-switch"),
        ("create", "bridge-port"),
    ] == [(step["action"], step["kind"]) for step in steps]
    attach_vde(daemon, "anna")
    for text in (PLAIN, DOCUMENT.replace(GROUP, "video")):
        refused = daemon.cli("apply", daemon.document(text), check=False)
        assert 0 != refused.returncode
        assert "has ports at its VDE switch, which cannot change" in refused.stderr
    daemon.cli("detach", "anna")
    before = switches(host)
    daemon.cli("apply", daemon.document(DOCUMENT.replace(GROUP, "video")))
    assert before != switches(host)
    daemon.cli("apply", daemon.document(PLAIN))

    assert [] == switches(host)
    assert {"lo", "virbr0"} == host.links()
    assert [dnsmasq] == host.processes("dnsmasq")
    assert not host.file(SOCKET).exists()


def test_a_switch_on_somebody_elses_bridge(host: Host, daemon: Daemon) -> None:
    """The bridge gets a port and keeps its address, its MTU and its other ports."""
    document = f"""
    <network>
      <name>red</name><uuid>{UUID}</uuid>
      <forward mode='bridge'/><bridge name='br-other'/><vde group='{GROUP}'/>
    </network>
    """
    daemon.cli("define", daemon.document(document))
    refused = daemon.cli("start", "red", check=False)
    assert "there is no bridge for its <vde> on this host" in refused.stderr
    for command in (
        "ip link add br-other type bridge",
        "ip addr add 192.168.122.1/24 dev br-other",
        "ip link add other0 address 52:54:00:ff:ff:ff type veth peer name other1",
        "ip link set other0 master br-other mtu 9000 up",
        "ip link set br-other up",
    ):
        host.run(command.split())
    refused = daemon.cli("start", "red", check=False)
    assert "bridge br-other has an MTU of 9000" in refused.stderr
    host.run(["ip", "link", "set", "other0", "mtu", "1400"])
    (before,) = host.ip("link", "show", "dev", "br-other")

    daemon.cli("start", "red")
    anna = guest_with_tap(host, "anna", attach_vde(daemon, "anna")["mac"])
    anna.run(["ip", "addr", "add", "192.168.122.7/24", "dev", "eth0"])
    anna.run(["ip", "link", "set", "eth0", "up"])
    with plugged(anna):
        assert ping(anna, "192.168.122.1", tries=10) is not None
    (meanwhile,) = host.ip("link", "show", "dev", "br-other")
    assert (before["address"], before["mtu"]) == (meanwhile["address"], meanwhile["mtu"])
    daemon.cli("stop", "red")

    assert {"lo", "br-other", "other0", "other1"} == host.links()
    (member,) = host.ip("link", "show", "dev", "other0")
    assert "br-other" == member["master"]
    daemon.cli("start", "red")
    assert "gone since it was stopped" not in daemon.log_text()


def test_what_cannot_be_started_leaves_nothing(host: Host, daemon: Daemon) -> None:
    """A group that there is not and a switch that is not installed are said at the start."""
    daemon.cli("define", daemon.document(DOCUMENT.replace(GROUP, "wheelies")))
    refused = daemon.cli("start", "red", check=False)
    assert 0 != refused.returncode
    assert "<vde group='wheelies'>: there is no such group on this host" in refused.stderr

    daemon.terminate()
    host.run(["mount", "--bind", "/dev/null", "/usr/bin/vde_switch"])
    daemon.start()
    daemon.cli("define", daemon.document(DOCUMENT))
    refused = daemon.cli("start", "red", check=False)
    assert 0 != refused.returncode
    assert "vde_switch is not installed" in refused.stderr
    assert "the package is called vde2" in refused.stderr
    assert {"lo"} == host.links()
    assert [] == host.processes("dnsmasq")
    assert not host.file(f"{RUN_DIR}/vde-switch").exists()
    host.run(["umount", "/usr/bin/vde_switch"])
    daemon.restart()
    daemon.cli("start", "red")


def test_libvirt_sees_the_bridge(host: Host, daemon: Daemon) -> None:
    """To libvirt's clients a port at the switch is one on the bridge behind it."""
    daemon.cli("apply", daemon.document(DOCUMENT))
    port = attach_vde(daemon, "anna")
    door = f"network+unix:///system?socket={RUN_DIR}/libvirt-sock"

    def virsh(*words: str) -> str:
        return host.run(["virsh", "-c", door, *words]).stdout

    assert port["uuid"] in virsh("net-port-list", "red")
    document = virsh("net-port-dumpxml", "red", port["uuid"])
    assert "<plug type='bridge' bridge='virbr0'/>" in document
    assert "vde" not in document


def test_what_an_ended_daemon_left_is_found(host: Host, daemon: Daemon) -> None:
    """A switch that died while there was no daemon is started again by the next one."""
    daemon.cli("apply", daemon.document(DOCUMENT))
    (before,) = switches(host)
    daemon.kill9()
    host.run(["kill", "-9", str(before)])
    wait_for(lambda: switches(host) == [], 5, "its end")
    daemon.start()

    (after,) = switches(host)
    assert before != after
    anna = guest_with_tap(host, "anna", attach_vde(daemon, "anna")["mac"])
    with plugged(anna):
        assert anna.dhcp4() is not None


def test_a_socket_that_somebody_removes(host: Host, daemon: Daemon) -> None:
    """Nobody is sent to a switch that nobody can plug into; applied, there is another one."""
    daemon.cli("apply", daemon.document(DOCUMENT))
    (before,) = switches(host)
    host.run(["rm", "-r", SOCKET])

    refused = daemon.cli("attach", "red", "--vde", "--name", "anna", check=False)
    assert 5 == refused.returncode
    assert f"its socket {SOCKET}/ctl is not there" in refused.stderr
    assert [] == daemon.cli("ports", json=True)
    assert "without its socket" in daemon.cli("plan", "red")
    steps = daemon.cli("apply", "red", json=True)["steps"]
    assert [("change", "vde-switch")] == [(step["action"], step["kind"]) for step in steps]
    assert [before] != switches(host)
    anna = guest_with_tap(host, "anna", attach_vde(daemon, "anna")["mac"])
    with plugged(anna):
        assert anna.dhcp4() is not None
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
