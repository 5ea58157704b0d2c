"""What needs a kernel with everything: VLANs on bridges, bonds, and Open vSwitch's own datapath.

::

    machine (QEMU, Debian 12's kernel)
    anna, bert (VLAN 42) ┐
    carl (VLAN 43)       ├─ red0, a bridge of ours
    dora (trunk of both) ┘
    emma (VLAN 42) ── br9, somebody else's bridge

    anna, carl, … ── br0, with what up0 had ── up0 ── lan 192.0.2.1, VLANs 42 and 43
                     (up0: a NIC, a bond of up1 and up2, or a VLAN device)
    anna, carl ── ovs0, in the kernel ── up0 ── lan
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.guests import apparmor, systemd
from tests.guests.fullkernel import DAEMON, UNTAGGED, Site
from tests.guests.machine import SriovMachine
from tests.lab import lldpad, openvswitch
from tests.lab.frames import arp
from tests.lab.host import Host
from tests.lab.wait import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

OLDEST = "bookworm"
"""The suite of the oldest kernel that all of this is shown with; docs/daemon.md names it."""
FULL = "guests in namespaces, on a full kernel"
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
HOME = f"""
<network>
  <name>home</name><forward mode='bridge'/>
  <bridge name='br0'><uplinks><interface dev='up0'/></uplinks></bridge>{GROUPS}
</network>
"""
SERVED = """
<network>
  <name>served</name><forward mode='open'/><bridge name='served0' stp='off'/>
  <ip address='10.7.0.1' prefix='24'><dhcp><range start='10.7.0.10' end='10.7.0.99'/></dhcp></ip>
</network>
"""
PLAIN = HOME.replace(GROUPS, "")
#: What the host has at its uplink, and what the LAN has.
OWN = ("192.0.2.10/24", "2001:db8:1::10/64")
ROUTES = {"default via 192.0.2.1 dev up0", "10.7.0.0/16 via 192.0.2.1 dev up0 metric 50"}
SWITCHED = f"""
<network>
  <name>switched</name><forward mode='bridge'/>
  <bridge name='ovs0'><uplinks><interface dev='up0'/></uplinks></bridge>
  <virtualport type='openvswitch'/>{GROUPS}
  <portgroup name='slow'>
    <vlan><tag id='42'/></vlan><bandwidth><outbound average='500'/></bandwidth>
  </portgroup>
</network>
"""
TUNNELLED = """
<network>
  <name>home</name><forward mode='nat' dev='wg0'/><bridge name='nat0' stp='off'/>
  <ip address='10.8.0.1' prefix='24'/>
</network>
"""
CLIENT = "00000000-0000-0000-0000-000000000077"
PORT = (
    f"<networkport><uuid>{CLIENT}</uuid><owner><name>gus</name><uuid>{CLIENT}</uuid></owner>"
    "<mac address='52:54:00:00:00:77'/><vlan><tag id='42'/></vlan></networkport>"
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Give the machine with the network running."""
    with Host() as host, SriovMachine(host, suite=OLDEST) as machine:
        machine.call(f"{DAEMON}:start")
        found = Site(host, machine)
        found.run("mkdir -p /run/netns")
        found.load("nft_meta_bridge", "bonding", "openvswitch")
        found.load("sch_ingress", "cls_matchall", "cls_basic", "act_police")
        found.ask("POST", "/v1/networks?apply=1", RED)
        yield found


@pytest.mark.shows("vlan on a bridge", FULL)
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
    site.unplug("anna", "bert", "carl", "dora")


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
    site.unplug("emma")


@pytest.fixture
def lan(site: Site) -> Iterator[Site]:
    """Give the machine with an uplink ``up0`` to the machine ``lan``, and take all away again."""
    site.lan("up0")
    configure(site, "up0")
    yield site
    clean(site)


def configure(site: Site, uplink: str) -> None:
    """Give an uplink the addresses and routes of the host."""
    site.ip(
        f"address add 192.0.2.10/24 dev {uplink}",
        f"-6 address add 2001:db8:1::10/64 dev {uplink} nodad",
        f"route add default via 192.0.2.1 dev {uplink}",
        f"route add 10.7.0.0/16 via 192.0.2.1 dev {uplink} metric 50",
    )


def clean(site: Site) -> None:
    """Take away what a test made, whether it passed or not."""
    for port in site.ask("GET", "/v1/ports"):
        site.ask("DELETE", f"/v1/ports/{port['uuid']}")
    for network in site.ask("GET", "/v1/networks"):
        if network["name"] != "red":
            if network["active"]:
                site.ask("POST", f"/v1/networks/{network['name']}/stop")
            site.ask("DELETE", f"/v1/networks/{network['name']}")
    links = "tap0 bond1 up0 up1 up2 wg0"
    site.run(f"ip -all netns delete; for one in {links}; do ip link del $one; done; true")


@pytest.mark.shows("vlan on a bridge over an uplink", FULL)
def test_vlans_of_a_managed_bridge(lan: Site) -> None:
    """Guests are in the LAN's VLANs, and the host and others in the untagged one, as before."""
    lan.apply(HOME)
    assert ({*OWN}, set()) == (lan.addresses("br0"), lan.addresses("up0"))
    assert {1: UNTAGGED, 42: [], 43: []} == lan.vlans("up0")
    assert {1: UNTAGGED} == lan.vlans("br0")
    assert lan.reaches("", "192.0.2.1")
    anna = lan.plug("anna", "red", "10.42.0.2", "home")
    carl = lan.plug("carl", "blue", "10.43.0.2", "home")
    dora = lan.plug("dora", "all", "", "home")
    lan.ip(
        "link add link eth0 name tagged type vlan id 43",
        "link set tagged up",
        "address add 10.43.0.3/24 dev tagged",
        inside="dora",
    )
    emma = lan.plug("emma", "native", "10.42.0.4", "home")
    fred = lan.plug("fred", "", "192.0.2.5", "home")
    wanted = {
        "up0": {1: UNTAGGED, 42: [], 43: []},
        anna: {42: UNTAGGED},
        carl: {43: UNTAGGED},
        dora: {42: [], 43: []},
        emma: {42: UNTAGGED, 43: []},
        fred: {1: UNTAGGED},
    }

    def check() -> None:
        assert wanted == {link: lan.vlans(link) for link in wanted}
        assert lan.filters("br0")
        for guest, address in (
            ("anna", "10.42.0.1"),
            ("carl", "10.43.0.1"),
            ("dora", "10.43.0.1"),
            ("emma", "10.42.0.1"),
            ("anna", "10.42.0.4"),
            ("fred", "192.0.2.1"),
            ("fred", "192.0.2.10"),
            ("", "192.0.2.1"),
        ):
            assert lan.reaches(guest, address), (guest, address)

    check()
    # The addresses of other VLANs on the same link show that it is not they which keep apart.
    for guest, own, address in (
        ("anna", "10.43.0.9", "10.43.0.1"),
        ("carl", "192.0.2.9", "192.0.2.10"),
        ("fred", "10.42.0.9", "10.42.0.2"),
    ):
        lan.run(f"ip -n {guest} address add {own}/24 dev eth0")
        assert not lan.reaches(guest, address), (guest, address)

    damage = "bridge vlan del dev up0 vid 42; ip link set br0 type bridge vlan_filtering 0"
    lan.restart(f"{damage}; bridge vlan del dev {anna} vid 42")
    check()
    lan.run(damage)
    told = {step["key"] for step in lan.ask("POST", "/v1/networks/home/plan")["steps"]}
    assert {"uplink-vlan:up0:42", "vlan-filtering:br0"} == told
    lan.apply(HOME)
    assert [] == lan.ask("POST", "/v1/networks/home/plan")["steps"]
    lan.ask("POST", "/v1/networks/home/stop")
    assert ({*OWN}, ROUTES) == (lan.addresses("up0"), lan.routes())
    assert lan.reaches("", "192.0.2.1")
    lan.ask("POST", "/v1/networks/home/start")
    check()


def test_vlans_come_and_go_with_the_document(lan: Site) -> None:
    """A change of the running network changes what its bridge keeps apart; the host's own stay."""
    lan.ip("link add link up0 name up0.43 type vlan id 43")
    with pytest.raises(AssertionError, match=r"VLAN 43 of uplink up0 is the host's own up0\.43"):
        lan.apply(HOME)
    assert ({*OWN}, ROUTES) == (lan.addresses("up0"), lan.routes())
    assert "br0" not in lan.run("ls /sys/class/net")
    lan.apply(HOME.replace("'43'", "'44'"))
    assert {1: UNTAGGED, 42: [], 44: []} == lan.vlans("up0")
    lan.ip("link del up0.43")
    lan.run("bridge vlan add dev up0 vid 99")
    # What somebody else has added is theirs.
    for document, ids in (
        (HOME, {1, 42, 43, 99}),
        (PLAIN, {1, 99}),
        (PLAIN.replace("</bridge>", "</bridge><vlan><tag id='7'/></vlan>"), {1, 7, 99}),
        (PLAIN, {1, 99}),
    ):
        lan.apply(document)
        assert (document is not PLAIN, ids) == (lan.filters("br0"), set(lan.vlans("up0")))
        assert lan.reaches("", "192.0.2.1")
    # A daemon that is killed on the way to it finds the way back.
    killed = []
    for act in (4, 5, 6):
        killed.append(lan.ask_killed(act, "POST", "/v1/networks?apply=1", HOME))
        assert (False, {1, 99}) == (lan.filters("br0"), set(lan.vlans("up0"))), killed[-1]
    assert any("set VLAN 42 of uplink up0" in act for act in killed), killed


@pytest.mark.shows("vlan on a bridge over an uplink", "frames of a card that filters VLANs")
def test_frames_on_the_wire(site: Site) -> None:
    """A guest's frames leave the card with their tag, and find back; others have none."""
    host = site.host
    host.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "card"])
    host.run(["ip", "link", "set", "card", "up"])
    capture, outside = None, "02:00:00:00:00:99"
    try:
        site.apply(HOME.replace("'up0'", "'eth0'"))
        site.plug("anna", "red", "10.42.0.2", "home")
        site.plug("fred", "", "192.0.2.5", "home")
        wait_for(lambda: site.reaches("fred", "192.0.2.1"), 10, "the card to be ready")
        capture = host.start(
            ["tcpdump", "-lnnei", "card", "-c", "1", f"ether dst {outside}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert capture.popen.stderr is not None
        while "listening" not in capture.popen.stderr.readline():
            assert capture.poll() is None
        with host.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind(("card", 0))
            asked = arp(outside, "10.42.0.99", asked="10.42.0.2")
            for tag in (b"", bytes.fromhex("8100002b"), bytes.fromhex("8100002a")):
                wire.send(asked[:12] + tag + asked[12:])
        assert 0 == capture.wait(10)
        assert capture.popen.stdout is not None
        said = capture.popen.stdout.read()
        assert "vlan 42" in said
        assert "Reply 10.42.0.2 is-at" in said
    finally:
        if capture is not None:
            capture.kill9()
        clean(site)


@pytest.mark.shows("vlan on a bridge over an uplink", "a port as libvirt's driver asks for it")
def test_a_guest_that_asks_for_a_vlan(lan: Site) -> None:
    """The bridge filters from then on, until the last such guest has gone; others go on."""
    lan.apply(PLAIN)
    lan.plug("fred", "", "192.0.2.5", "home")
    assert (False, {1: UNTAGGED}) == (lan.filters("br0"), lan.vlans("up0"))
    virsh = "virsh -q -c 'network:///system?socket=/run/jackfield/libvirt-sock'"
    lan.run(f'echo "{PORT}" >/run/port.xml; {virsh} net-port-create home /run/port.xml')
    # Now its driver makes a tap, and puts it into the VLAN itself (libvirt 11.3).
    lan.ip(
        "netns add gus",
        "link add tap0 address fe:54:00:00:00:77 type veth peer name eth0 netns gus",
        "link set tap0 up master br0",
    )
    lan.ip("link set eth0 address 52:54:00:00:00:77 up", inside="gus")
    lan.ip("address add 10.42.0.7/24 dev eth0", "address add 192.0.2.7/24 dev eth0", inside="gus")
    lan.run("bridge vlan del dev tap0 vid 1; bridge vlan add dev tap0 vid 42 pvid untagged")

    def check() -> None:
        assert (True, {1: UNTAGGED, 42: []}) == (lan.filters("br0"), lan.vlans("up0"))
        assert {42: UNTAGGED} == lan.vlans("tap0")
        assert lan.reaches("gus", "10.42.0.1")
        assert not lan.reaches("gus", "192.0.2.5")
        assert lan.reaches("fred", "192.0.2.1")
        assert lan.reaches("", "192.0.2.1")

    check()
    lan.restart("bridge vlan del dev up0 vid 42; ip link set br0 type bridge vlan_filtering 0")
    check()
    lan.ask("POST", "/v1/networks/home/stop")
    lan.ask("POST", "/v1/networks/home/start")
    check()
    lan.ip("link del up0")
    lan.cable("up0")
    wait_for(lambda: 42 in lan.vlans("up0"), 10, "the uplink to be as it was")
    check()
    lan.run(f"{virsh} net-port-delete home {CLIENT}")
    assert (False, {1: UNTAGGED}) == (lan.filters("br0"), lan.vlans("up0"))
    assert lan.reaches("fred", "192.0.2.1")


@pytest.mark.parametrize(
    "uplink",
    [
        pytest.param("bond1", marks=pytest.mark.shows("bridge over a bond", FULL)),
        pytest.param("up0.5", marks=pytest.mark.shows("bridge over a VLAN device", FULL)),
    ],
)
def test_uplinks_of_other_kinds(site: Site, uplink: str) -> None:
    """The bridge has what a bond or a VLAN device had, and gives it back; guests reach the LAN."""
    try:
        if uplink == "bond1":
            site.lan("up1", "up2")
            site.ip("link add bond1 type bond mode active-backup miimon 50")
            for one in ("up1", "up2"):
                site.ip(f"link set {one} down", f"link set {one} master bond1")
        else:
            site.lan("up0", home="sw.5")
            site.ip("link add link up0 name up0.5 type vlan id 5")
            site.ip("address add 198.51.100.10/24 dev up0")
        site.ip(f"link set {uplink} up")
        configure(site, uplink)
        routes = {line.replace("up0", uplink) for line in ROUTES}
        assert routes == site.routes()
        wait_for(lambda: site.reaches("", "192.0.2.1"), 10, "the LAN")
        mac = site.link(uplink)["address"]
        document = HOME if uplink == "bond1" else PLAIN
        site.apply(document.replace("'up0'", f"'{uplink}'"))
        assert ({*OWN}, set()) == (site.addresses("br0"), site.addresses(uplink))
        assert (mac, "br0") == (site.link("br0")["address"], site.link(uplink)["master"])
        assert {line.replace(uplink, "br0") for line in routes} == site.routes()
        assert site.reaches("", "192.0.2.1")
        site.plug("fred", "", "192.0.2.5", "home")
        assert site.reaches("fred", "192.0.2.1")
        if uplink == "bond1":
            site.plug("anna", "red", "10.42.0.2", "home")
            assert site.reaches("anna", "10.42.0.1")
            site.ip("link set up1 down", inside="lan")
            wait_for(lambda: site.reaches("anna", "10.42.0.1"), 10, "the bond's other cable")
            assert site.reaches("fred", "192.0.2.1")
            assert site.reaches("", "192.0.2.1")
        else:
            assert {"198.51.100.10/24"} == site.addresses("up0")
        site.restart()
        assert site.reaches("fred", "192.0.2.1")
        site.ask("POST", "/v1/networks/home/stop")
        assert ({*OWN}, routes) == (site.addresses(uplink), site.routes())
        assert (mac, None) == (site.link(uplink)["address"], site.link(uplink).get("master"))
        assert site.reaches("", "192.0.2.1")
    finally:
        clean(site)


@pytest.mark.shows("nat", "through the kernel's WireGuard")
def test_a_way_out_through_wireguard(site: Site) -> None:
    """Guests of a routed network leave by a tunnel as the host; a bridge has no use for one.

    The tunnel's other end takes packets from the host's address only.
    """
    site.load("wireguard", "nft_reject_inet", "nft_masq", "nft_nat", "nft_ct")
    try:
        site.ip("netns add far", "link add wg0 type wireguard", "link add wg1 type wireguard")
        site.machine.call(
            "tests.guests.inside_wireguard:join",
            one="wg0",
            other="wg1",
            allowed={"wg0": ["10.99.0.2/32"], "wg1": ["10.99.0.1/32"]},
        )
        site.ip("address add 10.99.0.1/24 dev wg0", "link set wg0 up", "link set wg1 netns far")
        site.ip("address add 10.99.0.2/24 dev wg1", "link set wg1 up", inside="far")
        with pytest.raises(AssertionError, match="wg0 is not an Ethernet interface"):
            site.apply(PLAIN.replace("up0", "wg0"))
        site.apply(TUNNELLED)
        site.plug("fred", "", "10.8.0.2", "home")
        site.ip("route add default via 10.8.0.1", inside="fred")
        assert site.reaches("fred", "10.99.0.2")
        most = site.run("busybox sysctl -n net.netfilter.nf_conntrack_max")
        site.run("busybox sysctl -qw net.netfilter.nf_conntrack_max=1")
        found = site.ask("GET", "/v1/networks/home/doctor")["findings"]
        site.run(f"busybox sysctl -qw net.netfilter.nf_conntrack_max={most}")
        assert any("connections, and may track 1:" in item["text"] for item in found)
        thresh = "net.ipv4.neigh.default.gc_thresh3"
        most = site.run(f"busybox sysctl -n {thresh}")
        site.run(f"busybox sysctl -qw {thresh}=2")
        for number in (8, 9):
            site.ip(f"neigh add 10.8.0.{number} lladdr 02:00:00:00:00:01 dev nat0")
        found = site.ask("GET", "/v1/networks/home/doctor")["findings"]
        site.run(f"busybox sysctl -qw {thresh}={most}")
        assert any("by IPv4, and may know 2:" in item["text"] for item in found)
        site.restart()
        assert site.reaches("fred", "10.99.0.2")
    finally:
        clean(site)


@pytest.mark.skipif(not systemd.PROGRAM.exists(), reason="needs systemd")
def test_the_unit_under_systemd(site: Site) -> None:
    """A real systemd starts it, confined; guests lease; what it has started outlives its stop."""
    site.machine.call(f"{DAEMON}:kill")
    try:
        with contextlib.closing(systemd.Systemd(site)) as manager:
            # It returns when the daemon has said that it is ready.
            said = manager.control("start", "jackfieldd")
            assert "active" == manager.show("ActiveState"), said + manager.log()
            assert "serving at /run/jackfield/api.sock" == manager.show("StatusText")
            status = site.run("cat /proc/$(pgrep -f bin/jackfieldd)/status")
            assert {"NoNewPrivs:\t1", "Seccomp:\t2"} <= set(status.splitlines())
            site.apply(SERVED)
            site.plug("gina", "", "", "served")
            site.lease("gina")
            manager.control("stop", "jackfieldd")
            assert ("inactive", "success") == (manager.show("ActiveState"), manager.show("Result"))
            assert "no" == site.run("pgrep -f bin/jackfieldd || echo no").strip()
            assert site.reaches("gina", "10.7.0.1")
            site.lease("gina")
            manager.control("start", "jackfieldd")
            assert "active" == manager.show("ActiveState"), manager.log()
            assert "mended" not in manager.log()
            site.unplug("gina")
            site.ask("POST", "/v1/networks/served/stop")
            assert '"level":"error"' not in manager.log()
            manager.control("stop", "jackfieldd")
    finally:
        site.machine.call(f"{DAEMON}:start")


def test_a_clock_that_is_set(site: Site) -> None:
    """A guest that is kept to its address goes on with its lease, which is over by it alone."""

    def leased() -> set[str]:
        return {lease["address"] for lease in site.ask("GET", "/v1/leases")}

    try:
        site.apply(SERVED.replace("<network>", "<network antiSpoofing='yes'>"))
        for guest in ("gina", "hans"):
            site.plug(guest, "", "", "served")
        site.lease("gina")
        (first,) = wait_for(leased, 5, "the lease to be known")
        site.run("date -s @$(($(date +%s) + 86400))")
        # dnsmasq looks for what is over when somebody asks for something.
        site.lease("hans")
        wait_for(lambda: first not in leased() and leased(), 5, "the leases to be read")
        assert site.reaches("hans", "10.7.0.1")
        assert site.reaches("gina", "10.7.0.1")
        site.run(f"ip -n gina address del {first}/24 dev eth0")
        site.run("ip -n gina address add 10.7.0.200/24 dev eth0")
        assert not site.reaches("gina", "10.7.0.1")
    finally:
        site.run("date -s @$(($(date +%s) - 86400))")
        clean(site)


def test_the_old_ebtables(site: Site) -> None:
    """Doctor does not go through its tables, and says so where they are loaded."""
    assert [] == site.ask("GET", "/v1/networks/red/doctor")["notes"]
    site.load("ebtable_filter")
    said = "tables of ebtables-legacy (filter) are loaded, and are not looked at: ebtables-legacy"
    assert [f"{said} -L"] == site.ask("GET", "/v1/networks/red/doctor")["notes"]


def test_a_dnsmasq_that_apparmor_confines(site: Site) -> None:
    """A network that its profile keeps from being served says so; what we ship lets it be."""
    reason = apparmor.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    with contextlib.closing(apparmor.Dnsmasq(site)) as profile:
        with pytest.raises(AssertionError, match=r"AppArmor confines it \(profile dnsmasq\)"):
            site.apply(SERVED)
        assert profile.denied()
        profile.allow()
        before = profile.denied()
        try:
            site.apply(SERVED)
            site.plug("gina", "", "", "served")
            site.lease("gina")
            known = "<dhcp><host mac='52:54:00:00:00:7a' ip='10.7.0.7'/>"
            site.apply(SERVED.replace("<dhcp>", known))
            site.apply(SERVED.replace("10.7.0.99", "10.7.0.98"))
            site.lease("gina")
            assert before == profile.denied()
        finally:
            clean(site)


@pytest.mark.shows("bridge of Open vSwitch", "the kernel's datapath")
def test_the_kernel_datapath_of_openvswitch(lan: Site) -> None:
    """A bridge of ours is in the kernel there: namespaces and taps reach their VLAN of the LAN."""
    reason = openvswitch.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    lan.start_openvswitch()
    lan.ip("address flush dev up0")
    lan.apply(SWITCHED)
    assert "system" == lan.openvswitch("ovs-vsctl get Bridge ovs0 datapath_type")
    anna = lan.plug("anna", "red", "10.42.0.2", "switched")
    lan.plug("carl", "blue", "10.43.0.2", "switched")
    ports = {link["ifname"] for link in lan.machine.ip("link", "show", "master", "ovs-system")}
    assert {"up0", anna} <= ports
    assert lan.reaches("anna", "10.42.0.1")
    assert lan.reaches("carl", "10.43.0.1")
    lan.ip("address add 10.43.0.9/24 dev eth0", inside="anna")
    assert not lan.reaches("anna", "10.43.0.1")
    assert not lan.reaches("anna", "10.43.0.2")
    # It is the kernel that forwards, by what it has been told of these frames.
    flows = lan.openvswitch("ovs-dpctl dump-flows system@ovs-system")
    assert "push_vlan(vid=42" in flows
    # What a guest sends is limited there as well, which in user space it cannot be.
    hugo = lan.plug("hugo", "slow", "10.42.0.8", "switched")
    assert "police" in lan.run(f"tc filter show dev {hugo} ingress")
    assert lan.reaches("hugo", "10.42.0.1")
    # Offloads stay on, and what a guest leaves to be filled in is.
    lan.run("(ip netns exec lan busybox nc -l -p 7 >/run/heard) >/dev/null 2>&1 &")
    lan.run(
        "for n in 1 2 3 4 5; do echo hello | ip netns exec anna busybox nc -w 2 10.42.0.1 7"
        " && break; done"
    )
    wait_for(lambda: lan.run("cat /run/heard") == "hello", 5, "what was sent by TCP")

    port = lan.ask("POST", "/v1/networks/switched/ports", {"tap": "tap1", "portgroup": "red"})
    answer = lan.machine.call(
        "tests.guests.inside_tap:ask_arp",
        name="tap1",
        mac=port["mac"],
        own="10.42.0.3",
        asked="10.42.0.1",
    )
    assert lan.run("ip netns exec lan cat /sys/class/net/sw.42/address") == answer
    lan.restart()
    assert lan.reaches("anna", "10.42.0.1")
    lan.ask("DELETE", "/v1/ports/tap1")
    lan.ask("POST", "/v1/networks/switched/stop")
    assert "" == lan.openvswitch("ovs-vsctl list-br")


TOLD = """
<network>
  <name>told</name><forward mode='vepa'><interface dev='vdp0.42'/></forward>
  <virtualport type='802.1Qbg'>
    <parameters managerid='11' typeid='1193046' typeidversion='1'/>
  </virtualport>
</network>
"""


@pytest.mark.shows("802.1Qbg", "an uplink that is a VLAN device, on a full kernel")
def test_switch_is_told_the_vlan_of_an_uplink(site: Site) -> None:
    """Over a VLAN device it is the NIC below at which the switch is told, and the VLAN of it."""
    reason = lldpad.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    site.load("macvlan", "8021q")
    site.ip(
        "netns add edge",
        "link add vdp0 type veth peer name port netns edge",
        "link set vdp0 up",
        "link add link vdp0 name vdp0.42 type vlan id 42",
        "-n edge link set port up",
    )
    site.machine.call("tests.guests.inside_vdp:start", namespace="edge", port="port")
    root = lldpad.root()
    libraries = ":".join(map(str, sorted(root.glob("usr/lib/*-linux-gnu"))))
    site.run("mkdir -p /dev/shm /var; mount -t tmpfs tmpfs /dev/shm; ln -sfn /run /var/run")
    configuration = " ".join(lldpad.configuration("vdp0").split())
    site.run(f"echo '{configuration}' >/run/lldpad.conf")
    site.run(f"LD_LIBRARY_PATH={libraries} {root / lldpad.PROGRAM} -d -f /run/lldpad.conf")
    site.apply(TOLD)
    site.run("ip netns add gert")
    mac = "52:54:00:00:0a:01"
    asked = {"netns": "gert", "ifname": "eth0", "name": "gert", "mac": mac}
    site.ask("POST", "/v1/networks/told/ports", asked)
    assert [[[mac, 42]]] == site.machine.call("tests.guests.inside_vdp:known")
    site.unplug("gert")
    assert [] == site.machine.call("tests.guests.inside_vdp:known")
