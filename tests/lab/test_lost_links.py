"""Links that others take away or give another name: what was plugged in finds its place again.

::

    guest a (namespace) ─┐
    vnet0 (a client's) ──┴─ red0, of ours or of somebody else        host

    LAN ── eth0 ── br0 (of ours, with the host's addresses)          host
"""

from __future__ import annotations

import json

import pytest

from tests.conftest import Uplink
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.packets import ping
from tests.lab.snapshot import take_snapshot
from tests.lab.switch import Lan, add_address, wait_usable
from tests.lab.troubles import problem
from tests.lab.wait import wait_for
from tests.rpc.client import RawClient

pytestmark = pytest.mark.lab

MAC = "52:54:00:7b:35:93"
NAT = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='red0' stp='off'/>
  <ip address='10.0.0.1' prefix='24'/>
</network>
"""
OTHERS = "<network><name>red</name><forward mode='bridge'/><bridge name='red0'/></network>"
PORT = f"""
<networkport>
  <uuid>00000000-0000-0000-0000-000000000001</uuid>
  <owner><name>vm</name><uuid>00000000-0000-0000-0000-000000000002</uuid></owner>
  <mac address='{MAC}'/>
  <port isolated='yes'/>
</networkport>
"""


def bridge_of(host: Host, link: str) -> str | None:
    """Return the bridge that a link is on, or ``None``."""
    found = host.link(link)
    return None if found is None else found.get("master")


def plug_both_in(daemon: Daemon, host: Host) -> str:
    """Plug in guest a, and a tap as libvirt's QEMU driver does; return the device of the first."""
    guest = host.guest("a")
    port = daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0", json=True)
    add_address(guest, "eth0", "10.0.0.2/24")
    with RawClient(host.file(RUN_DIR) / "libvirt-sock") as client:
        client.open()
        client.call("port_create", client.lookup("red"), PORT, 0)
    host.run(["ip", "tuntap", "add", "vnet0", "mode", "tap"])
    host.run(["ip", "link", "set", "vnet0", "address", f"fe{MAC[2:]}", "master", "red0", "up"])
    return str(port["device"])


def wait_back(daemon: Daemon, host: Host, device: str) -> None:
    """Wait until both are on the bridge, and listed with their devices."""
    wait_for(
        lambda: {"red0"} == {bridge_of(host, link) for link in (device, "vnet0")},
        10,
        "both to be back",
    )
    assert "isolated on" in host.run(["bridge", "-d", "link", "show", "dev", "vnet0"]).stdout
    assert {device, "vnet0"} == {port["device"] for port in daemon.cli("ports", json=True)}


def test_a_removed_bridge_has_all_its_guests_again(host: Host, daemon: Daemon) -> None:
    """Taps that clients made, too, are on the bridge that is made in a removed one's place."""
    kept_from_ipv6 = "net/ipv6/conf/red0/disable_ipv6"
    daemon.cli("apply", daemon.document(NAT))
    assert "1" == host.sysctl(kept_from_ipv6)
    device = plug_both_in(daemon, host)
    # On no bridge by intention, and nobody's: both stay so.
    host.run(["ip", "tuntap", "add", "other", "mode", "tap"])
    host.run(["ip", "link", "del", "red0"])
    wait_back(daemon, host, device)
    assert "1" == host.sysctl(kept_from_ipv6)
    daemon.kill9()
    host.run(["ip", "link", "del", "red0"])
    daemon.start()
    wait_back(daemon, host, device)
    assert "1" == host.sysctl(kept_from_ipv6)
    assert bridge_of(host, "other") is None
    # One that somebody takes off a bridge that is there is left alone.
    host.run(["ip", "link", "set", "vnet0", "nomaster"])
    daemon.restart()
    daemon.cli("apply", "red")
    assert bridge_of(host, "vnet0") is None


def test_a_bridge_of_others_that_comes_back(host: Host, daemon: Daemon) -> None:
    """A network whose bridge somebody removes says so; made anew, it has its ports again."""
    make = ("ip", "link", "add", "red0", "address", "02:00:00:00:00:01", "up", "type", "bridge")
    host.run(make)
    daemon.cli("apply", daemon.document(OTHERS))
    device = plug_both_in(daemon, host)
    host.run(["ip", "link", "del", "red0"])

    def problem() -> str | None:
        (network,) = daemon.cli("list", json=True)
        text: str | None = network["problem"]
        return text

    wait_for(lambda: "red0" in (problem() or ""), 10, "the network to say so")
    host.run(make)
    wait_back(daemon, host, device)
    wait_for(lambda: problem() is None, 10, "the network to be well again")
    # One that is called otherwise is gone as well, until it has its name back.
    rename(host, "red0", "blue0")
    wait_for(lambda: "red0" in (problem() or ""), 10, "the network to say so")
    daemon.restart()
    assert "red0" in (problem() or "")
    rename(host, "blue0", "red0")
    wait_for(lambda: problem() is None, 10, "the network to be well again")
    told = daemon.cli("events", "--no-follow", "--since", "0", "--json")
    events = [json.loads(line) for line in told.splitlines()]
    assert ["network-problem", "network-repaired"] == [event["type"] for event in events[-2:]]


@pytest.mark.parametrize("seen", [True, False])
def test_a_bridge_of_others_whose_name_another_one_gets(
    host: Host, daemon: Daemon, seen: bool
) -> None:
    """Ports are on the bridge of the name that their network says, and on no other."""
    host.run(["ip", "link", "add", "red0", "up", "type", "bridge"])
    daemon.cli("apply", daemon.document(OTHERS))
    device = plug_both_in(daemon, host)
    host.run(["ip", "tuntap", "add", "other", "mode", "tap"])
    host.run(["ip", "link", "set", "other", "master", "red0"])
    if not seen:
        # What was a guest of ours on it tells what became of it.
        daemon.kill9()
    rename(host, "red0", "blue0")
    if not seen:
        daemon.start()
    host.run(["ip", "link", "add", "red0", "up", "type", "bridge"])
    if seen:
        wait_back(daemon, host, device)
    else:
        wait_for(lambda: bridge_of(host, device) == "red0", 10, "the port to be on its bridge")
        wait_for(lambda: bridge_of(host, "vnet0") == "red0", 10, "the tap to be on its bridge")
    assert "blue0" == bridge_of(host, "other")
    wait_for(lambda: daemon.ask("/v1/networks")[0]["problem"] is None, 10, "no problem")
    # A port is not taken back from where somebody has put it by itself.
    host.run(["ip", "link", "set", device, "master", "blue0"])
    daemon.cli("apply", "red")
    assert "blue0" == bridge_of(host, device)


MANAGED = """
<network>
  <name>lan</name>
  <forward mode='bridge'/>
  <bridge name='br0'><uplinks><interface dev='{}'/></uplinks></bridge>
</network>
"""


def rename(host: Host, old: str, new: str) -> None:
    """Give a link another name, as udev does."""
    host.run(["ip", "link", "set", old, "down"])
    host.run(["ip", "link", "set", old, "name", new])
    host.run(["ip", "link", "set", new, "up"])


def has_address(host: Host, link: str, address: str) -> bool:
    """Tell whether a link has an address."""
    (found,) = host.ip("addr", "show", "dev", link)
    return address in {item["local"] for item in found["addr_info"]}


def test_a_renamed_uplink_gets_everything_back(
    host: Host, outside: Host, uplink: Uplink, daemon: Daemon
) -> None:
    """An uplink of another name stays on its bridge, and has the host's addresses in the end."""
    daemon.cli("apply", daemon.document(MANAGED.format("eth0")))

    def problem() -> str:
        (network,) = daemon.cli("list", json=True)
        return str(network["problem"] or "")

    rename(host, "eth0", "nic0")
    assert has_address(host, "br0", uplink.address4)
    wait_for(lambda: "uplink eth0 is not" in problem() and "nic0" in problem(), 10, "the problem")
    # The definition follows: the bridge has what it had.
    daemon.cli("apply", daemon.document(MANAGED.format("nic0")))
    assert "" == problem()
    assert has_address(host, "br0", uplink.address4)
    assert "br0" == bridge_of(host, "nic0")
    # Off and on again is no problem either, however fast.
    host.run(["ip", "-batch", "-"], input="link set nic0 nomaster\nlink set nic0 master br0\n")
    # Named back it is known again; stopped under a name that nobody has told us, all goes back.
    rename(host, "nic0", "eth0")
    wait_for(problem, 10, "the problem")
    rename(host, "eth0", "nic0")
    wait_for(lambda: not problem(), 10, "the network to be well again")
    rename(host, "nic0", "eth0")
    daemon.cli("stop", "lan")
    assert bridge_of(host, "eth0") is None
    assert has_address(host, "eth0", uplink.address4)
    routes = host.run(["ip", "route", "show", "default"]).stdout
    assert "via 192.0.2.1 dev eth0" in routes
    assert ping(outside, uplink.address4, tries=5) is not None


def test_a_renamed_bridge_whose_name_others_have(
    host: Host, outside: Host, uplink: Uplink, daemon: Daemon
) -> None:
    """Its network says so, and gives everything back when it is stopped, and leaves nothing."""
    wait_usable(host)
    before = take_snapshot(host)
    daemon.cli("apply", daemon.document(NAT))
    daemon.cli("apply", daemon.document(MANAGED.format("eth0")))
    with daemon.paused():
        # Else the name may be taken back before anybody else has it.
        for name in ("red0", "br0"):
            host.run(["ip", "link", "set", name, "name", f"{name}x"])
            host.run(["ip", "link", "add", name, "type", "bridge"])
    wait_for(
        lambda: all(
            "in the way" in (one["problem"] or "") for one in daemon.cli("list", json=True)
        ),
        10,
        "the networks to say so",
    )
    daemon.kill9()
    daemon.start()
    daemon.cli("stop", "red")
    daemon.cli("stop", "lan")
    assert {"lo", "eth0", "red0", "br0"} == host.links()
    assert ping(outside, uplink.address4, tries=5) is not None
    for name in ("red0", "br0"):
        host.run(["ip", "link", "del", name])
    for name in ("red", "lan"):
        daemon.cli("undefine", name)
    wait_for(lambda: before == take_snapshot(host), 10, "the host to be as before")


@pytest.mark.parametrize("bridge", ["red0", "br0"])
def test_guests_of_a_bridge_whose_name_others_have(
    host: Host, uplink: Uplink, daemon: Daemon, bridge: str
) -> None:
    """They are on the network's bridge again when it is stopped and started, and nobody else is."""
    assert "eth0" == uplink.ifname
    text, name = {"red0": (NAT, "red"), "br0": (MANAGED.format("eth0"), "lan")}[bridge]
    daemon.cli("apply", daemon.document(text))
    for tap in ("vnet0", "vnet1"):
        host.run(["ip", "tuntap", "add", tap, "mode", "tap"])
    host.run(["ip", "link", "set", "vnet0", "master", bridge, "up"])
    with daemon.paused():
        host.run(["ip", "link", "set", bridge, "name", f"{bridge}x"])
        host.run(["ip", "link", "add", bridge, "type", "bridge"])
        host.run(["ip", "link", "set", "vnet1", "master", bridge])
    daemon.cli("stop", name)
    assert (None, bridge) == (bridge_of(host, "vnet0"), bridge_of(host, "vnet1"))
    host.run(["ip", "link", "del", bridge])
    daemon.cli("start", name)
    assert (bridge, None) == (bridge_of(host, "vnet0"), bridge_of(host, "vnet1"))


def test_an_uplink_that_somebody_sets_down(host: Host, uplink: Uplink, daemon: Daemon) -> None:
    """Its network says so, until somebody sets it up, or applies it."""
    assert "eth0" == uplink.ifname
    daemon.cli("apply", daemon.document(MANAGED.format("eth0")))

    def problem() -> str:
        (network,) = daemon.cli("list", json=True)
        return str(network["problem"] or "")

    host.run(["ip", "link", "set", "eth0", "down"])
    wait_for(lambda: "eth0 is not up" in problem(), 10, "the network to say so")
    host.run(["ip", "link", "set", "eth0", "up"])
    wait_for(lambda: not problem(), 10, "the network to be well again")
    host.run(["ip", "link", "set", "eth0", "down"])
    wait_for(problem, 10, "the network to say so")
    daemon.cli("apply", "lan")
    assert "" == problem()
    (link,) = host.ip("link", "show", "dev", "eth0")
    assert "UP" in link["flags"]
    # Its own end of the network is none.
    daemon.cli("stop", "lan")
    host.run(["ip", "link", "set", "eth0", "down"])
    daemon.cli("start", "lan")
    assert "" == problem()
    daemon.cli("stop", "lan")
    assert "" == problem()


def test_an_uplink_that_somebody_gives_an_address(
    host: Host, uplink: Uplink, daemon: Daemon
) -> None:
    """The network says so, also a daemon that comes later; started anew, its bridge has it."""
    daemon.cli("apply", daemon.document(MANAGED.format(uplink.ifname)))
    assert "" == problem(daemon)
    host.run(["ip", "addr", "add", "192.0.2.77/24", "dev", "eth0"])
    for starts in (False, True):
        if starts:
            daemon.restart()
        wait_for(lambda: "has addresses" in problem(daemon), 10, "the network to say so")
        assert "192.0.2.77/24" in problem(daemon)
    host.run(["ip", "addr", "del", "192.0.2.77/24", "dev", "eth0"])
    wait_for(lambda: not problem(daemon), 10, "it to be well again")
    host.run(["ip", "addr", "add", "192.0.2.77/24", "dev", "eth0"])
    wait_for(lambda: "has addresses" in problem(daemon), 10, "the network to say so")
    told = problem(daemon).partition("takes them over by: ")[2]
    for command in told.split("; "):
        daemon.cli(*command.split()[1:])
    assert has_address(host, "br0", "192.0.2.77")
    assert "" == problem(daemon)


def test_a_renamed_bridge_gets_its_name_back(
    host: Host, outside: Host, uplink: Uplink, daemon: Daemon
) -> None:
    """Guests and host stay connected, and nothing of it is left when the networks are stopped."""
    wait_usable(host)
    before = take_snapshot(host)
    daemon.cli("apply", daemon.document(NAT))
    daemon.cli("apply", daemon.document(MANAGED.format("eth0")))
    guest = host.guest("a")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    add_address(guest, "eth0", "10.0.0.2/24")
    guest.run(["ip", "route", "add", "default", "via", "10.0.0.1"])
    indexes = {name: (host.link(name) or {})["ifindex"] for name in ("red0", "br0")}

    def are_back() -> bool:
        links = {name: host.link(name) or {} for name in indexes}
        return indexes == {name: link.get("ifindex") for name, link in links.items()}

    def missing() -> list[str]:
        return [
            step["text"]
            for name in ("red", "lan")
            for step in daemon.cli("plan", name, json=True)["steps"]
        ]

    for running in (True, False):
        if not running:
            daemon.kill9()
        # With its name alone: the host would lose its IPv6 when a bridge goes down, and one that
        # has its name back already could not be set up by the other.
        host.run(["ip", "link", "set", "red0", "name", "blue0"])
        host.run(["ip", "link", "set", "br0", "name", "br7"])
        if not running:
            daemon.start()
        wait_for(are_back, 10, "the bridges to have their names back")
        wait_for(lambda: not missing(), 5, "nothing of the networks to be missing")
        assert ping(guest, "203.0.113.1", tries=5) is not None
        assert ping(outside, uplink.address4, tries=5) is not None
    assert [None, None] == [one["problem"] for one in daemon.cli("list", json=True)]
    told = daemon.cli("events", "--no-follow", "--since", "0")
    assert "bridge red0 was renamed to blue0" in told
    daemon.cli("detach", "--network", "red")
    for name in ("red", "lan"):
        daemon.cli("stop", name)
        daemon.cli("undefine", name)
    wait_for(lambda: before == take_snapshot(host), 5, "the host to be as before")


def test_a_renamed_device_gets_its_name_back(host: Host, uplink: Uplink, daemon: Daemon) -> None:
    """And one whose name others have goes with its port: nobody stays plugged in."""
    assert "eth0" == uplink.ifname
    macvtap = "<network><name>lan</name><forward mode='bridge'>{}</forward></network>"
    daemon.cli("apply", daemon.document(NAT))
    daemon.cli("apply", daemon.document(macvtap.format("<interface dev='eth0'/>")))
    host.guest("a")
    veth = daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0", json=True)["device"]
    daemon.cli("attach", "red", "--tap", "t0")
    daemon.cli("attach", "lan", "--tap", "t1")
    indexes = {name: (host.link(name) or {})["ifindex"] for name in (veth, "t0", "t1")}

    def are_back() -> bool:
        links = {name: host.link(name) or {} for name in indexes}
        return indexes == {name: link.get("ifindex") for name, link in links.items()}

    for running in (True, False):
        if not running:
            daemon.kill9()
        for number, name in enumerate(indexes):
            host.run(["ip", "link", "set", name, "name", f"x{number}"])
        if not running:
            daemon.start()
        wait_for(are_back, 10, "the devices to have their names back")
    assert "tun t0 was renamed to x1" in daemon.cli("events", "--no-follow", "--since", "0")

    with daemon.paused():
        for number, name in enumerate(indexes):
            host.run(["ip", "link", "set", name, "name", f"x{number}"])
            host.run(["ip", "link", "add", name, "type", "bridge"])
    for name in indexes:
        daemon.cli("detach", name)
    assert {"lo", "eth0", "red0", *indexes} == host.links()
    for name in indexes:
        (found,) = host.ip("-d", "link", "show", "dev", name)
        assert "bridge" == found["linkinfo"]["info_kind"]


def test_a_bridge_of_somebody_else_in_its_place(host: Host, daemon: Daemon) -> None:
    """Nothing of a network or its guests is put on a foreign bridge of its bridge's name."""
    daemon.cli("apply", daemon.document(NAT))
    device = plug_both_in(daemon, host)
    daemon.kill9()
    host.run(["ip", "link", "del", "red0"])
    host.run(["ip", "link", "add", "red0", "type", "bridge"])
    daemon.start()
    (network,) = daemon.cli("list", json=True)
    assert "in the way, and not ours: bridge red0" in network["problem"]
    assert not has_address(host, "red0", "10.0.0.1")
    (link,) = host.ip("link", "show", "dev", "red0")
    assert "UP" not in link["flags"]
    assert (None, None) == (bridge_of(host, device), bridge_of(host, "vnet0"))
    refused = daemon.cli("apply", "red", check=False)
    assert "in the way and not ours: bridge red0" in refused.stderr
    # Nor by a change of what it should be, or a new guest.
    changed = daemon.document(NAT.replace("10.0.0.1", "10.0.0.3"))
    for command in (["apply", changed], ["attach", "red", "--tap", "vm"]):
        assert "red0" in daemon.cli(*command, check=False).stderr
        assert host.link("vm") is None
    (found,) = host.ip("addr", "show", "dev", "red0")
    assert ([], "0") == (found["addr_info"], host.sysctl("net/ipv6/conf/red0/disable_ipv6"))
    host.run(["ip", "link", "del", "red0"])
    daemon.cli("apply", "red")
    wait_back(daemon, host, device)
    assert has_address(host, "red0", "10.0.0.1")
    (network,) = daemon.cli("list", json=True)
    assert network["problem"] is None


def test_another_definition_moves_the_ports(host: Host, daemon: Daemon) -> None:
    """Ports go with their network from somebody else's bridge to its own, and back."""
    bridge = ["up", "type", "bridge", "stp_state", "0", "forward_delay", "0"]
    host.run(["ip", "link", "add", "br0", *bridge])
    add_address(host, "br0", "10.0.0.1/24")
    daemon.cli("apply", daemon.document(OTHERS.replace("red0", "br0")))
    guest = host.guest("a")
    port = daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0", json=True)
    daemon.cli("attach", "red", "--tap", "t0")
    add_address(guest, "eth0", "10.0.0.2/24")
    assert ping(guest, "10.0.0.1", tries=5) is not None
    inside = guest.link("eth0")
    for text, wanted in ((NAT, "red0"), (OTHERS.replace("red0", "br0"), "br0")):
        daemon.cli("stop", "red")
        host.run(["ip", "addr", "flush", "dev", "br0"])
        daemon.cli("define", daemon.document(text))
        daemon.cli("start", "red")
        if wanted == "br0":
            add_address(host, "br0", "10.0.0.1/24")
        assert {wanted} == {bridge_of(host, link) for link in (port["device"], "t0")}
        guest.run(["ip", "neigh", "flush", "dev", "eth0"])
        assert ping(guest, "10.0.0.1", tries=5) is not None
        assert inside == guest.link("eth0")
        assert "" == problem(daemon)
        daemon.restart()
        assert {wanted} == {bridge_of(host, link) for link in (port["device"], "t0")}
        assert "" == problem(daemon)
    # What somebody has put elsewhere is left there, and told of.
    daemon.cli("stop", "red")
    host.run(["ip", "addr", "flush", "dev", "br0"])
    host.run(["ip", "link", "add", "br1", "type", "bridge"])
    host.run(["ip", "link", "set", "t0", "master", "br1"])
    daemon.cli("define", daemon.document(NAT))
    daemon.cli("start", "red")
    assert "br1" == bridge_of(host, "t0")
    assert "bridge br1 (t0 is on it)" in problem(daemon)


def guest_behind_eth0(host: Host, daemon: Daemon) -> Guest:
    """Return a guest of a network that may leave by eth0 alone, and does."""
    daemon.cli("apply", daemon.document(NAT.replace("'nat'/", "'nat' dev='eth0'/")))
    guest = host.guest("a")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    add_address(guest, "eth0", "10.0.0.2/24")
    guest.run(["ip", "route", "add", "default", "via", "10.0.0.1"])
    assert ping(guest, "203.0.113.1", tries=5) is not None
    return guest


def test_a_way_that_a_bridge_has_taken(
    host: Host, uplink: Uplink, outside: Host, daemon: Daemon
) -> None:
    """A network that may leave by one uplink says so when that becomes a port of a bridge."""
    assert "eth0" == uplink.ifname
    guest = guest_behind_eth0(host, daemon)

    def problem() -> str:
        found = {network["name"]: network for network in daemon.cli("list", json=True)}
        return str(found["red"]["problem"] or "")

    assert "" == problem()
    daemon.cli("apply", daemon.document(MANAGED.format("eth0")))
    assert ping(guest, "203.0.113.1") is None
    assert "uplink eth0 is a port of br0" in problem()
    daemon.restart()
    assert "uplink eth0 is a port of br0" in problem()
    daemon.cli("apply", "red")
    assert "uplink eth0 is a port of br0" in problem()
    # It is as it says.
    daemon.cli("apply", daemon.document(NAT.replace("'nat'/", "'nat' dev='br0'/")))
    assert ping(guest, "203.0.113.1", tries=5) is not None
    assert "" == problem()
    daemon.cli("apply", daemon.document(NAT.replace("'nat'/", "'nat' dev='eth0'/")))
    assert problem()
    daemon.cli("stop", "lan")
    assert "" == problem()
    assert ping(guest, "203.0.113.1", tries=5) is not None


def test_a_default_route_past_the_uplink(
    host: Host, lan: Lan, uplink: Uplink, outside: Host, daemon: Daemon
) -> None:
    """A network that may leave by one uplink says so while routes lead through another."""
    assert "eth0" == uplink.ifname
    guest = guest_behind_eth0(host, daemon)
    lan.plug(host, "eth1", "198.51.100.2/24")
    add_address(outside, "eth0", "198.51.100.1/24")

    def said() -> str:
        return problem(daemon)

    def default(*words: str) -> list[str]:
        return ["ip", "route", "replace", "default", *words]

    # It leaves by eth1, and the other is not taken: nobody can mean that.
    host.run(default("via", "198.51.100.1", "dev", "eth1", "metric", "50"))
    host.run(["ip", "route", "del", "default", "dev", "eth0"])
    host.run(default("via", "192.0.2.1", "dev", "eth0", "metric", "100"))
    told = wait_for(said, 5, "the network to say so")
    assert "through eth1" in told
    assert "through eth0 only" in told
    assert ping(guest, "203.0.113.1") is None
    daemon.cli("apply", "red")
    assert told == said()
    daemon.restart()
    assert told == said()
    assert "through eth1" in daemon.cli("doctor", check=False).stdout
    # A policy may lead them where the main table does not.
    host.run(["ip", "rule", "add", "from", "10.0.0.0/24", "lookup", "100"])
    host.run(["ip", "route", "add", "default", "via", "192.0.2.1", "table", "100"])
    assert ping(guest, "203.0.113.1", tries=5) is not None
    daemon.restart()
    assert "" == said()
    host.run(["ip", "rule", "del", "from", "10.0.0.0/24", "lookup", "100"])
    # The least metric is taken.
    host.run(default("via", "198.51.100.1", "dev", "eth1", "metric", "51"))
    assert told == wait_for(said, 5, "the network to say so")
    host.run(default("via", "192.0.2.1", "dev", "eth0", "metric", "10"))
    wait_for(lambda: not said(), 5, "the network to be well")
    assert ping(guest, "203.0.113.1", tries=5) is not None
    # Where the uplink leads to its own LAN, that may be what is meant; where it leads nowhere, not.
    host.run(["ip", "route", "del", "default", "dev", "eth0", "metric", "10"])
    assert told == wait_for(said, 5, "the network to say so")
    host.run(["ip", "route", "del", "default", "dev", "eth0", "metric", "100"])
    wait_for(lambda: not said(), 5, "the network to be well")
    assert ping(guest, "192.0.2.1", tries=5) is not None
    host.run(["ip", "addr", "flush", "dev", "eth0", "scope", "global"])
    assert told == wait_for(said, 5, "the network to say so")
    # It is as it says, and whatever it may leave by is no trouble.
    daemon.cli("apply", daemon.document(NAT))
    assert "" == said()
    assert ping(guest, "203.0.113.1", tries=5) is not None


def test_an_uplink_that_is_not_there(
    host: Host, uplink: Uplink, outside: Host, daemon: Daemon
) -> None:
    """A network that may leave by one uplink says so when that goes, is renamed or set down."""
    assert "eth0" == uplink.ifname
    guest = guest_behind_eth0(host, daemon)
    assert "" == problem(daemon)
    host.run(["ip", "link", "set", "eth0", "down"])
    wait_for(lambda: "uplink eth0 is not up" in problem(daemon), 10, "the network to say so")
    host.run(["ip", "link", "set", "eth0", "name", "wan0"])
    gone = "uplink eth0 does not exist: nothing passes between it and this network"
    wait_for(lambda: gone == problem(daemon), 10, "the network to say so")
    daemon.restart()
    assert gone == problem(daemon)
    daemon.cli("stop", "red")
    assert gone in daemon.cli("start", "red")
    host.run(["ip", "link", "set", "wan0", "name", "eth0"])
    host.run(["ip", "link", "set", "eth0", "up"])
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")
    host.run(["ip", "route", "add", "default", "via", "192.0.2.1"])
    assert ping(guest, "203.0.113.1", tries=5) is not None


@pytest.mark.parametrize(
    ("take", "give_back", "taken"),
    [
        ("ip route add 10.0.0.0/25 dev vpn0", "ip route del 10.0.0.0/25", "10.0.0.0/25"),
        ("ip route add 10.0.0.2 via 192.0.2.1", "ip link set eth0 down", "10.0.0.2/32"),
        ("ip addr add 10.0.0.7/24 dev vpn0", "ip addr del 10.0.0.7/24 dev vpn0", "10.0.0.0/24"),
        ("ip addr add 10.0.9.9/16 dev vpn0", "ip link del vpn0", "10.0.0.0/16"),
    ],
)
def test_a_subnet_that_the_host_routes_elsewhere(
    host: Host, uplink: Uplink, daemon: Daemon, take: str, give_back: str, taken: str
) -> None:
    """A VPN, or what an uplink was given, that overlaps a running network is told of, and named."""
    assert "eth0" == uplink.ifname
    host.run(["ip", "link", "add", "vpn0", "up", "type", "bridge"])
    daemon.cli("apply", daemon.document(NAT))
    # A wider route by a gateway, and one on the network's own bridge, take nothing.
    host.run(["ip", "route", "add", "10.0.0.0/8", "via", "192.0.2.1"])
    host.run(["ip", "route", "add", "10.0.0.128/25", "via", "10.0.0.3"])
    host.run(take.split())
    told = f"its subnet 10.0.0.0/24 overlaps {taken}, which this host also routes through"
    wait_for(lambda: problem(daemon).startswith(told), 10, "the network to say so")
    assert told in daemon.cli("apply", "red")
    daemon.restart()
    assert problem(daemon).startswith(told)
    host.run(give_back.split())
    wait_for(lambda: not problem(daemon), 10, "the network to be well again")


def test_a_vpn_that_has_the_default_route_by_halves(host: Host, daemon: Daemon) -> None:
    """It is wider than any subnet and no subnet itself: networks start, and are well."""
    host.run(["ip", "link", "add", "vpn0", "up", "type", "bridge"])
    subnet6 = "<ip family='ipv6' address='2001:db8:5::1' prefix='64'/></network>"
    halves = ("0.0.0.0/1", "128.0.0.0/1", "2000::/3")
    for number, half in enumerate(halves):
        host.run(["ip", "route", "add", half, "dev", "vpn0"])
        daemon.cli("apply", daemon.document(NAT.replace("</network>", subnet6)))
        host.run(["ip", "route", "add", f"10.0.0.{number}/32", "dev", "vpn0"])
        wait_for(lambda: problem(daemon), 10, "routes to have been looked at")
        assert half not in problem(daemon)
        host.run(["ip", "route", "del", f"10.0.0.{number}/32"])
        wait_for(lambda: not problem(daemon), 10, "nothing to be wrong")
        daemon.cli("stop", "red")


def test_a_route_to_guests_that_somebody_removes(host: Host, daemon: Daemon) -> None:
    """The network says so, and nobody gets its subnet; apply, and a restart, put it back."""
    daemon.cli("apply", daemon.document(NAT))
    guest = host.guest("a")
    daemon.cli("attach", "red", "--netns", "a", "--ifname", "eth0")
    add_address(guest, "eth0", "10.0.0.2/24")
    assert ping(host, "10.0.0.2", tries=5) is not None
    before = take_snapshot(host)
    for mend in (lambda: daemon.cli("apply", "red"), daemon.restart):
        host.run(["ip", "route", "del", "10.0.0.0/24", "dev", "red0"])
        other = daemon.document(NAT.replace("red", "blue"))
        refused = daemon.cli("apply", other, check=False)
        assert "10.0.0.0/24 of network 'red', which runs" in refused.stderr
        wait_for(lambda: problem(daemon), 10, "the network to say so")
        lacks = "bridge red0 was changed by somebody else: it lacks the route to 10.0.0.0/24"
        assert lacks == problem(daemon)
        assert ping(host, "10.0.0.2") is None
        assert "address 10.0.0.1/24" in daemon.cli("plan", "red")
        mend()
        assert "" == problem(daemon)
        assert ping(host, "10.0.0.2", tries=5) is not None
        assert before == take_snapshot(host)
        assert [] == daemon.cli("plan", "red", json=True)["steps"]


def test_guests_of_a_network_that_starts_with_another_bridge(host: Host, daemon: Daemon) -> None:
    """They are on it, listed with their devices, guarded and of its MTU, after a restart too."""
    guarded = NAT.replace("</network>", "<filterref filter='clean-traffic'/></network>")
    daemon.cli("apply", daemon.document(guarded.replace("<ip", "<mtu size='1400'/><ip")))
    device = plug_both_in(daemon, host)
    daemon.cli("stop", "red")
    daemon.cli("define", daemon.document(guarded.replace("red0", "blue0")))
    daemon.cli("start", "red")

    def guards() -> str:
        return host.run(["nft", "list", "set", "bridge", "jackfield", "guarded"]).stdout

    for restart in (False, True):
        if restart:
            daemon.restart()
        ports = daemon.cli("ports", json=True)
        assert {device, "vnet0"} == {port["device"] for port in ports}
        assert {"blue0"} == {port["plug"]["bridge"] for port in ports}
        assert {"blue0"} == {bridge_of(host, link) for link in (device, "vnet0")}
        assert {"steps": []} == daemon.cli("plan", "red", json=True)
        assert all(f'"{link}"' in guards() for link in (device, "vnet0"))
        (link,) = host.ip("link", "show", "dev", device)
        assert 1500 == link["mtu"]


def test_guests_of_a_network_that_leaves_the_bridge_of_others(host: Host, daemon: Daemon) -> None:
    """They are on the bridge that it has now, whoever makes it; they were left on the other."""
    for bridge in ("red0", "grey0"):
        host.run(["ip", "link", "add", bridge, "up", "type", "bridge"])
    daemon.cli("apply", daemon.document(OTHERS))
    plug_both_in(daemon, host)
    daemon.cli("detach", "a")
    daemon.cli("attach", "red", "--tap", "t0")
    for number, (text, bridge) in enumerate(((OTHERS, "grey0"), (NAT, "blue0"))):
        former = ("red0", "grey0")[number]
        daemon.cli("stop", "red")
        assert [former] * 2 == [bridge_of(host, link) for link in ("t0", "vnet0")]
        daemon.cli("define", daemon.document(text.replace("red0", bridge)))
        daemon.cli("start", "red")
        assert [bridge] * 2 == [bridge_of(host, link) for link in ("t0", "vnet0")]
        assert {"t0", "vnet0"} == {port["device"] for port in daemon.cli("ports", json=True)}
        (network,) = daemon.cli("list", json=True)
        assert network["problem"] is None
    # One that somebody else has put elsewhere stays there, and that is told.
    daemon.cli("stop", "red")
    host.run(["ip", "link", "set", "t0", "master", "red0"])
    daemon.cli("define", daemon.document(NAT.replace("red0", "green0")))
    daemon.cli("start", "red")
    assert "red0" == bridge_of(host, "t0")
    (network,) = daemon.cli("list", json=True)
    assert "t0 on bridge green0" in network["problem"]
