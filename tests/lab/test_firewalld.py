"""Networks on a host whose firewall is firewalld, which refuses what is in no zone of its own.

::

    outside 192.0.2.1 ── LAN ── eth0 192.0.2.10   host   virbr-red ── guest
                                 zone public             10.0.0.1
"""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Uplink
from tests.lab.daemon import Daemon
from tests.lab.firewalld import Firewalld, skip_reason
from tests.lab.flow import EchoServer
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.namespace import CommandFailed
from tests.lab.packets import can_connect, ping
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

PACKAGING = Path(__file__).parents[2] / "packaging/firewalld"
RED = """<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
<name>red</name>{forward}<bridge name='virbr-red'{zone} stp='off' delay='0'/>
<ip address='10.0.0.1' netmask='255.255.255.0'>
<dhcp><range start='10.0.0.10' end='10.0.0.20'/></dhcp></ip>
<dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options></network>"""
NAT, ROUTE, OPEN = (f"<forward mode='{mode}'/>" for mode in ("nat", "route", "open"))


@pytest.fixture
def firewall(host: Host, uplink: Uplink) -> Firewalld:
    """Give firewalld on a host on the LAN, with our zones."""
    assert uplink.address4 == "192.0.2.10"
    if (reason := skip_reason()) is not None:
        pytest.skip(reason)
    running = Firewalld(host)
    for kind in ("zones", "policies"):
        for file in (PACKAGING / kind).iterdir():
            target = host.file(f"/etc/firewalld/{kind}/{file.name}")
            target.parent.mkdir(exist_ok=True)
            shutil.copy(file, target)
    running.command("--reload")
    return running


@pytest.fixture
def daemon(host: Host, firewall: Firewalld) -> Iterator[Daemon]:
    """Give a daemon beside it."""
    assert firewall.command("--get-default-zone") == "public"
    with Daemon(host) as running:
        yield running


def apply(daemon: Daemon, forward: str = NAT, zone: str | None = None) -> None:
    """Have the network run so."""
    words = "" if zone is None else f" zone='{zone}'"
    daemon.cli("apply", daemon.document(RED.format(forward=forward, zone=words)))


def zone_of(firewall: Firewalld, bridge: str = "virbr-red") -> str:
    """Return the zone that a bridge is in, for firewalld's own program."""
    return firewall.command(f"--get-zone-of-interface={bridge}", check=False)


def plug(daemon: Daemon) -> Guest:
    """Plug a guest in that has its address from DHCP."""
    guest = daemon.host.guest("guest")
    daemon.cli("attach", "red", "--netns", "guest", "--ifname", "eth0")
    lease = guest.dhcp4()
    assert lease is not None
    assert lease.router == "10.0.0.1"
    return guest


def test_zones(daemon: Daemon, firewall: Firewalld, outside: Host) -> None:
    """Guests get their address and out; of the host they reach what serves them, and not more."""
    apply(daemon)
    assert zone_of(firewall) == "jackfield"
    guest = plug(daemon)
    assert ping(guest, "192.0.2.1", tries=5) is not None
    with contextlib.closing(EchoServer(daemon.host)) as server:
        assert can_connect(daemon.host, "10.0.0.1", server.port)
        assert not can_connect(guest, "10.0.0.1", server.port)
    daemon.cli("stop", "red")
    assert zone_of(firewall) == ""
    # Without such a zone nothing of this is so.
    apply(daemon, zone="block")
    assert guest.dhcp4(seconds=1) is None
    # The document's zone counts, also of a network that runs.
    apply(daemon, zone="trusted")
    assert zone_of(firewall) == "trusted"
    apply(daemon)
    assert zone_of(firewall) == "jackfield"
    with pytest.raises(CommandFailed, match=r"refuses to put bridge virbr-red into zone 'nowhere'"):
        apply(daemon, zone="nowhere")
    assert zone_of(firewall) == "jackfield"
    daemon.cli("stop", "red")
    daemon.cli("define", daemon.document(RED.format(forward=NAT, zone=" zone='nowhere'")))
    with pytest.raises(CommandFailed, match="INVALID_ZONE"):
        daemon.cli("start", "red")
    assert daemon.host.link("virbr-red") is None
    daemon.cli("detach", "guest")
    # A routed network is reached from outside.
    apply(daemon, ROUTE)
    assert zone_of(firewall) == "jackfield-routed"
    guest.delete()
    guest = plug(daemon)
    outside.run(["ip", "route", "add", "10.0.0.0/24", "via", "192.0.2.10"])
    (address,) = (item for item in guest.addresses() if item.startswith("10."))
    assert ping(outside, address.partition("/")[0], tries=5) is not None
    assert ping(guest, "192.0.2.1", tries=5) is not None
    daemon.cli("stop", "red")
    # What an open one may is the administrator's business, unless its document says so.
    apply(daemon, OPEN)
    assert zone_of(firewall) == ""
    apply(daemon, OPEN, zone="trusted")
    assert zone_of(firewall) == "trusted"


def test_whoever_restarts(daemon: Daemon, firewall: Firewalld) -> None:
    """Bridges are in their zones after a restart, or a death, of either side."""
    apply(daemon)
    guest = plug(daemon)
    firewall.command("--reload")
    assert zone_of(firewall) == "jackfield"
    firewall.stop()
    assert ping(guest, "192.0.2.1", tries=5) is not None
    firewall.start()
    wait_for(lambda: zone_of(firewall) == "jackfield", 10, "the bridge's zone")
    assert ping(guest, "192.0.2.1", tries=5) is not None

    daemon.kill9()
    firewall.command("--zone=jackfield", "--remove-interface=virbr-red")
    daemon.start()
    wait_for(lambda: zone_of(firewall) == "jackfield", 10, "the bridge's zone")

    # It dies when the bridge has gone, and firewalld does not know of it yet.
    firewall.process.send_signal(signal.SIGSTOP)
    stopping = daemon.cli_process("stop", "red")
    wait_for(lambda: daemon.host.link("virbr-red") is None, 10, "the bridge to be gone")
    daemon.kill9()
    assert stopping.wait() != 0
    # nsenter stops with what it has started.
    firewall.process.send_signal(signal.SIGCONT)
    firewall.process.popen.send_signal(signal.SIGCONT)
    assert zone_of(firewall) == "jackfield"
    daemon.start()
    wait_for(lambda: zone_of(firewall) == "", 10, "the zone to be left")

    # A bridge that somebody has put into another zone stays there, until its document says so.
    firewall.command("--zone=trusted", "--add-interface=virbr-red")
    apply(daemon)
    assert zone_of(firewall) == "trusted"
    daemon.cli("stop", "red")
    assert zone_of(firewall) == "trusted"
    apply(daemon, zone="home")
    assert zone_of(firewall) == "home"


def test_whose_firewall(host: Host, firewall: Firewalld) -> None:
    """Without a zone for networks a start is refused; another namespace's firewall is not asked."""
    with Daemon(host) as daemon:
        for kind in ("zones", "policies"):
            shutil.rmtree(host.file(f"/etc/firewalld/{kind}"))
        firewall.command("--reload")
        with pytest.raises(CommandFailed, match="has no zone for networks"):
            apply(daemon)
        assert host.link("virbr-red") is None
    host.run(["ip", "netns", "add", "inner"])
    with Daemon(host, prefix=("ip", "netns", "exec", "inner")) as daemon:
        apply(daemon)
        assert zone_of(firewall) == ""
        with pytest.raises(CommandFailed, match="firewalld does not run"):
            apply(daemon, zone="public")


def test_doctor(daemon: Daemon, firewall: Firewalld, outside: Host) -> None:
    """Doctor finds nothing where a zone lets guests through, and names firewalld where not."""
    daemon.host.file("/etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    outside.run(["ip", "route", "add", "10.0.0.0/24", "via", "192.0.2.10"])
    for forward, zone in ((OPEN, "trusted"), (ROUTE, "jackfield-routed"), (NAT, "jackfield")):
        apply(daemon, forward, "trusted" if forward == OPEN else None)
        guest = plug(daemon)
        assert zone_of(firewall) == zone
        assert ping(guest, "192.0.2.1", tries=5) is not None
        assert "Nothing found" in daemon.cli("doctor", "red")
        if forward != NAT:
            daemon.cli("detach", "guest")
            guest.delete()
            daemon.cli("stop", "red")
    apply(daemon, NAT, "block")
    assert guest.dhcp4(seconds=1) is None
    result = daemon.cli("doctor", "red", check=False)
    assert result.returncode == 1
    assert "guests' DHCP requests" in result.stdout
    assert "are dropped by chain inet firewalld " in result.stdout
    assert "perhaps" not in result.stdout
    assert "--change-interface=virbr-red" in result.stdout


def test_no_firewalld(host: Host) -> None:
    """A zone is refused where there is no bus, too."""
    with Daemon(host) as daemon, pytest.raises(CommandFailed, match="firewalld does not run"):
        apply(daemon, zone="public")
