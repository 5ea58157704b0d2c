"""Bridges that take over from the host's uplinks, and what stays connected meanwhile.

::

    host   eth0 192.0.2.10 2001:db8:1::10, default routes ── LAN ── outside 192.0.2.1 2001:db8:1::1
           (while the network runs: br0, with eth0 and             (203.0.113.1 is behind it)
           the guests' ports on it, has all that eth0 had)
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Uplink
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.flow import EchoServer, TcpFlow
from tests.lab.guest import Guest
from tests.lab.host import Host, HostProcess
from tests.lab.namespace import Namespace
from tests.lab.packets import ping
from tests.lab.switch import Lan, add_address, wait_usable
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

RED = """
<network>
  <name>red</name>
  <forward mode='bridge'/>
  <bridge name='br0'><uplinks><interface dev='eth0'/></uplinks></bridge>
</network>
"""

#: What else the host has at its uplink, with words that must go along.
MORE = (
    "ip addr add 198.51.100.7/24 dev eth0 valid_lft 4000 preferred_lft 3000",
    "ip addr add 192.0.2.99/24 dev eth0 label eth0:more",
    "ip route add 10.1.0.0/16 via 192.0.2.1 dev eth0 proto static metric 50 src 192.0.2.99",
    "ip route add 10.2.0.0/16 via 192.0.2.1 dev eth0 table 100",
    "ip -6 route add 2001:db8:9::/48 via 2001:db8:1::1 dev eth0 proto static",
    "ip neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
    "ip neigh add proxy 192.0.2.88 dev eth0",
)

_VOLATILE = re.compile(
    r"ifindex|operstate|.*_life_time|expires|link_index|link_netnsid|.*timer|no|port_no"
)


def still(value: Any) -> Any:
    """Return ``value`` without what changes by itself."""
    if isinstance(value, dict):
        return {key: still(item) for key, item in value.items() if not _VOLATILE.fullmatch(key)}
    if isinstance(value, list):
        plain = [still(item) for item in value if item not in ("LOWER_UP", "NO-CARRIER")]
        return sorted(plain, key=json.dumps)
    return value


def network_of(host: Host) -> list[str]:
    """Return all that a bridge could have touched on the host, one thing a line."""
    objects = [
        *host.ip("-d", "link", "show"),
        *host.ip("addr", "show"),
        *host.ip("-4", "route", "show", "table", "all"),
        *host.ip("-6", "route", "show", "table", "all"),
        *host.ip("neigh", "show", "nud", "permanent"),
        *host.ip("neigh", "show", "proxy"),
        *host.nft(),
    ]
    lines = [json.dumps(still(item)) for item in objects if "metainfo" not in item]
    sysctls = host.run(
        ["sh", "-c", "grep -rsH . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf"], check=False
    ).stdout
    return sorted([*lines, *sysctls.splitlines()])


@pytest.fixture
def network(host: Host, uplink: Uplink) -> Uplink:
    """Give the host everything a host may have at its uplink, and wait until it is at rest."""
    for line in MORE:
        host.run(line.split())
    wait_usable(host)
    return uplink


@pytest.fixture
def echo(outside: Host) -> Iterator[EchoServer]:
    """Give a server outside."""
    with EchoServer(outside) as server:
        yield server


def addresses(host: Host, name: str) -> set[str]:
    """Return the ``ADDRESS/PREFIX`` of a link."""
    return {
        f"{info['local']}/{info['prefixlen']}"
        for link in host.ip("addr", "show", "dev", name)
        for info in link["addr_info"]
        if info["scope"] == "global"
    }


def plug_in(daemon: Daemon, host: Host, name: str, network: str = "red") -> Guest:
    """Make a guest in a namespace and plug it in."""
    guest = host.guest(name)
    daemon.cli("attach", network, "--netns", name, "--ifname", "eth0")
    return guest


HOST_ADDRESSES = {
    "192.0.2.10/24",
    "192.0.2.99/24",
    "198.51.100.7/24",
    "2001:db8:1::10/64",
}


def test_the_host_stays_connected(
    host: Host, network: Uplink, daemon: Daemon, echo: EchoServer
) -> None:
    """Connections of the host itself outlive start and stop, and all is as it was."""
    assert network.ifname == "eth0"
    before = network_of(host)
    mac = host.link("eth0")["address"]  # type: ignore[index]
    path = daemon.document(RED)
    daemon.cli("define", path)
    flows = [TcpFlow(host, target) for target in ("203.0.113.1", "2001:db8:1::1", "192.0.2.1")]
    daemon.cli("start", "red")
    assert (HOST_ADDRESSES, set()) == (addresses(host, "br0"), addresses(host, "eth0"))
    bridge = host.link("br0")
    assert bridge is not None
    assert (mac, 0) == (bridge["address"], bridge["linkinfo"]["info_data"]["stp_state"])
    assert {"br0"} == {route["dev"] for route in host.ip("route", "show", "default")}
    counts = [flow.received for flow in flows]
    wait_for(
        lambda: all(flow.received > count + 20 for flow, count in zip(flows, counts, strict=True)),
        20,
        "the flows to go on",
    )
    daemon.cli("stop", "red")
    counts = [flow.received for flow in flows]
    wait_for(
        lambda: all(flow.received > count + 20 for flow, count in zip(flows, counts, strict=True)),
        20,
        "the flows to go on",
    )
    for flow in flows:
        flow.close()
    assert [None] * 3 == [flow.error for flow in flows]
    wait_usable(host)
    assert before == network_of(host)
    assert echo.port == 7


@pytest.mark.shows("bridge over an uplink", "guests in namespaces")
def test_guests_reach_the_lan(host: Host, network: Uplink, daemon: Daemon, outside: Host) -> None:
    """Guests lease from a server of the LAN, and reach it, the host, and each other."""
    outside.start(
        [
            *(
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--port=0",
                "--no-ping",
                "--user=root",
            ),
            *("--pid-file=/run/lab/dnsmasq.pid", "--dhcp-leasefile=/run/lab/leases"),
            *("--interface=eth0", "--dhcp-range=192.0.2.100,192.0.2.150,1h"),
        ]
    )
    daemon.cli("apply", daemon.document(RED))
    one, two = (plug_in(daemon, host, name) for name in ("one", "two"))
    leases = [guest.dhcp4(seconds=20) for guest in (one, two)]
    found = [lease.address for lease in leases if lease is not None]
    assert 2 == len(set(found))
    for target in ("192.0.2.1", "203.0.113.1", "192.0.2.10", found[1]):
        assert ping(one, target, tries=5) is not None, target
    assert ping(outside, found[0], tries=5) is not None
    assert ping(host, found[0], tries=5) is not None


def test_what_somebody_changes_meanwhile(host: Host, network: Uplink, daemon: Daemon) -> None:
    """What an administrator gives the bridge goes to the uplink; what is taken stays away."""
    assert network.ifname == "eth0"
    daemon.cli("apply", daemon.document(RED))
    for command in (
        "ip addr add 192.0.2.55/24 dev br0",
        "ip route add 10.7.0.0/16 via 192.0.2.1 dev br0",
        "ip addr del 192.0.2.99/24 dev br0",
    ):
        host.run(command.split())
    daemon.cli("stop", "red")
    wanted = (HOST_ADDRESSES | {"192.0.2.55/24"}) - {"192.0.2.99/24"}
    assert wanted == addresses(host, "eth0")
    (route,) = host.ip("route", "show", "10.7.0.0/16")
    assert ("eth0", "192.0.2.1") == (route["dev"], route["gateway"])
    assert ping(host, "203.0.113.1", tries=5) is not None


def test_the_mtu_of_uplinks(host: Host, network: Uplink, daemon: Daemon) -> None:
    """It is the uplink's and the bridge's; one that somebody else set since is left."""
    assert network.ifname == "eth0"
    text = RED.replace("<uplinks>", "<uplinks mtu='1400'>")

    def mtus() -> list[int]:
        return [(host.link(name) or {"mtu": 0})["mtu"] for name in ("eth0", "br0")]

    daemon.cli("apply", daemon.document(text))
    assert [1400, 1400] == mtus()
    guest = plug_in(daemon, host, "one")
    assert 1400 == (guest.link("eth0") or {})["mtu"]
    daemon.cli("apply", daemon.document(text.replace("1400", "1300")))
    assert [1300, 1300] == mtus()
    assert 1300 == (guest.link("eth0") or {})["mtu"]
    daemon.cli("apply", daemon.document(RED))
    assert [1500, 1500] == mtus()
    assert 1500 == (guest.link("eth0") or {})["mtu"]
    daemon.cli("apply", daemon.document(text))
    daemon.cli("stop", "red")
    assert [1500, 0] == mtus()
    daemon.cli("start", "red")
    host.run(["ip", "link", "set", "eth0", "mtu", "1450"])
    daemon.cli("stop", "red")
    assert [1450, 0] == mtus()


def test_the_daemon_comes_and_goes(
    host: Host, network: Uplink, daemon: Daemon, echo: EchoServer
) -> None:
    """A restart or a crash changes nothing; the flow does not even notice."""
    assert (network.ifname, 7) == ("eth0", echo.port)
    daemon.cli("apply", daemon.document(RED))
    wait_usable(host)
    before = network_of(host)
    with TcpFlow(host, "203.0.113.1") as flow:
        daemon.restart()
        daemon.kill9()
        daemon.start()
    assert (None, flow.sent) == (flow.error, flow.received)
    assert before == network_of(host)
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
    daemon.cli("stop", "red")
    assert HOST_ADDRESSES == addresses(host, "eth0")


def test_a_bridge_that_is_taken_away(host: Host, network: Uplink, daemon: Daemon) -> None:
    """Its uplink's addresses and routes are known, and the guests' ports are plugged in again."""
    assert network.ifname == "eth0"
    daemon.cli("apply", daemon.document(RED))
    guest = plug_in(daemon, host, "one")
    add_address(guest, "eth0", "192.0.2.200/24")
    assert ping(guest, "192.0.2.1", tries=5) is not None
    for running in (True, False):
        if not running:
            daemon.kill9()
        host.run(["ip", "link", "del", "br0"])
        if not running:
            daemon.start()
        wait_for(
            lambda: host.link("br0") and addresses(host, "br0") == HOST_ADDRESSES,
            10,
            "the bridge with its addresses",
        )
        assert ping(host, "203.0.113.1", tries=5) is not None
        assert ping(guest, "192.0.2.1", tries=5) is not None
        wait_for(
            lambda: daemon.ask("/v1/networks")[0]["problem"] is None, 5, "no problem to be told"
        )
    daemon.cli("stop", "red")
    assert HOST_ADDRESSES == addresses(host, "eth0")
    assert ping(host, "203.0.113.1", tries=5) is not None


def test_a_bridge_of_somebody_else_in_its_place(
    host: Host, network: Uplink, daemon: Daemon, outside: Host
) -> None:
    """A change does not make the uplink a port of it: the host goes on as it is connected now."""
    daemon.cli("apply", daemon.document(RED))
    daemon.kill9()
    host.run(["ip", "link", "del", "br0"])
    host.run(["ip", "link", "add", "br0", "type", "bridge"])
    add_address(host, "eth0", f"{network.address4}/24")
    daemon.start()
    (found,) = daemon.cli("list", json=True)
    assert "not ours: bridge br0" in found["problem"]
    changed = daemon.document(RED.replace("<uplinks>", "<uplinks mtu='1400'>"))
    assert "bridge br0" in daemon.cli("apply", changed, check=False).stderr
    assert (None, {f"{network.address4}/24"}) == (
        (host.link("eth0") or {}).get("master"),
        addresses(host, "eth0"),
    )
    assert ping(outside, network.address4, tries=5) is not None


@pytest.mark.parametrize("running", [True, False])
def test_an_uplink_that_comes_back(
    host: Host, lan: Lan, network: Uplink, daemon: Daemon, running: bool
) -> None:
    """The bridge keeps what it has, and gets the uplink again when there is one."""
    daemon.cli("apply", daemon.document(RED))
    if not running:
        daemon.kill9()
    lan.unplug(network.switch_port)
    wait_for(lambda: host.link("eth0") is None, 5, "the uplink to be gone")
    if not running:
        daemon.start()
    problem = daemon.cli("list", json=True)[0]["problem"]
    wait_for(lambda: "eth0" in (daemon.ask("/v1/networks")[0]["problem"] or ""), 5, "the problem")
    assert HOST_ADDRESSES == addresses(host, "br0"), problem
    lan.plug(host, "eth0")
    wait_for(lambda: (host.link("eth0") or {}).get("master") == "br0", 10, "the uplink's return")
    wait_for(lambda: ping(host, "203.0.113.1") is not None, 10, "the LAN")
    wait_for(lambda: daemon.ask("/v1/networks")[0]["problem"] is None, 5, "no problem any more")
    daemon.cli("stop", "red")
    assert HOST_ADDRESSES == addresses(host, "eth0")
    assert ping(host, "203.0.113.1", tries=5) is not None


def test_a_switch_that_closes_its_port(
    host: Host, lan: Lan, network: Uplink, echo: EchoServer
) -> None:
    """When the gateway is not heard any more, the uplink has everything back by itself."""
    assert echo.port == 7
    shut = [
        "table netdev security { chain in { type filter hook ingress device",
        f"{network.switch_port} priority 0; policy drop; }}; }}",
    ]
    with Daemon(host, config="gateway_timeout = 2\n") as daemon:
        before = network_of(host)
        daemon.cli("define", daemon.document(RED))

        # Both wait, so that the port is shut a moment after the uplink has become the bridge's.
        monitor = host.start(["ip", "monitor", "link"], stdout=subprocess.PIPE)
        security = lan.namespace.popen(["nft", "-f", "-"], stdin=subprocess.PIPE)

        def close_port() -> None:
            assert monitor.popen.stdout is not None
            assert security.stdin is not None
            next(line for line in monitor.popen.stdout if "master br0" in line)
            security.stdin.write(" ".join(shut))
            security.stdin.close()
            security.wait(10)

        switch = threading.Thread(target=close_port)
        switch.start()
        with TcpFlow(host, "203.0.113.1") as flow:
            result = daemon.cli("start", "red", check=False)
            switch.join()
            monitor.stop()
            assert 7 == result.returncode
            assert "answered through eth0, but not through bridge br0" in result.stderr
            wait_usable(host)
            assert before == network_of(host)
            lan.namespace.run(["nft", "delete", "table", "netdev", "security"])
            count = flow.received
            wait_for(lambda: flow.received > count + 5, 20, "the flow to go on")
        assert flow.error is None
        # One that is not there beforehand does not have to be there afterwards.
        lan.namespace.run(["nft", "-f", "-"], input=" ".join(shut))
        daemon.cli("start", "red")
        assert HOST_ADDRESSES == addresses(host, "br0")


TWO = """
<network>
  <name>two</name>
  <forward mode='bridge'/>
  <bridge name='br0'><uplinks><interface dev='eth0'/><interface dev='eth1'/></uplinks></bridge>
</network>
"""


def test_one_bridge_for_each_uplink(
    host: Host, lan: Lan, network: Uplink, daemon: Daemon, outside: Host
) -> None:
    """Ports go to the bridge with the fewest, and keep theirs over a stop and start."""
    with Lan() as other, other.outside("198.18.0.1/24", name="other") as server:
        other.plug(host, "eth1", "198.18.0.10/24")
        daemon.cli("apply", daemon.document(TWO))
        assert (HOST_ADDRESSES, {"198.18.0.10/24"}) == (
            addresses(host, "br0"),
            addresses(host, "br0-1"),
        )
        guests = [plug_in(daemon, host, name, "two") for name in ("a", "b", "c", "d")]
        # Taps of clients are not ours: they are put back as well.
        for name, bridge in (("foreign0", "br0"), ("foreign1", "br0-1")):
            host.run(["ip", "tuntap", "add", name, "mode", "tap"])
            host.run(["ip", "link", "set", name, "master", bridge, "up"])
        bridges = _bridges(daemon, host)
        assert {"br0": 2, "br0-1": 2} == {name: bridges.count(name) for name in set(bridges)}
        members = _members(host)
        daemon.cli("stop", "two")
        assert (HOST_ADDRESSES, {"198.18.0.10/24"}) == (
            addresses(host, "eth0"),
            addresses(host, "eth1"),
        )
        daemon.cli("start", "two")
        wait_for(lambda: _members(host) == members, 5, "the ports to be where they were")
        reached = {"br0": "192.0.2", "br0-1": "198.18.0"}
        for number, (guest, bridge) in enumerate(zip(guests, bridges, strict=True)):
            add_address(guest, "eth0", f"{reached[bridge]}.{200 + number}/24")
            assert ping(guest, f"{reached[bridge]}.1", tries=5) is not None
        # One fewer, when nobody uses it: it has everything back, and the other goes on.
        fewer = daemon.document(RED.replace("<name>red", "<name>two"))
        assert "eth1" in daemon.cli("apply", fewer, check=False).stderr
        for name in ("a", "b", "c", "d"):
            daemon.cli("detach", name)
        swapped = TWO.replace("eth0", "x").replace("eth1", "eth0").replace("'x'", "'eth1'")
        moved = daemon.cli("apply", daemon.document(swapped), check=False).stderr
        assert "its uplink eth0 cannot move from bridge br0 to br0-1" in moved
        daemon.cli("apply", fewer)
        assert (HOST_ADDRESSES, {"198.18.0.10/24"}) == (
            addresses(host, "br0"),
            addresses(host, "eth1"),
        )
        daemon.cli("apply", daemon.document(TWO))
        assert {"198.18.0.10/24"} == addresses(host, "br0-1")
        assert {"outside", "other"} == {outside.name, server.name}
        daemon.cli("stop", "two")
    assert network.ifname == "eth0"
    assert lan.namespace.name == "lan"


def _bridges(daemon: Daemon, host: Host) -> list[str]:
    """Return the bridges of the ports, in the order of their guests' names."""
    ports = sorted(daemon.cli("ports", json=True), key=lambda item: str(item["netns"]))
    return [str((host.link(item["device"]) or {})["master"]) for item in ports]


def _members(host: Host) -> set[tuple[str, str]]:
    """Return which link is on which bridge."""
    return {(one["ifname"], one["master"]) for one in host.ip("link", "show") if "master" in one}


#: BPDUs (IEEE 802.1D) and those of Cisco's spanning tree for each VLAN, and another frame.
FRAMES = {"stp": "0180c2000000", "pvst": "01000ccccccd", "other": "0180c20000f0"}


def test_guests_are_no_switches(host: Host, network: Uplink, daemon: Daemon, outside: Host) -> None:
    """What a guest says of spanning trees stays here; what the LAN says, guests hear."""
    assert network.ifname == "eth0"
    daemon.cli("apply", daemon.document(RED))
    guest = plug_in(daemon, host, "one")

    def heard(sender: Namespace, listener: Namespace, wanted: set[str]) -> set[str]:
        kind = (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        with sender.socket(*kind) as mouth, listener.socket(*kind) as ear:
            for one in (mouth, ear):
                one.bind(("eth0", 3))
            ear.settimeout(0.5)
            found: set[str] = set()

            def arrived() -> bool:
                """Send them, again where a port did not forward yet, and listen for them."""
                for name, address in FRAMES.items():
                    payload = f"frame {name}".encode().ljust(46, b"\0")
                    source = mouth.getsockname()[4]
                    mouth.send(bytes.fromhex(address) + source + b"\x05\xdc" + payload)
                with contextlib.suppress(TimeoutError):
                    while not wanted <= found:
                        frame = ear.recv(2000)
                        if frame[14:20] == b"frame ":
                            found.add(frame[20:60].rstrip(b"\0").decode())
                return wanted <= found

            wait_for(arrived, 10, "the frames")
            return found

    assert {"other"} == heard(guest, outside, {"other"})
    assert set(FRAMES) == heard(outside, guest, set(FRAMES))
    host.run(["nft", "flush", "ruleset"])
    wait_for(lambda: any("set" in item for item in host.nft()), 5, "the rules to be put back")
    assert {"other"} == heard(guest, outside, {"other"})
    daemon.cli("stop", "red")
    assert [] == [item for item in host.nft() if "metainfo" not in item]


def test_what_is_in_the_way_is_named(host: Host, network: Uplink, daemon: Daemon) -> None:
    """A refused start changes nothing, and says what to do."""
    assert network.ifname == "eth0"
    before = network_of(host)

    def refused(*words: str, uplink: str = "eth0", bridge: str = "br0") -> None:
        text = RED.replace("'eth0'", f"'{uplink}'").replace("'br0'", f"'{bridge}'")
        result = daemon.cli("apply", daemon.document(text), check=False)
        assert 0 != result.returncode
        for word in words:
            assert word in result.stderr, result.stderr

    refused("eth7 does not exist", uplink="eth7")
    refused("not an Ethernet interface", uplink="lo")
    host.run(["ip", "link", "add", "br9", "type", "bridge"])
    refused("is a bridge itself", "<bridge name='br9'/>", uplink="br9")
    refused("bridge br9", "not ours", bridge="br9")
    host.run(["ip", "link", "del", "br9"])
    host.run(
        ["ip", "link", "add", "link", "eth0", "name", "mv0", "type", "macvtap", "mode", "bridge"]
    )
    refused("has mv0 on it")
    host.run(["ip", "link", "del", "mv0"])
    host.run(["nft", "add", "table", "bridge", "jackfield-uplinks"])
    refused("table bridge jackfield-uplinks")
    host.run(["nft", "delete", "table", "bridge", "jackfield-uplinks"])
    wait_usable(host)
    assert before == network_of(host)
    daemon.cli("apply", daemon.document(RED))
    second = RED.replace("<name>red", "<name>blue").replace("'br0'", "'br1'")
    result = daemon.cli("apply", daemon.document(second), check=False)
    assert "its uplink eth0 is a port of bridge br0 already" in result.stderr


def test_two_networks_that_want_one_uplink(
    host: Host, network: Uplink, daemon: Daemon, outside: Host
) -> None:
    """Started at the same moment, one has it, and the other costs it nothing."""
    before = network_of(host)
    names = {"red": "br0", "blue": "br1"}
    for name, bridge in names.items():
        text = RED.replace("<name>red", f"<name>{name}").replace("'br0'", f"'{bridge}'")
        daemon.cli("define", daemon.document(text))
    starts = [daemon.cli_process("start", name) for name in names]
    assert [0, 5] == sorted(start.wait(30) for start in starts)
    for start in starts:
        start.close()
    (winner,) = (one["name"] for one in daemon.cli("list", json=True) if one["active"])
    assert HOST_ADDRESSES == addresses(host, names[winner])
    assert [] == daemon.cli("plan", winner, json=True)["steps"]
    assert ping(outside, network.address4, tries=5) is not None
    daemon.cli("stop", winner)
    wait_usable(host)
    assert before == network_of(host)


def test_managers_of_uplinks_are_named(host: Host, network: Uplink) -> None:
    """By what they say in files, by their processes, and by the routes that they make."""
    assert network.ifname == "eth0"
    (link,) = host.ip("link", "show", "dev", "eth0")
    index = link["ifindex"]
    directory = host.file("/run/lab/programs")
    directory.mkdir()

    def program(name: str, *arguments: str) -> HostProcess:
        shutil.copy("/bin/sleep", directory / name)
        return host.start([f"/run/lab/programs/{name}", *(arguments or ("1000",))])

    def write(path: str, text: str) -> None:
        host.file(path).parent.mkdir(parents=True, exist_ok=True)
        host.file(path).write_text(text)

    with Daemon(host) as daemon:
        path = daemon.document(RED)
        daemon.cli("define", path)

        def refused(who: str) -> None:
            result = daemon.cli("start", "red", check=False)
            assert (5, True) == (result.returncode, f"managed by {who}" in result.stderr), (
                result.stderr
            )
            assert "take_managed_uplinks" in result.stderr

        write(f"/run/systemd/netif/links/{index}", "ADMIN_STATE=configured\nOPER_STATE=routable\n")
        write(f"/run/NetworkManager/devices/{index}", "[device]\nmanaged=true\n")
        networkd = program("systemd-networkd")
        wait_for(lambda: host.processes("systemd-networkd"), 5, "the program")
        refused("systemd-networkd (configured)")
        networkd.kill9()
        manager = program("NetworkManager")
        wait_for(lambda: host.processes("NetworkManager"), 5, "the program")
        refused("NetworkManager")
        write(f"/run/NetworkManager/devices/{index}", "[device]\nmanaged=false\n")
        # A client for another interface is none of ours, one for this or for all is.
        host.run(["ip", "link", "add", "eth8", "type", "veth", "peer", "name", "eth9"])
        client = ("busybox", "udhcpc", "-f", "-s", "/bin/true", "-i")
        other = host.start([*client, "eth8"])
        own = host.start([*client, "eth0"])
        wait_for(lambda: len(host.processes("busybox")) == 2, 5, "the clients")
        refused("the DHCP client udhcpc")
        own.kill9()
        host.run(
            [
                "ip",
                "route",
                "add",
                "10.66.0.0/16",
                "via",
                "192.0.2.1",
                "dev",
                "eth0",
                "proto",
                "dhcp",
            ]
        )
        refused("a DHCP client (it made the route to 10.66.0.0/16)")
        host.run(["ip", "route", "del", "10.66.0.0/16"])
        daemon.cli("start", "red")
        daemon.cli("stop", "red")
        for process in (manager, other):
            process.kill9()
    networkd = program("systemd-networkd")
    with Daemon(host, config="take_managed_uplinks = true\n") as daemon:
        daemon.cli("start", "red")
        assert HOST_ADDRESSES == addresses(host, "br0")
        daemon.cli("stop", "red")
    networkd.kill9()


def test_addresses_from_router_advertisements(
    host: Host, network: Uplink, daemon: Daemon, outside: Host
) -> None:
    """The bridge goes on where the uplink was: the same address, lifetimes renewed, the route."""
    assert network.ifname == "eth0"
    host.run(["ip", "-6", "route", "del", "default"])
    outside.set_sysctl("net/ipv6/conf/all/forwarding", "1")
    outside.start(
        [
            *(
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--port=0",
                "--no-ping",
                "--user=root",
            ),
            *("--pid-file=/run/lab/dnsmasq.pid", "--dhcp-leasefile=/run/lab/leases"),
            *("--interface=eth0", "--enable-ra", "--ra-param=eth0,4,600"),
            "--dhcp-range=2001:db8:1::,ra-only,300s",
        ]
    )

    def learned(name: str) -> set[str]:
        (link,) = host.ip("-6", "addr", "show", "dev", name)
        return {info["local"] for info in link["addr_info"] if info.get("dynamic")}

    def gateways(name: str) -> list[tuple[str, int]]:
        routes = host.ip("-6", "route", "show", "default", "dev", name)
        return sorted((route["protocol"], route["metric"]) for route in routes)

    wait_for(lambda: learned("eth0") and gateways("eth0"), 20, "an advertisement")
    wait_usable(host)
    before = learned("eth0")
    with EchoServer(outside), TcpFlow(host, "2001:db8:ffff::1") as flow:
        daemon.cli("apply", daemon.document(RED))
        assert before == learned("br0")
        assert ("74", 1025) in gateways("br0")
        wait_for(lambda: ("ra", 1024) in gateways("br0"), 20, "the bridge to learn a route")
        (link,) = host.ip("-6", "addr", "show", "dev", "br0")
        lifetimes = [info["valid_life_time"] for info in link["addr_info"] if info.get("dynamic")]

        def renewed() -> bool:
            (link,) = host.ip("-6", "addr", "show", "dev", "br0")
            now = [info["valid_life_time"] for info in link["addr_info"] if info.get("dynamic")]
            return len(now) == len(lifetimes) and max(now) >= 299

        wait_for(renewed, 20, "the lifetime to be renewed")
        daemon.cli("stop", "red")
        assert before == learned("eth0")
        wait_for(lambda: gateways("eth0") == [("ra", 1024)], 20, "the uplink to learn a route")
        count = flow.received
        wait_for(lambda: flow.received > count + 5, 20, "the flow to go on")
    assert flow.error is None


def test_after_a_reboot(lan: Lan, outside: Host) -> None:
    """What was recorded is of another boot; a marked network takes over from the uplink anew."""
    assert outside.name == "outside"
    with tempfile.TemporaryDirectory(prefix="jackfield-") as state:
        for boot in range(2):
            with Host() as machine:
                lan.plug(machine, "eth0", f"192.0.2.{20 + boot}/24")
                machine.run(["ip", "route", "add", "default", "via", "192.0.2.1"])
                with Daemon(machine, state_dir=state) as daemon:
                    if not boot:
                        daemon.cli("define", daemon.document(RED))
                        daemon.cli("autostart", "red")
                        daemon.cli("start", "red")
                    assert {f"192.0.2.{20 + boot}/24"} == addresses(machine, "br0")
                    assert ping(machine, "203.0.113.1", tries=5) is not None


def test_vlans_need_a_kernel_that_filters_them(host: Host, network: Uplink, daemon: Daemon) -> None:
    """Where the kernel cannot, that is said before the uplink is touched."""
    assert network.ifname == "eth0"
    before = network_of(host)
    group = "<portgroup name='tagged'><vlan><tag id='42'/></vlan></portgroup>"
    path = daemon.document(RED.replace("</network>", f"{group}</network>"))
    host.run(["ip", "link", "add", "br9", "type", "bridge"])
    (bridge,) = host.ip("-d", "link", "show", "dev", "br9")
    host.run(["ip", "link", "del", "br9"])
    if "vlan_protocol" in bridge["linkinfo"]["info_data"]:
        daemon.cli("apply", path)
        (made,) = host.ip("-d", "link", "show", "dev", "br0")
        assert 1 == made["linkinfo"]["info_data"]["vlan_filtering"]
        daemon.cli("stop", "red")
    else:
        refused = daemon.cli("apply", path, check=False)
        assert 0 != refused.returncode
        assert "br0: the kernel cannot filter VLANs on bridges" in refused.stderr
        assert "CONFIG_BRIDGE_VLAN_FILTERING" in refused.stderr
    wait_usable(host)
    assert before == network_of(host)
    assert HOST_ADDRESSES == addresses(host, "eth0")


def test_clients_of_libvirt_see_a_bridge_network(
    host: Host, network: Uplink, daemon: Daemon
) -> None:
    """They are told of the bridge; its uplinks are ours to know, in a document that they accept."""
    assert network.ifname == "eth0"
    daemon.cli("apply", daemon.document(RED))

    def virsh(*arguments: str) -> str:
        uri = f"network:///system?socket={RUN_DIR}/libvirt-sock"
        return host.run(["virsh", "-q", "-c", uri, *arguments]).stdout

    told = dict(line.split(":", 1) for line in virsh("net-info", "red").splitlines() if line)
    assert ("br0", "yes") == (told["Bridge"].strip(), told["Active"].strip())
    document = virsh("net-dumpxml", "red")
    assert "<forward mode='bridge'/>" in document
    assert "<interface dev='eth0'/>" in document
    with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
        file.write(document)
        file.flush()
        host.run(["virsh", "-c", "test:///default", "net-define", file.name])
