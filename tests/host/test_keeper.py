"""The table that keeps the kernel translating, seen by nft."""

from __future__ import annotations

import pytest

from jackfield.host.kernel import Kernel
from jackfield.host.nft.driver import RulesDriver
from jackfield.host.nft.keeper import ConnectionKeeper
from jackfield.model.mode import Mode
from tests.host.nftlab import Firewall, network, rules_of
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

NAME = "inet jackfield-connections"
RULES = [
    rules_of(network(Mode.NAT, f"192.168.{number}.1/24"), f"virbr{number}") for number in (1, 2)
]


def test_a_flush_passes_over_it(kernel: Kernel, here: NetworkNamespace) -> None:
    """It comes once, outlives a flush, goes when it is given up, and with its owner."""
    keeper = ConnectionKeeper()
    keeper.release(kernel.nft)
    keeper.hold(kernel.nft)
    keeper.hold(kernel.nft)
    here.run(["nft", "add", "table", "inet", "other"])
    here.run(["nft", "flush", "ruleset"])
    assert [NAME] == here.tables()
    keeper.release(kernel.nft)
    assert [] == here.tables()
    keeper.hold(kernel.nft)
    kernel.nft.close()
    assert [] == here.tables()


def test_somebody_elses_is_left_alone(
    kernel: Kernel, here: NetworkNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A table of the name stays as it is, and the log says what that means."""
    here.run(["nft", "add", "table", *NAME.split()])
    keeper = ConnectionKeeper()
    keeper.hold(kernel.nft)
    keeper.release(kernel.nft)
    assert [NAME] == here.tables()
    assert "may be reset when somebody flushes all rules" in caplog.text


@pytest.mark.parametrize("knows", [False, True])
def test_it_comes_and_goes_with_rules(
    here: NetworkNamespace, kernel: Kernel, *, knows: bool
) -> None:
    """It is there from the first network's rules, all made at once, to the last one's."""
    firewall = Firewall(namespace=here, kernel=kernel, driver=RulesDriver())
    first, second = RULES
    if knows:
        firewall.ensure(first)
        firewall.remove(first)
        assert [] == here.tables()
    before = firewall.kernel.nft.generation()
    firewall.ensure(first)
    assert ["inet jackfield", NAME] == here.tables()
    assert firewall.kernel.nft.generation() - before == (1 if knows else 2)
    firewall.ensure(second)
    firewall.remove(first)
    assert ["inet jackfield", NAME] == here.tables()
    here.run(["nft", "flush", "ruleset"])
    firewall.ensure(second)
    assert [NAME, "inet jackfield"] == here.tables()
    firewall.remove(second)
    assert [] == here.tables()


@pytest.mark.parametrize("knows", [False, True])
def test_networks_do_without(
    here: NetworkNamespace, kernel: Kernel, caplog: pytest.LogCaptureFixture, *, knows: bool
) -> None:
    """Where it is refused, networks have their rules all the same, and the log says so once."""
    firewall = Firewall(namespace=here, kernel=kernel, driver=RulesDriver())
    first, second = RULES
    if knows:
        firewall.ensure(first)
        firewall.remove(first)
    here.run(["nft", "add", "table", *NAME.split()])
    firewall.ensure(first)
    firewall.ensure(second)
    for rules in RULES:
        assert rules == firewall.observe(rules).resource
    firewall.remove(first, second)
    assert [NAME] == here.tables()
    assert caplog.text.count("may be reset when somebody flushes all rules") == 1


def test_it_stays_while_guests_go_elsewhere(here: NetworkNamespace, kernel: Kernel) -> None:
    """What is lent stays without rules of ours, and goes afterwards if there are none."""
    firewall = Firewall(namespace=here, kernel=kernel, driver=RulesDriver())
    (rules, _), keeper = RULES, kernel.connections
    keeper.lend(kernel.nft)
    firewall.ensure(rules)
    firewall.remove(rules)
    assert [NAME] == here.tables()
    keeper.take_back(kernel.nft)
    assert [] == here.tables()
    keeper.lend(kernel.nft)
    assert [NAME] == here.tables()
    keeper.take_back(kernel.nft)
    assert [] == here.tables()
    keeper.lend(kernel.nft)
    firewall.ensure(rules)
    keeper.take_back(kernel.nft)
    assert {NAME, "inet jackfield"} == set(here.tables())
    keeper.lend(kernel.nft)
    keeper.take_back(kernel.nft)
    assert {NAME, "inet jackfield"} == set(here.tables())
    firewall.remove(rules)
    assert [] == here.tables()
