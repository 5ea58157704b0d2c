"""python3-libvirt, unmodified, as a client of ours: a network's life, and a daemon's restart."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.virsh import URI

pytestmark = pytest.mark.lab

PROGRAM = ["/usr/bin/python3", str(Path(__file__).with_name("libvirt_client.py"))]


RED = """
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name>
  <bridge name='red0' stp='off'/>
  <ip address='192.168.150.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.150.10' end='192.168.150.99'/></dhcp>
  </ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""
PORT_UUID = "00000000-0000-0000-0000-00000000004d"
PORT = f"""
<networkport>
  <uuid>{PORT_UUID}</uuid>
  <owner><name>guest</name><uuid>00000000-0000-0000-0000-000000000005</uuid></owner>
  <mac address='52:54:00:7b:35:93'/>
</networkport>
"""


def test_the_life_of_a_network(host: Host, libvirt_daemon: Daemon) -> None:
    """Everything that python3-libvirt offers for networks, with its errors, events and pings."""
    assert libvirt_daemon.pid
    found = json.loads(host.run([*PROGRAM, "life", URI], timeout=60).stdout)
    missing = "no network with matching name 'red'"
    code, domain, text, explanation = found.pop("missing")
    assert (43, 19, f"Network not found: {missing}") == (code, domain, text)
    assert explanation.startswith(missing)
    code, domain, text, explanation = found.pop("twice")
    assert (55, 19) == (code, domain)
    assert "Requested operation is not valid: network is already active" == text
    assert "network 'red' is already active" == explanation
    assert 107 == found.pop("gone")[0]
    code, domain, text, _ = found.pop("elsewhere")
    assert (1, 19) == (code, domain)
    assert f"'red' doesn't have dev='lo' in use by network port '{PORT_UUID}'" in text
    parameters = found.pop("parameters")
    assert (100, 200) == (parameters["inbound.average"], parameters["inbound.peak"])
    defined, undefined, started, stopped = (["red", number] for number in range(4))
    assert [defined, started, stopped, undefined] == found.pop("events")
    assert {
        "active": [["red"], 1, 1],
        "alive": 1,
        "all": ["red"],
        "autostart": 1,
        "bridge": "red0",
        "connections": True,
        "defined": [["red"], 1],
        "filtered": [0, 1],
        "keepalive": 0,
        "leases": [],
        "limited": True,
        "most": 2**32 - 1,
        "plug": True,
        "ports": [PORT_UUID],
        "updated": [True, True],
        "uuid": True,
    } == found


def test_a_restart_of_the_daemon_is_told_and_survived(host: Host, libvirt_daemon: Daemon) -> None:
    """The client learns that its connection ended, and finds everything on a new one."""
    libvirt_daemon.cli("define", libvirt_daemon.document(RED))
    libvirt_daemon.cli("start", "red")
    port = libvirt_daemon.document(PORT)
    host.run(["virsh", "-q", "-c", URI, "net-port-create", "red", port])
    watcher = host.start(
        [*PROGRAM, "watch", URI], stdout=subprocess.PIPE, env={"PYTHONUNBUFFERED": "1"}
    )
    assert watcher.popen.stdout is not None
    assert "ready\n" == watcher.popen.stdout.readline()
    libvirt_daemon.restart()
    found = json.loads(watcher.popen.stdout.readline())
    assert {"reasons": [1], "alive": 0, "active": 1, "ports": [PORT_UUID]} == found
    assert 0 == watcher.wait(20)


def test_leases_are_those_of_guests(host: Host, libvirt_daemon: Daemon) -> None:
    """A guest that got an address is in libvirt's list, with its name and address."""
    libvirt_daemon.cli("define", libvirt_daemon.document(RED))
    libvirt_daemon.cli("start", "red")
    guest = host.guest("guest")
    libvirt_daemon.cli("attach", "red", "--netns", "guest", "--ifname", "eth0")
    assert guest.dhcp4(seconds=10) is not None
    address = guest.addresses()[0].partition("/")[0]
    found = json.loads(host.run([*PROGRAM, "leases", URI]).stdout)
    (lease,) = found["all"]
    assert ("red0", address, 24, guest.mac()) == (
        lease["iface"],
        lease["ipaddr"],
        lease["prefix"],
        lease["mac"],
    )
    assert [] == found["none"]
    listed = host.run(["virsh", "-q", "-c", URI, "net-dhcp-leases", "red"]).stdout
    assert f"{address}/24" in listed
