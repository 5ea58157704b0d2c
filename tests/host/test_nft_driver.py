"""Rules in the kernel, with nft as the witness."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jackfield.errors import ForeignObject, KernelError
from jackfield.host.driver import Presence
from jackfield.host.nft.base import base_messages
from jackfield.host.nft.driver import RulesDriver
from jackfield.host.nft.text import table_text
from jackfield.model.bandwidth import Rate
from jackfield.model.mode import Mode
from jackfield.model.network import Nat
from jackfield.model.values import InterfaceName
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import (
    Chain,
    ConnectionState,
    Direction,
    Drop,
    Hook,
    Interface,
    Masquerade,
    Peer,
    RateOver,
    Reject,
    Return,
    Rule,
    Snat,
    State,
    Transport,
)
from tests.host.nftlab import Firewall, listing, network, normalised, rules_of
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

NAT = rules_of(
    network(
        Mode.NAT,
        "192.168.122.1/24",
        "fd00:1::1/64",
        uplinks=("eth0", "eth1"),
        nat=Nat(
            ipv6=True,
            address_start=ipaddress.ip_address("198.51.100.8"),
            address_end=ipaddress.ip_address("198.51.100.9"),
        ),
        outbound=Rate(average=1000, burst=2048),
    ),
    "virbr0",
)
ISOLATED = rules_of(network(Mode.ISOLATED, "192.168.100.1/25", "fd00:2::1/64"), "virbr1")
ROUTE = rules_of(network(Mode.ROUTE, "192.168.101.1/24", uplinks=("eth0",)), "virbr2")
OPEN = rules_of(network(Mode.OPEN, "192.168.103.1/24", tftp_root="/srv/tftp"), "virbr3")

GONE = "flush chain inet jackfield forward; delete chain inet jackfield forward"
UNGUARDED = "flush map inet jackfield guard4; flush map inet jackfield guard6"
STOLEN = "192.168.101.1 : goto guard-virbr0"


@pytest.fixture
def firewall(netns: NetworkNamespace, tmp_path: Path) -> Iterator[Firewall]:
    """Give the driver of rules in a fresh namespace."""
    opened = Firewall.open(netns, tmp_path)
    yield opened
    opened.kernel.close()


def test_kernel_lists_what_was_sent(firewall: Firewall) -> None:
    """What nft lists is our own text, whole."""
    firewall.ensure(NAT, ISOLATED, ROUTE, OPEN)
    assert normalised(table_text([NAT, ISOLATED, ROUTE, OPEN])) == listing(firewall.namespace)


def _peers() -> Iterator[Rule]:
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.0.2.7/32", "0.0.0.0/0", "fc00::/7", "::/0"):
        for direction in Direction:
            yield Rule((Peer(direction, ipaddress.ip_network(text), negate=True),), Return())
            yield Rule((Peer(direction, ipaddress.ip_network(text)),), Drop())


def _filters() -> Iterator[Rule]:
    source = Peer(Direction.SOURCE, ipaddress.ip_network("fd00::/64"))
    target = Peer(Direction.DESTINATION, ipaddress.ip_network("fd01::8/127"))
    yield from _peers()
    yield Rule((source, target), Reject())
    for state in ConnectionState:
        yield Rule((State(state),), Return())
    yield Rule((State(ConnectionState.NEW | ConnectionState.INVALID), target), Drop())
    for rate, burst in ((1, 0), (1000, 1000), (1024, 2048), (3 << 20, 5 << 30 & 0xFFFFFFFF)):
        yield Rule((RateOver(rate, burst),), Drop())
    for negate in (False, True):
        name = InterfaceName("fifteen-bytes-x")
        yield Rule((Interface(Direction.SOURCE, name, negate), Transport("udp")), Reject())


def _translations() -> Iterator[Rule]:
    four = [ipaddress.ip_address(f"198.51.100.{number}") for number in (8, 9)]
    six = [ipaddress.ip_address(f"2001:db8::{number}") for number in (8, 9)]
    ten = ipaddress.ip_address("198.51.100.10")
    yield Rule((), Snat(four[0], ten))
    for start, end in (None, None), (5000, 5000), (5000, 5999):
        protocol = () if start is None else (Transport("tcp"),)
        yield Rule(protocol, Masquerade(start, end))
        for low, high in four, six:
            prefix = ipaddress.ip_network(low)
            matches = (Peer(Direction.SOURCE, prefix), *protocol)
            yield Rule(matches, Snat(low, high, start, end))
            yield Rule(matches, Snat(low, low, start, end))


def test_every_kind_of_rule_is_listed_and_recognised(firewall: Firewall) -> None:
    """Each match and action is to nft what our text says, and to us what we sent."""
    wanted = NetworkRules(
        bridge=InterfaceName("virbr0"),
        chains=(Chain(Hook.LEAVE, tuple(_filters())), Chain(Hook.NAT, tuple(_translations()))),
    )
    firewall.ensure(wanted)
    assert normalised(table_text([wanted])) == listing(firewall.namespace)
    assert wanted == firewall.observe(wanted).resource


def test_nothing_is_absent_before_and_after(firewall: Firewall) -> None:
    """A network without rules in the kernel is absent, whatever others have."""
    assert Presence.ABSENT is firewall.observe(NAT).presence
    firewall.ensure(ROUTE)
    assert Presence.ABSENT is firewall.observe(NAT).presence
    assert ROUTE == firewall.observe(ROUTE).resource


def test_doing_it_again_changes_nothing(firewall: Firewall) -> None:
    """Rules are replaced, not added to, also by a driver that has no memory."""
    firewall.ensure(NAT, ROUTE)
    before = listing(firewall.namespace)
    firewall.ensure(NAT)
    RulesDriver().ensure(firewall.kernel, [NAT, ROUTE], {})
    assert before == listing(firewall.namespace)


@pytest.mark.parametrize("remembers", [True, False])
def test_a_change_leaves_nothing_of_the_former(firewall: Firewall, remembers: bool) -> None:
    """Chains that are wanted no longer go in the same step that makes the others."""
    firewall.ensure(NAT, ISOLATED)
    changed = rules_of(network(Mode.ISOLATED, "192.168.122.1/24"), "virbr0")
    driver = firewall.driver if remembers else RulesDriver()
    driver.ensure(firewall.kernel, [changed], {NAT.key: NAT})
    assert normalised(table_text([ISOLATED, changed])) == listing(firewall.namespace)


@pytest.mark.parametrize(
    ("command", "network_at_fault", "said"),
    [
        ("flush ruleset", NAT, ""),
        ("delete element inet jackfield nat { virbr0 }", NAT, "element virbr0 of map nat"),
        ("flush chain inet jackfield enter-virbr2", ROUTE, "chain enter-virbr2 has 0 rules"),
        ("add rule inet jackfield leave-virbr2 drop", ROUTE, "chain leave-virbr2 has 5 rules"),
        ("flush chain inet jackfield forward", NAT, "base chain forward has other rules"),
        ("add rule inet jackfield input drop", ISOLATED, "base chain input has other rules"),
        (
            "flush chain inet jackfield input; delete chain inet jackfield input",
            ISOLATED,
            "base chain input is missing",
        ),
        (
            "flush map inet jackfield input; delete chain inet jackfield input-virbr1",
            ISOLATED,
            "element virbr1 of map input is missing",
        ),
        (
            "flush map inet jackfield enter; add element inet jackfield enter { virbr2 : drop }",
            ROUTE,
            "element virbr2 of map enter leads elsewhere",
        ),
        (
            "add element inet jackfield input { virbr2 : drop }",
            ROUTE,
            "element virbr2 of map input should not be there",
        ),
        (
            "add chain inet jackfield police-virbr2",
            ROUTE,
            "chain police-virbr2 should not be there",
        ),
        (
            "add chain inet jackfield forward { policy drop; }",
            ROUTE,
            "base chain forward has another type, hook, priority or policy",
        ),
        (
            f"{GONE}; add chain inet jackfield forward {{ type filter hook forward priority 7; }}",
            ROUTE,
            "base chain forward has another type, hook, priority or policy",
        ),
        (
            (
                "flush chain inet jackfield forward; flush chain inet jackfield input; "
                "delete map inet jackfield police"
            ),
            NAT,
            "element virbr0 of map police is missing",
        ),
        (
            "delete element inet jackfield guard6 { fd00:1::1 }",
            NAT,
            "element fd00:1::1 of map guard6 is missing",
        ),
        (
            f"{UNGUARDED}; delete chain inet jackfield guard-virbr0",
            NAT,
            "element 192.168.122.1 of map guard4 is missing",
        ),
        (
            f"{UNGUARDED}; add element inet jackfield guard4 {{ {STOLEN} }}",
            ROUTE,
            "element 192.168.101.1 of map guard4 leads elsewhere",
        ),
        (
            "add element inet jackfield guard4 { 192.0.2.1 : goto guard-virbr2 }",
            ROUTE,
            "element 192.0.2.1 of map guard4 should not be there",
        ),
        ("flush chain inet jackfield guard-virbr0", NAT, "chain guard-virbr0 has 0 rules"),
        (
            "flush chain inet jackfield input; delete map inet jackfield guard4",
            ROUTE,
            "base chain input has other rules; element 192.168.101.1 of map guard4 is missing",
        ),
    ],
)
def test_damage_is_noticed_and_mended(
    firewall: Firewall, command: str, network_at_fault: NetworkRules, said: str
) -> None:
    """Whatever somebody deletes, adds or changes in our table, it is seen and undone."""
    everything = [NAT, ISOLATED, ROUTE]
    firewall.ensure(*everything)
    before = listing(firewall.namespace)
    firewall.namespace.run(["nft", command])
    found = firewall.observe(network_at_fault)
    assert found.resource != network_at_fault
    assert said in found.description
    seen = firewall.driver.observe(firewall.kernel, everything)
    replaced = [item.resource for item in seen.values() if isinstance(item.resource, NetworkRules)]
    firewall.ensure(*everything, replaced=tuple(replaced))
    assert before == listing(firewall.namespace)
    assert network_at_fault == firewall.observe(network_at_fault).resource


def test_a_changed_rule_is_noticed(firewall: Firewall) -> None:
    """A rule replaced by another one is not the wanted one."""
    firewall.ensure(ROUTE)
    listed = firewall.namespace.nft("list", "chain", "inet", "jackfield", "leave-virbr2")
    handle = next(item["rule"]["handle"] for item in reversed(listed) if "rule" in item)
    firewall.namespace.run(
        ["nft", f"replace rule inet jackfield leave-virbr2 handle {handle} counter accept"]
    )
    found = firewall.observe(ROUTE)
    assert "chain leave-virbr2 has other rules" == found.description
    assert NetworkRules(bridge=ROUTE.bridge, chains=(Chain(Hook.LEAVE, ()), *ROUTE.chains[1:])) == (
        found.resource
    )


def test_removal_leaves_the_others(firewall: Firewall) -> None:
    """One network's rules go, the others' stay; the last one takes the table along."""
    firewall.ensure(NAT, ISOLATED, ROUTE)
    firewall.remove(NAT)
    assert normalised(table_text([ISOLATED, ROUTE])) == listing(firewall.namespace)
    firewall.remove(ROUTE, ISOLATED)
    assert {} == listing(firewall.namespace)


@pytest.mark.parametrize(
    "command",
    [
        "list ruleset",
        "delete element inet jackfield nat { virbr0 }",
        "delete element inet jackfield nat { virbr0 }; delete chain inet jackfield nat-virbr0",
        "add chain inet jackfield input-virbr0",
        "flush ruleset",
    ],
)
@pytest.mark.parametrize("remembers", [True, False])
def test_removal_takes_what_is_there(firewall: Firewall, command: str, remembers: bool) -> None:
    """What is gone already is no error, and removing again neither."""
    firewall.ensure(NAT)
    firewall.namespace.run(["nft", command])
    driver = firewall.driver if remembers else RulesDriver()
    driver.remove(firewall.kernel, [NAT])
    driver.remove(firewall.kernel, [NAT, ROUTE])
    assert {} == listing(firewall.namespace)


def test_removal_goes_on_after_a_failure(firewall: Firewall) -> None:
    """A chain that somebody jumps to cannot go; the other network's rules do, and it is told."""
    firewall.ensure(NAT, ROUTE)
    firewall.namespace.run(["nft", "add rule inet jackfield forward jump leave-virbr0"])
    with pytest.raises(ExceptionGroup) as raised:
        firewall.remove(NAT, ROUTE)
    (error,) = raised.value.exceptions
    assert "cannot delete chain leave-virbr0 of table inet jackfield: EBUSY" in str(error)
    assert Presence.ABSENT is firewall.observe(ROUTE).presence


def test_other_addresses_move_the_guard(firewall: Firewall) -> None:
    """A network's new address is guarded and its former one is not; another may have that."""
    firewall.ensure(OPEN, ROUTE)
    moved = rules_of(network(Mode.OPEN, "10.0.3.1/24", "fd00:3::1/64"), "virbr3")
    firewall.ensure(moved, replaced=(OPEN,))
    assert normalised(table_text([moved, ROUTE])) == listing(firewall.namespace)
    heir = rules_of(network(Mode.ROUTE, "10.0.3.1/24"), "virbr2")
    firewall.ensure(heir, OPEN, replaced=(moved, ROUTE))
    assert normalised(table_text([heir, OPEN])) == listing(firewall.namespace)


@pytest.mark.parametrize("many", [False, True])
def test_an_address_nobody_remembers_goes(firewall: Firewall, many: bool) -> None:
    """What leads to a guard is found without knowing it, and goes with it or is mended."""
    others = [NetworkRules(bridge=InterfaceName(f"b{n}"), chains=()) for n in range(20 * many)]
    foreign = "add element inet jackfield guard4 { 192.0.2.1 : goto guard-virbr3 }"
    firewall.ensure(OPEN, ROUTE)
    firewall.namespace.run(["nft", foreign])
    RulesDriver().ensure(firewall.kernel, [OPEN, *others], {})
    assert normalised(table_text([OPEN, ROUTE])) == listing(firewall.namespace)
    firewall.namespace.run(["nft", foreign])
    firewall.remove(OPEN, *others)
    assert normalised(table_text([ROUTE])) == listing(firewall.namespace)


def test_a_guard_alone_keeps_the_table(firewall: Firewall) -> None:
    """The table goes with the last network, also if that one has nothing but a guard."""
    firewall.ensure(OPEN, ROUTE)
    firewall.remove(ROUTE)
    assert normalised(table_text([OPEN])) == listing(firewall.namespace)
    firewall.remove(OPEN)
    assert {} == listing(firewall.namespace)


def test_many_networks_come_and_go(firewall: Firewall) -> None:
    """200 networks at once are all there, and afterwards nothing is."""
    many = [
        rules_of(network(Mode.NAT, f"10.0.{number}.1/24", f"fd00:{number}::1/64"), f"virbr{number}")
        for number in range(200)
    ]
    firewall.ensure(*many)
    assert normalised(table_text(many)) == listing(firewall.namespace)
    seen = firewall.driver.observe(firewall.kernel, many)
    assert many == [seen[item.key].resource for item in many]
    firewall.remove(*many)
    assert [] == [item for item in firewall.namespace.nft() if "metainfo" not in item]


def test_foreign_tables_are_left_alone(firewall: Firewall) -> None:
    """Tables of others are there afterwards as they were, chains of our names included."""
    foreign = (
        'table inet filter {\n chain leave-virbr0 {\n iifname "virbr0" drop\n }\n}\n'
        "table ip nat {\n chain post {\n type nat hook postrouting priority 100;\n }\n}\n"
    )
    firewall.namespace.run(["nft", "-f", "-"], input=foreign)
    before = listing(firewall.namespace)
    many = [NAT, *(NetworkRules(bridge=InterfaceName(f"b{n}"), chains=()) for n in range(20))]
    firewall.driver.observe(firewall.kernel, many)
    firewall.ensure(NAT)
    assert before.items() <= listing(firewall.namespace).items()
    assert NAT == firewall.driver.observe(firewall.kernel, many)[NAT.key].resource
    firewall.remove(NAT)
    assert before == listing(firewall.namespace)


def test_a_table_of_our_name_that_is_not_ours(firewall: Firewall) -> None:
    """A table without our mark is named and never changed."""
    firewall.namespace.run(["nft", "add table inet jackfield; add chain inet jackfield mine"])
    before = listing(firewall.namespace)
    assert Presence.FOREIGN is firewall.observe(NAT).presence
    with pytest.raises(ForeignObject, match="table inet jackfield without the comment"):
        firewall.ensure(NAT)
    firewall.remove(NAT)
    assert before == listing(firewall.namespace)


@pytest.mark.parametrize("others", [(), (ROUTE,)])
def test_a_refusal_changes_nothing_and_names_the_rule(
    firewall: Firewall, others: tuple[NetworkRules, ...]
) -> None:
    """One bad rule among many: the error says which, and no trace of the rest is left."""
    if others:
        firewall.ensure(*others)
    before = listing(firewall.namespace)
    bad = NetworkRules(
        bridge=InterfaceName("virbr9"),
        chains=(Chain(Hook.POLICE, (Rule((), Return()), Rule((RateOver(0, 0),), Drop()))),),
    )
    with pytest.raises(KernelError) as raised:
        firewall.ensure(NAT, bad, ISOLATED)
    assert (
        "cannot add rule 2 (limit rate over 0 mbytes/second counter drop) to chain police-virbr9 "
        "of table inet jackfield: EINVAL (Invalid argument)"
    ) in str(raised.value)
    assert before == listing(firewall.namespace)


def test_a_misplaced_translation_is_refused(firewall: Firewall) -> None:
    """The kernel does not let a rule translate that is reached from a filter hook."""
    for rules in (), (Rule((), Masquerade()),):
        chain = Chain(Hook.LEAVE, rules)
        wanted = NetworkRules(bridge=InterfaceName("virbr9"), chains=(chain,))
        before = listing(firewall.namespace)
        if rules:
            with pytest.raises(KernelError, match=r"cannot add rule 1 \(masquerade\) to chain"):
                firewall.ensure(wanted)
            assert before == listing(firewall.namespace)
        else:
            firewall.ensure(wanted)


def test_a_refusal_of_the_whole_says_so(firewall: Firewall) -> None:
    """Without the right to change rules nothing is changed, and the error is no rule's."""
    os.seteuid(65534)
    try:
        with pytest.raises(KernelError, match=r"the rules as a whole were refused: .* EPERM"):
            firewall.kernel.nft.commit(base_messages())
    finally:
        os.seteuid(0)
    assert {} == listing(firewall.namespace)
