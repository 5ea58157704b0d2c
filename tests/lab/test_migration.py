"""From libvirt to here and back, with guests that notice nothing but a gap.

::

    outside 203.0.113.1 ── LAN ── eth0   host   virbr-red 10.0.0.1 ── vnet0 ── guest g1
                                        libvirtd, then jackfieldd, then libvirtd
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.lab.daemon import Daemon
from tests.lab.flow import EchoServer, TcpFlow
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.libvirtd import StockLibvirtd, skip_reason
from tests.lab.switch import wait_forwarding
from tests.lab.test_service import as_a_service
from tests.lab.virsh import normalised
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("uplink")]

OUTSIDE = "203.0.113.1"
RED = """
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name>
  <uuid>00000000-0000-0000-0000-00000000000a</uuid>
  <forward mode='nat'/>
  <bridge name='virbr-red' stp='on' delay='0'/>
  <mac address='52:54:00:00:00:0a'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp><range start='10.0.0.10' end='10.0.0.99'/></dhcp>
  </ip>
  <ip family='ipv6' address='fd00::1' prefix='64'>
    <dhcp><range start='fd00::100' end='fd00::199'/></dhcp>
  </ip>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""
BLUE = """
<network>
  <name>blue</name>
  <uuid>00000000-0000-0000-0000-00000000000b</uuid>
  <bridge name='virbr-blue' stp='on' delay='0'/>
  <ip address='10.0.1.1' netmask='255.255.255.0'/>
</network>
"""
PORT = """
<networkport>
  <uuid>11111111-0000-0000-0000-00000000000a</uuid>
  <owner><name>anna</name><uuid>11111111-0000-0000-0000-00000000000b</uuid></owner>
  <mac address='52:54:00:00:00:01'/>
</networkport>
"""
MARK = "/etc/libvirt/qemu/networks/autostart/red.xml"


@pytest.fixture
def libvirtd(host: Host) -> Iterator[StockLibvirtd]:
    """Give a stock libvirtd with a running, marked network, one that is defined, and a port."""
    if (reason := skip_reason()) is not None:
        pytest.skip(reason)
    with StockLibvirtd(host) as stock:
        stock.define(RED)
        stock.virsh("net-start", "red")
        stock.virsh("net-autostart", "red")
        stock.define(BLUE)
        host.file("/run/lab/port.xml").write_text(PORT)
        stock.virsh("net-port-create", "red", "/run/lab/port.xml")
        yield stock


@pytest.fixture
def guest(host: Host, libvirtd: StockLibvirtd) -> Guest:
    """Give a guest on libvirt's bridge, with leases of libvirt's dnsmasq."""
    assert libvirtd.host is host
    guest = host.guest("g1")
    host.run(["ip", "link", "add", "vnet0", "type", "veth", "peer", "name", "eth0", "netns", "g1"])
    guest.run(["ip", "link", "set", "eth0", "up"])
    # With spanning tree a new port is silent for 4 s; one that forwards already stays so.
    host.run(["ip", "link", "set", "virbr-red", "type", "bridge", "stp_state", "0"])
    host.run(["ip", "link", "set", "vnet0", "master", "virbr-red", "up"])
    host.run(["bridge", "link", "set", "dev", "vnet0", "learning", "off"])
    wait_forwarding(host)
    host.run(["ip", "link", "set", "virbr-red", "type", "bridge", "stp_state", "1"])
    assert guest.dhcp4(seconds=30) is not None
    assert guest.dhcp6(seconds=30) is not None
    return guest


def steps(text: str) -> list[str]:
    """Return the lines without their signs."""
    return [line[2:] for line in text.splitlines()]


def check_taken_over(daemon: Daemon, guest: Guest) -> None:
    """Assert that everything of libvirt's network is ours."""
    host = daemon.host
    networks = {item["name"]: item for item in daemon.cli("list", json=True)}
    assert (True, True, True) == tuple(
        networks["red"][key] for key in ("active", "persistent", "autostart")
    )
    assert (False, True, False) == tuple(
        networks["blue"][key] for key in ("active", "persistent", "autostart")
    )
    bridge = host.link("virbr-red")
    assert bridge is not None
    assert "52:54:00:00:00:0a" == bridge["address"]
    assert bridge["ifalias"].startswith("jackfield:network:")
    assert 1 == bridge["linkinfo"]["info_data"]["stp_state"]
    tap = host.link("vnet0")
    assert tap is not None
    assert "virbr-red" == tap["master"]
    assert tap["linkinfo"]["info_slave_data"]["learning"] is False
    addresses = {f"{lease['address']}" for lease in daemon.cli("leases", "red", json=True)}
    assert {item.partition("/")[0] for item in guest.addresses()} == addresses
    (port,) = daemon.cli("ports", "red", json=True)
    assert ("anna", "client") == (port["owner"]["name"], port["realiser"])
    assert not host.file(MARK).is_symlink()
    services = [host.file(f"/proc/{pid}/cmdline").read_text() for pid in host.processes("dnsmasq")]
    assert services
    assert all("/run/jackfield/" in line for line in services)


@pytest.mark.parametrize("runs", [True, False], ids=["libvirtd runs", "libvirtd has gone"])
def test_a_running_network_is_taken_over(
    host: Host, outside: Host, libvirtd: StockLibvirtd, guest: Guest, *, runs: bool
) -> None:
    """Definitions, marks, leases, ports and taps are ours; connections live on.

    The daemon may do what its service may do, and no more.
    """
    if not runs:
        libvirtd.stop()
    before = guest.addresses()
    confined = Daemon(host, prefix=as_a_service())
    with confined as daemon, EchoServer(outside), EchoServer(host):
        with TcpFlow(guest, OUTSIDE) as through, TcpFlow(guest, "10.0.0.1") as local:
            wanted = daemon.cli("import", "--dry-run")
            assert [] == daemon.cli("list", json=True)
            assert host.file(MARK).is_symlink()
            assert [] == [line for line in wanted.splitlines() if not line.startswith("+ ")]
            done = daemon.cli("import")
            assert steps(wanted) == steps(done)
            received = through.received
            assert "red: vnet0 moved to our virbr-red" in steps(done)
            assert "red: 2 leases taken over" in steps(done)
            assert guest.addresses() == before
            check_taken_over(daemon, guest)
        assert through.error is None
        assert local.error is None
        assert through.received > received
        # The lease is known: it is renewed, not given anew.
        lease = guest.dhcp4(seconds=30)
        assert lease is not None
        assert f"{lease.address}/24" in before
        assert "Nothing of libvirt's" in daemon.cli("import")
        if runs:
            assert "" == libvirtd.virsh("net-list", "--name")
        assert [] == [
            line
            for line in host.run(["iptables-save"], check=False).stdout.splitlines()
            if "virbr-red" in line
        ]
        if not runs:
            libvirtd.start()
            assert "" == libvirtd.virsh("net-list", "--name")


def test_a_network_that_does_not_start_here_stays_with_libvirt(
    host: Host, outside: Host, libvirtd: StockLibvirtd, guest: Guest
) -> None:
    """When ours cannot start, libvirt's runs again with its guests, and the reason is told."""
    hook = host.file("/run/lab/hooks/network")
    hook.parent.mkdir()
    hook.write_text('#!/bin/sh\n[ "$2" != started ] || { echo not here >&2; exit 1; }\n')
    hook.chmod(0o755)
    with Daemon(host, config='hooks_dir = "/run/lab/hooks"') as daemon, EchoServer(outside):
        with TcpFlow(guest, OUTSIDE) as flow:
            result = daemon.cli("import", check=False)
            assert 5 == result.returncode
            (refusal,) = [line for line in result.stdout.splitlines() if line.startswith("! ")]
            assert "runs in libvirt again" in refusal
            assert "not here" in refusal
            received = flow.received
        assert flow.error is None
        assert flow.received > received
        assert "red" == libvirtd.virsh("net-list", "--name")
        tap = host.link("vnet0")
        assert tap is not None
        assert "virbr-red" == tap["master"]


def test_leases_that_cannot_be_written(host: Host, libvirtd: StockLibvirtd, guest: Guest) -> None:
    """Without inodes where our state is the network runs on in libvirt, with its guest."""
    host.file("/run/disk").mkdir()
    host.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=40", "none", "/run/disk"])
    with Daemon(host, state_dir="/run/disk/state") as daemon:
        fill = "for i in $(seq 40); do : > /run/disk/fill-$i; done 2>/dev/null"
        host.run(["sh", "-c", fill], check=False)
        result = daemon.cli("import", "red", check=False)
        assert 5 == result.returncode, result
        assert "No space left on device" in result.stdout
        assert "runs in libvirt again" in result.stdout
        assert "red" == libvirtd.virsh("net-list", "--name")
        wait_for(lambda: guest.dhcp4(seconds=5) is not None, 20, "libvirt to serve the guest")
        host.run(["sh", "-c", "rm /run/disk/fill-*"])
        daemon.cli("import", "red")
        assert "" == libvirtd.virsh("net-list", "--name")
        wait_for(lambda: guest.dhcp4(seconds=5) is not None, 20, "ours to serve the guest")


def test_files_of_libvirt_that_cannot_be_written(host: Host, libvirtd: StockLibvirtd) -> None:
    """An export without a libvirt that answers names what it cannot write, and goes on."""
    libvirtd.stop()
    with Daemon(host) as daemon:
        daemon.cli("define", daemon.document("<network><name>green</name></network>"))
        host.run(["mount", "--bind", "/etc/libvirt", "/etc/libvirt"])
        host.run(["mount", "-o", "remount,bind,ro", "/etc/libvirt"])
        result = daemon.cli("export", check=False)
        assert 5 == result.returncode, result
        assert re.search(r"! green: cannot write \S+: Read-only file system", result.stdout)


def test_a_crash_in_between(
    host: Host, outside: Host, libvirtd: StockLibvirtd, guest: Guest
) -> None:
    """A daemon that dies between the two finds the guests when the network is started."""
    hook = host.file("/run/lab/hooks/network")
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\ntouch /run/lab/between\nexec sleep 1000\n")
    hook.chmod(0o755)
    with (
        Daemon(host, config='hooks_dir = "/run/lab/hooks"') as daemon,
        EchoServer(outside),
        TcpFlow(guest, OUTSIDE) as flow,
    ):
        client = daemon.cli_process("import")
        wait_for(host.file("/run/lab/between").exists, 30, "the network to be between the two")
        daemon.kill9()
        client.wait()
        hook.unlink()
        daemon.start()
        assert "" == libvirtd.virsh("net-list", "--name")
        daemon.cli("start", "red")
        tap = host.link("vnet0")
        assert tap is not None
        assert "virbr-red" == tap["master"]
        received = flow.received
        wait_for(lambda: flow.received > received or flow.error, 30, "the flow to go on")
        assert flow.error is None


def test_what_is_not_safe_is_left_alone(host: Host, libvirtd: StockLibvirtd, guest: Guest) -> None:
    """A name that is taken, and a network that cannot be ended, stay with libvirt, and say so."""
    assert guest.host is host
    with Daemon(host) as daemon:
        other = BLUE.replace("00000000000b", "0000000000bb").replace("10.0.1", "10.0.2")
        daemon.cli("define", daemon.document(other.replace("virbr-blue", "virbr-other")))
        libvirtd.stop()
        status = host.file("/run/libvirt/network/red.xml")
        text = status.read_text()
        status.write_text(text[: text.index("<firewall")] + "</networkstatus>\n")
        result = daemon.cli("import", check=False)
        refusals = [line for line in result.stdout.splitlines() if line.startswith("! ")]
        assert 2 == len(refusals)
        assert "blue: network 'blue' already exists with uuid" in refusals[0]
        assert "red: left running with libvirt: " in refusals[1]
        assert "start libvirtd and import again" in refusals[1]
        bridge = host.link("virbr-red")
        assert bridge is not None
        assert "ifalias" not in bridge
        assert host.processes("dnsmasq")
        nobody = host.run(
            [
                *("setpriv", "--reuid", "65534", "--clear-groups", "curl", "-s", "-X", "POST"),
                *("--unix-socket", "/run/jackfield/api.sock", "http://x/v1/import"),
            ],
            check=False,
        )
        assert not nobody.stdout or "access-denied" in nobody.stdout
        # With its daemon it can be.
        status.write_text(text)
        libvirtd.start()
        daemon.cli("import", "red")
        assert host.link("virbr-red")["ifalias"].startswith("jackfield:")  # type: ignore[index]


def test_two_of_libvirts_that_cannot_both_be(host: Host, libvirtd: StockLibvirtd) -> None:
    """What one file takes the next cannot have, and a dry run says so as well.

    So it is with a port, beside which the others are taken over.
    """
    places = "/etc/libvirt/qemu/networks"
    libvirtd.stop()
    twin = BLUE.replace(">blue<", ">twin<").replace("virbr-blue", "virbr-twin")
    host.file(f"{places}/twin.xml").write_text(twin)
    rival = RED.replace(">red<", ">rival<").replace("00000000000a", "0000000000aa")
    host.file(f"{places}/rival.xml").write_text(rival)
    uuid = "11111111-0000-0000-0000-000000000009"
    port = host.file("/run/libvirt/network/red/ports") / f"{uuid}.xml"
    plug = "<plug type='direct' dev='eth0' mode='vepa'/></networkport>"
    port.write_text(PORT.replace("00000000000a<", "000000000009<").replace("</networkport>", plug))
    with Daemon(host) as daemon:
        wanted = daemon.cli("import", "--dry-run", check=False)
        assert [] == daemon.cli("list", json=True)
        done = daemon.cli("import", check=False)
        assert (5, 5) == (wanted.returncode, done.returncode)
        assert steps(wanted.stdout) == steps(done.stdout)
        refusals = [line for line in wanted.stdout.splitlines() if line.startswith("! ")]
        assert 3 == len(refusals)
        assert "already defined with uuid 00000000-0000-0000-0000-00000000000b" in done.stdout
        assert "cannot have the bridge 'virbr-red': network 'red' has it" in done.stdout
        assert f"red: not taken over: port {uuid} of anna: " in done.stdout
        (taken,) = daemon.cli("ports", "red", json=True)
        assert "11111111-0000-0000-0000-00000000000a" == taken["uuid"]


@pytest.mark.parametrize("runs", [True, False], ids=["libvirtd runs", "libvirtd has gone"])
def test_back_to_libvirt(host: Host, libvirtd: StockLibvirtd, guest: Guest, *, runs: bool) -> None:
    """What is exported starts with libvirt again, marked, and with the leases it had."""
    stored = libvirtd.virsh("net-dumpxml", "--inactive", "red")
    held = {item.partition("/")[0] for item in guest.addresses()}
    with Daemon(host, prefix=as_a_service()) as daemon:
        daemon.cli("import")
        reserved = "<host mac='52:54:00:00:00:07' ip='10.0.0.7'/>"
        changed = RED.replace("<dhcp><range start='10", f"<dhcp>{reserved}<range start='10")
        daemon.cli("define", daemon.document(changed))
        if not runs:
            libvirtd.stop()
        wanted = daemon.cli("export", "--to", "libvirt", "--dry-run")
        assert not host.file(MARK).is_symlink()
        done = daemon.cli("export", "--to", "libvirt")
        assert steps(wanted) == steps(done)
        assert [line for line in steps(done) if "red: starts with libvirt" in line]
        assert host.file(MARK).is_symlink()
        daemon.cli("detach", "anna")
        daemon.cli("stop", "red")
        if not runs:
            libvirtd.start()
    if runs:
        libvirtd.virsh("net-start", "red")
    given = libvirtd.virsh("net-dumpxml", "--inactive", "red")
    assert reserved in given
    assert normalised(stored) == normalised(given.replace(f"      {reserved}\n", ""))
    assert "yes" in libvirtd.virsh("net-info", "red").partition("Autostart:")[2].split()[0]
    leases = libvirtd.virsh("net-dhcp-leases", "red")
    assert held == {word.partition("/")[0] for word in leases.split() if "/" in word}
    status = json.loads(host.file("/var/lib/libvirt/dnsmasq/virbr-red.status").read_text())
    assert held == {entry["ip-address"] for entry in status}


def test_what_libvirt_has_is_not_overwritten(host: Host, libvirtd: StockLibvirtd) -> None:
    """A name or a uuid that libvirt has for another network is left to it, also by a dry run."""
    green = BLUE.replace("blue", "green").replace("10.0.1", "10.0.2")
    red = RED.replace("00000000000a", "0000000000aa").replace("virbr-red", "virbr-other")
    with Daemon(host) as daemon:
        daemon.cli("define", daemon.document(green))
        daemon.cli("define", daemon.document(red))
        for arguments in (("--dry-run",), ()):
            said = daemon.cli("export", *arguments, check=False)
            assert 5 == said.returncode
            uuid = "00000000-0000-0000-0000-00000000000"
            assert [
                f"! green: libvirt has its uuid {uuid}b for network blue",
                f"! red: libvirt has another network of this name, with uuid {uuid}a",
            ] == said.stdout.splitlines()
    assert not host.file("/etc/libvirt/qemu/networks/green.xml").exists()
    assert "virbr-red" in libvirtd.virsh("net-dumpxml", "red")


def test_what_libvirt_does_not_know_is_named(host: Host, libvirtd: StockLibvirtd) -> None:
    """What an export loses it says; libvirt has all the rest."""
    ours = "<portgroup name='gold' count='3'/><vde group='nogroup'/>"
    green = BLUE.replace("blue", "green").replace("00b<", "00d<").replace("10.0.1", "10.0.2")
    with Daemon(host) as daemon:
        text = green.replace("</network>", f"{ours}</network>")
        daemon.cli("define", daemon.document(text))
        wanted = daemon.cli("export", "--to", "libvirt", "green", "--dry-run")
        done = daemon.cli("export", "--to", "libvirt", "green")
    assert steps(wanted) == steps(done)
    lost = "libvirt does not know, and drops: <vde>, count of portgroup 'gold'"
    assert [line for line in steps(done) if lost in line]
    given = libvirtd.virsh("net-dumpxml", "--inactive", "green")
    libvirtd.virsh("net-undefine", "green")
    host.file("/run/lab/green.xml").write_text(
        green.replace("</network>", "<portgroup name='gold'/></network>")
    )
    libvirtd.virsh("net-define", "/run/lab/green.xml")
    expected = libvirtd.virsh("net-dumpxml", "--inactive", "green")
    assert normalised(without_mac(expected)) == normalised(without_mac(given))


def without_mac(text: str) -> str:
    """Return a document without the line of its bridge's address, which is drawn by lot."""
    return "".join(line for line in text.splitlines(True) if "<mac" not in line)


def test_every_kind_of_network(host: Host, libvirtd: StockLibvirtd) -> None:
    """One that is not stored, one on somebody else's bridge, and one right on an uplink."""
    host.run(["ip", "link", "add", "br0", "type", "bridge"])
    host.run(["ip", "link", "add", "vnet7", "master", "br0", "type", "veth", "peer", "vnet8"])
    before = [host.link(name) for name in ("br0", "vnet7")]
    documents = {
        "transient": BLUE.replace("blue", "transient").replace("00b<", "00c<"),
        "foreign": "<network><name>foreign</name><forward mode='bridge'/>"
        "<bridge name='br0'/></network>",
        "direct": "<network><name>direct</name><forward mode='vepa' dev='eth0'/></network>",
    }
    for name, text in documents.items():
        host.file(f"/run/lab/{name}.xml").write_text(text)
    libvirtd.virsh("net-create", "/run/lab/transient.xml")
    for name in ("foreign", "direct"):
        libvirtd.virsh("net-define", f"/run/lab/{name}.xml")
        libvirtd.virsh("net-start", name)
    with Daemon(host) as daemon:
        result = daemon.cli("import", check=False)
        found = {item["name"]: item for item in daemon.cli("list", json=True)}
        shown = {name: (item["active"], item["persistent"]) for name, item in found.items()}
        assert {
            "blue": (False, True),
            "direct": (True, True),
            "foreign": (True, True),
            "red": (True, True),
            "transient": (True, False),
        } == shown
        refusals = [line for line in result.stdout.splitlines() if line.startswith("! ")]
        assert [] == refusals
        assert "" == libvirtd.virsh("net-list", "--name")
        assert before == [host.link(name) for name in ("br0", "vnet7")]
        transient = host.link("virbr-transient")
        assert transient is not None
        assert transient["ifalias"].startswith("jackfield:")
