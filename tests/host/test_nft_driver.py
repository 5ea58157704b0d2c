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
from jackfield.plan.table import POLICE, TRANSLATE, own_chain
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import (
    Chain,
    ConnectionState,
    Direction,
    Drop,
    Element,
    Interface,
    Masquerade,
    NamedSet,
    RateOver,
    Reject,
    Return,
    Rule,
    Snat,
    State,
    To,
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
UNGUARDED = "flush chain inet jackfield isolated; flush chain inet jackfield guard"


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


def own_rules(bridge: str, chains: dict[NamedSet, tuple[Rule, ...]]) -> NetworkRules:
    """Return the rules of a network that has only chains of its own."""
    name = InterfaceName(bridge)
    own = {place: Chain(own_chain(place, name), rules) for place, rules in chains.items()}
    return NetworkRules(
        bridge=name,
        elements=tuple(Element(place, (name,), chain.name) for place, chain in own.items()),
        chains=tuple(own.values()),
    )


def _filters() -> Iterator[Rule]:
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.0.2.7/32", "0.0.0.0/0", "fc00::/7", "::/0"):
        yield Rule((To(ipaddress.ip_network(text)),), Drop())
    for state in ConnectionState:
        yield Rule((State(state),), Return())
    target = To(ipaddress.ip_network("fd01::8/127"))
    yield Rule((State(ConnectionState.NEW | ConnectionState.INVALID), target), Drop())
    for rate, burst in ((1, 0), (1000, 1000), (1024, 2048), (3 << 20, 5 << 30 & 0xFFFFFFFF)):
        yield Rule((RateOver(rate, burst),), Drop())
    for direction in Direction:
        name = InterfaceName("fifteen-bytes-x")
        yield Rule((Interface(direction, name), Transport("udp")), Reject())


def _translations() -> Iterator[Rule]:
    four = [ipaddress.ip_address(f"198.51.100.{number}") for number in (8, 9)]
    six = [ipaddress.ip_address(f"2001:db8::{number}") for number in (8, 9)]
    ten = ipaddress.ip_address("198.51.100.10")
    yield Rule((), Snat(four[0], ten))
    for start, end in (None, None), (5000, 5000), (5000, 5999):
        protocol = () if start is None else (Transport("tcp"),)
        yield Rule(protocol, Masquerade(start, end))
        for low, high in four, six:
            yield Rule(protocol, Snat(low, high, start, end))
            yield Rule(protocol, Snat(low, low, start, end))


def test_every_kind_of_rule_is_listed_and_recognised(firewall: Firewall) -> None:
    """Each match and action is to nft what our text says, and to us what we sent."""
    wanted = own_rules("virbr0", {POLICE: tuple(_filters()), TRANSLATE: tuple(_translations())})
    firewall.ensure(wanted)
    assert normalised(table_text([wanted])) == listing(firewall.namespace)
    assert wanted == firewall.observe(wanted).resource


@pytest.mark.parametrize("mode", [Mode.NAT, Mode.ROUTE])
@pytest.mark.parametrize("uplinks", [(), ("eth0", "fifteen-bytes-x")])
def test_every_length_of_prefix_is_listed_and_recognised(
    firewall: Firewall, mode: Mode, uplinks: tuple[str, ...]
) -> None:
    """From everything to a single address, each looked up as our text says."""
    prefixes = [f"{length}.0.0.0/{length}" for length in (8, 12, 20, 31)]
    prefixes += ["0.0.0.0/0", "128.0.0.0/1", "192.0.2.7/32"]
    prefixes += [f"fd00:{length}::/{length}" for length in (32, 49, 64, 127)]
    prefixes += ["::/0", "8000::/1", "2001:db8::7/128"]
    gateways = {False: "10.0.1.7", True: "fd00:1::7"}
    wanted = rules_of(
        network(
            mode,
            "10.0.1.1/24",
            "fd00:1::1/64",
            uplinks=uplinks,
            routes=tuple((prefix, gateways[":" in prefix]) for prefix in prefixes),
            nat=Nat(ipv6=True),
        ),
        "fifteen-bytes-y",
    )
    firewall.ensure(wanted)
    assert normalised(table_text([wanted])) == listing(firewall.namespace)
    assert wanted == firewall.observe(wanted).resource


def test_a_bridge_may_be_called_like_anything(firewall: Firewall) -> None:
    """Names that mean something else elsewhere in the rules are names here."""
    wanted = [
        rules_of(network(Mode.NAT, f"10.0.{number}.1/24"), name)
        for number, name in enumerate(["tcp", "udp", "lo0", "guard", "53"])
    ]
    firewall.ensure(*wanted)
    assert normalised(table_text(wanted)) == listing(firewall.namespace)
    seen = firewall.driver.observe(firewall.kernel, wanted)
    assert wanted == [seen[item.key].resource for item in wanted]


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
    """What is wanted no longer goes in the same step that makes the rest."""
    firewall.ensure(NAT, ISOLATED)
    changed = rules_of(network(Mode.ISOLATED, "192.168.122.1/24"), "virbr0")
    driver = firewall.driver if remembers else RulesDriver()
    driver.ensure(firewall.kernel, [changed], {NAT.key: NAT})
    assert normalised(table_text([ISOLATED, changed])) == listing(firewall.namespace)


@pytest.mark.parametrize(
    ("command", "network_at_fault", "said"),
    [
        ("flush ruleset", NAT, ""),
        (
            "delete element inet jackfield hidden4_24_through { virbr0 . eth1 . 192.168.122.0 }",
            NAT,
            "element virbr0 . eth1 . 192.168.122.0 of set hidden4_24_through is missing",
        ),
        (
            "delete element inet jackfield served6 { fd00:1::1 . tcp . 53 }",
            NAT,
            "element fd00:1::1 . tcp . 53 of set served6 is missing",
        ),
        ("flush set inet jackfield networks", ROUTE, "element virbr2 of set networks is missing"),
        ("flush chain inet jackfield enter", ROUTE, "chain enter has other rules"),
        ("add rule inet jackfield leave drop", ROUTE, "chain leave has other rules"),
        ("flush chain inet jackfield forward", NAT, "chain forward has other rules"),
        ("add rule inet jackfield input drop", ISOLATED, "chain input has other rules"),
        (
            "flush chain inet jackfield input; delete chain inet jackfield input",
            ISOLATED,
            "chain input is missing",
        ),
        (
            "flush chain inet jackfield input; delete chain inet jackfield isolated",
            ISOLATED,
            "chain isolated is missing",
        ),
        (
            "flush map inet jackfield police; delete chain inet jackfield police-virbr0",
            NAT,
            "element virbr0 of set police is missing; chain police-virbr0 is missing",
        ),
        (
            "flush map inet jackfield police; add element inet jackfield police { virbr0 : drop }",
            NAT,
            "element virbr0 of set police is not as it was made",
        ),
        (
            "flush chain inet jackfield translate-virbr0",
            NAT,
            "chain translate-virbr0 has other rules",
        ),
        (
            "add element inet jackfield isolated { virbr2 }",
            ROUTE,
            "element virbr2 of set isolated should not be there",
        ),
        (
            "add element inet jackfield own4 { virbr2 . 192.0.2.1 }",
            ROUTE,
            "element virbr2 . 192.0.2.1 of set own4 should not be there",
        ),
        (
            'add element inet jackfield served4 { 192.0.2.1 . udp . 53 comment "virbr2" }',
            ROUTE,
            "element 192.0.2.1 . udp . 53 of set served4 should not be there",
        ),
        (
            (
                "delete element inet jackfield guard_refused4 { 192.168.101.1 }; "
                'add element inet jackfield guard_refused4 { 192.168.101.1 comment "virbr0" }'
            ),
            ROUTE,
            "element 192.168.101.1 of set guard_refused4 is not as it was made",
        ),
        (
            "add chain inet jackfield police-virbr2",
            ROUTE,
            "chain police-virbr2 should not be there",
        ),
        (
            "add chain inet jackfield forward { policy drop; }",
            ROUTE,
            "chain forward has another type, hook, priority or policy",
        ),
        (
            f"{GONE}; add chain inet jackfield forward {{ type filter hook forward priority 7; }}",
            ROUTE,
            "chain forward has another type, hook, priority or policy",
        ),
        (
            f"{UNGUARDED}; delete set inet jackfield own4",
            ROUTE,
            "element virbr2 . 192.168.101.1 of set own4 is missing",
        ),
        (
            (
                f"{UNGUARDED}; delete set inet jackfield own4; "
                "add set inet jackfield own4 { type ipv4_addr; elements = { 192.168.101.1 } }"
            ),
            ROUTE,
            "set own4 is of another kind; chain isolated has other rules",
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
    listed = firewall.namespace.nft("list", "chain", "inet", "jackfield", "leave")
    handle = next(item["rule"]["handle"] for item in reversed(listed) if "rule" in item)
    firewall.namespace.run(
        ["nft", f"replace rule inet jackfield leave handle {handle} counter accept"]
    )
    found = firewall.observe(ROUTE)
    assert "chain leave has other rules" == found.description
    assert NetworkRules(bridge=ROUTE.bridge, elements=()) == found.resource


def test_one_among_many_is_asked_for_alone(firewall: Firewall) -> None:
    """Beside many others a network is seen, mended and removed without listing theirs."""
    many = [rules_of(network(Mode.NAT, f"10.0.{n}.1/24"), f"many{n}") for n in range(20)]
    firewall.ensure(NAT, *many)
    before = listing(firewall.namespace)
    assert NAT == firewall.observe(NAT).resource
    retargeted = "add element inet jackfield police { virbr0 : drop }"
    for command, said in (
        ("delete element inet jackfield within { virbr0 . virbr0 }", "of set within is missing"),
        (
            f"delete element inet jackfield police {{ virbr0 }}; {retargeted}",
            "element virbr0 of set police is not as it was made",
        ),
        ("flush chain inet jackfield police-virbr0", "chain police-virbr0 has other rules"),
        ("add rule inet jackfield leave drop", "chain leave has other rules"),
    ):
        firewall.namespace.run(["nft", command])
        assert said in firewall.observe(NAT).description
        firewall.ensure(NAT)
        assert before == listing(firewall.namespace)
        assert NAT == firewall.observe(NAT).resource
    firewall.namespace.run(["nft", "add table ip other; delete table ip other"])
    firewall.remove(NAT)
    assert Presence.ABSENT is firewall.observe(NAT).presence
    assert normalised(table_text(many)) == listing(firewall.namespace)


@pytest.mark.parametrize("remembers", [True, False])
def test_sets_that_nobody_needs_go(firewall: Firewall, remembers: bool) -> None:
    """With the last network of a kind go its sets, and the rules that look them up."""
    firewall.ensure(ISOLATED, ROUTE)
    before = listing(firewall.namespace)
    odd = rules_of(network(Mode.NAT, "10.0.0.1/29", outbound=Rate(average=1)), "virbr9")
    firewall.ensure(odd)
    assert "table inet jackfield / set hidden4_29" in listing(firewall.namespace)
    driver = firewall.driver if remembers else RulesDriver()
    driver.remove(firewall.kernel, [odd])
    assert before == listing(firewall.namespace)
    assert ROUTE == RulesDriver().observe(firewall.kernel, [ROUTE])[ROUTE.key].resource


def test_a_set_with_an_element_is_never_thought_unused(firewall: Firewall) -> None:
    """The kernel is asked: a driver that does not know of a network takes nothing from it."""
    many = [rules_of(network(Mode.ROUTE, f"10.0.{n}.1/24"), f"many{n}") for n in range(12)]
    firewall.ensure(*many)
    other = RulesDriver()
    other.observe(firewall.kernel, many)
    firewall.ensure(NAT)
    other.remove(firewall.kernel, many[:1])
    assert normalised(table_text([NAT, *many[1:]])) == listing(firewall.namespace)


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
        "delete element inet jackfield translate { virbr0 }",
        (
            "delete element inet jackfield translate { virbr0 }; "
            "delete chain inet jackfield translate-virbr0"
        ),
        "flush set inet jackfield networks",
        "add element inet jackfield own4 { virbr0 . 192.0.2.1 }",
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
    firewall.namespace.run(["nft", "add rule inet jackfield forward jump police-virbr0"])
    with pytest.raises(ExceptionGroup) as raised:
        firewall.remove(NAT, ROUTE)
    (error,) = raised.value.exceptions
    assert "cannot delete chain police-virbr0 of table inet jackfield: EBUSY" in str(error)
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
    """What says that it is a network's is found without knowing it, and goes with it."""
    others = [NetworkRules(bridge=InterfaceName(f"b{n}"), elements=()) for n in range(20 * many)]
    foreign = 'add element inet jackfield served4 { 192.0.2.1 . udp . 53 comment "virbr3" }'
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


def test_other_tables_of_ours_are_no_surprise(
    firewall: Firewall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is not looked at again because we changed another one meanwhile."""
    keeper = firewall.kernel.connections
    firewall.ensure(NAT)
    keeper.release(firewall.kernel.nft)
    with monkeypatch.context() as patch:
        patch.setattr("jackfield.host.nft.driver.look_at_shared", None)
        firewall.ensure(ROUTE)
        keeper.release(firewall.kernel.nft)
        firewall.remove(ROUTE)
    assert normalised(table_text([NAT])) == listing(firewall.namespace)


@pytest.mark.parametrize("first", [True, False])
def test_what_others_change_is_noticed_between_our_own(firewall: Firewall, first: bool) -> None:
    """Their change is found whether another table of ours changes before it or after it."""
    keeper = firewall.kernel.connections
    firewall.ensure(NAT)
    if first:
        keeper.release(firewall.kernel.nft)
    firewall.namespace.run(["nft", GONE])
    keeper.hold(firewall.kernel.nft)
    keeper.release(firewall.kernel.nft)
    firewall.ensure(ROUTE)
    assert normalised(table_text([NAT, ROUTE])) == listing(firewall.namespace)


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
        'table inet filter {\n chain police-virbr0 {\n iifname "virbr0" drop\n }\n}\n'
        "table ip nat {\n chain post {\n type nat hook postrouting priority 100;\n }\n}\n"
    )
    firewall.namespace.run(["nft", "-f", "-"], input=foreign)
    before = listing(firewall.namespace)
    many = [NAT, *(NetworkRules(bridge=InterfaceName(f"b{n}"), elements=()) for n in range(20))]
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
    bad = own_rules("virbr9", {POLICE: (Rule((), Return()), Rule((RateOver(0, 0),), Drop()))})
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
        wanted = own_rules("virbr9", {POLICE: rules})
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
            firewall.kernel.nft.commit(base_messages(frozenset({POLICE})))
    finally:
        os.seteuid(0)
    assert {} == listing(firewall.namespace)
