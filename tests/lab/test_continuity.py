"""Nothing that a guest does is interrupted, and what it had is there again.

guest (eth0: DHCP and RA) ─┐
tap0 (its guest is here)  ─┼─ virbr0 (NAT, both families) ─ host ─ eth0 ─ lan ─ outside
vnet0 (put there by hand) ─┘                                                     203.0.113.1
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Uplink
from tests.lab.daemon import Daemon
from tests.lab.dns import resolve
from tests.lab.flow import EchoServer, TcpFlow, go_on
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.nameserver import NameServer
from tests.lab.namespace import Namespace
from tests.lab.packets import can_connect, ping
from tests.lab.troubles import problem, told
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

UUID = "0c0f7f4e-6f0e-4d61-8f5b-7f6f5a1c2b3d"
OUTSIDE = ("203.0.113.1", "2001:db8:ffff::1")


def document(*, end: int = 99, name: str = "printer", isolated: str = "no") -> str:
    """Return the network's document.

    Its dnsmasq does not look for 3 s whether somebody has an address before it gives a lease.
    """
    return f"""
    <network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
      <name>red</name><uuid>{UUID}</uuid>
      <forward mode='nat'><nat ipv6='yes'/></forward>
      <bridge name='virbr0' stp='off' delay='0'/>
      <port isolated='{isolated}'/>
      <dns><host ip='192.168.122.7'><hostname>{name}</hostname></host></dns>
      <ip address='192.168.122.1' prefix='24'>
        <dhcp><range start='192.168.122.10' end='192.168.122.{end}'/></dhcp>
      </ip>
      <ip family='ipv6' address='fd00:122::1' prefix='64'/>
      <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
    </network>
    """


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """A guest that talks with the world outside, through a network of ours."""

    host: Host
    daemon: Daemon
    guest: Guest
    outside: Host


@pytest.fixture
def scene(host: Host, uplink: Uplink, outside: Host, daemon: Daemon) -> Iterator[Scene]:
    """Start the network and plug the guest in."""
    assert uplink.ifname == "eth0"
    daemon.cli("apply", daemon.document(document()))
    guest = host.guest("guest")
    plug(daemon, guest)
    with EchoServer(outside):
        yield Scene(host, daemon, guest, outside)


def plug(daemon: Daemon, guest: Guest) -> None:
    """Plug a guest in and have it ask for its addresses."""
    daemon.cli("attach", "red", "--netns", guest.name, "--ifname", "eth0", "--name", guest.name)
    assert guest.dhcp4(seconds=10) is not None
    # Address and route of IPv6 come by themselves, from router advertisements.
    wait_for(lambda: any(":" in address for address in guest.addresses()), 10, "IPv6")
    wait_for(lambda: guest.ip("-6", "route", "show", "default"), 10, "the IPv6 default route")


@contextlib.contextmanager
def flows(scene: Scene, *, longest_gap: float = 1.0) -> Iterator[tuple[TcpFlow, TcpFlow]]:
    """Let a stream of each family flow meanwhile, and assert that it was not disturbed."""
    with TcpFlow(scene.guest, OUTSIDE[0]) as four, TcpFlow(scene.guest, OUTSIDE[1]) as six:
        both = (four, six)
        for flow in both:
            go_on(flow)
        yield both
        for flow in both:
            go_on(flow)
    for flow in both:
        assert flow.error is None
        assert flow.sent == flow.received
        assert flow.longest_gap < longest_gap


def retransmitted(where: Namespace) -> int:
    """Return how many TCP segments a namespace has had to send again."""
    with where.entered():
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("RetransSegs")])


@contextlib.contextmanager
def nothing_lost(scene: Scene) -> Iterator[None]:
    """Assert that no segment had to be sent twice, in either direction."""
    before = [retransmitted(where) for where in (scene.guest, scene.outside)]
    with flows(scene):
        yield
    assert before == [retransmitted(where) for where in (scene.guest, scene.outside)]


def rules(host: Host) -> str:
    """Return our table as nft prints it, without counts."""
    return host.run(["nft", "-s", "list", "table", "inet", "jackfield"]).stdout


def dnsmasq_of(host: Host) -> list[int]:
    """Return the host's dnsmasqs."""
    return host.processes("dnsmasq")


def test_restart_of_the_daemon(scene: Scene) -> None:
    """Ending and starting the daemon, in order or by kill -9, loses no packet."""
    served = dnsmasq_of(scene.host)
    with nothing_lost(scene):
        scene.daemon.restart()
    with nothing_lost(scene):
        scene.daemon.kill9()
        scene.daemon.start()
    assert served == dnsmasq_of(scene.host)
    assert "mended" not in scene.daemon.log_text()
    (port,) = scene.daemon.cli("ports", json=True)
    assert "guest" == port["owner"]["name"]


FORMER = """
table inet jackfield {
    map leave { type ifname : verdict; elements = { "virbr0" : goto leave-virbr0 }; }
    set former { type ipv4_addr; elements = { 203.0.113.1 }; }
    chain leave-virbr0 { ip daddr @former tcp dport 8 drop; ip protocol { tcp, udp } return; }
    chain before { type filter hook prerouting priority 0; iifname vmap @leave; }
}
"""


def test_rules_of_a_former_version(scene: Scene) -> None:
    """What it left in our table goes at the next start, with what it refused, and nothing else."""
    before = rules(scene.host)
    scene.daemon.terminate()
    with EchoServer(scene.outside, 8), nothing_lost(scene):
        scene.host.run(["nft", "-f", "-"], input=FORMER)
        # For less than the second after which what asks for it is sent again (RFC 6298).
        assert not can_connect(scene.guest, OUTSIDE[0], 8, timeout=0.5)
        scene.daemon.start()
        assert before == rules(scene.host)
        assert can_connect(scene.guest, OUTSIDE[0], 8)
    told = [entry["message"] for entry in scene.daemon.log() if "former" in entry["message"]]
    gone = "chain leave-virbr0, chain before, set leave, set former"
    assert [f"mended: rules of a former version are gone: {gone}"] == told


def test_apply_of_dns_and_dhcp(scene: Scene) -> None:
    """Changing what dnsmasq serves loses no packet; a name alone keeps its process."""
    daemon = scene.daemon
    served = dnsmasq_of(scene.host)
    with nothing_lost(scene):
        daemon.cli("apply", daemon.document(document(name="scanner")))
        answer = resolve(scene.guest, "scanner", "192.168.122.1")
        assert answer is not None
        assert ("192.168.122.7",) == tuple(answer.records)
        assert served == dnsmasq_of(scene.host)
        daemon.cli("apply", daemon.document(document(name="scanner", end=50)))
        assert 1 == len(dnsmasq_of(scene.host))
        assert served != dnsmasq_of(scene.host)


def test_flushed_rules_that_nobody_mends(scene: Scene) -> None:
    """Streams go on while there are no rules: the host does not take answers for its own."""
    wanted = rules(scene.host)
    with flows(scene, longest_gap=3.0) as both:
        with scene.daemon.paused():
            scene.host.run(["nft", "flush", "ruleset"])
            assert ["inet jackfield-connections"] == scene.host.tables()
            for flow in both:
                go_on(flow)
        wait_for(lambda: "inet jackfield" in scene.host.tables(), 5, "the table to be back")
        wait_for(lambda: rules(scene.host) == wanted, 5, "the rules to be as they were")
    scene.daemon.restart()
    assert "inet jackfield-connections" in scene.host.tables()
    scene.daemon.cli("stop", "red")
    assert [] == [table for table in scene.host.tables() if table.startswith("inet")]


def test_flushed_rules(scene: Scene) -> None:
    """Rules that somebody flushes are back at once, and the streams go on."""
    wanted = rules(scene.host)
    with flows(scene, longest_gap=3.0):
        for _ in range(10):
            scene.host.run(["nft", "flush", "ruleset"])
            wait_for(lambda: "inet jackfield" in scene.host.tables(), 2, "the table to be back")
            wait_for(lambda: rules(scene.host) == wanted, 2, "the rules to be as they were")
    repaired = [
        event
        for event in _events(scene.daemon)
        if event["type"] == "network-repaired" and "nft" in event["detail"]["reason"]
    ]
    assert repaired


def _events(daemon: Daemon) -> list[dict[str, Any]]:
    text = daemon.cli("events", "--since", "0", "--no-follow", "--json")
    return [json.loads(line) for line in text.splitlines()]


def test_flushed_while_the_daemon_was_down(scene: Scene) -> None:
    """A daemon that starts puts back what somebody took meanwhile, and says so."""
    wanted = rules(scene.host)
    scene.daemon.kill9()
    scene.host.run(["nft", "delete", "table", "inet", "jackfield"])
    scene.daemon.start()
    assert wanted == rules(scene.host)
    assert "mended" in scene.daemon.log_text()


def test_dnsmasq_killed(scene: Scene) -> None:
    """A dnsmasq that dies is replaced, with the leases that it gave."""
    host, daemon, guest = scene.host, scene.daemon, scene.guest
    before = guest.addresses()
    leases = daemon.cli("leases", json=True)
    assert [guest.mac()] == [lease["mac"] for lease in leases]
    with nothing_lost(scene):
        (pid,) = dnsmasq_of(host)
        host.run(["kill", "-KILL", str(pid)])
        wait_for(
            lambda: (
                dnsmasq_of(host) not in ([], [pid])
                and resolve(guest, "printer", "192.168.122.1", timeout=0.2, tries=1)
            ),
            10,
            "another dnsmasq to serve",
        )
    assert leases == daemon.cli("leases", json=True)
    assert guest.dhcp4(seconds=10) is not None
    assert sorted(before) == sorted(guest.addresses())
    # The last that it wrote was of a lease, and is not taken for the reason.
    told = [entry["message"] for entry in daemon.log() if " ended: " in entry["message"]]
    assert told
    assert all("ended: killed by SIGKILL" in text for text in told)


def test_dnsmasq_that_goes_on_dying(scene: Scene) -> None:
    """While it has to wait for another dnsmasq, the network says so, and that it has it again."""
    host, daemon = scene.host, scene.daemon

    def kill_dnsmasq() -> None:
        (pid,) = wait_for(lambda: dnsmasq_of(host), 10, "a dnsmasq to serve")
        wait_for(lambda: not problem(daemon), 5, "the network to be well")
        host.run(["kill", "-KILL", str(pid)])
        wait_for(lambda: [pid] != dnsmasq_of(host), 10, "it to be gone")

    # The pause grows: the last is two seconds.
    for _ in range(4):
        kill_dnsmasq()
    said = wait_for(lambda: problem(daemon), 2, "the network to say so")
    assert said.startswith("dnsmasq ended: ")
    assert "started again in 2 s" in said
    wait_for(lambda: dnsmasq_of(host), 10, "the dnsmasq to be there again")
    wait_for(lambda: not problem(daemon), 5, "the network to be well")
    events = told(daemon)
    assert said in [event["detail"].get("problem") for event in events]
    assert "network-repaired" == events[-1]["type"]


def test_name_servers_changed_while_the_daemon_was_down(scene: Scene) -> None:
    """A daemon that starts tells dnsmasq where the host asks for names now."""
    with NameServer(scene.outside, {"far.example": "203.0.113.77"}):
        scene.daemon.terminate()
        scene.host.use_name_servers("203.0.113.1")
        scene.daemon.start()

        def answered() -> bool:
            answer = resolve(scene.guest, "far.example", "192.168.122.1", timeout=0.3, tries=1)
            return answer is not None and tuple(answer.records) == ("203.0.113.77",)

        wait_for(answered, 5, "dnsmasq to ask the new server")


class Tap:
    """The guest's side of a tap: what it does is done by the test."""

    def __init__(self, host: Host, name: str) -> None:
        """Open the tap."""
        self._mac = b"\x52\x54\x00" + name[:3].encode()
        with host.entered():
            self._descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            iff_tap, iff_no_pi, tunsetiff = 0x0002, 0x1000, 0x400454CA
            request = struct.pack("16sH22x", name.encode(), iff_tap | iff_no_pi)
            fcntl.ioctl(self._descriptor, tunsetiff, request)

    def arp(self, wanted: str, *, timeout: float = 0.3) -> bool:
        """Ask who has an address; return whether somebody said so."""
        ours, theirs = socket.inet_aton("192.168.122.50"), socket.inet_aton(wanted)
        head = b"\xff" * 6 + self._mac + b"\x08\x06"
        body = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, self._mac, ours, bytes(6), theirs)
        while select.select([self._descriptor], [], [], 0)[0]:
            os.read(self._descriptor, 2048)
        os.write(self._descriptor, head + body)
        while select.select([self._descriptor], [], [], timeout)[0]:
            frame = os.read(self._descriptor, 2048)
            if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2" and frame[28:32] == theirs:
                return True
        return False

    def expect(self, wanted: str) -> None:
        """Wait until an address is answered for.

        The kernel tells a bridge of its port's carrier with a delay of up to a second.
        """
        wait_for(lambda: self.arp(wanted), 5, f"{wanted} to answer")

    def close(self) -> None:
        """Let the tap go; it stays if it is persistent."""
        os.close(self._descriptor)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def members(host: Host) -> dict[str, bool]:
    """Return the ports of the bridge, and which of them are isolated."""
    found = json.loads(host.run(["bridge", "-d", "-j", "link"]).stdout)
    return {item["ifname"]: item["isolated"] for item in found if item.get("master") == "virbr0"}


def test_stop_and_start(scene: Scene) -> None:
    """A network that is stopped and started has its guests again, who need do nothing."""
    host, daemon, guest = scene.host, scene.daemon, scene.guest
    daemon.cli("apply", daemon.document(document(isolated="yes")))
    daemon.cli("attach", "red", "--tap", "tap0")
    for command in (
        "ip tuntap add vnet0 mode tap",
        "ip link set vnet0 address fe:54:00:aa:bb:03 master virbr0",
        "bridge link set dev vnet0 isolated on learning off",
        "ip link set vnet0 up",
    ):
        host.run(command.split())
    before = members(host)
    assert {"tap0", "vnet0"} < before.keys()
    assert before["vnet0"]
    assert before["tap0"]
    with Tap(host, "tap0") as tap0, Tap(host, "vnet0") as vnet0:
        for tap in (tap0, vnet0):
            tap.expect("192.168.122.1")
        with flows_again(scene):
            daemon.cli("stop", "red")
            assert {} == members(host)
            assert not tap0.arp("192.168.122.1")
            assert ping(guest, "fd00:122::1", timeout=0.2) is None
            daemon.cli("start", "red")
            assert before == members(host)
        for tap in (tap0, vnet0):
            tap.expect("192.168.122.1")
    assert ping(guest, "fd00:122::1", tries=3) is not None
    flags = host.link("vnet0")
    assert flags is not None
    assert not flags["linkinfo"]["info_slave_data"]["learning"]


def test_stopped_over_a_restart_of_the_daemon(scene: Scene) -> None:
    """What a stopped network's bridge held is remembered by the next daemon."""
    host, daemon = scene.host, scene.daemon
    host.run(["ip", "tuntap", "add", "vnet0", "mode", "tap"])
    host.run(["ip", "link", "set", "vnet0", "address", "fe:54:00:aa:bb:03", "master", "virbr0"])
    before = members(host)
    daemon.cli("stop", "red")
    daemon.kill9()
    daemon.start()
    assert {} == members(host)
    with flows_again(scene):
        daemon.cli("start", "red")
    assert before == members(host)


@contextlib.contextmanager
def flows_again(scene: Scene) -> Iterator[None]:
    """Assert that the guest reaches the outside by both families afterwards."""
    yield
    for address in OUTSIDE:
        assert ping(scene.guest, address, tries=5) is not None


def test_link_taken_by_another_bridge(scene: Scene) -> None:
    """A link that found another bridge while its network was stopped stays there."""
    host, daemon = scene.host, scene.daemon
    host.run(["ip", "tuntap", "add", "vnet0", "mode", "tap"])
    host.run(["ip", "link", "set", "vnet0", "master", "virbr0"])
    daemon.cli("stop", "red")
    host.run(["ip", "link", "add", "br-other", "type", "bridge"])
    host.run(["ip", "link", "set", "vnet0", "master", "br-other"])
    daemon.cli("start", "red")
    assert "vnet0" not in members(host)
    link = host.link("vnet0")
    assert link is not None
    assert "br-other" == link["master"]


def test_bridge_deleted_by_hand(scene: Scene) -> None:
    """A bridge that somebody deletes is made again, with its ports, rules and service."""
    before = members(scene.host)
    with flows(scene, longest_gap=15.0):
        scene.host.run(["ip", "link", "del", "virbr0"])
        wait_for(lambda: members(scene.host) == before, 10, "the bridge to have its ports again")
    answer = wait_for(
        lambda: resolve(scene.guest, "printer", "192.168.122.1", timeout=0.5, tries=1),
        5,
        "dnsmasq to serve again",
    )
    assert answer is not None
    assert ("192.168.122.7",) == tuple(answer.records)
    (network,) = scene.daemon.cli("list", json=True)
    assert network["problem"] is None
    assert 1 == len(dnsmasq_of(scene.host))


def test_bridge_deleted_while_the_daemon_was_down(scene: Scene) -> None:
    """A daemon that starts makes a deleted bridge again, with its ports, rules and service."""
    before = members(scene.host)
    scene.daemon.kill9()
    scene.host.run(["ip", "link", "del", "virbr0"])
    with flows_again(scene):
        scene.daemon.start()
    assert before == members(scene.host)
    assert resolve(scene.guest, "printer", "192.168.122.1") is not None
    assert 1 == len(dnsmasq_of(scene.host))


def test_guest_gone(scene: Scene) -> None:
    """A port whose guest has gone is still listed, says so, and can be detached."""
    daemon = scene.daemon
    scene.guest.delete()
    wait_for(lambda: members(scene.host) == {}, 5, "the guest's link to go")
    wait_for(lambda: daemon.ask("/v1/ports")[0]["problem"], 5, "the port to say so")
    (port,) = daemon.cli("ports", json=True)
    assert "guest" == port["owner"]["name"]
    assert "went with namespace /run/netns/guest" in port["problem"]
    daemon.restart()
    assert [port] == daemon.cli("ports", json=True)
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    daemon.cli("detach", "guest")
    assert [] == daemon.cli("ports", json=True)
