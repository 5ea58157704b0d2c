"""Real guests started by ``jackfield run`` on every mode that reaches a LAN.

::

    one ── VDE switch ── red0; two ── tap ── red0
    one, two ── taps ── red0 (NAT), wide0 (routed) ── host ── eth0 ──┬── outside (192.0.2.1)
    one, two ── taps ── br0 (somebody else's) ── eth1 ───────────────┤
    one, two ── taps ── ovs0 (Open vSwitch) ── eth1 ─────────────────┤
    one, two ── macvtaps ── eth8, eth9 ──────────────────────────────┘
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import pytest

from tests.conftest import Uplink
from tests.guests.tiny import TinyGuest
from tests.lab import openvswitch
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.openvswitch import OpenVSwitch
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

OUTSIDE = "192.0.2.1"
REAL = "a real guest"
RED = """
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='red0' stp='off'/>
  {more}
  <ip address='192.168.150.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.150.10' end='192.168.150.99'/></dhcp>
  </ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""


def run(host: Host, network: str, name: str, mac: str, more: str = "") -> TinyGuest:
    """Start a guest with one NIC by ``jackfield run``."""
    nic = f"network={network},mac={mac}{more}"
    words = ("run", "--nic", nic, "--name", name, "--run-dir", RUN_DIR)
    return TinyGuest(
        host,
        prefix=[sys.executable, "-m", "jackfield.cli.main", *words, "--"],
        # The boot ROMs of cards are another package.
        arguments=["-global", "virtio-net-pci.romfile="],
    )


def reaches(host: Host, address: str) -> bool:
    """Tell whether the host's own pings are answered."""
    return ping(host, address, tries=5) is not None


def end(daemon: Daemon, *guests: TinyGuest) -> None:
    """End guests and see that their ports go with them."""
    for guest in guests:
        guest.close()
    wait_for(lambda: not daemon.ask("/v1/ports"), 10, "the ports to be freed")


@pytest.mark.shows("nat", REAL)
def test_nat(host: Host, uplink: Uplink, daemon: Daemon, guests: contextlib.ExitStack) -> None:
    """Leases, reaches the other guest, and the outside by the host's address."""
    daemon.cli("apply", daemon.document(RED.format(more="")))
    one = guests.enter_context(run(host, "red", "one", "52:54:00:00:00:01"))
    two = guests.enter_context(run(host, "red", "two", "52:54:00:00:00:02"))
    leased = two.lease()
    assert leased is not None
    assert one.lease() is not None
    assert one.ping(leased.partition("/")[0])
    assert one.ping("203.0.113.1")
    end(daemon, one, two)


@pytest.mark.shows("vde", REAL)
def test_vde(host: Host, uplink: Uplink, daemon: Daemon, guests: contextlib.ExitStack) -> None:
    """A guest at the network's switch leases, and reaches one with a tap and the outside."""
    host.open_tun()
    daemon.cli("apply", daemon.document(RED.format(more="<vde group='root'/>")))
    one = guests.enter_context(run(host, "red", "one", "52:54:00:00:00:01", ",type=vde"))
    two = guests.enter_context(run(host, "red", "two", "52:54:00:00:00:02"))
    leased = two.lease()
    assert leased is not None
    assert one.lease() is not None
    assert one.ping(leased.partition("/")[0])
    assert one.ping("203.0.113.1")
    end(daemon, one, two)


@pytest.mark.shows("route", REAL)
def test_route(
    host: Host, uplink: Uplink, outside: Host, daemon: Daemon, guests: contextlib.ExitStack
) -> None:
    """Is reached from outside by its own address."""
    daemon.cli(
        "apply",
        daemon.document(
            """
            <network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
              <name>wide</name>
              <forward mode='route'/>
              <bridge name='wide0' stp='off'/>
              <ip address='10.7.0.1' netmask='255.255.255.0'>
                <dhcp><range start='10.7.0.10' end='10.7.0.99'/></dhcp>
              </ip>
              <dnsmasq:options>
                <dnsmasq:option value='no-ping'/>
              </dnsmasq:options>
            </network>
            """
        ),
    )
    outside.run(["ip", "route", "add", "10.7.0.0/24", "via", uplink.address4])
    one = guests.enter_context(run(host, "wide", "one", "52:54:00:00:00:01"))
    leased = one.lease()
    assert leased is not None
    assert ping(outside, leased.partition("/")[0], tries=3) is not None
    end(daemon, one)


@pytest.mark.shows("bridge", REAL)
def test_bridge(
    host: Host, lan: Lan, outside: Host, daemon: Daemon, guests: contextlib.ExitStack
) -> None:
    """On somebody else's bridge it is a machine of the LAN."""
    lan.plug(host, "eth1")
    host.run(["ip", "link", "add", "br0", "up", "type", "bridge", "stp_state", "0"])
    host.run(["ip", "link", "set", "eth1", "master", "br0"])
    text = "<network><name>out</name><forward mode='bridge'/><bridge name='br0'/></network>"
    daemon.cli("apply", daemon.document(text))
    check_lan(host, outside, daemon, guests, "out", guests_reach=True)


@pytest.mark.shows("bridge of Open vSwitch", REAL)
def test_openvswitch(
    host: Host, lan: Lan, outside: Host, daemon: Daemon, guests: contextlib.ExitStack
) -> None:
    """On a bridge of Open vSwitch that we make it is a machine of the LAN; TCP works as well."""
    reason = openvswitch.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    lan.plug(host, "eth1")
    place = Path("/run/openvswitch")
    guests.enter_context(OpenVSwitch(host, place, host.file(place)))
    text = """
    <network>
      <name>out</name>
      <forward mode='bridge'/>
      <bridge name='ovs0'><uplinks><interface dev='eth1'/></uplinks></bridge>
      <virtualport type='openvswitch'/>
    </network>
    """
    daemon.cli("apply", daemon.document(text))
    with contextlib.ExitStack() as own:
        one, two = join_lan(host, outside, own, "out")
        assert one.ping("192.0.2.21")
        two.run("(nc -l -p 7000 > /said) > /dev/null 2>&1 &")
        wait_for(lambda: two.shell.call("netstat -ltn | grep -q :7000")[0] == 0, 10, "nc")
        one.run("echo whole | nc -w 3 192.0.2.21 7000")
        wait_for(lambda: two.run("cat /said") == "whole", 10, "what was sent by TCP")
        end(daemon, one, two)


@pytest.mark.shows("bridge over an uplink", REAL)
def test_bridge_over_an_uplink(
    host: Host, lan: Lan, outside: Host, daemon: Daemon, guests: contextlib.ExitStack
) -> None:
    """On a bridge that is made over the host's own NIC it is a machine of the LAN."""
    lan.plug(host, "eth1", "192.0.2.10/24")
    daemon.cli(
        "apply",
        daemon.document(
            """
            <network>
              <name>out</name>
              <forward mode='bridge'/>
              <bridge name='br0'><uplinks><interface dev='eth1'/></uplinks></bridge>
            </network>
            """
        ),
    )
    assert reaches(host, OUTSIDE)
    check_lan(host, outside, daemon, guests, "out", guests_reach=True)
    daemon.cli("stop", "out")
    assert reaches(host, OUTSIDE)


@pytest.mark.parametrize(
    ("mode", "hairpin", "guests_reach"),
    [
        pytest.param("bridge", False, True, marks=pytest.mark.shows("macvtap-bridge", REAL)),
        pytest.param("vepa", False, False, marks=pytest.mark.shows("vepa", REAL)),
        pytest.param("vepa", True, True, marks=pytest.mark.shows("vepa", REAL)),
        pytest.param("private", True, False, marks=pytest.mark.shows("private", REAL)),
        pytest.param("passthrough", False, True, marks=pytest.mark.shows("passthrough", REAL)),
    ],
)
def test_macvtap(
    host: Host,
    lan: Lan,
    outside: Host,
    daemon: Daemon,
    guests: contextlib.ExitStack,
    mode: str,
    hairpin: bool,
    guests_reach: bool,
) -> None:
    """Over a NIC it is a machine of the LAN; guests reach each other as the mode says."""
    names = ("eth8", "eth9") if mode == "passthrough" else ("eth8",)
    for name in names:
        port = lan.plug(host, name)
        flag = "on" if hairpin else "off"
        lan.namespace.run(["bridge", "link", "set", "dev", port, "hairpin", flag])
    add_address(host, "eth8", "192.0.2.10/24")
    pool = "".join(f"<interface dev='{name}'/>" for name in names)
    text = f"<network><name>lan</name><forward mode='{mode}'>{pool}</forward></network>"
    daemon.cli("apply", daemon.document(text))
    check_lan(host, outside, daemon, guests, "lan", guests_reach=guests_reach)


def check_lan(
    host: Host,
    outside: Host,
    daemon: Daemon,
    guests: contextlib.ExitStack,
    network: str,
    *,
    guests_reach: bool,
) -> None:
    """Assert that two guests are machines of the LAN, and whether they reach each other."""
    one, two = join_lan(host, outside, guests, network)
    # A link that just came up may send nothing for a second or two.
    assert guests_reach == one.ping("192.0.2.21", tries=10 if guests_reach else 2)
    end(daemon, one, two)


def join_lan(
    host: Host, outside: Host, guests: contextlib.ExitStack, network: str
) -> tuple[TinyGuest, TinyGuest]:
    """Start two guests, 192.0.2.20 and 192.0.2.21, and assert that they are machines of the LAN."""
    macs = ("52:54:00:00:00:01", "52:54:00:00:00:02")
    one, two = (
        guests.enter_context(run(host, network, name, mac))
        for name, mac in zip(("one", "two"), macs, strict=True)
    )
    for number, guest in enumerate((one, two)):
        guest.up(f"192.0.2.2{number}/24")
        assert macs[number] == guest.mac()
        assert guest.ping(OUTSIDE)
        (neighbour,) = outside.ip("neigh", "show", f"192.0.2.2{number}")
        assert macs[number] == neighbour["lladdr"]
    return one, two
