"""The driver that keeps guests' spanning tree frames from uplinks; ``nft`` is the witness."""

from __future__ import annotations

import pytest

from jackfield.errors import ForeignObject
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.nft.bpdu import BpduGuardDriver
from jackfield.host.nft.mark import COMMENT
from jackfield.model.values import InterfaceName
from jackfield.state.resources import BpduGuard
from tests.host.nftlab import listed
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

ONE, TWO = (BpduGuard(link=InterfaceName(name)) for name in ("eth0", "eth1"))

TABLE = (
    f'table bridge jackfield-uplinks {{ comment "{COMMENT}" '
    'set uplinks { type ifname elements = { "eth0", "eth1" } } '
    "chain leave { type filter hook forward priority filter; policy accept; "
    "oifname @uplinks ether daddr 01:80:c2:00:00:00 counter packets 0 bytes 0 drop "
    "oifname @uplinks ether daddr 01:00:0c:cc:cc:cd counter packets 0 bytes 0 drop } }"
)


def ours(*guards: BpduGuard) -> dict[str, Observed]:
    """Return what observing exactly these gives."""
    return {guard.key: Observed(presence=Presence.OURS, resource=guard) for guard in guards}


def test_a_guards_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """The table comes with the first uplink and goes with the last."""
    driver = BpduGuardDriver()
    assert {ONE.key: ABSENT} == driver.observe(kernel, [ONE])
    driver.ensure(kernel, [ONE], {})
    driver.ensure(kernel, [ONE, TWO], {})
    assert TABLE == listed(here)
    assert ours(ONE, TWO) == driver.observe(kernel, [ONE, TWO])
    driver.remove(kernel, [ONE])
    assert {ONE.key: ABSENT, **ours(TWO)} == driver.observe(kernel, [ONE, TWO])
    driver.remove(kernel, [ONE])
    driver.remove(kernel, [TWO])
    assert "" == listed(here)
    driver.remove(kernel, [TWO])


@pytest.mark.parametrize("damage", ["flush ruleset", "flush chain bridge jackfield-uplinks leave"])
def test_damage_is_seen_and_mended(kernel: Kernel, here: NetworkNamespace, damage: str) -> None:
    """Without the rules nobody is guarded."""
    driver = BpduGuardDriver()
    driver.ensure(kernel, [ONE, TWO], {})
    here.run(["nft", *damage.split()])
    assert {ONE.key: ABSENT, TWO.key: ABSENT} == driver.observe(kernel, [ONE, TWO])
    driver.ensure(kernel, [ONE, TWO], {})
    assert TABLE == listed(here)


def test_a_table_of_somebody_else(kernel: Kernel, here: NetworkNamespace) -> None:
    """It is named and left alone."""
    driver = BpduGuardDriver()
    here.run(["nft", "add", "table", "bridge", "jackfield-uplinks"])
    assert Presence.FOREIGN is driver.observe(kernel, [ONE])[ONE.key].presence
    with pytest.raises(ForeignObject, match="table bridge jackfield-uplinks"):
        driver.ensure(kernel, [ONE], {})
    driver.remove(kernel, [ONE])
    assert "table bridge jackfield-uplinks { }" == listed(here)
