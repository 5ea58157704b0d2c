"""Networks on a host whose systemd-networkd configures every Ethernet interface it sees.

::

    outside 192.0.2.1 ── LAN ── eth0 192.0.2.10   host   virbr-red 10.0.0.1 ── guest
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Uplink
from tests.lab.bus import start_bus
from tests.lab.daemon import Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.layers import lay_over
from tests.lab.packages import Unavailable, unpacked
from tests.lab.packets import ping
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

PACKAGING = Path(__file__).parents[2] / "packaging"
RULES = PACKAGING / "udev/82-jackfield.rules"
UNMANAGED = PACKAGING / "networkd/10-jackfield.network"
ALL = "[Match]\nType=ether\nName=!eth0\n[Network]\nDHCP=yes\n"
RED = """
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name><forward mode='nat'/><bridge name='virbr-red' stp='off'/>
  <ip address='10.0.0.1' prefix='24'><dhcp><range start='10.0.0.10' end='10.0.0.20'/></dhcp></ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""


class Networkd:
    """systemd-networkd and udev, with a file that matches what Jackfield makes."""

    def __init__(self, host: Host) -> None:
        """Start both."""
        self.host = host
        try:
            lay_over(host, unpacked("networkd", ("systemd", "udev", "dbus-daemon")))
        except Unavailable as error:
            pytest.skip(f"no systemd-networkd: {error}")
        start_bus(host)
        self.put(ALL, "/etc/systemd/network/80-all.network")
        host.run(["install", "-d", "-o", "systemd-network", "/run/systemd/netif"])
        self._start("systemd-udevd")
        wait_for(host.file("/run/udev/control").is_socket, 10, "udev")
        host.run(["udevadm", "trigger", "--settle", "--subsystem-match=net"])
        self._networkd = self._start("systemd-networkd")
        wait_for(lambda: "eth0" in self.states(), 20, "systemd-networkd")

    def put(self, text: str, path: str) -> None:
        """Write a file of theirs."""
        target = self.host.file(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def restart(self) -> None:
        """Have networkd look at everything anew."""
        self._networkd.stop()
        self._networkd = self._start("systemd-networkd")
        wait_for(lambda: "eth0" in self.states(), 20, "systemd-networkd")

    def states(self) -> dict[str, str]:
        """Return what it does with each interface that it has made up its mind about."""
        said = self.host.run(["networkctl", "--json=short", "list"], check=False).stdout
        links = json.loads(said)["Interfaces"] if said else []
        states = {link["Name"]: link["AdministrativeState"] for link in links}
        return {
            name: state for name, state in states.items() if state not in {"pending", "initialized"}
        }

    def _start(self, program: str) -> HostProcess:
        with self.host.file(f"/run/lab/{program}.log").open("a") as log:
            return self.host.start([f"/usr/lib/systemd/{program}"], stdout=log, stderr=log)


@pytest.fixture
def networkd(host: Host, uplink: Uplink) -> Networkd:
    """Give both, on a host on the LAN."""
    assert "eth0" == uplink.ifname
    return Networkd(host)


def test_what_is_made_is_left_alone(networkd: Networkd, daemon: Daemon) -> None:
    """Without what we ship it takes guests off their bridge, and doctor says so; with it, not."""
    host = networkd.host
    daemon.cli("apply", daemon.document(RED))
    guest = host.guest("a")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    daemon.cli("attach", "red", "--tap", "tap7")
    (veth,) = (
        port["device"] for port in daemon.cli("ports", json=True) if port["device"] != "tap7"
    )
    ours = {veth, "tap7"}
    wait_for(lambda: ours <= networkd.states().keys(), 20, "systemd-networkd to see them")
    told = daemon.cli("doctor", check=False).stdout
    assert "configured by systemd-networkd" in told
    assert all(name in told for name in ours)
    assert "packaging/networkd" in told
    for file, folder in ((RULES, "udev/rules.d"), (UNMANAGED, "systemd/network")):
        networkd.put(file.read_text(), f"/etc/{folder}/{file.name}")
    host.run(["udevadm", "control", "--reload"])
    host.run(["udevadm", "trigger", "--settle", "--subsystem-match=net"])
    networkd.restart()
    wait_for(lambda: {networkd.states().get(name) for name in ours} == {"unmanaged"}, 20, "that")
    daemon.cli("apply", daemon.document(RED))
    assert guest.dhcp4() is not None
    assert ping(guest, "192.0.2.1", tries=5) is not None
    # So it is with what is made now.
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    wait_for(lambda: networkd.states().get("virbr-red") == "unmanaged", 20, "the new bridge")
    assert guest.dhcp4() is not None
    assert "systemd-networkd" not in daemon.cli("doctor", check=False).stdout
    told = host.run(["udevadm", "info", "--query=property", f"/sys/class/net/{veth}"]).stdout
    assert "NM_UNMANAGED=1" in told.splitlines()
