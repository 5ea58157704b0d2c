"""VLANs on a bridge of ours, on a machine whose kernel filters them.

::

    machine (QEMU, Debian's kernel)
    anna, bert (VLAN 42) ┐
    carl (VLAN 43)       ├─ red0, a bridge of ours
    dora (trunk of both) ┘
    emma (VLAN 42) ── br9, somebody else's bridge
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.guests.machine import SriovMachine
from tests.lab.host import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

DAEMON = "tests.guests.inside_daemon"
GROUPS = """
  <portgroup name='red'><vlan><tag id='42'/></vlan></portgroup>
  <portgroup name='blue'><vlan><tag id='43'/></vlan></portgroup>
  <portgroup name='all'><vlan trunk='yes'><tag id='42'/><tag id='43'/></vlan></portgroup>
  <portgroup name='native'>
    <vlan trunk='yes'><tag id='42' nativeMode='untagged'/><tag id='43'/></vlan>
  </portgroup>
"""
RED = f"""
<network>
  <name>red</name><forward mode='open'/><bridge name='red0' stp='off'/>
  <ip address='10.9.0.1' prefix='24'/>{GROUPS}
</network>
"""
OUT = f"<network><name>out</name><forward mode='bridge'/><bridge name='br9'/>{GROUPS}</network>"
UNTAGGED = ["PVID", "Egress Untagged"]


class Site:
    """The machine with its daemon, seen from outside."""

    def __init__(self, machine: SriovMachine) -> None:
        """Look at ``machine``."""
        self.machine = machine

    def run(self, command: str) -> str:
        """Run a line of shell in the machine, with iproute2's programs before busybox's."""
        return self.machine.run(f"PATH=/usr/sbin:$PATH; {command}")

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the daemon."""
        return self.machine.call(f"{DAEMON}:ask", method=method, path=path, body=body)

    def plug(self, guest: str, group: str, address: str, network: str = "red") -> str:
        """Plug a new guest in; return the host's end."""
        self.run(f"ip netns add {guest}")
        body = {"netns": guest, "ifname": "eth0", "portgroup": group, "name": guest}
        port = self.ask("POST", f"/v1/networks/{network}/ports", body)
        if address:
            self.run(f"ip -n {guest} address add {address}/24 dev eth0")
        return str(port["device"])

    def reaches(self, guest: str, address: str) -> bool:
        """Tell whether a ping is answered."""
        said = self.run(f"ip netns exec {guest} busybox ping -c 1 -W 1 {address} || echo lost")
        return "lost" not in said

    def vlans(self, link: str) -> dict[int, list[str]]:
        """Return the VLANs of a port, with their flags."""
        (found,) = json.loads(self.run(f"bridge -j vlan show dev {link}"))
        return {item["vlan"]: item.get("flags", []) for item in found["vlans"]}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Give the machine with the network running."""
    with Host() as host, SriovMachine(host) as machine:
        machine.call(f"{DAEMON}:start")
        found = Site(machine)
        found.run("mkdir -p /run/netns")
        found.ask("POST", "/v1/networks?apply=1", RED)
        yield found


@pytest.mark.shows("vlan on a bridge", "guests in namespaces, on a full kernel")
def test_ports_of_vlans(site: Site) -> None:
    """Guests of one VLAN reach each other; a trunk has all, tagged; a restart changes nothing."""
    anna = site.plug("anna", "red", "10.9.1.1")
    bert = site.plug("bert", "red", "10.9.1.2")
    carl = site.plug("carl", "blue", "10.9.1.3")
    dora = site.plug("dora", "all", "")
    site.run("ip -n dora link add link eth0 name tagged type vlan id 43")
    site.run("ip -n dora link set tagged up; ip -n dora address add 10.9.1.4/24 dev tagged")
    wanted = {
        anna: {42: UNTAGGED},
        bert: {42: UNTAGGED},
        carl: {43: UNTAGGED},
        dora: {42: [], 43: []},
    }
    assert wanted == {link: site.vlans(link) for link in wanted}
    assert site.reaches("anna", "10.9.1.2")
    assert not site.reaches("anna", "10.9.1.3")
    assert not site.reaches("anna", "10.9.1.4")
    assert site.reaches("carl", "10.9.1.4")

    site.machine.call(f"{DAEMON}:kill")
    site.run(f"bridge vlan del dev {anna} vid 42; bridge vlan add dev {dora} vid 99")
    site.machine.call(f"{DAEMON}:start")
    assert wanted == {link: site.vlans(link) for link in wanted}
    site.ask("POST", "/v1/networks/red/stop")
    site.ask("POST", "/v1/networks/red/start")
    assert wanted == {link: site.vlans(link) for link in wanted}
    assert site.reaches("anna", "10.9.1.2")
    for guest in ("anna", "bert", "carl", "dora"):
        site.ask("DELETE", f"/v1/ports/{guest}")


def test_a_bridge_of_somebody_else(site: Site) -> None:
    """One that filters VLANs is used; one that does not is named, and left as it is."""
    site.run("ip link add br9 type bridge; ip link set br9 up")
    site.ask("POST", "/v1/networks?apply=1", OUT)
    with pytest.raises(AssertionError, match="br9: that bridge does not filter VLANs"):
        site.plug("emma", "native", "", network="out")
    assert [] == site.ask("GET", "/v1/ports")
    assert '"vlan_filtering":0' in site.run("ip -d -j link show br9")
    site.run("ip netns del emma; ip link set br9 type bridge vlan_filtering 1")
    emma = site.plug("emma", "native", "", network="out")
    assert {42: UNTAGGED, 43: []} == site.vlans(emma)
    site.ask("DELETE", "/v1/ports/emma")
