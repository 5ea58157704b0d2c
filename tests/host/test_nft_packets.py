"""What the rules do to packets.

::

    guest a ── virbra ┐                  ┌ eth0 ── outside   192.0.2.1, 2001:db8:1::1
                      ├── the host, .10 ─┤
    guest b ── virbrb ┘                  └ eth1 ── elsewhere 198.51.100.1
    10.0.2.2, fd00:2::2

Guest a is 10.0.1.2 and fd00:1::2.  The machines outside know the way to the guests, so that it
is the rules that decide.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jackfield.model.bandwidth import Rate
from jackfield.model.mode import Mode
from jackfield.model.network import Nat, Network
from jackfield.state.resources import NetworkRules
from tests.host.nftlab import Firewall, network, rules_of
from tests.lab.dns import resolve
from tests.lab.namespace import Namespace, NetworkNamespace
from tests.lab.packets import ask_udp, can_connect, ping, send_forged_udp
from tests.lab.wait import wait_for

pytestmark = pytest.mark.kernel

PORT = 7777
# How long to wait for what must not come; the counters then tell why it did not.
SHORT = 0.15

NAT_A = network(Mode.NAT, "10.0.1.1/24", "fd00:1::1/64")
NAT_B = network(Mode.NAT, "10.0.2.1/24", "fd00:2::1/64")
ROUTE_A = network(Mode.ROUTE, "10.0.1.1/24", "fd00:1::1/64")
ROUTE_B = network(Mode.ROUTE, "10.0.2.1/24", "fd00:2::1/64")
ISOLATED_A = network(Mode.ISOLATED, "10.0.1.1/24", "fd00:1::1/64")
SERVING = [
    network(mode, "10.0.1.1/24", "fd00:1::1/64", tftp_root="/srv/tftp")
    for mode in (Mode.ISOLATED, Mode.NAT, Mode.ROUTE, Mode.OPEN)
]
DNS, TFTP = 53, 69


class World:
    """The namespaces of the drawing, and the host's firewall."""

    def __init__(self, stack: contextlib.ExitStack, run_dir: Path) -> None:
        """Make everything; ``stack`` takes it away."""

        def make(name: str) -> NetworkNamespace:
            namespace = stack.enter_context(NetworkNamespace(name))
            # Without waiting for duplicates, link-local addresses ask for neighbours at once.
            for devices in "all", "default":
                namespace.set_sysctl(f"net/ipv6/conf/{devices}/accept_dad", "0")
            return namespace

        self.host, self.outside, self.elsewhere = make("host"), make("outside"), make("elsewhere")
        self.a, self.b = make("a"), make("b")
        self._cable(self.outside, "eth0", "192.0.2.1/24", "2001:db8:1::1/64")
        self._cable(self.elsewhere, "eth1", "198.51.100.1/24")
        for address, link in (
            ("192.0.2.10/24", "eth0"),
            ("2001:db8:1::10/64", "eth0"),
            ("198.51.100.10/24", "eth1"),
        ):
            self._address(self.host, link, address)
        for guest, letter, number in (self.a, "a", 1), (self.b, "b", 2):
            bridge = f"virbr{letter}"
            self.add_bridge(bridge)
            self._address(self.host, bridge, f"10.0.{number}.1/24")
            self._address(self.host, bridge, f"fd00:{number}::1/64")
            self._cable(guest, f"tap{letter}", f"10.0.{number}.2/24", f"fd00:{number}::2/64")
            self.host.run(["ip", "link", "set", f"tap{letter}", "master", bridge])
        for name in "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding":
            self.host.set_sysctl(name, "1")
        self.host.set_sysctl("net/ipv4/conf/all/rp_filter", "0")
        for where, gateway in (
            (self.a, "10.0.1.1"),
            (self.b, "10.0.2.1"),
            (self.outside, "192.0.2.10"),
            (self.elsewhere, "198.51.100.10"),
            (self.a, "fd00:1::1"),
            (self.b, "fd00:2::1"),
            (self.outside, "2001:db8:1::10"),
        ):
            where.run(["ip", "route", "add", "default", "via", gateway])
        self.used: dict[str, NetworkRules] = {}
        self.firewall = Firewall.open(self.host, run_dir)
        stack.callback(self.firewall.kernel.close)

    def _cable(self, where: Namespace, end: str, *addresses: str) -> None:
        """Lay a cable from ``eth0`` there to the link ``end`` on the host."""
        self.host.run(
            [
                *("ip", "link", "add", end, "type", "veth"),
                *("peer", "name", "eth0", "netns", str(where.path)),
            ]
        )
        self.host.run(["ip", "link", "set", end, "up"])
        where.run(["ip", "link", "set", "eth0", "up"])
        for address in addresses:
            self._address(where, "eth0", address)

    def add_bridge(self, name: str) -> None:
        """Make a bridge that floods: what it has not learnt yet is not lost."""
        self.host.run(
            [
                *("ip", "link", "add", name, "up", "type", "bridge"),
                *("stp_state", "0", "mcast_snooping", "0"),
            ]
        )

    @staticmethod
    def _address(where: Namespace, link: str, address: str) -> None:
        nodad = ["nodad"] if ":" in address else []
        where.run(["ip", "addr", "add", address, "dev", link, *nodad])

    def use(self, a: Network, b: Network | None = None) -> None:
        """Make the rules of the networks on virbra and virbrb."""
        networks = [rules_of(a, "virbra")]
        if b is not None:
            networks.append(rules_of(b, "virbrb"))
        self.firewall.ensure(*networks, replaced=tuple(self.used.values()))
        self.used.update((rules.key, rules) for rules in networks)

    def counted(self, why: str, bridge: str) -> int:
        """Return how many packets of a network were refused: ``why`` is a chain (``leave``)."""
        if why == "police":
            listed = self.host.nft("list", "chain", "inet", "jackfield", f"police-{bridge}")
            rules = [item["rule"]["expr"] for item in listed if "rule" in item]
            return sum(
                part["counter"]["packets"] for rule in rules for part in rule if "counter" in part
            )
        return sum(
            element["elem"]["counter"]["packets"]
            for item in self.host.nft("list", "sets")
            if "set" in item and item["set"]["name"].rstrip("46") == f"{why}_refused"
            for element in item["set"].get("elem", ())
            if bridge in (element["elem"]["val"], element["elem"].get("comment"))
        )

    def await_refused(self, why: str, bridge: str, number: int) -> None:
        """Wait until ``number`` packets were refused; an address may have to be resolved."""
        wait_for(
            lambda: self.counted(why, bridge) >= number,
            5,
            f"{number} to be refused by {why} of {bridge}",
            interval=0.05,
        )
        assert number == self.counted(why, bridge)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give the drawing."""
    with contextlib.ExitStack() as stack:
        yield World(stack, tmp_path)


@contextlib.contextmanager
def mirror(where: Namespace, address: str = "::", port: int = PORT) -> Iterator[None]:
    """Answer datagrams there with the address and port that they seem to come from."""
    server = where.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.bind((address, port))

    def serve() -> None:
        while True:
            data, sender = server.recvfrom(65535)
            if data == b"stop":
                return
            server.sendto(f"{sender[0].removeprefix('::ffff:')} {sender[1]}".encode(), sender)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ask_udp(where, "::1", port, b"stop", timeout=0.01)
        thread.join()
        server.close()


def seen_source(where: Namespace, address: str, **options: Any) -> tuple[str, int]:
    """Ask the mirror at ``address``; return what source it saw."""
    answer = ask_udp(where, address, PORT, tries=5, timeout=1.0, **options)
    assert answer is not None
    source, port = answer.decode().split()
    return source, int(port)


def is_refused(where: Namespace, address: str, port: int = PORT) -> bool:
    """Ask the mirror at ``address``; tell whether no answer comes."""
    return ask_udp(where, address, port, timeout=SHORT) is None


def is_answered(where: Namespace, address: str, port: int) -> bool:
    """Ask the mirror at ``address`` more than once; tell whether an answer comes."""
    return ask_udp(where, address, port, tries=5) is not None


@contextlib.contextmanager
def services(where: Namespace) -> Iterator[None]:
    """Serve UDP 53, 69 and 7777 and TCP 53 and 7777 at every address there."""
    with contextlib.ExitStack() as stack:
        for port in DNS, TFTP, PORT:
            stack.enter_context(mirror(where, port=port))
        for port in DNS, PORT:
            listener = stack.enter_context(where.socket(socket.AF_INET6, socket.SOCK_STREAM))
            listener.bind(("::", port))
            listener.listen()
        yield


def test_nat_hides_the_guest_and_answers_return(world: World) -> None:
    """Outside, guest a is the host, on an unprivileged port; datagrams, streams and pings work."""
    world.use(NAT_A)
    with mirror(world.outside):
        address, port = seen_source(world.a, "192.0.2.1", source_port=500)
    assert "192.0.2.10" == address
    assert 1024 <= port
    assert ping(world.a, "192.0.2.1", tries=3) is not None
    listener = world.outside.socket(socket.AF_INET, socket.SOCK_STREAM)
    with listener:
        listener.bind(("192.0.2.1", 80))
        listener.listen()
        assert can_connect(world.a, "192.0.2.1", 80)
        connection, (peer, _) = listener.accept()
        connection.close()
    assert "192.0.2.10" == peer


def test_nat_does_not_hide_guests_from_their_own_network(world: World) -> None:
    """A connection from the host to a guest, and between guests, keeps its addresses."""
    world.use(NAT_A)
    with mirror(world.a):
        assert "10.0.1.1" == seen_source(world.host, "10.0.1.2")[0]


def test_nat_lets_nothing_new_in(world: World) -> None:
    """Outside, who knows the guest's address gets no answer, unless the guest has asked first."""
    world.use(NAT_A)
    with mirror(world.a):
        assert is_refused(world.outside, "10.0.1.2")
        world.await_refused("enter", "virbra", 1)
        assert not can_connect(world.outside, "10.0.1.2", PORT, timeout=SHORT)
        assert 2 <= world.counted("enter", "virbra")


def test_nat_networks_do_not_reach_each_other(world: World) -> None:
    """What leaves network a is allowed, but it is new to network b."""
    world.use(NAT_A, NAT_B)
    with mirror(world.b):
        assert is_refused(world.a, "10.0.2.2")
    assert 0 == world.counted("leave", "virbra")
    world.await_refused("enter", "virbrb", 1)


def test_isolated_does_not_reach_a_routed_network(world: World) -> None:
    """Network b admits everybody, but network a lets nothing out; nor the other way."""
    world.use(ISOLATED_A, ROUTE_B)
    with mirror(world.b), mirror(world.a):
        for guest, address in (
            (world.a, "10.0.2.2"),
            (world.a, "fd00:2::2"),
            (world.b, "10.0.1.2"),
            (world.b, "fd00:1::2"),
        ):
            assert is_refused(guest, address)
    world.await_refused("leave", "virbra", 2)
    world.await_refused("enter", "virbra", 2)


def test_isolated_reaches_only_its_own_addresses_of_the_host(world: World) -> None:
    """The bridge's addresses answer; the host's others, another bridge's too, do not."""
    world.use(ISOLATED_A)
    with mirror(world.host):
        assert "10.0.1.2" == seen_source(world.a, "10.0.1.1")[0]
        assert "fd00:1::2" == seen_source(world.a, "fd00:1::1")[0]
        assert 0 == world.counted("input", "virbra")
        for address in "10.0.2.1", "192.0.2.10", "fd00:2::1", "2001:db8:1::10":
            assert is_refused(world.a, address)
    world.await_refused("input", "virbra", 4)


def test_isolated_guests_may_ask_for_an_address(world: World) -> None:
    """A DHCP client's first datagram, from 0.0.0.0 to everybody, reaches the host."""
    world.use(ISOLATED_A)
    world.a.run(["ip", "addr", "flush", "dev", "eth0"])
    server = world.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client = world.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind(("0.0.0.0", 67))
        server.settimeout(5)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0\0")
        client.bind(("0.0.0.0", 68))
        client.sendto(b"discover", ("255.255.255.255", 67))
        assert (b"discover", ("0.0.0.0", 68)) == server.recvfrom(1500)


def test_routed_networks_reach_each_other(world: World) -> None:
    """Nothing is hidden between them, and outside may begin a conversation."""
    world.use(ROUTE_A, ROUTE_B)
    with mirror(world.b):
        assert "10.0.1.2" == seen_source(world.a, "10.0.2.2")[0]
        assert "fd00:1::2" == seen_source(world.a, "fd00:2::2")[0]
        assert "192.0.2.1" == seen_source(world.outside, "10.0.2.2")[0]


@pytest.mark.parametrize("definition", [NAT_A, ROUTE_A])
@pytest.mark.parametrize(
    ("source", "target"), [("203.0.113.7", "192.0.2.1"), ("2001:db8:77::7", "2001:db8:1::1")]
)
def test_forged_sources_are_refused(
    world: World, definition: Network, source: str, target: str
) -> None:
    """A guest sends only from its network's addresses."""
    world.use(definition)
    assert ping(world.a, target, tries=3) is not None
    assert 0 == world.counted("leave", "virbra")
    send_forged_udp(world.a, source, target, PORT)
    world.await_refused("leave", "virbra", 1)


def test_other_ways_than_the_uplink_are_refused(world: World) -> None:
    """With an uplink, traffic passes there and nowhere else, both ways."""
    world.use(network(Mode.ROUTE, "10.0.1.1/24", uplinks=("eth0",)), ROUTE_B)
    with mirror(world.outside), mirror(world.elsewhere), mirror(world.a), mirror(world.b):
        assert "10.0.1.2" == seen_source(world.a, "192.0.2.1")[0]
        assert "192.0.2.1" == seen_source(world.outside, "10.0.1.2")[0]
        assert is_refused(world.a, "198.51.100.1")
        assert is_refused(world.a, "10.0.2.2")
        world.await_refused("leave", "virbra", 2)
        assert is_refused(world.elsewhere, "10.0.1.2")
        assert is_refused(world.b, "10.0.1.2")
        world.await_refused("enter", "virbra", 2)


def test_every_uplink_of_several_is_a_way_out(world: World) -> None:
    """With two uplinks, both are used, each with the host's address there."""
    world.use(network(Mode.NAT, "10.0.1.1/24", uplinks=("eth0", "eth1")), ROUTE_B)
    with mirror(world.outside), mirror(world.elsewhere), mirror(world.b):
        assert "192.0.2.10" == seen_source(world.a, "192.0.2.1")[0]
        assert "198.51.100.10" == seen_source(world.a, "198.51.100.1")[0]
        assert is_refused(world.a, "10.0.2.2")


def test_nat_uses_its_address_and_port_ranges(world: World) -> None:
    """The sources outside are those of ``<nat>``."""
    nat = Nat(
        address_start=ipaddress.ip_address("203.0.113.8"),
        address_end=ipaddress.ip_address("203.0.113.9"),
        port_start=5000,
        port_end=5003,
    )
    world.use(network(Mode.NAT, "10.0.1.1/24", nat=nat))
    with mirror(world.outside):
        seen = {seen_source(world.a, "192.0.2.1") for _ in range(3)}
    assert {address for address, _ in seen} <= {"203.0.113.8", "203.0.113.9"}
    assert {port for _, port in seen} <= set(range(5000, 5004))


def test_ipv6_is_hidden_only_when_asked(world: World) -> None:
    """Without ``ipv6='yes'`` guest a is seen outside and may be asked; with it, neither."""
    with mirror(world.outside), mirror(world.a):
        world.use(NAT_A)
        assert "fd00:1::2" == seen_source(world.a, "2001:db8:1::1")[0]
        assert "2001:db8:1::1" == seen_source(world.outside, "fd00:1::2")[0]
        world.use(network(Mode.NAT, "10.0.1.1/24", "fd00:1::1/64", nat=Nat(ipv6=True)))
        assert "2001:db8:1::10" == seen_source(world.a, "2001:db8:1::1")[0]
        assert is_refused(world.outside, "fd00:1::2")
        world.await_refused("enter", "virbra", 1)


def test_a_change_keeps_connections(world: World) -> None:
    """A conversation that began before a change of the rules goes on through it."""
    world.use(NAT_A)
    with mirror(world.outside):
        first = seen_source(world.a, "192.0.2.1", source_port=40000)
        world.use(network(Mode.NAT, "10.0.1.1/24", uplinks=("eth0",)))
        assert first == seen_source(world.a, "192.0.2.1", source_port=40000)


def test_what_is_sent_above_the_average_is_dropped(world: World) -> None:
    """Of a burst of datagrams only the average's and the burst's worth comes through."""
    world.use(network(Mode.ROUTE, "10.0.1.1/24", outbound=Rate(average=10, burst=10)))
    assert ping(world.a, "192.0.2.1", tries=3) is not None
    receiver = world.outside.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender = world.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind(("192.0.2.1", PORT))
        receiver.setblocking(False)
        for _ in range(100):
            sender.sendto(bytes(1000), ("192.0.2.1", PORT))
        wait_for(lambda: world.counted("police", "virbra") >= 50, 5, "datagrams to be dropped")
        received = 0
        with contextlib.suppress(BlockingIOError):
            while receiver.recv(2000):
                received += 1
    # A second's worth of the rate and the burst: 20 KiB.
    assert 10 <= received <= 40
    assert 100 == received + world.counted("police", "virbra")


def test_rules_outlive_their_bridge(world: World) -> None:
    """They match names: a bridge made anew has them from the first packet."""
    world.use(NAT_A)
    world.host.run(["ip", "link", "del", "virbra"])
    world.add_bridge("virbra")
    world.host.run(["ip", "addr", "add", "10.0.1.1/24", "dev", "virbra"])
    world.host.run(["ip", "link", "set", "tapa", "master", "virbra"])
    with mirror(world.outside):
        assert "192.0.2.10" == seen_source(world.a, "192.0.2.1")[0]


@pytest.mark.parametrize("definition", SERVING, ids=lambda definition: definition.mode.value)
def test_dns_and_tftp_are_for_the_networks_own(world: World, definition: Network) -> None:
    """Who has a route to a bridge's address asks there in vain; its guests and the host do not.

    Before the rules are there everybody is answered: the route is not what decides.
    """
    own = ("10.0.1.1", "fd00:1::1")
    with services(world.host):
        for stranger in world.outside, world.b:
            for address in own:
                assert is_answered(stranger, address, DNS)
                assert is_answered(stranger, address, TFTP)
        world.use(definition, NAT_B)
        for stranger in world.outside, world.b:
            for address in own:
                assert is_refused(stranger, address, DNS)
                assert is_refused(stranger, address, TFTP)
        world.await_refused("guard", "virbra", 8)
        for address in own:
            assert not can_connect(world.outside, address, DNS, timeout=SHORT)
            assert not can_connect(world.b, address, DNS, timeout=SHORT)
        assert 12 <= world.counted("guard", "virbra")
        refused = world.counted("guard", "virbra")
        for insider in world.a, world.host:
            for address in own:
                assert is_answered(insider, address, DNS)
                assert is_answered(insider, address, TFTP)
                assert can_connect(insider, address, DNS)
    assert refused == world.counted("guard", "virbra")


@pytest.mark.parametrize("definition", SERVING, ids=lambda definition: definition.mode.value)
def test_other_services_of_the_host_are_not_guarded(world: World, definition: Network) -> None:
    """Another port of the bridge's address, and DNS at another address, are as they were."""
    world.use(definition, NAT_B)
    with services(world.host):
        for stranger in world.outside, world.b:
            for address in "10.0.1.1", "fd00:1::1":
                assert is_answered(stranger, address, PORT)
                assert can_connect(stranger, address, PORT)
            for address in "192.0.2.10", "2001:db8:1::10":
                assert is_answered(stranger, address, DNS)
                assert is_answered(stranger, address, TFTP)
                assert can_connect(stranger, address, DNS)
    assert 0 == world.counted("guard", "virbra")


def test_a_network_without_dns_guards_nothing(world: World) -> None:
    """Where no dnsmasq answers, a server of the host's own does, to everybody."""
    world.use(network(Mode.NAT, "10.0.1.1/24", dns=False))
    with services(world.host):
        assert is_answered(world.outside, "10.0.1.1", DNS)
        assert can_connect(world.outside, "10.0.1.1", DNS)


def test_dnsmasq_itself_would_answer_strangers(world: World) -> None:
    """The real server, bound as ours is: open without the guard, its own guests' with it.

    Of datagrams it asks itself where they come in, but only of those of IPv6.
    """
    server = world.host.popen(
        [
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-"),
            *("--no-resolv", "--no-hosts", "--bind-interfaces", "--interface=virbra"),
            *("--except-interface=lo", "--user=", "--pid-file="),
            "--address=/fixed.lab/10.0.1.33",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: can_connect(world.host, "10.0.1.1", DNS), 5, "dnsmasq")
        assert resolve(world.outside, "fixed.lab", "10.0.1.1") is not None
        for address in "10.0.1.1", "fd00:1::1":
            assert can_connect(world.outside, address, DNS)
        world.use(NAT_A)
        for address in "10.0.1.1", "fd00:1::1":
            assert resolve(world.outside, "fixed.lab", address, timeout=SHORT) is None
            assert resolve(world.b, "fixed.lab", address, timeout=SHORT) is None
            assert not can_connect(world.outside, address, DNS, timeout=SHORT)
            for insider in world.a, world.host:
                answer = resolve(insider, "fixed.lab", address)
                assert answer is not None
                assert ("10.0.1.33",) == answer.records
                assert can_connect(insider, address, DNS)
    finally:
        server.terminate()
        server.wait()
