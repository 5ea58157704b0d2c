"""What guarded ports let through, frame by frame, and how their rules come and go.

::

    guest a ── pa ┐
                  ├── br0 of the host, 10.0.1.1, fd00:1::1
    guest b ── pb ┘

Frames are sent whole by the test, from the guests' ends, and counted at those of the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from jackfield.errors import ForeignObject
from jackfield.host.driver import Presence
from jackfield.host.kernel import Kernel
from jackfield.host.nft.guarddriver import PortGuardDriver
from jackfield.host.nft.guardobserve import guarded_links
from jackfield.host.nft.guardtable import table_text
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.resources import PortGuard
from tests.host.nftlab import listing, normalised
from tests.lab.frames import (
    arp,
    dhcp,
    frame,
    icmp6,
    ipv6,
    neighbour_advertisement,
    neighbour_solicitation,
    rarp,
    router_advertisement,
    udp4,
    udp6,
)
from tests.lab.namespace import NetworkNamespace
from tests.lab.switch import wait_forwarding

pytestmark = pytest.mark.kernel

MAC_A, MAC_B, MAC_X = (MacAddress(f"52:54:00:00:00:{tail}") for tail in ("0a", "0b", "99"))
GATEWAY4, GATEWAY6 = "10.0.1.1", "fd00:1::1"
OWN_A, OWN_B = "10.0.1.10", "10.0.1.11"
OWN6_A, OWN6_B, FREE6 = "fd00:1::a", "fd00:1::b", "fd00:1::77"
LOCAL6 = "fe80::1234"
HOST6 = "fe80::1"


def guard_of(letter: str, mac: MacAddress, *addresses: str) -> PortGuard:
    """Return a guard as on a network of ours with both families."""
    parsed = tuple(ipaddress.ip_address(text) for text in addresses)
    return PortGuard(
        link=InterfaceName(f"p{letter}"),
        mac=mac,
        addresses=parsed,
        owned=tuple(address for address in parsed if address.version == 6),
        denied=tuple(ipaddress.ip_address(text) for text in (GATEWAY4, GATEWAY6, HOST6)),
        prefixes=tuple(ipaddress.ip_network(text) for text in ("fd00:1::/64", "fe80::/64")),
        learns=True,
    )


A, B = guard_of("a", MAC_A, OWN_A, OWN6_A), guard_of("b", MAC_B, OWN_B, OWN6_B)


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """The drawing, with the driver at work on the host."""

    host: NetworkNamespace
    guests: dict[str, NetworkNamespace]
    kernel: Kernel
    driver: PortGuardDriver

    def ensure(self, *guards: PortGuard, replaced: Sequence[PortGuard] = ()) -> None:
        """Make ``guards`` so."""
        self.driver.ensure(self.kernel, guards, {item.key: item for item in replaced})

    def remove(self, *guards: PortGuard) -> None:
        """Remove ``guards``."""
        self.driver.remove(self.kernel, guards)

    def observe(self, guard: PortGuard) -> object:
        """Return what there is of one guard: the resource, or the presence of none."""
        seen = self.driver.observe(self.kernel, [guard])[guard.key]
        return seen.resource if seen.resource is not None else (seen.presence, seen.description)

    def passes(self, sent: bytes, *, by: str = "a") -> bool:
        """Send a frame from a guest; tell whether it leaves the bridge at the other's port.

        A frame that no guard would drop follows it, so nobody waits for one that does not come.
        """
        other = "b" if by == "a" else "a"
        mac = MAC_A if by == "a" else MAC_B
        last = arp(mac, "0.0.0.0", asked="10.0.1.201")
        sender = self.guests[by].socket(socket.AF_PACKET, socket.SOCK_RAW)
        receiver = self.guests[other].socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)
        )
        with sender, receiver:
            sender.bind(("eth0", 0))
            receiver.bind(("eth0", 0))
            receiver.settimeout(5)
            sender.send(sent)
            sender.send(last)
            found = False
            while (got := receiver.recv(2048)) != last:
                found = found or got == sent
        return found

    def dropped(self, chain: str) -> int:
        """Return how many packets the rules of a chain have dropped."""
        return sum(
            part["counter"]["packets"]
            for item in self.host.nft("list", "chain", "bridge", "jackfield", chain)
            if "rule" in item
            for part in item["rule"]["expr"]
            if "counter" in part
        )

    def learned(self) -> set[tuple[str, ...]]:
        """Return what the kernel has learned by itself."""
        (found,) = (
            item["set"]
            for item in self.host.nft("list", "set", "bridge", "jackfield", "learned4")
            if "set" in item
        )
        return {tuple(element["elem"]["val"]["concat"]) for element in found.get("elem", ())}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give the drawing; nobody there speaks unless told to."""
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(NetworkNamespace("host"))
        host.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        host.run(["ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])
        host.run(["ip", "link", "set", "br0", "up"])
        guests = {}
        for letter, mac in ("a", MAC_A), ("b", MAC_B):
            guest = stack.enter_context(NetworkNamespace(letter))
            guest.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
            host.run(
                [
                    *("ip", "link", "add", f"p{letter}", "type", "veth"),
                    *("peer", "name", "eth0", "address", mac, "netns", str(guest.path)),
                ]
            )
            host.run(["ip", "link", "set", f"p{letter}", "master", "br0", "up"])
            guest.run(["ip", "link", "set", "eth0", "up"])
            guests[letter] = guest
        wait_forwarding(host)
        with host.entered():
            kernel = Kernel.open(tmp_path)
        yield World(host, guests, kernel, PortGuardDriver())
        kernel.close()


def test_kernel_lists_what_was_sent(world: World) -> None:
    """What nft lists is our own text, whole."""
    world.ensure(A)
    found = {
        title: [line for line in lines if not line.startswith("elements")]
        for title, lines in listing(world.host).items()
    }
    assert normalised(table_text()) == found


HOOKED_ELSEWHERE = """
    flush chain bridge jackfield prerouting
    delete chain bridge jackfield prerouting
    add chain bridge jackfield prerouting { type filter hook forward priority 0; }
"""

GOOD = {
    "datagram": udp4(MAC_A, OWN_A),
    "arp request": arp(MAC_A, OWN_A),
    "arp reply": arp(MAC_A, OWN_A, operation=2),
    "arp probe": arp(MAC_A, "0.0.0.0"),
    "dhcp discover": dhcp(MAC_A, "0.0.0.0", client=MAC_A, kind=1),
    "dhcp renewal": dhcp(MAC_A, OWN_A, client=MAC_A, kind=3, to=GATEWAY4),
    "announcement by QEMU": rarp(MAC_A),
    "IPv6 datagram": udp6(MAC_A, OWN6_A),
    "IPv6 address of its own making": udp6(MAC_A, FREE6),
    "link-local": udp6(MAC_A, LOCAL6),
    "DHCPv6 client": udp6(MAC_A, LOCAL6, ports=(546, 547), to="ff02::1:2"),
    "duplicate address detection": neighbour_solicitation(MAC_A, "::", FREE6),
    "listener report": icmp6(MAC_A, "::", 143, bytes(4)),
    "router solicitation": icmp6(MAC_A, LOCAL6, 133, bytes(4)),
    "solicitation": neighbour_solicitation(MAC_A, OWN6_A, GATEWAY6, option=MAC_A),
    "advertisement": neighbour_advertisement(MAC_A, OWN6_A, OWN6_A, option=MAC_A),
    "advertisement of what it made": neighbour_advertisement(MAC_A, LOCAL6, FREE6, option=MAC_A),
}

# By the chain that is to drop it.
BAD = {
    "forged MAC": ("guard", udp4(MAC_X, OWN_A)),
    "forged MAC of the other guest": ("guard", udp4(MAC_B, OWN_B)),
    "another protocol": ("guard", frame(MAC_A, 0x88CC, b"LLDP")),
    "spanning tree": ("guard", frame(MAC_A, 0x0026, b"\x42\x42\x03" + bytes(35))),
    "IPv6 whose headers end": ("guard", ipv6(MAC_A, OWN6_A, "ff02::1", 60, b"\x3c\0\1\4\0\0\0\0")),
    "forged IPv4": ("guard-ip", udp4(MAC_A, "10.0.1.99")),
    "IPv4 of the other guest": ("guard-ip", udp4(MAC_A, OWN_B)),
    "IPv4 of the host": ("guard-ip", udp4(MAC_A, GATEWAY4)),
    "DHCP server": ("guard-ip", dhcp(MAC_A, OWN_A, client=MAC_B, kind=2, your="10.0.1.66")),
    "DHCP for somebody else": ("guard-dhcp", dhcp(MAC_A, "0.0.0.0", client=MAC_X, kind=1)),
    "release of the other's lease": (
        "guard-dhcp",
        dhcp(MAC_A, OWN_A, client=MAC_B, kind=7, to=GATEWAY4),
    ),
    "ARP with a forged MAC": ("guard-arp", arp(MAC_A, OWN_A, sender=MAC_X)),
    "ARP with a forged address": ("guard-arp", arp(MAC_A, OWN_B)),
    "ARP for the host's address": ("guard-arp", arp(MAC_A, GATEWAY4, operation=2)),
    "RARP with a forged MAC": ("guard-rarp", rarp(MAC_A, sender=MAC_X)),
    "RARP about another": ("guard-rarp", rarp(MAC_A, target=MAC_X)),
    "forged IPv6": ("guard-ip6", udp6(MAC_A, "2001:db8::66")),
    "IPv6 of the other guest": ("guard-ip6", udp6(MAC_A, OWN6_B)),
    "IPv6 of the host": ("guard-ip6", udp6(MAC_A, GATEWAY6)),
    "link-local of the host": ("guard-ip6", udp6(MAC_A, HOST6)),
    "router advertisement": ("guard-ip6", router_advertisement(MAC_A)),
    "redirect": ("guard-ip6", icmp6(MAC_A, LOCAL6, 137, bytes(36))),
    "DHCPv6 server": ("guard-ip6", udp6(MAC_A, LOCAL6, ports=(547, 546))),
    "solicitation with a forged MAC": (
        "guard-ip6",
        neighbour_solicitation(MAC_A, OWN6_A, OWN6_B, option=MAC_X),
    ),
    "advertisement with a forged MAC": (
        "guard-neighbour",
        neighbour_advertisement(MAC_A, OWN6_A, OWN6_A, option=MAC_X),
    ),
    "advertisement of the other's address": (
        "guard-neighbour",
        neighbour_advertisement(MAC_A, OWN6_A, OWN6_B, option=MAC_A),
    ),
    "advertisement of the host's address": (
        "guard-neighbour",
        neighbour_advertisement(MAC_A, OWN6_A, GATEWAY6, option=MAC_A),
    ),
}


def test_honest_frames_pass(world: World) -> None:
    """What an honest guest sends arrives, and nothing of it is counted."""
    world.ensure(A, B)
    assert dict.fromkeys(GOOD, True) == {name: world.passes(sent) for name, sent in GOOD.items()}


@pytest.mark.parametrize("name", BAD)
def test_forged_frame_is_dropped_and_counted(world: World, name: str) -> None:
    """What is forged does not arrive, is counted once, and arrives without a guard."""
    chain, sent = BAD[name]
    assert world.passes(sent)
    world.ensure(A, B)
    assert not world.passes(sent)
    assert 1 == world.dropped(chain)
    world.remove(A)
    assert world.passes(sent)


def test_frame_with_a_tag_is_no_way_around(world: World) -> None:
    """A VLAN tag hides nothing: what it carries is looked at, and two of them are refused."""
    world.ensure(A, B)
    forged = udp4(MAC_A, "10.0.1.99")
    tag = bytes.fromhex("81000007")
    tagged = forged[:12] + tag + forged[12:]
    assert not world.passes(tagged)
    assert not world.passes(forged[:12] + tag + tag + forged[12:])
    assert 1 == world.dropped("guard-ip")


def test_acknowledged_address_is_usable_at_once(world: World) -> None:
    """What a server on the host acknowledges is the guest's before anybody reads the leases."""
    given = "10.0.1.55"
    world.ensure(A, B)
    assert not world.passes(udp4(MAC_A, given))
    for kind, your, client in (
        (2, "10.0.1.56", MAC_A),
        (6, "10.0.1.57", MAC_A),
        (5, "10.0.1.58", MAC_X),
        (5, given, MAC_A),
    ):
        with world.host.socket(socket.AF_PACKET, socket.SOCK_RAW) as server:
            server.bind(("br0", 0))
            server.send(dhcp("fe:00:00:00:00:01", GATEWAY4, client=client, kind=kind, your=your))
    assert world.passes(udp4(MAC_A, given))
    assert world.passes(arp(MAC_A, given))
    assert not world.passes(udp4(MAC_B, given), by="b")
    assert {("pa", MAC_A, given)} == world.learned()
    # Nobody but the host: a guest that acknowledges is not believed, guarded or not.
    world.remove(B)
    assert world.passes(dhcp(MAC_B, OWN_B, client=MAC_A, kind=5, your="10.0.1.59"), by="b")
    assert {("pa", MAC_A, given)} == world.learned()
    # When the lease is known, and when it is over.
    known = dataclasses.replace(A, addresses=(ipaddress.ip_address(given), *A.addresses))
    world.ensure(known, replaced=[A])
    world.ensure(A, replaced=[known])
    assert set() == world.learned()
    assert not world.passes(udp4(MAC_A, given))


def test_open_port_keeps_its_mac_only(world: World) -> None:
    """Where no address is known, only the MAC is looked at, and what is the host's."""
    lone = PortGuard(
        link=A.link,
        mac=MAC_A,
        denied=(ipaddress.ip_address(GATEWAY4),),
        open4=True,
        open6=True,
    )
    world.ensure(lone, B)
    assert world.passes(udp4(MAC_A, "10.0.1.99"))
    assert world.passes(arp(MAC_A, "10.0.1.99"))
    assert world.passes(udp6(MAC_A, "2001:db8::66"))
    assert not world.passes(udp4(MAC_X, "10.0.1.99"))
    assert not world.passes(udp4(MAC_A, GATEWAY4))
    assert not world.passes(arp(MAC_A, GATEWAY4))
    assert not world.passes(udp6(MAC_A, OWN6_B))
    assert not world.passes(router_advertisement(MAC_A))
    assert not world.passes(dhcp(MAC_A, OWN_A, client=MAC_B, kind=2))


def test_guard_is_seen_as_it_was_made(world: World) -> None:
    """Observing gives the resource back, and nothing where there is none."""
    assert (Presence.ABSENT, "") == world.observe(A)
    world.ensure(A, B)
    assert A == world.observe(A)
    assert B == world.observe(B)
    changed = guard_of("a", MAC_A, "10.0.1.12")
    world.ensure(changed, replaced=[A])
    assert changed == world.observe(A)
    assert B == world.observe(B)
    world.remove(changed)
    assert (Presence.ABSENT, "") == world.observe(A)
    assert [B.link] == guarded_links(world.kernel.nft)


def test_table_goes_with_the_last_port(world: World) -> None:
    """The first port makes the table and the last one takes it away."""
    world.ensure(A)
    world.ensure(B)
    world.remove(A)
    assert B == world.observe(B)
    world.remove(B)
    assert {} == listing(world.host)


def test_new_driver_takes_the_table_over(world: World) -> None:
    """What another daemon left is known to the next one, and removed by it."""
    world.ensure(A, B)
    second = dataclasses.replace(world, driver=PortGuardDriver())
    second.remove(A)
    assert B == second.observe(B)
    third = dataclasses.replace(world, driver=PortGuardDriver())
    third.ensure(A)
    third.remove(A, B)
    assert {} == listing(world.host)


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "flush chain bridge jackfield guard-ip",
        "insert rule bridge jackfield guard accept",
        "flush chain bridge jackfield prerouting; delete chain bridge jackfield prerouting",
        "delete element bridge jackfield macs { pa . 52:54:00:00:00:0a }",
        "add element bridge jackfield addresses4 { pa . 52:54:00:00:00:0a . 10.0.1.99 }",
        HOOKED_ELSEWHERE,
    ],
)
def test_damage_is_seen_and_mended(world: World, damage: str) -> None:
    """Whatever somebody does to the table is seen, and the table is what it was afterwards."""
    world.ensure(A, B)
    before = listing(world.host)
    world.host.run(["nft", damage])
    seen = {item.key: world.driver.observe(world.kernel, [item])[item.key] for item in (A, B)}
    assert {A.key: A, B.key: B} != {key: one.resource for key, one in seen.items()}
    replaced = [one.resource for one in seen.values() if isinstance(one.resource, PortGuard)]
    world.ensure(A, B, replaced=replaced)
    assert before == listing(world.host)
    assert not world.passes(udp4(MAC_A, "10.0.1.99"))


def test_flush_behind_the_driver(world: World) -> None:
    """A driver that knows nothing of a flush makes everything again for what it is asked."""
    world.ensure(A, B)
    world.host.run(["nft", "flush", "ruleset"])
    world.ensure(B)
    assert B == world.observe(B)
    assert not world.passes(udp4(MAC_B, "10.0.1.99"), by="b")
    world.remove(A)
    world.remove(B)
    assert {} == listing(world.host)


def test_foreign_table_is_left_alone(world: World) -> None:
    """A table of our name that is not ours is refused by name."""
    world.host.run(["nft", "add table bridge jackfield { chain mine { counter accept; }; }"])
    before = listing(world.host)
    assert (Presence.FOREIGN, "table bridge jackfield without the comment that marks ours") == (
        world.observe(A)
    )
    with pytest.raises(ForeignObject, match="table bridge jackfield"):
        world.ensure(A)
    world.remove(A)
    assert before == listing(world.host)
    assert normalised("") != before
