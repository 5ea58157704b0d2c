"""Plans in words."""

from __future__ import annotations

import dataclasses
import ipaddress
from uuid import UUID

from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.plan.describe import describe
from jackfield.plan.table import NETWORKS
from jackfield.state.hoststate import HostState, difference
from jackfield.state.links import BridgeLink
from jackfield.state.resources import LinkUp, NetworkRules, PortGuard, Resource
from jackfield.state.rules import Chain, Drop, Element, Rule
from jackfield.state.services import Dnsmasq, VdeSwitch

BRIDGE = InterfaceName("virbr0")
LINK = BridgeLink(name=BRIDGE, alias="a", mac=MacAddress("52:54:00:00:00:01"))
SERVICE = Dnsmasq(network=UUID(int=1), bridge=BRIDGE, config="port=53\n", serves_dhcp4=True)


def told(before: list[Resource], after: list[Resource]) -> list[tuple[str, str]]:
    """Return what would be said of the way from one state to the other."""
    change = difference(HostState(after), HostState(before))
    return [(step.action, step.text) for step in describe(change)]


def test_what_is_made_is_a_line_each() -> None:
    """In the order in which it is made."""
    assert [
        ("create", "bridge virbr0, address 52:54:00:00:00:01, stp off"),
        ("create", "virbr0 up"),
        ("create", "dnsmasq on virbr0: DNS, DHCP"),
    ] == told([], [SERVICE, LinkUp(link=BRIDGE), LINK])


def test_guard_says_what_the_guest_may_be() -> None:
    """Addresses, prefixes and where they come from."""
    mac = MacAddress("52:54:00:00:00:02")
    address = ipaddress.ip_address("10.0.0.7")
    link = InterfaceName("jf0123456789")
    strict = PortGuard(link=link, mac=mac, addresses=(address,), learns=True)
    free = PortGuard(link=link, mac=mac, open4=True, open6=True)
    head = "jf0123456789 sends only from 52:54:00:00:00:02, as "
    assert [("create", f"{head}10.0.0.7, what DHCP gives it")] == told([], [strict])
    assert [("create", f"{head}any IPv4 address, any IPv6 address")] == told([], [free])


def test_what_changes_says_what_it_was() -> None:
    """Of a service: which of its parts are others."""
    larger = BridgeLink(name=BRIDGE, alias="a", mac=LINK.mac, mtu=9000)
    assert [
        (
            "change",
            (
                "bridge virbr0, address 52:54:00:00:00:01, mtu 9000, stp off "
                "(was: bridge virbr0, address 52:54:00:00:00:01, stp off)"
            ),
        )
    ] == told([LINK], [larger])
    other = Dnsmasq(
        network=SERVICE.network,
        bridge=BRIDGE,
        config=SERVICE.config,
        hosts="x\n",
        servers=("192.0.2.1",),
        serves_dhcp4=True,
    )
    assert [
        ("change", "dnsmasq on virbr0: DNS, DHCP (other reservations, other upstream servers)")
    ] == told([SERVICE], [other])


def test_what_words_do_not_show_is_named() -> None:
    """A change is never told of by the same words as before, and nothing more."""
    alias = dataclasses.replace(LINK, alias="b")
    delayed = dataclasses.replace(LINK, forward_delay=3)
    text = "bridge virbr0, address 52:54:00:00:00:01, stp off"
    assert [("change", f"{text} (other alias)")] == told([LINK], [alias])
    assert [("change", f"{text}, forward delay 3 s (was: {text})")] == told([LINK], [delayed])


def test_rules_say_what_comes_and_what_goes() -> None:
    """By numbers of elements, and by the names of chains."""
    first, second, third = (
        Element(place=NETWORKS, key=(InterfaceName(name),))
        for name in ("virbr0", "virbr1", "virbr2")
    )
    chains = [Chain(name=name, rules=()) for name in ("a", "b")]
    other = Chain(name="a", rules=(Rule(matches=(), action=Drop()),))
    before = NetworkRules(bridge=BRIDGE, elements=(first,), chains=tuple(chains))
    after = NetworkRules(bridge=BRIDGE, elements=(second, third), chains=(other,))
    head = "firewall: 2 elements in 1 set of table inet jackfield, chain a"
    more = "with 2 elements, without 1 element, other rules in chain a, without chain b"
    assert [("change", f"{head} ({more})")] == told([before], [after])


def test_what_goes_with_a_link_is_not_told_of() -> None:
    """Taking the bridge away takes its state with it."""
    assert [
        ("remove", "dnsmasq on virbr0: DNS, DHCP"),
        ("remove", "bridge virbr0, address 52:54:00:00:00:01, stp off"),
    ] == told([LINK, LinkUp(link=BRIDGE), SERVICE], [])


def test_a_switch_says_who_may_use_it() -> None:
    """Members of its group, or root alone."""
    tap = InterfaceName("jfv0")
    closed = VdeSwitch(network=UUID(int=1), tap=tap, user=7)
    opened = VdeSwitch(network=UUID(int=1), tap=tap, group=Text("kvm"), user=7)
    assert [
        (
            "change",
            ("VDE switch on jfv0, open to group kvm (was: VDE switch on jfv0, open to root)"),
        )
    ] == told([closed], [opened])
