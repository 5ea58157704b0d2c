"""Bridges of others, taps and ports, and what the commands answer, on a real host.

::

    host   br0 (made by hand; eth1 and the ports of network "shop" are on it)
           virbr-red 10.0.0.1 fd00::1 (network "red") ── guests
"""

from __future__ import annotations

import difflib
import json
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

NOBODY = 65534
SHOP = """\
<network>
  <name>shop</name>
  <forward mode='bridge'/>
  <bridge name='br0'/>
  <portgroup name='plain' default='yes'/>
  <portgroup name='gold'/>
</network>
"""
RED = """\
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr-red' stp='off' delay='0'/>
  <domain name='red.example'/>
  <ip address='10.0.0.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='10.0.0.100' end='10.0.0.199'/>
      <host mac='52:54:00:00:00:01' name='anna' ip='10.0.0.7'/>
    </dhcp>
  </ip>
  <ip family='ipv6' address='fd00::1' prefix='64'/>
</network>
"""

# What a program without privileges does with a tap: opens QUEUES of them, and asks by ARP (RFC
# 826) who has 10.5.0.7; prints the address in the answer.
TAP_USER = """
import fcntl, os, struct, sys
name, queues, mac = sys.argv[1].encode(), int(sys.argv[2]), bytes.fromhex(sys.argv[3])
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 0x400454CA, 2, 0x1000, 0x100
files = []
for _ in range(queues):
    file = os.open("/dev/net/tun", os.O_RDWR)
    flags = IFF_TAP | IFF_NO_PI | (IFF_MULTI_QUEUE if queues > 1 else 0)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH14x", name, flags))
    files.append(file)
print(os.getuid(), len(files), flush=True)
sys.stdin.readline()
body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes([10, 5, 0, 9])
body += bytes(6) + bytes([10, 5, 0, 7])
os.write(files[-1], b"\\xff" * 6 + mac + b"\\x08\\x06" + body.ljust(46, b"\\0"))
import select
while True:
    ready, _, _ = select.select(files, [], [], 10)
    frame = os.read(ready[0], 2000)
    if frame[12:14] == b"\\x08\\x06" and frame[20:22] == b"\\0\\x02":
        print(frame[22:28].hex(":"), flush=True)
        break
"""


@pytest.fixture
def bridge(host: Host) -> Host:
    """Make a bridge by hand, with settings that nobody else would choose."""
    host.run(
        [
            *("ip", "link", "add", "br0", "mtu", "1450", "type", "bridge", "stp_state", "0"),
            *("ageing_time", "12300", "priority", "4096", "mcast_snooping", "0"),
        ]
    )
    host.set_sysctl("net/ipv6/conf/br0/disable_ipv6", "1")
    host.run(["ip", "link", "set", "br0", "up", "alias", "made by hand"])
    host.run(["ip", "link", "add", "eth1", "mtu", "1450", "type", "veth", "peer", "name", "cable"])
    for link in ("eth1", "cable"):
        host.set_sysctl(f"net/ipv6/conf/{link}/disable_ipv6", "1")
        host.run(["ip", "link", "set", link, "up", *(["master", "br0"] if link == "eth1" else [])])
    wait_for(lambda: "LOWER_UP" in (host.link("br0") or {})["flags"], 5, "the carrier")
    host.run(["ip", "addr", "add", "10.5.0.1/24", "dev", "br0"])
    return host


_VOLATILE = re.compile(
    r".*timer|ifindex|.*_life_time|operstate|stats.*|topology_change.*|fdb_n_learned"
)


def seen(host: Host) -> str:
    """Return all that a network on a bridge of others could have touched, one thing a line."""

    def still(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: still(one) for key, one in value.items() if not _VOLATILE.fullmatch(key)}
        return [still(one) for one in value] if isinstance(value, list) else value

    objects = [
        *host.ip("-d", "link", "show"),
        *host.ip("address", "show"),
        *host.ip("route", "show", "table", "all"),
        *host.nft(),
    ]
    sysctls = host.run(
        [
            *("grep", "-rsH", ".", "/proc/sys/net/ipv4/conf/br0", "/proc/sys/net/ipv6/conf/br0"),
            *("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"),
        ],
        check=False,
    ).stdout
    return "\n".join([*(json.dumps(still(one)) for one in objects), sysctls])


def expect_same(before: str, after: str) -> None:
    """Assert that nothing has changed, and show what has."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    assert before == after, "\n".join(lines)


def test_a_bridge_of_others_is_used_and_not_touched(bridge: Host, daemon: Daemon) -> None:
    """Define, start, stop and undefine leave it as it is; only a port is there and goes again."""
    before = seen(bridge)
    daemon.cli("define", daemon.document(SHOP))
    expect_same(before, seen(bridge))
    daemon.cli("start", "shop")
    expect_same(before, seen(bridge))
    guest = bridge.guest("anna")
    port = daemon.cli("attach", "shop", "--netns", "anna", "--ifname", "eth0", json=True)
    guest.run(["ip", "addr", "add", "10.5.0.7/24", "dev", "eth0"])
    assert ping(guest, "10.5.0.1", tries=3) is not None
    ours = bridge.link(port["device"])
    assert ours is not None
    assert ("br0", 1450) == (ours["master"], ours["mtu"])
    (peer,) = guest.ip("link", "show", "dev", "eth0")
    assert 1450 == peer["mtu"]
    # Nothing of the network's own stops: the guest's connection is the bridge's affair.
    daemon.cli("stop", "shop")
    assert ping(guest, "10.5.0.1", tries=3) is not None
    daemon.cli("start", "shop")
    assert ping(guest, "10.5.0.1", tries=3) is not None
    daemon.cli("detach", port["uuid"])
    expect_same(before, seen(bridge))
    daemon.cli("stop", "shop")
    daemon.cli("undefine", "shop")
    expect_same(before, seen(bridge))


def test_a_missing_bridge_is_named(host: Host, daemon: Daemon) -> None:
    """A network without its bridge takes no port, and says whose affair that is; so for a NIC."""
    said = daemon.cli("apply", daemon.document(SHOP))
    missing = "bridge br0, which is somebody else's, does not exist"
    assert f"Network shop runs on br0, but: {missing}\n" == said
    host.guest("anna")
    attach = ("attach", "shop", "--netns", "anna", "--ifname", "eth0")
    said = error_of(daemon, *attach, status=5)
    assert "wrong-state" == said["name"]
    assert "its bridge br0 does not exist on this host" in said["message"]
    assert "make br0 first" in said["hint"]
    host.run(["ip", "link", "add", "br0", "type", "veth", "peer", "name", "end"])
    said = error_of(daemon, *attach, status=5)
    assert "br0 is not a bridge but veth" in said["message"]
    assert [] == daemon.cli("ports", json=True)
    host.run(["ip", "link", "del", "br0"])
    host.run(["ip", "link", "add", "br0", "type", "bridge"])
    daemon.cli(*attach)


def error_of(daemon: Daemon, *words: str, status: int, input: str | None = None) -> dict[str, Any]:
    """Return the error with which a command ends, whose exit status must be ``status``."""
    result = daemon.cli(*words, "--json", check=False, input=input)
    assert status == result.returncode, result.stderr
    assert "" == result.stdout
    told: dict[str, Any] = json.loads(result.stderr)["error"]
    return told


@pytest.fixture
def open_tun(host: Host) -> None:
    """Let everybody open /dev/net/tun on the host."""
    host.open_tun()


@pytest.mark.usefixtures("open_tun")
@pytest.mark.parametrize("queues", [1, 4])
def test_a_tap_is_its_owners(bridge: Host, daemon: Daemon, queues: int) -> None:
    """Its owner opens it without privileges and speaks on the wire; another user may not."""
    daemon.cli("apply", daemon.document(SHOP))
    guest = bridge.guest("anna")
    daemon.cli(
        "attach", "shop", "--netns", "anna", "--ifname", "eth0", "--mac", "52:54:00:00:00:01"
    )
    guest.run(["ip", "addr", "add", "10.5.0.7/24", "dev", "eth0"])
    mac = "52:54:00:00:00:09"
    port = daemon.cli(
        *("attach", "shop", "--tap", "tap9", "--owner", "nobody", "--mac", mac),
        *([] if queues == 1 else ["--queues", str(queues)]),
        json=True,
    )
    assert (mac, "tap9") == (port["mac"], port["device"])
    tap = bridge.link("tap9")
    assert tap is not None
    assert "fe:54:00:00:00:09" == tap["address"]
    assert str(NOBODY) == str(tap["linkinfo"]["info_data"]["user"]).replace("nobody", str(NOBODY))
    program = [sys.executable, "-c", TAP_USER, "tap9", str(queues), mac.replace(":", "")]
    stranger = bridge.run(["setpriv", "--reuid", "1234", "--clear-groups", *program], check=False)
    assert 0 != stranger.returncode
    assert "Operation not permitted" in stranger.stderr
    owner = bridge.start(
        ["setpriv", "--reuid", str(NOBODY), "--clear-groups", "--bounding-set=-all", *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert owner.popen.stdin is not None
    assert owner.popen.stdout is not None
    assert f"{NOBODY} {queues}\n" == owner.popen.stdout.readline()
    wait_for(lambda: "LOWER_UP" in (bridge.link("tap9") or {})["flags"], 5, "the carrier")
    owner.popen.stdin.write("go\n")
    owner.popen.stdin.flush()
    assert "52:54:00:00:00:01\n" == owner.popen.stdout.readline()
    assert 0 == owner.wait()
    # A tap stays when its program goes.
    assert bridge.link("tap9") is not None
    daemon.cli("detach", "tap9")
    assert bridge.link("tap9") is None


def test_a_port_of_a_portgroup(bridge: Host, daemon: Daemon) -> None:
    """The portgroup is listed with the port; an unknown one is refused with those there are."""
    daemon.cli("apply", daemon.document(SHOP))
    bridge.guest("anna")
    attach = ("attach", "shop", "--netns", "anna", "--ifname", "eth0", "--portgroup")
    said = error_of(daemon, *attach, "silver", status=3)
    assert "'silver'" in said["message"]
    assert "plain" in said["hint"]
    assert "gold" in said["hint"]
    daemon.cli(*attach, "gold")
    (port,) = daemon.cli("ports", "shop", json=True)
    assert "gold" == port["group"]
    heading, row = daemon.cli("ports").splitlines()
    assert row.index("gold") == heading.index("PORTGROUP")


@pytest.fixture
def red(host: Host, daemon: Daemon) -> Guest:
    """Run the network "red" with the guest anna, who has her address."""
    daemon.cli("apply", daemon.document(RED))
    guest = host.guest("anna")
    daemon.cli(
        *("attach", "red", "--netns", "anna", "--ifname", "eth0", "--mac", "52:54:00:00:00:01")
    )
    lease = guest.dhcp4(hostname="anna-herself")
    assert lease is not None
    assert "10.0.0.7" == lease.address
    return guest


def test_what_the_lists_say(host: Host, daemon: Daemon, red: Guest) -> None:
    """Networks, ports, leases and events, as tables for people and as JSON for programs."""
    heading, row = daemon.cli("list").splitlines()
    assert ["red", "active", "no", "yes", "nat", "virbr-red", "10.0.0.1/24"] == row.split()[:7]
    (network,) = daemon.cli("list", json=True)
    assert (1, True, ["10.0.0.1/24", "fd00::1/64"]) == (
        network["ports"],
        network["active"],
        network["addresses"],
    )
    (port,) = daemon.cli("ports", json=True)
    device = host.link(port["device"])
    assert device is not None
    assert "virbr-red" == device["master"]
    assert ("eth0", "/run/netns/anna") == (port["ifname"], port["netns"])
    assert red.mac() == port["mac"]
    heading, row = daemon.cli("ports").splitlines()
    assert ["red", port["device"], "anna", port["mac"], "eth0", "in", "anna"] == row.split()[:7]
    assert row.endswith(port["uuid"])
    (lease,) = daemon.cli("leases", "red", json=True)
    assert ("10.0.0.7", 24, port["mac"], "anna") == (
        lease["address"],
        lease["prefix"],
        lease["mac"],
        lease["hostname"],
    )
    heading, row = daemon.cli("leases").splitlines()
    assert ["NETWORK", "ADDRESS", "MAC", "HOSTNAME", "EXPIRES", "CLIENT ID"] == re.split(
        r" {2,}", heading
    )
    assert ["red", "10.0.0.7/24", port["mac"], "anna"] == row.split()[:4]
    types = [
        json.loads(line)["type"]
        for line in daemon.cli("events", "--no-follow", "--json").splitlines()
    ]
    assert ["network-defined", "network-started", "port-attached"] == types[:3]
    assert "lease-added" in types[3:]


def test_events_come_as_they_happen(host: Host, daemon: Daemon) -> None:
    """Who follows sees each thing when it is done, and can take up the thread where it broke."""
    following = daemon.cli_process("events", "--json")
    assert following.popen.stdout is not None
    host.guest("anna")

    def next_event() -> dict[str, Any]:
        assert following.popen.stdout is not None
        event: dict[str, Any] = json.loads(following.popen.stdout.readline())
        return event

    steps: list[tuple[list[str], list[str]]] = [
        (["define", daemon.document(RED)], ["network-defined"]),
        (["start", "red"], ["network-started"]),
        (["attach", "red", "--netns", "anna", "--ifname", "eth0"], ["port-attached"]),
        (["detach", "anna"], ["port-detached"]),
        (["stop", "red"], ["network-stopped"]),
        (["undefine", "red"], ["network-undefined"]),
    ]
    # The first command could be done before the stream is open.
    wait_for(lambda: _follows(daemon), 10, "the stream")
    numbers = []
    for words, types in steps:
        daemon.cli(*words)
        for expected in types:
            event = next_event()
            assert (expected, "red") == (event["type"], event["network"])
            numbers.append(event["number"])
    assert numbers == sorted(set(numbers))
    following.send_signal(signal.SIGINT)
    assert 130 == following.wait()
    since = daemon.cli("events", "--no-follow", "--since", str(numbers[2]), "--json")
    assert numbers[3:] == [json.loads(line)["number"] for line in since.splitlines()]


def _follows(daemon: Daemon) -> bool:
    """Tell whether somebody besides us is connected to the API."""
    listed = daemon.host.run(["ss", "-xH", "src", f"{RUN_DIR}/api.sock"]).stdout
    return any(" ESTAB " in f" {line} " for line in listed.splitlines())


# The exit status of every kind of error.

DNS_HOLDER = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: it is nobody's address yet.
server.bind(("10.9.0.1", 53))
print("bound", flush=True)
sys.stdin.read()
"""


def test_every_kind_of_error_has_its_exit_status(host: Host, daemon: Daemon) -> None:
    """Each class of errors that a command can meet, met on a real host."""
    document = daemon.document
    daemon.cli("apply", document(RED))
    daemon.cli("define", document(SHOP))
    for name in ("anna", "bert"):
        host.guest(name)
    daemon.cli("attach", "red", "--netns", "anna", "--ifname", "eth0", "--name", "anna")
    proxied = """
    <network>
      <name>slice</name>
      <forward mode='route' dev='eth0'/><proxy arp='yes' ndp='yes'/>
      <ip address='10.8.0.1' netmask='255.255.255.0'/>
    </network>
    """
    daemon.cli("define", document(proxied))
    taken = RED.replace("red", "blue").replace("10.0.0.", "10.9.0.").replace("fd00::", "fd09::")
    host.run(["ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far"])
    host.run(["ip", "addr", "add", "10.9.0.77/24", "dev", "uplink"])
    for link in ("uplink", "far"):
        host.run(["ip", "link", "set", link, "up"])
    uuid = daemon.cli("show", "red", json=True)["uuid"]
    same_uuid = SHOP.replace("<name>shop", f"<uuid>{uuid}</uuid><name>other")
    attach = ("attach", "red", "--netns")
    for status, name, words, said in (
        (2, "usage-error", ("attach", "red"), "say what to plug in"),
        (3, "malformed-document", ("define", document("<network>")), "line 1"),
        (3, "invalid-document", ("define", document("<network/>")), "lacks its <name>"),
        (3, "unsupported-configuration", ("start", "slice"), "mode subnet"),
        (3, "invalid-request", (*attach, "nowhere", "--ifname", "eth0"), "'nowhere'"),
        (4, "network-not-found", ("start", "nothing"), "'nothing'"),
        (4, "port-not-found", ("detach", "nothing"), "'nothing'"),
        (5, "wrong-state", ("start", "red"), "already active"),
        (5, "already-exists", ("define", document(same_uuid)), uuid),
        (5, "foreign-object", ("apply", document(taken)), "uplink"),
    ):
        error = error_of(daemon, *words, status=status)
        assert name == error["name"], words
        assert said in error["message"], words
    # An interface of that name is in the namespace already.
    error = error_of(daemon, *attach, "anna", "--ifname", "eth0", status=5)
    assert "already-exists" == error["name"]
    assert "eth0" in error["message"]
    host.run(["ip", "link", "del", "uplink"])
    listener = host.start(
        [sys.executable, "-c", DNS_HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert listener.popen.stdout is not None
    assert "bound\n" == listener.popen.stdout.readline()
    error = error_of(daemon, "apply", document(taken), status=7)
    assert "service-error" == error["name"]
    listener.kill9()
    # None of it has left anything: only "red", and anna's port.
    assert ["red", "shop", "slice"] == [item["name"] for item in daemon.cli("list", json=True)]
    assert {"lo", "virbr-red"} == {link for link in host.links() if not link.startswith("jf")}
    assert 1 == len(host.processes("dnsmasq"))
    error = error_of(daemon, "list", "--run-dir", "/run/nowhere", status=8)
    assert "daemon-unreachable" == error["name"]


def test_others_may_look_but_not_change(host: Host, daemon: Daemon) -> None:
    """A user without rights gets status 6 and is told who may."""
    daemon.cli("apply", daemon.document(RED))
    as_nobody = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    program = [sys.executable, "-m", "jackfield.cli.main", "--run-dir", RUN_DIR]
    for words, status in (
        (("list",), 0),
        (("show", "red"), 0),
        (("leases",), 0),
        (("stop", "red"), 6),
        (("attach", "red", "--tap", "tap0"), 6),
        (("undefine", "red"), 6),
        (("define", "-"), 6),
    ):
        result = host.run([*as_nobody, *program, *words], check=False, input=SHOP)
        assert status == result.returncode, (words, result.stderr)
        if status:
            assert "may look but not change anything" in result.stderr
    assert ["red"] == [item["name"] for item in daemon.cli("list", "--active", json=True)]


def test_a_wrong_configuration_ends_the_daemon_with_its_status(host: Host) -> None:
    """An unknown key is named, and the status is that of configuration errors."""
    host.file("/run/lab/wrong.toml").write_text("colour = 'red'\n")
    result = host.run(
        [sys.executable, "-m", "jackfield.daemon", "--config", "/run/lab/wrong.toml"], check=False
    )
    assert 2 == result.returncode
    assert "/run/lab/wrong.toml: there is no key colour" in result.stderr


@pytest.mark.parametrize(
    "forward", ["", "<forward mode='nat'/>", "<forward mode='route' dev='e0'/>"]
)
def test_what_is_shown_can_be_defined_again(daemon: Daemon, forward: str) -> None:
    """Both dialects and JSON lead back to the same definition, byte for byte."""
    daemon.cli("define", daemon.document(RED.replace("<forward mode='nat'/>", forward)))
    first = daemon.cli("show", "red")
    for options in (("--layered",), ("--inactive",), ("--inactive", "--layered"), ("--json",)):
        shown = daemon.cli("show", "red", *options)
        daemon.cli("define", "-", input=shown)
        assert first == daemon.cli("show", "red"), options
        assert shown == daemon.cli("show", "red", *options)


def test_shown_are_the_stored_and_the_running_definition(daemon: Daemon) -> None:
    """After ``define`` they differ until the network starts anew."""
    daemon.cli("apply", daemon.document(RED))
    daemon.cli("define", daemon.document(RED.replace("10.0.0.199", "10.0.0.150")))
    assert "end='10.0.0.199'" in daemon.cli("show", "red")
    assert "end='10.0.0.150'" in daemon.cli("show", "red", "--inactive")
    steps = daemon.cli("plan", "red", json=True)["steps"]
    assert [("change", "dnsmasq")] == [(step["action"], step["kind"]) for step in steps]
    daemon.cli("stop", "red")
    daemon.cli("start", "red")
    assert "end='10.0.0.150'" in daemon.cli("show", "red")
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def test_plan_names_what_a_damaged_host_lacks(host: Host, daemon: Daemon) -> None:
    """What somebody changed behind our back is named, and ``apply`` mends it."""
    text = RED.replace(
        "</network>",
        "<route address='10.7.0.0' prefix='16' gateway='10.0.0.2'/>"
        "<bandwidth><inbound average='1000'/></bandwidth></network>",
    )
    daemon.cli("apply", daemon.document(text))
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
    host.run(["ip", "addr", "del", "fd00::1/64", "dev", "virbr-red"])
    host.run(["ip", "route", "del", "10.7.0.0/16"])
    host.run(["tc", "qdisc", "del", "dev", "virbr-red", "root"])
    host.set_sysctl("net/ipv6/conf/virbr-red/accept_ra", "1")
    host.set_sysctl("net/ipv4/ip_forward", "0")
    told = daemon.cli("plan", "red")
    for words in (
        "address fd00::1/64 on virbr-red",
        "route to 10.7.0.0/16 via 10.0.0.2",
        "traffic control on virbr-red",
        "sysctl net.ipv6.conf.virbr-red.accept_ra = 0",
        "sysctl net.ipv4.ip_forward = 1",
    ):
        assert words in told, told
    assert "10.0.0.1/24" not in told
    assert "bridge virbr-red" not in told
    answer = daemon.cli("apply", daemon.document(text), json=True)
    assert answer["steps"]
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
    assert "1" == host.sysctl("net/ipv4/ip_forward")
    assert host.ip("address", "show", "dev", "virbr-red", "to", "fd00::1")


def test_applying_again_changes_nothing(host: Host, daemon: Daemon, red: Guest) -> None:
    """The second time there are no steps, and the kernel tells of no change."""
    assert ping(red, "10.0.0.1", tries=3) is not None
    servers = host.processes("dnsmasq")
    links = host.start(
        ["ip", "monitor", "link", "address", "route", "rule"], stdout=subprocess.PIPE
    )
    rules = host.start(["nft", "monitor"], stdout=subprocess.PIPE)
    assert links.popen.stdout is not None
    assert rules.popen.stdout is not None
    # Both tell of something of ours first, so they listen.
    wait_for(lambda: _listen(host), 10, "the monitors")
    answer = daemon.cli("apply", daemon.document(RED), json=True)
    assert [] == answer["steps"]
    host.run(["ip", "link", "add", "last", "type", "bridge"])
    host.run(["nft", "add", "table", "ip", "last"])
    assert "last" in links.popen.stdout.readline()
    assert "add table ip last\n" == rules.popen.stdout.readline()
    assert servers == host.processes("dnsmasq")
    for monitor in (links, rules):
        monitor.kill9()


def _listen(host: Host) -> bool:
    """Tell whether ip and nft have subscribed to the kernel's news."""
    lines = host.file("/proc/1/net/netlink").read_text().splitlines()[1:]
    pids = {line.split()[2] for line in lines if int(line.split()[3], 16)}
    return {str(pid) for name in ("ip", "nft") for pid in host.processes(name)} <= pids
