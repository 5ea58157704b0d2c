"""Foreign changes of our table are told, with who made them; our own are not."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from jackfield.host.nft.guarddriver import PortGuardDriver
from jackfield.host.nft.monitor import NftMonitor
from jackfield.host.nft.policing import PolicingDriver
from jackfield.host.nft.private import PrivateGuardDriver
from jackfield.model.bandwidth import Rate
from jackfield.model.mode import Mode
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.private import PrivateGuard
from jackfield.state.resources import PortGuard
from jackfield.state.traffic import Policing
from tests.host.nftlab import Firewall, network, rules_of
from tests.lab.namespace import NetworkNamespace
from tests.lab.wait import wait_for

pytestmark = pytest.mark.kernel

NAT = rules_of(network(Mode.NAT, "192.168.122.1/24"), "virbr0")


class Heard:
    """A monitor and what it has told."""

    def __init__(self, firewall: Firewall) -> None:
        """Listen in the namespace of ``firewall``."""
        self.firewall = firewall
        self.said: list[str] = []
        with firewall.namespace.entered():
            self.monitor = NftMonitor(self.said.append, own_portids=[firewall.kernel.nft.portid])

    def after(self, command: str) -> list[str]:
        """Run an nft command; return what was told since the last time."""
        self.firewall.namespace.run(["nft", command])
        # The kernel delivers before nft has its answer.
        self.monitor.read()
        said = self.said.copy()
        self.said.clear()
        return said


@pytest.fixture
def heard(netns: NetworkNamespace, tmp_path: Path) -> Iterator[Heard]:
    """Give a monitor beside one network's rules."""
    firewall = Firewall.open(netns, tmp_path)
    firewall.ensure(NAT)
    listener = Heard(firewall)
    yield listener
    listener.monitor.close()
    firewall.kernel.close()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("flush ruleset", "the table was deleted"),
        ("delete table inet jackfield", "the table was deleted"),
        ("add table inet jackfield { flags dormant; }", "the table was added or changed"),
        ("flush chain inet jackfield input", "a rule was deleted from chain input"),
        (
            "delete element inet jackfield networks { virbr0 }",
            "an element was deleted from set networks",
        ),
        ("add rule inet jackfield leave drop", "a rule was added to chain leave"),
        ("add chain inet jackfield mine", "chain mine was added or changed"),
        (
            "flush set inet jackfield within; flush chain inet jackfield hide",
            "an element was deleted from set within and 1 more change",
        ),
    ],
)
def test_foreign_changes_are_told(heard: Heard, command: str, told: str) -> None:
    """Each change is one sentence with the process that made it."""
    (said,) = heard.after(command)
    assert re.fullmatch(rf"table inet jackfield: {told} by nft \(pid \d+\)", said)


def test_changes_of_the_ports_table_are_told(heard: Heard) -> None:
    """What guests may send is watched as well, and our own changes of it are not told."""
    guard = PortGuard(link=InterfaceName("tap0"), mac=MacAddress("52:54:00:00:00:01"))
    PortGuardDriver().ensure(heard.firewall.kernel, [guard], {})
    assert [] == heard.monitor.poll()
    (said,) = heard.after("delete element bridge jackfield guarded { tap0 }")
    assert said.startswith("table bridge jackfield: an element was deleted from set guarded by nft")
    (said,) = heard.after("flush ruleset")
    assert "table inet jackfield: the table was deleted" in said
    assert "and 1 more change" in said


def test_changes_elsewhere_are_not_told(heard: Heard) -> None:
    """Tables of others, also of our name in another family, are not our business."""
    assert [] == heard.after("add table inet other; add chain inet other leave")
    assert [] == heard.after("add table ip jackfield")


def test_our_own_changes_are_not_delivered(heard: Heard) -> None:
    """What our socket does never wakes the loop."""
    heard.firewall.ensure(NAT, rules_of(network(Mode.ISOLATED), "virbr1"))
    heard.firewall.remove(NAT)
    assert [] == heard.monitor.poll()


def test_lost_notifications_count_as_a_change(heard: Heard) -> None:
    """After more changes than the buffer holds, somebody must look."""
    with socket.socket(fileno=os.dup(heard.monitor.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for _ in range(10):
        heard.firewall.namespace.run(["nft", "add table ip x; delete table ip x"])

    def told() -> bool:
        heard.monitor.read()
        return "notifications of changes were lost" in heard.said

    wait_for(told, 5, "the loss to be told")


def test_monitor_has_a_descriptor_for_the_loop(heard: Heard) -> None:
    """It can be given to ``add_reader``, and never blocks."""
    assert os.fstat(heard.monitor.fileno())
    heard.monitor.read()
    assert [] == heard.said


def test_the_limits_of_ports_are_watched(heard: Heard) -> None:
    """The table of the policing is ours as well; one commit that touches both is told once."""
    policing = Policing(link=InterfaceName("lo"), rate=Rate(average=10))
    with heard.firewall.namespace.entered():
        PolicingDriver().ensure(heard.firewall.kernel, [policing], {})
    heard.monitor.read()
    assert [] == heard.said
    (said,) = heard.after("flush chain netdev jackfield-police lo")
    assert said.startswith("table netdev jackfield-police: a rule was deleted from chain lo by nft")
    (said,) = heard.after("flush ruleset")
    assert "the table was deleted and 1 more change by nft" in said
    assert [] == heard.after("add table netdev other")


def test_the_guards_of_private_guests_are_watched(heard: Heard) -> None:
    """Their table is ours as well."""
    guard = PrivateGuard(
        network=UUID(int=1), link=InterfaceName("lo"), mac=MacAddress("52:54:00:00:00:01")
    )
    with heard.firewall.namespace.entered():
        PrivateGuardDriver().ensure(heard.firewall.kernel, [guard], {})
    heard.monitor.read()
    assert [] == heard.said
    (said,) = heard.after("flush chain netdev jackfield-private lo")
    assert said.startswith(
        "table netdev jackfield-private: a rule was deleted from chain lo by nft"
    )
