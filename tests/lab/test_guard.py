"""Guests that are kept to their addresses, over the whole of their lives.

::

    guest a ──┐
    guest b ──┼── virbr-red 10.0.0.1, fd00::1   host
    guest c ──┘
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.daemon import Daemon
from tests.lab.dns import resolve
from tests.lab.frames import arp, dhcp, rarp, router_advertisement, udp4, udp6
from tests.lab.guest import Guest, Lease4
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.switch import add_address, wait_forwarding
from tests.lab.virsh import CONFIG, URI
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

GATEWAY, GATEWAY6 = "10.0.0.1", "fd00::1"
MAC_A, MAC_B, MAC_X = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:99"
RESERVED = "10.0.0.77"
FILTER = "<filterref filter='clean-traffic'/>"
RED = f"""
<network {{}} xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name>
  <bridge name='virbr-red' stp='off' delay='0'/>
  <dns><host ip='10.0.0.200'><hostname>there</hostname></host></dns>
  <ip address='{GATEWAY}' prefix='24'><dhcp>
    <range start='10.0.0.10' end='10.0.0.40'/>
    <host mac='{MAC_B}' ip='{RESERVED}'/>
  </dhcp></ip>
  <ip family='ipv6' address='{GATEWAY6}' prefix='64'>
    <dhcp><range start='fd00::1000' end='fd00::1fff'/></dhcp>
  </ip>
  <portgroup name='free' antiSpoofing='no'/>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>"""
GUARDED, UNGUARDED = RED.format("antiSpoofing='yes'"), RED.format("")


class Site:
    """A host with a daemon and the network red."""

    def __init__(self, host: Host, daemon: Daemon) -> None:
        """Apply the network, guarded."""
        self.host = host
        self.daemon = daemon
        self.apply(GUARDED)

    def apply(self, document: str) -> None:
        """Apply a document."""
        self.daemon.cli("apply", self.daemon.document(document))

    def plug(self, name: str, mac: str, *options: str, network: str = "red") -> Guest:
        """Make a guest with eth0 on a network, without an address."""
        guest = self.host.guest(name)
        self.daemon.cli(
            *("attach", network, "--netns", name, "--ifname", "eth0", "--mac", mac, *options)
        )
        guest.run(["ip", "link", "set", "eth0", "up"])
        wait_forwarding(self.host)
        return guest

    def table(self) -> str:
        """Return the table of ports; empty when there is none."""
        done = self.host.run(["nft", "list", "table", "bridge", "jackfield"], check=False)
        return done.stdout

    def held(self) -> dict[str, set[str]]:
        """Return the elements of each set, but for what the kernel learned."""
        found: dict[str, set[str]] = {}
        for item in self.host.nft("list", "ruleset"):
            one = item.get("set", {})
            if one.get("family") == "bridge" and one["name"] != "learned4":
                found[one["name"]] = {json.dumps(element) for element in one.get("elem", ())}
        return found

    def dropped(self) -> int:
        """Return how many frames were dropped so far."""
        return sum(
            part["counter"]["packets"]
            for item in self.host.nft("list", "ruleset")
            if item.get("rule", {}).get("family") == "bridge"
            for part in item["rule"]["expr"]
            if "counter" in part
        )


@pytest.fixture
def site(host: Host) -> Iterator[Site]:
    """Give a host with a daemon and the network."""
    with Daemon(host, config=CONFIG) as daemon:
        yield Site(host, daemon)


def leased(guest: Guest) -> Lease4:
    """Have a guest ask for an address, and use it."""
    found = guest.dhcp4()
    assert found is not None
    return found


def send(guest: Guest, frame: bytes) -> None:
    """Send a frame from a guest's eth0."""
    with guest.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("eth0", 0))
        sender.send(frame)


@contextlib.contextmanager
def watched(guest: Guest) -> Iterator[socket.socket]:
    """Give a socket that has what arrives at a guest's eth0."""
    with guest.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as receiver:
        receiver.bind(("eth0", 0))
        receiver.settimeout(5)
        yield receiver


def arrives(sender: Guest, frame: bytes, at: Guest, *, mac: str = MAC_A) -> bool:
    """Tell whether a frame arrives at another guest, before one that does whatever there is."""
    last = rarp(mac)
    with watched(at) as receiver:
        send(sender, frame)
        send(sender, last)
        seen = False
        while (got := receiver.recv(2048)) != last:
            seen = seen or got == frame
    return seen


def test_guest_uses_its_lease_at_once(site: Site) -> None:
    """From the moment of its lease a guest has the network: ARP, pings, DNS, both families."""
    a = site.plug("a", MAC_A)
    assert ping(a, GATEWAY, timeout=0.2) is None
    lease = leased(a)
    assert ping(a, GATEWAY, timeout=1.0) is not None
    answer = resolve(a, "there", GATEWAY)
    assert answer is not None
    assert ("10.0.0.200",) == answer.records
    wait_for(lambda: a.addresses(), 10, "an address of the guest's own making")
    assert ping(a, GATEWAY6, tries=3) is not None
    lease6 = a.dhcp6()
    assert lease6 is not None
    a.run(["ip", "-6", "addr", "flush", "dev", "eth0", "scope", "global", "dynamic"], check=False)
    assert ping(a, GATEWAY6, tries=3) is not None
    # The daemon has read the leases, too.
    wait_for(lambda: lease.address in str(site.held()["addresses4"]), 5, "the lease in the rules")
    wait_for(lambda: lease6.address in str(site.held()["addresses6"]), 5, "the IPv6 lease")


def test_forged_frames_do_not_leave(site: Site) -> None:
    """Nothing that claims to be somebody else's comes to another guest, and all is counted."""
    a, b = site.plug("a", MAC_A), site.plug("b", MAC_B)
    address = leased(a).address
    assert RESERVED == leased(b).address
    before = site.dropped()
    forged = [
        udp4(MAC_X, address),
        udp4(MAC_A, RESERVED),
        udp4(MAC_A, "198.51.100.1"),
        arp(MAC_A, address, sender=MAC_X),
        arp(MAC_A, RESERVED),
        arp(MAC_A, GATEWAY, operation=2),
        dhcp(MAC_A, address, client=MAC_B, kind=5, your="10.0.0.66"),
        router_advertisement(MAC_A),
        udp6(MAC_A, "fd00::5054:ff:fe00:b"),
        udp6(MAC_A, GATEWAY6),
        udp6(MAC_A, "2001:db8::1"),
    ]
    assert [False] * len(forged) == [arrives(a, frame, b) for frame in forged]
    assert len(forged) == site.dropped() - before
    honest = [
        udp4(MAC_A, address),
        arp(MAC_A, address),
        udp6(MAC_A, "fd00::5054:ff:fe00:a"),
        udp6(MAC_A, "fe80::1234"),
    ]
    assert [True] * len(honest) == [arrives(a, frame, b) for frame in honest]


def test_lease_is_not_had_by_the_name_of_another(site: Site) -> None:
    """Who sends another guest's client identifier gets an address of its own."""
    a, c = site.plug("a", MAC_A), site.plug("c", MAC_X)
    address = leased(a).address
    script = "/run/lab/dhcp4.sh"
    c.run(
        [
            *("busybox", "udhcpc", "-f", "-n", "-q", "-i", "eth0", "-s", script, "-C"),
            *("-t", "8", "-T", "1", "-A", "1", "-x", f"0x3d:01{MAC_A.replace(':', '')}"),
        ],
        env={"LEASE_FILE": "/run/lab/stolen"},
        check=False,
    )
    (found,) = c.addresses()[:1]
    assert not found.startswith(f"{address}/")
    assert ping(c, GATEWAY) is not None
    assert ping(a, GATEWAY) is not None


def test_portgroup_may_be_exempted(site: Site) -> None:
    """The guest of a portgroup with antiSpoofing='no' sends what it likes."""
    a, b = site.plug("a", MAC_A, "--portgroup", "free"), site.plug("b", MAC_B)
    leased(b)
    assert arrives(a, udp4(MAC_X, "198.51.100.1"), b)
    assert not arrives(b, udp4(MAC_X, "198.51.100.1"), a, mac=MAC_B)


def test_lease_is_renewed_and_given_back(site: Site) -> None:
    """Renewing changes nothing; what is given back is not the guest's any more."""
    a, b = site.plug("a", MAC_A), site.plug("b", MAC_B)
    address = leased(a).address
    assert address == leased(a).address
    wait_for(lambda: address in str(site.held()["addresses4"]), 5, "the lease in the rules")
    # Nobody gives back what is another's.
    send(b, dhcp(MAC_B, RESERVED, client=MAC_A, kind=7, own=address, to=GATEWAY))
    send(b, dhcp(MAC_A, address, client=MAC_A, kind=7, own=address, to=GATEWAY))
    assert arrives(a, udp4(MAC_A, address), b)
    (bridge,) = site.host.ip("link", "show", "virbr-red")
    release = dhcp(
        *(MAC_A, address), client=MAC_A, kind=7, own=address, to=GATEWAY, target=bridge["address"]
    )
    send(a, release)
    wait_for(lambda: address not in site.table(), 5, "the address to be taken from the guest")
    assert not arrives(a, udp4(MAC_A, address), b)
    again = leased(a).address
    assert arrives(a, udp4(MAC_A, again), b)
    assert ping(a, GATEWAY) is not None


def test_detach_leaves_nothing(site: Site) -> None:
    """A port's elements go with it, and the table with the last port."""
    a, b = site.plug("a", MAC_A), site.plug("b", MAC_B)
    leased(a)
    leased(b)
    (device,) = (
        item["device"] for item in site.daemon.cli("ports", json=True) if item["mac"] == MAC_A
    )
    wait_for(lambda: len(site.held()["addresses4"]) == 2, 5, "both leases in the rules")
    site.daemon.cli("detach", "a")
    assert device not in site.table()
    assert MAC_A not in site.table()
    before = site.dropped()
    send(b, udp4(MAC_X, "198.51.100.1"))
    assert 1 == site.dropped() - before
    site.daemon.cli("detach", "b")
    assert "" == site.table()


def test_lease_is_known_when_its_guest_comes_back(site: Site) -> None:
    """A guest that is plugged in again may use the lease that it has from before."""
    a = site.plug("a", MAC_A)
    address = leased(a).address
    wait_for(lambda: address in str(site.held()["addresses4"]), 5, "the lease in the rules")
    site.daemon.cli("detach", "a")
    again = site.plug("again", MAC_A)
    add_address(again, "eth0", f"{address}/24")
    assert ping(again, GATEWAY, tries=2) is not None


def test_flushed_rules_come_back(site: Site) -> None:
    """Whoever flushes the rules opens nothing for long, and takes no address away."""
    a, b = site.plug("a", MAC_A), site.plug("b", MAC_B)
    address = leased(a).address
    leased(b)
    wait_for(lambda: address in str(site.held()["addresses4"]), 5, "the lease in the rules")
    before = site.held()
    site.host.run(["nft", "flush", "ruleset"])
    wait_for(lambda: site.held() == before, 5, "the rules to be mended")
    assert ping(a, GATEWAY) is not None
    assert not arrives(a, udp4(MAC_A, RESERVED), b)
    site.host.run(["nft", "flush", "chain", "bridge", "jackfield", "guard-ip"])
    wait_for(lambda: not arrives(a, udp4(MAC_A, "10.0.0.9"), b), 5, "the guard to be mended")
    events = site.daemon.cli("events", "--no-follow").splitlines()
    repaired = [line for line in events if "network-repaired" in line]
    assert "the table was deleted" in repaired[0]
    assert "table bridge jackfield: a rule was deleted from chain guard-ip" in repaired[-1]


def test_guards_outlive_the_network_and_the_daemon(site: Site) -> None:
    """Neither a stop and start nor a killed daemon opens anything or shuts a guest out."""
    a, b = site.plug("a", MAC_A), site.plug("b", MAC_B)
    address = leased(a).address
    leased(b)
    wait_for(lambda: len(site.held()["addresses4"]) == 2, 5, "both leases in the rules")
    before = site.held()
    site.daemon.cli("stop", "red")
    assert before == site.held()
    site.daemon.cli("start", "red")
    assert before == site.held()
    assert ping(a, GATEWAY, tries=3) is not None
    site.daemon.kill9()
    assert before == site.held()
    assert not arrives(a, udp4(MAC_A, RESERVED), b)
    assert ping(a, GATEWAY) is not None
    site.daemon.start()
    assert before == site.held()
    assert ping(a, GATEWAY) is not None
    assert not arrives(a, udp4(MAC_A, RESERVED), b)
    assert address in str(site.held()["addresses4"])


def test_lease_given_while_the_daemon_is_dead(site: Site) -> None:
    """The kernel learns of it, and the next daemon reads it."""
    a = site.plug("a", MAC_A)
    site.daemon.kill9()
    address = leased(a).address
    assert ping(a, GATEWAY) is not None
    assert address not in str(site.held()["addresses4"])
    site.daemon.start()
    assert address in str(site.held()["addresses4"])
    assert ping(a, GATEWAY) is not None


def test_filter_comes_and_goes_with_the_definition(site: Site) -> None:
    """Applying the filter guards the ports that are there, with the leases that they have."""
    a, b = site.plug("a", MAC_A), site.plug("b", MAC_B)
    address = leased(a).address
    leased(b)
    site.apply(UNGUARDED)
    assert "" == site.table()
    assert arrives(a, udp4(MAC_X, "198.51.100.1"), b)
    site.apply(GUARDED)
    assert not arrives(a, udp4(MAC_X, "198.51.100.1"), b)
    assert arrives(a, udp4(MAC_A, address), b)
    # While it is stopped, another definition may be stored.
    site.daemon.cli("stop", "red")
    site.daemon.cli("define", site.daemon.document(UNGUARDED))
    site.daemon.cli("start", "red")
    assert "" == site.table()


def test_guest_of_libvirt_is_guarded_when_it_joins(site: Site) -> None:
    """The tap that a client makes is recognised by its MAC, guarded, and forgotten when it goes."""
    b = site.plug("b", MAC_B)
    leased(b)
    uuid = "6c7dbd4c-9b0d-4f5e-8b8e-0d6f1c2a3b4d"
    port = f"""
    <networkport><uuid>{uuid}</uuid>
      <owner><name>vm</name><uuid>5c1b9b53-65f8-4f0d-b09e-3f0d0f6b8d11</uuid></owner>
      <mac address='{MAC_A}'/>
    </networkport>"""
    site.host.run(["virsh", "-c", URI, "net-port-create", "red", site.daemon.document(port)])
    vm = site.host.guest("vm")
    join_as_libvirt_does(site, vm)
    wait_for(lambda: '"vnet0"' in site.table(), 5, "the tap to be guarded")
    address = leased(vm).address
    assert ping(vm, GATEWAY) is not None
    assert not arrives(vm, udp4(MAC_A, RESERVED), b)
    wait_for(lambda: address in str(site.held()["addresses4"]), 5, "the lease in the rules")
    site.daemon.kill9()
    site.daemon.start()
    assert not arrives(vm, udp4(MAC_A, RESERVED), b)
    assert ping(vm, GATEWAY) is not None
    site.daemon.cli("stop", "red")
    assert '"vnet0"' in site.table()
    site.daemon.cli("start", "red")
    wait_forwarding(site.host)
    assert not arrives(vm, udp4(MAC_A, RESERVED), b)
    assert ping(vm, GATEWAY, tries=3) is not None
    site.host.run(["ip", "link", "del", "vnet0"])
    wait_for(lambda: "vnet0" not in site.table(), 5, "the guard to go with the tap")
    # One that goes while nobody looks is noticed afterwards.
    join_as_libvirt_does(site, vm)
    wait_for(lambda: '"vnet0"' in site.table(), 5, "the tap to be guarded")
    site.daemon.kill9()
    site.host.run(["ip", "link", "del", "vnet0"])
    site.daemon.start()
    assert "vnet0" not in site.table()
    join_as_libvirt_does(site, vm)
    wait_for(lambda: '"vnet0"' in site.table(), 5, "the tap to be guarded")
    site.host.run(["virsh", "-c", URI, "net-port-delete", "red", uuid])
    wait_for(lambda: "vnet0" not in site.table(), 5, "the guard to go with the port")
    assert arrives(vm, udp4(MAC_X, "198.51.100.1"), b)


def test_a_network_starts_with_its_guests_guarded(site: Site) -> None:
    """A daemon that is another one by then guards a client's tap before it is on the bridge."""
    uuid = "6c7dbd4c-9b0d-4f5e-8b8e-0d6f1c2a3b4d"
    port = f"""
    <networkport><uuid>{uuid}</uuid>
      <owner><name>vm</name><uuid>5c1b9b53-65f8-4f0d-b09e-3f0d0f6b8d11</uuid></owner>
      <mac address='{MAC_A}'/>
    </networkport>"""
    site.host.run(["virsh", "-c", URI, "net-port-create", "red", site.daemon.document(port)])
    join_as_libvirt_does(site, site.host.guest("vm"))
    wait_for(lambda: '"vnet0"' in site.table(), 5, "the tap to be guarded")
    site.daemon.cli("stop", "red")
    site.daemon.restart()

    def bridge_of_tap() -> str | None:
        (link,) = site.host.ip("link", "show", "dev", "vnet0")
        return link.get("master")

    # Where it cannot be guarded it does not come onto the bridge, not for a moment.
    site.host.run(["nft", "add table bridge jackfield"])
    monitor = site.host.start(["ip", "monitor", "link"], stdout=subprocess.PIPE)
    told = monitor.popen.stdout
    assert told is not None
    hears = select.epoll()
    hears.register(told, select.EPOLLIN)

    def listens() -> bool:
        site.host.run(["ip", "link", "set", "lo", "alias", "begin"])
        return bool(hears.poll(0.1))

    wait_for(listens, 5, "ip monitor to listen")
    refused = site.daemon.cli("start", "red", check=False)
    site.host.run(["ip", "link", "add", "end0", "type", "bridge"])
    seen = list(itertools.takewhile(lambda line: "end0" not in line, told))
    monitor.stop()
    assert "table bridge jackfield without the comment that marks ours" in refused.stderr
    assert [] == [line for line in seen if "vnet0" in line and "master" in line]
    assert bridge_of_tap() is None
    site.host.run(["nft", "delete table bridge jackfield"])
    site.daemon.cli("start", "red")
    assert "virbr-red" == bridge_of_tap()
    assert '"vnet0"' in site.table()


def join_as_libvirt_does(site: Site, guest: Guest) -> None:
    """Put a link named as libvirt's taps on the bridge; its other end is the guest's eth0."""
    site.host.run(
        [
            *("ip", "link", "add", "vnet0", "address", f"fe{MAC_A[2:]}", "type", "veth"),
            *("peer", "name", "eth0", "address", MAC_A, "netns", guest.name),
        ]
    )
    site.host.run(["ip", "link", "set", "vnet0", "master", "virbr-red", "up"])
    guest.run(["ip", "link", "set", "eth0", "up"])
    wait_forwarding(site.host)


def test_bridge_of_somebody_else_with_named_addresses(site: Site) -> None:
    """Where we give no addresses out, the MAC is kept, and the address if it is named."""
    site.host.run(["ip", "link", "add", "br0", "up", "type", "bridge"])
    site.apply(
        "<network antiSpoofing='yes'><name>plain</name><forward mode='bridge'/>"
        "<bridge name='br0'/><portgroup name='web'><filterref filter='clean-traffic'>"
        "<parameter name='IP' value='192.0.2.80'/></filterref></portgroup></network>"
    )
    a = site.plug("a", MAC_A, network="plain")
    b = site.plug("b", MAC_B, "--portgroup", "web", network="plain")
    assert arrives(a, udp4(MAC_A, "192.0.2.5"), b)
    assert not arrives(a, udp4(MAC_X, "192.0.2.5"), b)
    assert not arrives(a, router_advertisement(MAC_A), b)
    assert arrives(b, udp4(MAC_B, "192.0.2.80"), a, mac=MAC_B)
    assert not arrives(b, udp4(MAC_B, "192.0.2.81"), a, mac=MAC_B)


def test_what_cannot_be_kept_is_refused(site: Site) -> None:
    """A macvtap network with the filter is not defined, and a foreign table stops the port."""
    done = site.daemon.cli(
        "define",
        site.daemon.document(
            f"<network><name>m</name><forward mode='vepa' dev='lo'/>{FILTER}</network>"
        ),
        check=False,
    )
    assert "its frames pass no bridge" in done.stderr
    site.host.run(["nft", "add table bridge jackfield"])
    site.host.guest("a")
    done = site.daemon.cli(*("attach", "red", "--netns", "a", "--ifname", "eth0"), check=False)
    assert "table bridge jackfield without the comment that marks ours" in done.stderr
    assert [] == site.daemon.cli("ports", json=True)
    assert {"lo", "virbr-red"} == site.host.links()
    assert "table bridge jackfield {\n}\n" == site.table()


def test_many_are_unplugged_at_once(site: Site) -> None:
    """Every port of a network goes in one go, and nothing of their guards stays."""
    for number in range(3):
        site.plug(f"guest{number}", f"52:54:00:00:01:{number:02x}")
    site.daemon.cli("detach", "--network", "red")
    assert "" == site.table()


def test_definition_changes_while_the_network_is_stopped(site: Site) -> None:
    """A port that goes meanwhile takes the guard along that it had."""
    site.plug("a", MAC_A)
    site.daemon.cli("stop", "red")
    site.daemon.cli("define", site.daemon.document(UNGUARDED))
    assert MAC_A in site.table()
    site.daemon.cli("detach", "a")
    wait_for(lambda: not site.table(), 5, "the guard to go with its port")


def test_guards_are_steps_of_plans(site: Site) -> None:
    """Plan and apply say which ports are guarded anew, otherwise, and not any more."""
    site.plug("a", MAC_A)
    site.plug("c", MAC_X, "--portgroup", "free")
    (device,) = (
        port["device"] for port in site.daemon.cli("ports", json=True) if port["mac"] == MAC_A
    )

    def steps(*words: str) -> list[tuple[str, str]]:
        found = site.daemon.cli(*words, json=True)["steps"]
        return [(one["action"], one["key"]) for one in found if one["kind"] == "port-guard"]

    key = f"port-guard:{device}"
    for document, action in (UNGUARDED, "remove"), (GUARDED, "create"):
        site.daemon.cli("define", site.daemon.document(document))
        assert [(action, key)] == steps("plan", "red")
        assert [(action, key)] == steps("apply", "red")
        assert [] == steps("plan", "red")
    reserved = GUARDED.replace(MAC_B, MAC_A)
    site.daemon.cli("define", site.daemon.document(reserved))
    assert [("change", key)] == steps("plan", "red")
    assert [("change", key)] == steps("apply", "red")
