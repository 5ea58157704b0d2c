"""What is in the way and not ours is refused, named, and left exactly as it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import pytest

from tests.conftest import Uplink
from tests.lab.daemon import Daemon
from tests.lab.host import Host, HostProcess
from tests.lab.snapshot import take_snapshot
from tests.lab.switch import Lan
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab


@pytest.fixture(autouse=True)
def no_duplicate_address_detection(host: Host) -> None:
    """Have what is looked at not change by itself."""
    host.set_sysctl("net/ipv6/conf/default/accept_dad", "0")


def document(ipv6: str = "", *, forward: str = "<forward mode='nat'/>") -> str:
    """Return the network's document."""
    return f"""
    <network>
      <name>red</name>{forward}
      <bridge name='virbr7' stp='off' delay='0'/>
      <ip address='10.5.5.1' prefix='24'>
        <dhcp><range start='10.5.5.10' end='10.5.5.20'/></dhcp>
      </ip>{ipv6}
    </network>
    """


def set_up(host: Host, commands: Sequence[str]) -> None:
    """Run commands on the host."""
    for command in commands:
        host.run(command.split())


FOREIGN = {
    "a bridge of the wanted name": (
        ["ip link add virbr7 type bridge"],
        "bridge virbr7",
    ),
    "a bridge with an alias that is not this network's": (
        [
            "ip link add virbr7 type bridge",
            "ip link set virbr7 alias jackfield:network:6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c31",
        ],
        "virbr7",
    ),
    "another kind of link of the wanted name": (
        ["ip link add virbr7 type veth peer name other"],
        "virbr7",
    ),
    "the subnet is on another link": (
        [
            "ip link add other type bridge",
            "ip addr add 10.5.5.200/24 dev other",
            "ip link set other up",
        ],
        "other",
    ),
    "a wider subnet is on another link": (
        [
            "ip link add other type bridge",
            "ip addr add 10.5.0.1/16 dev other",
            "ip link set other up",
        ],
        "other",
    ),
    "the subnet is routed to a gateway": (
        ["ip route add 10.5.5.0/24 via 192.0.2.1"],
        "eth0",
    ),
    "a part of the subnet is routed to a gateway": (
        ["ip route add 10.5.5.128/25 via 192.0.2.1"],
        "10.5.5.128/25",
    ),
    "a table of the wanted name": (
        ["nft add table inet jackfield"],
        "inet jackfield",
    ),
}


@pytest.mark.parametrize("verb", ["start", "apply"])
@pytest.mark.parametrize("case", FOREIGN)
def test_in_the_way_of_a_network(
    daemon: Daemon, host: Host, uplink: Uplink, case: str, verb: str
) -> None:
    """A network does not start over what somebody else has there."""
    assert uplink.ifname == "eth0"
    commands, named = FOREIGN[case]
    set_up(host, commands)
    before = take_snapshot(host)
    path = daemon.document(document())
    if verb == "start":
        daemon.cli("define", path)
        known = daemon.cli("list", json=True)
        result = daemon.cli("start", "red", check=False)
    else:
        known = []
        result = daemon.cli("apply", path, check=False)
    assert 5 == result.returncode, result
    assert named in result.stderr
    assert before == take_snapshot(host)
    assert known == daemon.cli("list", json=True)
    daemon.restart()
    assert before == take_snapshot(host)
    assert known == daemon.cli("list", json=True)


ROUTE = "<route address='172.20.0.0' prefix='16' gateway='{}'{}/>"


def test_a_static_route_of_somebody_else(daemon: Daemon, host: Host, uplink: Uplink) -> None:
    """A static route that the host has already is refused, and the link that it is on is named."""
    assert uplink.ifname == "eth0"
    set_up(host, ["ip route add 172.20.0.0/16 via 192.0.2.1 metric 1"])
    before = take_snapshot(host)
    refused = daemon.cli(
        "apply", daemon.document(document(ROUTE.format("10.5.5.2", ""))), check=False
    )
    assert 5 == refused.returncode, refused
    assert "another route to 172.20.0.0/16 through veth eth0" in refused.stderr
    assert "is in the way and is not ours" in refused.stderr
    assert before == take_snapshot(host)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("172.20.0.0/16 via 192.0.2.1 metric 100", ROUTE.format("10.5.5.2", "")),
        ("172.20.0.0/16 via 192.0.2.1 metric 100", ROUTE.format("10.5.5.2", " metric='99'")),
        (None, "<route address='0.0.0.0' prefix='0' gateway='10.5.5.2'/>"),
        (None, "<route address='192.0.2.0' prefix='24' gateway='10.5.5.2'/>"),
        (
            None,
            (
                "<ip family='ipv6' address='fd00::1' prefix='64'/>"
                "<route family='ipv6' address='::' prefix='0' gateway='fd00::2'/>"
            ),
        ),
    ],
)
def test_a_static_route_that_would_take_over(
    daemon: Daemon, host: Host, uplink: Uplink, theirs: str | None, ours: str
) -> None:
    """A lesser metric would leave the host without the route that it has, its default one even."""
    assert uplink.ifname == "eth0"
    set_up(host, [] if theirs is None else [f"ip route add {theirs}"])
    before = take_snapshot(host)
    text = document().replace("</ip>", f"</ip>{ours}")
    refused = daemon.cli("apply", daemon.document(text), check=False)
    assert 5 == refused.returncode, refused
    assert re.search(r"another route to [0-9.:/]+ through veth eth0 \(metric \d+\)", refused.stderr)
    assert before == take_snapshot(host)
    # What the error says to do: then the host's own is used as before.
    metric = re.search(r"metric='(\d+)'", refused.stderr)
    assert metric is not None
    second = re.sub(r"(<route.*?)( metric='\d+')?/>", rf"\1 {metric[0]}/>", text)
    daemon.cli("apply", daemon.document(second))
    assert {"steps": []} == daemon.cli("plan", "red", json=True)
    asked = "192.0.2.77" if "192.0.2" in ours else "172.20.0.1"
    asked = "2001:db8:9::1" if "ipv6" in ours else asked
    assert "eth0" == host.ip("route", "get", asked)[0]["dev"]


@pytest.mark.parametrize("running", [False, True])
def test_a_static_route_of_another_network(daemon: Daemon, host: Host, running: bool) -> None:
    """Of two networks with one route the second is refused, and told which has it."""
    daemon.cli("apply", daemon.document(document(ROUTE.format("10.5.5.2", ""))))
    other = (
        document().replace("red", "blue").replace("virbr7", "virbr8").replace("10.5.5", "10.6.6")
    )
    if running:
        daemon.cli("apply", daemon.document(other))
    before = take_snapshot(host)
    path = daemon.document(other.replace("</ip>", "</ip>" + ROUTE.format("10.6.6.2", "")))
    refused = daemon.cli("apply", path, check=False)
    assert 5 == refused.returncode, refused
    assert "172.20.0.0/16 with metric 1 is one of network 'red' as well" in refused.stderr
    assert "not ours" not in refused.stderr
    assert before == take_snapshot(host)
    # The one with the lesser metric is the one that is used.
    backup = ROUTE.format("10.6.6.2", " metric='9'")
    daemon.cli("apply", daemon.document(other.replace("</ip>", "</ip>" + backup)))
    shown = host.ip("route", "show", "172.20.0.0/16")
    assert {("virbr7", 1), ("virbr8", 9)} == {(one["dev"], one["metric"]) for one in shown}


def test_a_wider_route_to_a_gateway_is_no_obstacle(
    daemon: Daemon, host: Host, uplink: Uplink
) -> None:
    """A part of what a gateway leads to may be ours."""
    assert uplink.ifname == "eth0"
    set_up(host, ["ip route add 10.0.0.0/8 via 192.0.2.1"])
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("stop", "red")
    assert host.ip("route", "show", "10.0.0.0/8")


@pytest.mark.parametrize("harm", ["ip link set virbr7 down", "ip addr flush dev virbr7"])
def test_the_subnet_of_a_network_that_somebody_has_disturbed(
    daemon: Daemon, host: Host, harm: str
) -> None:
    """Nobody else gets it, although the host has no route to it just then."""
    other = document().replace("red", "blue").replace("virbr7", "virbr8")
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("define", daemon.document(other))
    set_up(host, [harm])
    wait_for(lambda: problem_of(daemon, "red"), 5, "the network to say so")
    result = daemon.cli("start", "blue", check=False)
    assert 5 == result.returncode
    assert "10.5.5.0/24 of network 'red', which runs" in result.stderr
    daemon.cli("apply", "red")
    assert {"steps": []} == daemon.cli("plan", "red", json=True)


def problem_of(daemon: Daemon, name: str) -> str | None:
    """Return what is wrong with a network."""
    found: dict[str, str | None] = {
        one["name"]: one["problem"] for one in daemon.ask("/v1/networks")
    }
    return found[name]


def test_in_the_way_of_a_tap(daemon: Daemon, host: Host) -> None:
    """A tap is not made, and nothing plugged in, where a link has its name."""
    daemon.cli("apply", daemon.document(document()))
    set_up(
        host, ["ip tuntap add tap0 mode tap", "ip link set tap0 up", "ip link add nic0 type bridge"]
    )
    before = take_snapshot(host)
    for name in ("tap0", "nic0"):
        result = daemon.cli("attach", "red", "--tap", name, check=False)
        assert 5 == result.returncode
        assert name in result.stderr
    assert before == take_snapshot(host)
    assert [] == daemon.cli("ports", json=True)


def test_in_the_way_inside_a_guest(daemon: Daemon, host: Host) -> None:
    """An interface of the wanted name in the guest's namespace is left alone, and named."""
    daemon.cli("apply", daemon.document(document()))
    guest = host.guest("guest")
    guest.run(["ip", "link", "add", "eth0", "type", "bridge"])
    before, inside = take_snapshot(host), guest.ip("-d", "link")
    result = daemon.cli("attach", "red", "--netns", "guest", "--ifname", "eth0", check=False)
    assert result.returncode
    assert "eth0" in result.stderr
    assert (before, inside) == (take_snapshot(host), guest.ip("-d", "link"))
    assert [] == daemon.cli("ports", json=True)


def test_a_port_that_dnsmasq_needs(daemon: Daemon, host: Host) -> None:
    """When the service cannot start the network does not, or stays as it is; who has it is told."""
    before = take_snapshot(host)
    hold = "import socket as s, time; a = s.socket(2, 2); a.bind(('', 67)); time.sleep(99)"
    holder = host.start([sys.executable, "-c", hold])
    wait_for(lambda: ":67 " in host.run(["ss", "-nul"]).stdout, 5, "the port to be taken")
    path = daemon.document(document())
    result = daemon.cli("apply", path, check=False)
    assert 7 == result.returncode, result
    assert "error: cannot start network 'red': dnsmasq ended: failed to bind" in result.stderr
    assert "port 67" in result.stderr
    assert "python" in result.stderr
    assert before == take_snapshot(host)
    assert [] == daemon.cli("list", json=True)
    without = re.sub("<dhcp>.*</dhcp>", "", document(), flags=re.DOTALL)
    daemon.cli("apply", daemon.document(without.replace("<bridge", "<dns enable='no'/><bridge")))
    running, shown = take_snapshot(host), daemon.cli("show", "red")
    result = daemon.cli("apply", path, check=False)
    assert 7 == result.returncode
    assert "error: cannot change network 'red': dnsmasq ended: failed to bind" in result.stderr
    assert (running, shown) == (take_snapshot(host), daemon.cli("show", "red"))
    holder.kill9()
    daemon.cli("apply", path)
    assert 1 == len(host.processes("dnsmasq"))
    daemon.cli("stop", "red")
    assert before == take_snapshot(host)


IPV6 = "<ip family='ipv6' address='fd00:5::1' prefix='64'/>"


def advertise(router: Host) -> HostProcess:
    """Have a machine tell of itself as a router, every four seconds."""
    router.set_sysctl("net/ipv6/conf/all/forwarding", "1")
    return router.start(
        [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0"),
            *("--enable-ra", "--dhcp-range=2001:db8:1::,ra-only", "--interface=eth0"),
            *("--ra-param=eth0,4,600", "--user=", "--pid-file="),
            "--dhcp-leasefile=/run/lab/leases",
        ]
    )


def default6(host: Host) -> list[dict[str, object]]:
    """Return the host's IPv6 default routes."""
    return list(host.ip("-6", "route", "show", "default"))


def test_routes_learned_from_router_advertisements(
    daemon: Daemon, host: Host, lan: Lan, outside: Host
) -> None:
    """IPv6 forwarding that would cost the host its default route is refused, with the remedy."""
    lan.plug(host, "eth0", "192.0.2.10/24")
    server = advertise(outside)
    wait_for(lambda: default6(host), 20, "the host to learn its default route")
    before = take_snapshot(host)
    result = daemon.cli("apply", daemon.document(document(IPV6)), check=False)
    assert 5 == result.returncode, result
    assert "accept_ra" in result.stderr
    assert "eth0" in result.stderr
    assert before == take_snapshot(host)
    # Without IPv6, isolated, or with the remedy there is no conflict.
    daemon.cli("apply", daemon.document(document()))
    daemon.cli("stop", "red")
    daemon.cli("apply", daemon.document(document(IPV6, forward="")))
    daemon.cli("stop", "red")
    host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "2")
    daemon.cli("apply", daemon.document(document(IPV6)))
    assert default6(host)
    server.stop()


def test_routers_heard_after_the_start(daemon: Daemon, host: Host, lan: Lan, outside: Host) -> None:
    """A router that comes when the host forwards already is passed over, and told of."""
    lan.plug(host, "eth0", "192.0.2.10/24")
    daemon.cli("apply", daemon.document(document(IPV6)))
    other = (
        document().replace("red", "blue").replace("virbr7", "virbr8").replace("10.5.5", "10.6.6")
    )
    daemon.cli("apply", daemon.document(other))
    server = advertise(outside)

    def told() -> dict[str, str]:
        networks = daemon.ask("/v1/networks")
        return {one["name"]: one["problem"] for one in networks if one["problem"]}

    said = wait_for(told, 20, "the network to say so")
    assert ["red"] == list(said)
    assert "no IPv6 default route" in said["red"]
    assert "sysctl -w net.ipv6.conf.eth0.accept_ra=2" in said["red"]
    assert [] == default6(host)
    assert "accept_ra=2" in daemon.cli("doctor", check=False).stdout
    host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "2")
    wait_for(lambda: default6(host), 20, "the host to learn its default route")
    wait_for(lambda: not told(), 10, "the network to be well")
    # Nobody misses a router where there is a default route all the same.
    host.run(["ip", "-6", "route", "flush", "default"])
    host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1")
    wait_for(told, 20, "the network to say so again")
    host.run(["ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "eth0"])
    wait_for(lambda: not told(), 20, "the network to be well")
    server.stop()


def test_forwarding_turned_off_until_a_route_was_learned(
    daemon: Daemon, host: Host, lan: Lan, outside: Host
) -> None:
    """Neither `apply` nor a daemon that starts costs the host a default route learned since."""
    lan.plug(host, "eth0", "192.0.2.10/24")
    daemon.cli("apply", daemon.document(document(IPV6)))
    host.set_sysctl("net/ipv6/conf/all/forwarding", "0")
    server = advertise(outside)
    wait_for(lambda: default6(host), 20, "the host to learn its default route")
    (bridge,) = host.ip("link", "show", "virbr7")
    host.run(["ip", "link", "set", "virbr7", "down"])
    refused = daemon.cli("apply", "red", check=False)
    assert 5 == refused.returncode, refused
    assert "the default route that eth0 has from router advertisements" in refused.stderr
    assert "accept_ra=2" in refused.stderr
    assert default6(host)
    # Everything else of it is mended.
    (again,) = host.ip("link", "show", "virbr7")
    assert bridge["ifindex"] == again["ifindex"]
    assert "UP" in again["flags"]
    daemon.restart()
    assert default6(host)
    (network,) = daemon.cli("list", json=True)
    assert "the default route that eth0 has from router advertisements" in network["problem"]
    host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "2")
    daemon.cli("apply", "red")
    assert default6(host)
    assert "1" == host.sysctl("net/ipv6/conf/all/forwarding")
    (network,) = daemon.cli("list", json=True)
    assert network["problem"] is None
    server.stop()
