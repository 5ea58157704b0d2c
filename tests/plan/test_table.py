"""What all networks share: which sets there may be, and the chains that look them up."""

from __future__ import annotations

import ipaddress

import pytest

from jackfield.host.nft.text import rule_text
from jackfield.model.mode import Mode
from jackfield.plan.table import named_set, prefix_set, shared_chains
from jackfield.state.rules import NamedSet
from tests.host.nftlab import network, rules_of


def places(*names: str) -> list[NamedSet]:
    """Return the sets of these names."""
    found = [named_set(name) for name in names]
    return [place for place in found if place is not None]


def chains(*names: str) -> dict[str, list[str]]:
    """Return the rules as text of the chains that look these sets up."""
    return {
        chain.name: [rule_text(rule) for rule in chain.rules]
        for chain in shared_chains(places(*names))
    }


@pytest.mark.parametrize("prefix", ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1/32", "::/0", "fd00::/127"])
@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("through", [False, True])
def test_a_set_of_prefixes_is_found_by_its_name(prefix: str, hidden: bool, through: bool) -> None:
    """What the kernel lists is told apart by name."""
    place = prefix_set(ipaddress.ip_network(prefix), hidden=hidden, through=through)
    assert place == named_set(place.name)


@pytest.mark.parametrize(
    "name",
    ["", "mine", "own5", "hidden4", "hidden4_33", "hidden4_024", "routed6_129", "routed6_6_"],
)
def test_other_sets_are_none_of_ours(name: str) -> None:
    """A name that no network leads to is not looked at."""
    assert named_set(name) is None


def test_nothing_is_looked_up_that_is_not_there() -> None:
    """Without sets there are no chains, and with some only the rules for those."""
    assert chains() == {}
    assert chains("networks", "within", "leave_refused", "enter_refused", "routed4_24") == {
        "forward": ["iifname @networks jump leave", "oifname @networks goto enter"],
        "leave": [
            "iifname . ip saddr & 255.255.255.0 @routed4_24 return",
            "iifname . oifname @within return",
            "iifname @leave_refused",
            "counter reject",
        ],
        "enter": [
            "oifname . ip daddr & 255.255.255.0 @routed4_24 return",
            "iifname . oifname @within return",
            "oifname @enter_refused",
            "counter reject",
        ],
    }


def test_hidden_prefixes_get_answers_and_are_translated() -> None:
    """Towards the network itself, multicast and broadcast they are not."""
    found = chains("networks", "hidden4_24", "hidden6_64_through", "translate")
    assert found["enter"] == [
        "oifname . ip daddr & 255.255.255.0 @hidden4_24 ct state established,related return",
        (
            "oifname . iifname . ip6 daddr & ffff:ffff:ffff:ffff:: @hidden6_64_through "
            "ct state established,related return"
        ),
        "counter reject",
    ]
    assert found["postrouting"] == [
        "ip daddr 255.255.255.255 return",
        "ip daddr 224.0.0.0/4 return",
        "ip6 daddr fe80::/10 return",
        "ip6 daddr ff00::/8 return",
        "iifname . ip daddr & 255.255.255.0 @hidden4_24 return",
        "iifname . oifname . ip6 daddr & ffff:ffff:ffff:ffff:: @hidden6_64_through return",
        "iifname . ip saddr & 255.255.255.0 @hidden4_24 goto hide",
        "iifname . oifname . ip6 saddr & ffff:ffff:ffff:ffff:: @hidden6_64_through goto hide",
    ]
    assert found["hide"] == [
        "iifname vmap @translate",
        "meta l4proto tcp masquerade to :1024-65535",
        "meta l4proto udp masquerade to :1024-65535",
        "masquerade",
    ]


def test_isolated_guests_reach_what_is_on_their_link() -> None:
    """The bridge's own addresses, broadcast and multicast; the rest of the host refuses them."""
    found = chains("isolated", "input_refused", "own4", "own6")
    assert found["input"] == ["iifname @isolated jump isolated"]
    assert found["isolated"] == [
        "iifname . ip daddr @own4 return",
        "iifname . ip6 daddr @own6 return",
        "ip daddr 255.255.255.255 return",
        "ip daddr 224.0.0.0/4 return",
        "ip6 daddr fe80::/10 return",
        "ip6 daddr ff00::/8 return",
        "iifname @input_refused",
        "counter reject",
    ]


def test_what_dnsmasq_serves_is_guarded() -> None:
    """The network's own guests and the host itself are let through."""
    found = chains("served4", "own4", "guard_refused4")
    assert found == {
        "input": ["ip daddr . meta l4proto . th dport @served4 goto guard"],
        "guard": [
            'iifname "lo" return',
            "iifname . ip daddr @own4 return",
            "ip daddr @guard_refused4",
            "counter drop",
        ],
    }


def test_limits_come_first() -> None:
    """What is sent above a limit is dropped before anything else is asked."""
    found = chains("police", "networks", "isolated")
    assert "iifname vmap @police" == found["forward"][0]
    assert "iifname vmap @police" == found["input"][0]


@pytest.mark.parametrize("mode", [Mode.ISOLATED, Mode.NAT, Mode.ROUTE])
def test_nobody_is_accepted_before_he_enters(mode: Mode) -> None:
    """The chains only return, refuse or go on, and the way in ends with a refusal."""
    rules = rules_of(network(mode, "10.0.0.1/24"), "virbr0")
    found = shared_chains([element.place for element in rules.elements])
    by_name = {chain.name: [rule_text(rule) for rule in chain.rules] for chain in found}
    assert "counter reject" == by_name["leave"][-1]
    assert "counter reject" == by_name["enter"][-1]
    assert not [rule for rules in by_name.values() for rule in rules if "accept" in rule]
