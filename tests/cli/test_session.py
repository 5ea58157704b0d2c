"""Every command once, against a real daemon that makes real things.

host ── jackfieldd ── red (NAT, virbr7, 192.168.7.1/24) ── guest "g1"
"""

from __future__ import annotations

import json

import pytest

from tests.lab.daemon import Daemon

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr7' stp='off'/>
  <ip address='192.168.7.1' prefix='24'>
    <dhcp><range start='192.168.7.2' end='192.168.7.9'/></dhcp>
  </ip>
</network>
"""


@pytest.mark.lab
def test_a_session(daemon: Daemon) -> None:
    """The words of the command line come true on the host, and are undone by it."""
    document = daemon.document(RED)
    assert "do it with: jackfield apply" in daemon.cli("plan", document)
    assert "start it with: jackfield start red" in daemon.cli("define", document)
    lacking = daemon.cli("plan", "red", json=True)["steps"]
    assert "virbr7" in " ".join(step["text"] for step in lacking)
    assert "Network red runs on virbr7 (192.168.7.1/24)" in daemon.cli("start", "red")
    links = {link["ifname"] for link in json.loads(daemon.host.run(["ip", "-j", "link"]).stdout)}
    assert "virbr7" in links
    assert "Nothing to do" in daemon.cli("plan", "red")
    (listed,) = daemon.cli("list", "--active", json=True)
    assert (True, True, False) == (listed["active"], listed["persistent"], listed["autostart"])

    daemon.host.guest("g1")
    attached = daemon.cli("attach", "red", "--netns", "g1", "--ifname", "eth0", json=True)
    assert ("/run/netns/g1", "eth0") == (attached["netns"], attached["ifname"])
    tap = daemon.cli("attach", "red", "--tap", "t0", "--queues", "2", "--name", "vm", json=True)
    assert ("t0", "vm") == (tap["device"], tap["owner"]["name"])
    assert "  eth0 in g1  " in daemon.cli("ports")
    assert {attached["device"], "t0"} == {
        port["device"] for port in daemon.cli("ports", "red", json=True)
    }
    assert "connections='2'" in daemon.cli("show", "red")
    assert "connections" not in daemon.cli("show", "red", "--inactive")
    refused = daemon.cli("undefine", "red", check=False)
    assert 5 == refused.returncode
    daemon.cli("detach", "t0")
    daemon.cli("detach", attached["uuid"])
    assert [] == daemon.cli("ports", json=True)

    changed = RED.replace("192.168.7.9", "192.168.7.8")
    steps = daemon.cli("apply", "-", input=changed, json=True)["steps"]
    assert {"dnsmasq"} == {step["kind"] for step in steps}
    assert [] == daemon.cli("leases", "red", json=True)
    assert "starts with the host" in daemon.cli("autostart", "red")
    daemon.cli("autostart", "red", "--disable")
    daemon.cli("stop", "red")
    daemon.cli("undefine", "red")
    assert [] == daemon.cli("list", json=True)
    types = [line.split()[3] for line in daemon.cli("events", "--no-follow").splitlines()]
    assert ("network-defined", "network-undefined") == (types[0], types[-1])
    asked = [entry for entry in daemon.log() if entry["logger"] == "jackfield.operations"]
    assert {0} == {entry["uid"] for entry in asked}
    assert [] == daemon.blocked()
