"""Who reaches whom: every mode, both families, ours and a stock libvirt's for the same documents.

::

                                   host                       a network each, guests a and b
                        ┌──────────────────────────┐
    outside ── LAN ──┬──┤ eth0 .10      virbr-iso  ├─ 10.0.1.1 fd00:1::1  iso     isolated
    192.0.2.1        │  │ 192.0.2.10    virbr-nat  ├─ 10.0.2.1 fd00:2::1  nat     NAT, IPv6 routed
    2001:db8:1::1    │  │ 2001:db8:1::10   …-hide  ├─ 10.0.3.1 fd00:3::1  hide    NAT of both
                     │  │                  …-route ├─ 10.0.4.1 fd00:4::1  route   routed
                     │  │                  …-open  ├─ 10.0.5.1 fd00:5::1  open    no rules
                     └──┤ eth1 ─────────── br0     ├─ 192.0.2.51, .52     bridge  br0, not ours
                        │                  …-pin   ├─ 10.0.7.1 fd00:7::1  pin     NAT by eth0
    elsewhere ── LAN ───┤ eth2             …-lead  ├─ 10.0.8.1 fd00:8::1  lead    routed by eth0
    198.51.100.1        │ 198.51.100.10    …-both  ├─ 10.0.9.1 fd00:9::1  both    NAT by eth0, eth2
    2001:db8:2::1       │ 2001:db8:2::10           │
                        └──────────────────────────┘

Guest a of network N is 10.0.N.2 and fd00:N::2, guest b 10.0.N.3 and fd00:N::3.  Everybody outside
knows the way to all of them, so that it is the rules that decide.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import pytest

from tests.lab.daemon import Daemon
from tests.lab.host import Host
from tests.lab.libvirtd import StockLibvirtd, skip_reason
from tests.lab.matrix import (
    ANY,
    LOST,
    NOTHING,
    OWN,
    Forgery,
    Mirrors,
    Probe,
    differences,
    parse_grid,
)
from tests.lab.namespace import Namespace
from tests.lab.packets import ping
from tests.lab.switch import Lan, wait_usable

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

# The rows say who begins, the columns whom they ask: "other" is guest b of the same network,
# "gateway" the own bridge's address, "gateways" those of all other networks.
IPV4 = parse_grid("""
from\\to   outside elsewhere iso  nat hide route open bridge pin lead both gateway gateways uplink
iso        -       -         -    -   -    -     -    -      -   -    -    own     -        -
nat        host    host      -    -   -    host  host host   -   -    -    own     own      own
hide       host    host      -    -   -    host  host host   -   -    -    own     own      own
route      own     own       -    -   -    -     own  own    -   -    -    own     own      own
open       own     own       -    -   -    own   -    own    -   -    -    own     own      own
bridge     own     own       -    -   -    own   own  -      -   own  -    .       own      own
pin        host    -         -    -   -    -     -    host   -   -    -    own     own      own
lead       own     -         -    -   -    -     -    own    -   -    -    own     own      own
both       host    host      -    -   -    -     -    host   -   -    -    own     own      own
host       own     own       own  own own  own   own  own    own own  own  .       .        .
outside    .       own       -    -   -    own   own  own    -   own  -    .       own      own
elsewhere  own     .         -    -   -    own   own  own    -   -    -    .       own      own
""")
# Without ipv6='yes' a NAT network's IPv6 is routed, through its uplinks where it names some.
IPV6 = parse_grid("""
from\\to   outside elsewhere iso  nat hide route open bridge pin lead both gateway gateways uplink
iso        -       -         -    -   -    -     -    -      -   -    -    own     -        -
nat        own     own       -    -   -    own   own  own    -   -    -    own     own      own
hide       host    host      -    host -   host  host host   -   -    -    own     own      own
route      own     own       -    own -    -     own  own    -   -    -    own     own      own
open       own     own       -    own -    own   -    own    -   -    -    own     own      own
bridge     own     own       -    own -    own   own  -      own own  own  .       own      own
pin        own     -         -    -   -    -     -    own    -   -    -    own     own      own
lead       own     -         -    -   -    -     -    own    -   -    -    own     own      own
both       own     own       -    -   -    -     -    own    -   -    -    own     own      own
host       own     own       own  own own  own   own  own    own own  own  .       .        .
outside    .       own       -    own -    own   own  own    own own  own  .       own      own
elsewhere  own     .         -    own -    own   own  own    -   -    own  .       own      own
""")
# The diagonal of the tables is guest b of the same network, which everybody reaches.
SAME_NETWORK = OWN

# Where libvirt's differ, and why: (rows, columns, what becomes of it with libvirt, reason).
LIBVIRT4 = [
    (
        ["iso", "pin", "lead", "both"],
        ["route"],
        LOST,
        "what route lets in is accepted before what the other does not let out is refused",
    ),
    (
        ["iso"],
        ["gateways", "uplink"],
        OWN,
        "what an isolated guest sends to other addresses of the host is not looked at",
    ),
    (["both"], ["elsewhere"], NOTHING, "libvirt knows one uplink and does not read <uplink>"),
]
LIBVIRT6 = [
    *LIBVIRT4,
    (["iso", "pin", "lead", "both"], ["nat"], LOST, "as into route: nat's IPv6 is routed"),
    (["elsewhere"], ["both"], NOTHING, "libvirt knows one uplink and does not read <uplink>"),
]

# From whom a datagram with a forged source comes through to the outside.
FORGES = frozenset({"open", "bridge"})

NETWORKS = {
    name: number
    for number, name in enumerate(
        ["iso", "nat", "hide", "route", "open", "bridge", "pin", "lead", "both"], start=1
    )
}
_FORWARD = {
    "iso": "",
    "nat": "<forward mode='nat'/>",
    "hide": "<forward mode='nat'><nat ipv6='yes'/></forward>",
    "route": "<forward mode='route'/>",
    "open": "<forward mode='open'/>",
    "pin": "<forward mode='nat' dev='eth0'/>",
    "lead": "<forward mode='route'><interface dev='eth0'/></forward>",
    "both": "<forward mode='nat'><interface dev='eth0'/><uplink dev='eth2'/></forward>",
}
HOST_ADDRESSES = {
    *("192.0.2.10", "2001:db8:1::10", "198.51.100.10", "2001:db8:2::10"),
    *(f"10.0.{number}.1" for number in NETWORKS.values()),
    *(f"fd00:{number}::1" for number in NETWORKS.values()),
}


def document(name: str) -> str:
    """Return the document of one of the networks."""
    if name == "bridge":
        return "<network><name>bridge</name><forward mode='bridge'/><bridge name='br0'/></network>"
    number = NETWORKS[name]
    return (
        f"<network><name>{name}</name>{_FORWARD[name]}"
        f"<bridge name='virbr-{name}' stp='off' delay='0'/>"
        f"<ip address='10.0.{number}.1' netmask='255.255.255.0'/>"
        f"<ip family='ipv6' address='fd00:{number}::1' prefix='64'/></network>"
    )


def addresses(name: str, guest: str) -> tuple[str, str]:
    """Return both addresses of a guest."""
    number, last = NETWORKS[name], {"a": 2, "b": 3}[guest]
    if name == "bridge":
        return f"192.0.2.{49 + last}", f"2001:db8:1::{49 + last}"
    return f"10.0.{number}.{last}", f"fd00:{number}::{last}"


class World:
    """The drawing, without what makes the networks."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """Make hosts and cables; ``stack`` takes them away."""
        near, far = stack.enter_context(Lan()), stack.enter_context(Lan())
        self.host = stack.enter_context(Host())
        self.outside = stack.enter_context(near.outside("192.0.2.1/24", "2001:db8:1::1/64"))
        self.elsewhere = stack.enter_context(
            far.outside("198.51.100.1/24", "2001:db8:2::1/64", name="elsewhere")
        )
        near.plug(self.host, "eth0", "192.0.2.10/24", "2001:db8:1::10/64")
        near.plug(self.host, "eth1")
        far.plug(self.host, "eth2", "198.51.100.10/24", "2001:db8:2::10/64")
        self.host.run(
            [
                *("ip", "link", "add", "br0", "up", "type", "bridge"),
                *("stp_state", "0", "mcast_snooping", "0"),
            ]
        )
        self.host.run(["ip", "link", "set", "eth1", "master", "br0"])
        self.host.set_sysctl("net/ipv6/conf/br0/disable_ipv6", "1")
        # Who asks for eth0's address is told eth0's MAC only: by default br0, in the same LAN,
        # answers as well, and the later of the two answers decides what the guests are let do.
        self.host.set_sysctl("net/ipv4/conf/br0/arp_ignore", "1")
        for where, gateways in (
            (self.outside, ("192.0.2.10", "2001:db8:1::10")),
            (self.elsewhere, ("198.51.100.10", "2001:db8:2::10")),
        ):
            default_routes(where, gateways)
        for name in ("all", "default", "eth0", "eth2"):
            self.host.set_sysctl(f"net/ipv4/conf/{name}/rp_filter", "0")
        self.guests = {
            f"{name}.{letter}": self.host.guest(f"{name}.{letter}")
            for name in NETWORKS
            for letter in "ab"
        }
        self.places: dict[str, Namespace] = {
            **self.guests,
            "host": self.host,
            "outside": self.outside,
            "elsewhere": self.elsewhere,
        }

    def settle_guests(self) -> None:
        """Give the guests their addresses and routes, once their eth0 is there."""
        for name, number in NETWORKS.items():
            for letter in "ab":
                ipv4, ipv6 = addresses(name, letter)
                gateways = f"10.0.{number}.1", f"fd00:{number}::1"
                if name == "bridge":
                    gateways = "192.0.2.10", "2001:db8:1::10"
                self.guests[f"{name}.{letter}"].run(
                    ["ip", "-batch", "-"],
                    input=f"link set eth0 up\n"
                    f"address add {ipv4}/24 dev eth0\n"
                    f"address add {ipv6}/64 dev eth0 nodad\n"
                    f"route replace default via {gateways[0]}\n"
                    # Whatever the router itself advertises meanwhile.
                    f"route replace default via {gateways[1]} metric 1\n",
                )


def default_routes(where: Namespace, gateways: tuple[str, str]) -> None:
    """Lead everything to the gateways of both families."""
    for gateway in gateways:
        where.run(["ip", "route", "add", "default", "via", gateway])


@pytest.fixture(scope="module")
def ours() -> Iterator[World]:
    """Give the drawing with the networks made by a jackfieldd."""
    with contextlib.ExitStack() as stack:
        world = World(stack)
        daemon = stack.enter_context(Daemon(world.host))
        for name in NETWORKS:
            daemon.cli("apply", daemon.document(document(name)))
            for letter in "ab":
                daemon.cli("attach", name, "--netns", f"{name}.{letter}", "--ifname", "eth0")
        world.settle_guests()
        yield world


@pytest.fixture(scope="module")
def theirs() -> Iterator[World]:
    """Give it made by a stock libvirtd, the guests plugged in as QEMU's driver would."""
    if (reason := skip_reason()) is not None:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        world = World(stack)
        libvirtd = stack.enter_context(StockLibvirtd(world.host))
        for index, name in enumerate(NETWORKS):
            libvirtd.define(document(name))
            libvirtd.virsh("net-start", name)
            for letter in "ab":
                plug_in(world, index, name, letter)
        world.settle_guests()
        wait_usable(world.host)
        yield world


def plug_in(world: World, index: int, name: str, letter: str) -> None:
    """Lay a cable from a guest to its network's bridge."""
    bridge = "br0" if name == "bridge" else f"virbr-{name}"
    end = f"vnet{index}{letter}"
    world.host.run(
        [
            *("ip", "link", "add", end, "master", bridge, "up", "type", "veth"),
            *("peer", "name", "eth0", "netns", f"{name}.{letter}"),
        ]
    )


def probes(grids: tuple[dict[tuple[str, str], str], ...]) -> dict[Probe, str]:
    """Return every probe of the tables for IPv4 and IPv6, with what is expected of it."""
    expected: dict[Probe, str] = {}
    for index, grid in enumerate(grids):
        for (row, column), value in grid.items():
            if value == ANY:
                continue
            wanted = SAME_NETWORK if row == column else value
            source = f"{row}.a" if row in NETWORKS else row
            for target, address in targets(row, column, index):
                expected[Probe(source, target, address, "udp")] = wanted
                # A TCP connection whose answer is lost has not been seen at all.
                seen = NOTHING if wanted == LOST else wanted
                expected[Probe(source, target, address, "tcp")] = seen
    return expected


def targets(row: str, column: str, index: int) -> Iterator[tuple[str, str]]:
    """Yield the name and address (of IPv4 for index 0, of IPv6 for 1) of whom a column means."""
    if column in NETWORKS:
        guest = "b" if column == row else "a"
        yield f"{column}.{guest}", addresses(column, guest)[index]
        return
    gateways = {
        name: (f"10.0.{number}.1", f"fd00:{number}::1")[index]
        for name, number in NETWORKS.items()
        if name != "bridge"
    }
    if column == "gateway":
        yield "gateway", gateways[row]
    elif column == "gateways":
        for name, address in gateways.items():
            if name != row:
                yield f"gateway of {name}", address
    else:
        yield (
            column,
            {
                "outside": ("192.0.2.1", "2001:db8:1::1"),
                "elsewhere": ("198.51.100.1", "2001:db8:2::1"),
                "uplink": ("192.0.2.10", "2001:db8:1::10"),
            }[column][index],
        )


def forgeries() -> list[Forgery]:
    """Return forged datagrams to the outside: sources of nobody and of another network."""
    return [
        Forgery(f"{name}.a", claimed, address)
        for name in NETWORKS
        for claimed, address in (
            ("203.0.113.66", "192.0.2.1"),
            ("2001:db8:66::66", "2001:db8:1::1"),
            ("10.0.5.77" if name != "open" else "10.0.4.77", "192.0.2.1"),
            ("fd00:5::77" if name != "open" else "fd00:4::77", "2001:db8:1::1"),
        )
    ]


def check(world: World, expected: dict[Probe, str]) -> None:
    """Assert what becomes of the probes, and of forged sources."""
    with Mirrors(world.places, HOST_ADDRESSES) as mirrors:
        told = sorted(differences(expected, mirrors.probe(expected)))
        assert not told, "\n".join(told)
        forged = forgeries()
        through = {one for one in forged if one.source.partition(".")[0] in FORGES}
        assert through == mirrors.forge(forged, expected=through)


@pytest.mark.shows("isolated", "the packet matrix")
@pytest.mark.shows("nat", "the packet matrix")
@pytest.mark.shows("route", "the packet matrix")
@pytest.mark.shows("open", "the packet matrix")
def test_ours(ours: World) -> None:
    """Everybody reaches whom the tables say, as whom they say; forged sources do not get out."""
    check(ours, probes((IPV4, IPV6)))


def test_theirs(theirs: World) -> None:
    """libvirt's networks from the same documents do the same, but for what the tables list."""
    grids = []
    for grid, differing in ((IPV4, LIBVIRT4), (IPV6, LIBVIRT6)):
        changed = dict(grid)
        for rows, columns, value, _reason in differing:
            for row in rows:
                for column in columns:
                    assert value != grid[row, column]
                    changed[row, column] = value
        grids.append(changed)
    check(theirs, probes((grids[0], grids[1])))


def test_pings_go_the_same_ways(ours: World) -> None:
    """Echo requests of both families get out, are hidden and refused as everything else."""
    guests = ours.guests
    for name, address, answered in (
        ("nat.a", "192.0.2.1", True),
        ("hide.a", "2001:db8:1::1", True),
        ("route.a", "192.0.2.1", True),
        ("nat.a", "10.0.4.2", True),
        ("nat.a", "10.0.3.2", False),
        ("hide.a", "fd00:3::3", True),
        ("iso.a", "fd00:4::2", False),
        ("pin.a", "198.51.100.1", False),
    ):
        answer = ping(
            guests[name], address, tries=3 if answered else 1, timeout=1 if answered else 0.3
        )
        assert answered is (answer is not None), (name, address)


@pytest.mark.parametrize(
    ("guest", "address"), [("nat.a", "192.0.2.1"), ("hide.a", "2001:db8:1::1")]
)
def test_an_answer_returns_and_nothing_else(ours: World, guest: str, address: str) -> None:
    """Who was asked may answer, again and later; from another port or machine nothing comes in."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:

        def open_socket(where: Namespace) -> socket.socket:
            one = stack.enter_context(where.socket(family, socket.SOCK_DGRAM))
            one.settimeout(5)
            one.bind(("", 0))
            return one

        inside, asked = open_socket(ours.guests[guest]), open_socket(ours.outside)
        stranger, far = open_socket(ours.outside), open_socket(ours.elsewhere)
        inside.sendto(b"question", (address, asked.getsockname()[1]))
        question, hidden = asked.recvfrom(100)
        assert b"question" == question
        assert hidden[0] in HOST_ADDRESSES
        for intruder in (stranger, far):
            intruder.sendto(b"intruder", hidden[:2])
        for words in (b"answer", b"and another"):
            asked.sendto(words, hidden[:2])
            assert words == inside.recv(100)
        inside.settimeout(0.3)
        with pytest.raises(TimeoutError):
            inside.recv(100)


@pytest.mark.parametrize("group", ["224.0.0.251", "239.1.2.3", "255.255.255.255"])
def test_multicast_and_broadcast_are_not_translated(ours: World, group: str) -> None:
    """What the host itself sends from a NAT network's address to a group keeps that address."""
    with (
        ours.outside.socket(socket.AF_INET, socket.SOCK_DGRAM) as hearer,
        ours.host.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker,
    ):
        hearer.settimeout(5)
        hearer.bind(("", 0))
        if group != "255.255.255.255":
            membership = struct.pack("4s4s", *map(socket.inet_aton, (group, "192.0.2.1")))
            hearer.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        speaker.bind(("10.0.2.1", 0))
        speaker.sendto(b"hello", (group, hearer.getsockname()[1]))
        assert "10.0.2.1" == hearer.recvfrom(100)[1][0]


def test_guests_hear_each_others_broadcasts(ours: World) -> None:
    """A broadcast and a multicast reach the other guest of the same network, and no other."""
    with contextlib.ExitStack() as stack:
        hearers = {}
        for name in ("iso.b", "nat.b", "route.b"):
            one = stack.enter_context(ours.guests[name].socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind(("", 9999))
            own = addresses(*name.split("."))[0]
            membership = struct.pack("4s4s", *map(socket.inet_aton, ("239.1.2.3", own)))
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            hearers[name] = one
        for name in hearers:
            speaker = stack.enter_context(
                ours.guests[name.replace("b", "a")].socket(socket.AF_INET, socket.SOCK_DGRAM)
            )
            speaker.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for target in ("255.255.255.255", "239.1.2.3"):
                speaker.sendto(name.encode(), (target, 9999))
        for name, one in hearers.items():
            one.settimeout(5)
            assert {name.encode()} == {one.recv(100), one.recv(100)}
            one.settimeout(0.2)
            with pytest.raises(TimeoutError):
                one.recv(100)
