"""Tables of ours that somebody puts to sleep are woken; ``nft`` is the witness."""

from __future__ import annotations

from pathlib import Path

import pytest

from jackfield.host.nft.guarddriver import PortGuardDriver
from jackfield.host.nft.policing import PolicingDriver
from jackfield.host.nft.tables import sleeping_tables, wake_tables
from jackfield.model.bandwidth import Rate
from jackfield.model.mode import Mode
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.resources import PortGuard
from jackfield.state.traffic import Policing
from tests.host.nftlab import Firewall, network, rules_of
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

NAT = rules_of(network(Mode.NAT, "192.168.122.1/24"), "virbr0")
ROUTE = rules_of(network(Mode.ROUTE, "10.0.0.1/24"), "virbr1")
LINK = InterfaceName("tap0")


def test_tables_of_all_families_are_woken(netns: NetworkNamespace, tmp_path: Path) -> None:
    """Ours are as they were, and work again; what somebody else has asleep sleeps on."""
    firewall = Firewall.open(netns, tmp_path)
    kernel = firewall.kernel
    netns.ip("link", "add", LINK, "type", "bridge")
    firewall.ensure(NAT)
    guard = PortGuard(link=LINK, mac=MacAddress("52:54:00:00:00:01"))
    PortGuardDriver().ensure(kernel, [guard], {})
    with netns.entered():
        PolicingDriver().ensure(kernel, [Policing(link=LINK, rate=Rate(average=100))], {})
    netns.run(["nft", "add table bridge jackfield-uplinks { flags dormant; }"])
    assert [] == wake_tables(kernel.nft)
    ours = ["inet jackfield", "netdev jackfield-police", "bridge jackfield"]
    before = [netns.run(["nft", "list", "table", *name.split()]).stdout for name in ours]
    for name in ours:
        netns.run(["nft", f"add table {name} {{ flags dormant; }}"])
        assert "flags dormant" in netns.run(["nft", "list", "table", *name.split()]).stdout
    assert [f"table {name}" for name in ours] == sleeping_tables(kernel.nft)
    assert [f"table {name}" for name in ours] == wake_tables(kernel.nft)
    assert [] == sleeping_tables(kernel.nft)
    after = [netns.run(["nft", "list", "table", *name.split()]).stdout for name in ours]
    assert before == after
    theirs = netns.run(["nft", "list", "table", "bridge", "jackfield-uplinks"]).stdout
    assert "flags dormant" in theirs
    # What comes next finds its place.
    firewall.ensure(ROUTE)
    firewall.remove(NAT, ROUTE)
    kernel.close()
