"""Real guests on networks of ours: Linux under QEMU, whose cards are taps and macvtaps.

::

    guest one ── tap ──┐            LAN
    guest two ── tap ──┴ red0 (NAT) ─ host ─ eth0 ──┬── outside (192.0.2.1, "the internet")
    guest ────── tap ─── br0 (somebody else's) ─ up ┤
    guest ────── macvtap ───────────────────── eth8 ┘
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess

import pytest

from tests.conftest import Uplink
from tests.guests import qemu
from tests.guests.shell import GuestCommandFailed
from tests.guests.taps import open_macvtap, open_tap
from tests.guests.tiny import Nic, TinyGuest
from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.switch import Lan

pytestmark = pytest.mark.lab

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='red0' stp='off'/>
  <ip address='192.168.150.1' netmask='255.255.255.0'>
    <dhcp><range start='192.168.150.10' end='192.168.150.99'/></dhcp>
  </ip>
</network>
"""
OUT = "<network><name>out</name><forward mode='bridge'/><bridge name='br0'/></network>"
FIRST, SECOND = "52:54:00:00:00:01", "52:54:00:00:00:02"


def test_guests_on_a_nat_network(
    host: Host, uplink: Uplink, daemon: Daemon, guests: contextlib.ExitStack
) -> None:
    """Each has the address of its port, leases, reaches the other and the outside by NAT."""
    daemon.cli("define", daemon.document(RED))
    daemon.cli("start", "red")
    found = []
    for name, mac in (("one", FIRST), ("two", SECOND)):
        daemon.cli("attach", "red", "--tap", name, "--mac", mac)
        guest = guests.enter_context(TinyGuest(host, Nic.tap(mac, name=name)))
        assert mac == guest.mac()
        leased = guest.lease()
        assert leased is not None
        assert re.fullmatch(r"192\.168\.150\.[1-9][0-9]/24", leased)
        found.append((guest, leased.partition("/")[0]))
    (one, one_address), (two, two_address) = found
    assert one_address != two_address
    assert one.ping(two_address)
    assert two.ping("203.0.113.1")
    assert not one.ping("192.168.150.200", tries=1)
    leases = daemon.cli("leases", json=True)
    assert {FIRST: one_address, SECOND: two_address} == {
        lease["mac"]: lease["address"] for lease in leases
    }


def test_a_guest_on_a_bridge_of_somebody_else(
    host: Host, lan: Lan, outside: Host, daemon: Daemon, guests: contextlib.ExitStack
) -> None:
    """With the tap as an inherited descriptor, it is a machine of the LAN."""
    lan.plug(host, "uplink")
    host.run(["ip", "link", "add", "br0", "up", "type", "bridge", "stp_state", "0"])
    host.run(["ip", "link", "set", "uplink", "master", "br0"])
    daemon.cli("define", daemon.document(OUT))
    daemon.cli("start", "out")
    daemon.cli("attach", "out", "--tap", "one", "--mac", FIRST)
    descriptor = open_tap(host, "one")
    guests.callback(os.close, descriptor)
    guest = guests.enter_context(
        TinyGuest(host, Nic.tap(FIRST, descriptor=descriptor), descriptors=[descriptor])
    )
    guest.up("192.0.2.20/24")
    assert guest.ping("192.0.2.1")
    assert ping(outside, "192.0.2.20", tries=3) is not None
    (neighbour,) = outside.ip("neigh", "show", "192.0.2.20")
    assert FIRST == neighbour["lladdr"]


def test_a_guest_on_a_macvtap(
    host: Host, lan: Lan, outside: Host, guests: contextlib.ExitStack
) -> None:
    """With the macvtap as an inherited descriptor, it is a machine of the LAN."""
    lan.plug(host, "eth8")
    host.run(
        [
            *("ip", "link", "add", "link", "eth8", "name", "one", "address", FIRST),
            *("up", "type", "macvtap", "mode", "bridge"),
        ]
    )
    descriptor = open_macvtap(host, "one")
    guests.callback(os.close, descriptor)
    guest = guests.enter_context(
        TinyGuest(host, Nic.tap(FIRST, descriptor=descriptor), descriptors=[descriptor])
    )
    guest.up("192.0.2.20/24")
    assert guest.ping("192.0.2.1")
    (neighbour,) = outside.ip("neigh", "show", "192.0.2.20")
    assert FIRST == neighbour["lladdr"]


def test_guests_can_be_plugged_into_vde() -> None:
    """QEMU's VDE backend is there: it takes a switch's control folder."""
    backends = subprocess.run(
        qemu.command("-netdev", "help", accelerator=qemu.translator()),
        env={**os.environ, **qemu.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"tap", "vde"} <= set(backends.stdout.split())


def test_a_failing_command_says_what_and_where(host: Host, guests: contextlib.ExitStack) -> None:
    """The error has the command, its status and what it said; the guest goes on."""
    guest = guests.enter_context(TinyGuest(host))
    with pytest.raises(GuestCommandFailed, match=r"'ls /nowhere' ended with 1: .*No such file"):
        guest.run("ls /nowhere")
    with pytest.raises(TimeoutError, match="sleep 1"):
        guest.run("sleep 1; echo late", timeout=0.01)
    assert "well" == guest.run("echo well")


def test_a_guest_whose_machine_ends_is_told(host: Host, guests: contextlib.ExitStack) -> None:
    """What QEMU says on its way out is in the error."""
    with pytest.raises(AssertionError, match="no-such-device"):
        TinyGuest(host, arguments=["-device", "no-such-device"])
    guest = guests.enter_context(TinyGuest(host))
    guest.process.kill9()
    with pytest.raises(AssertionError, match="machine ended with"):
        guest.run("true")
