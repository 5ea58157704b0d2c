"""The driver of addresses that a link receives beside its own; ``bridge -j`` is the witness."""

from __future__ import annotations

import dataclasses
import json

import pytest

from jackfield.errors import NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.sriov.addresses import OwnAddressDriver
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.functions import OwnAddress
from jackfield.state.settings import shared_setting
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

WANTED = OwnAddress(link=InterfaceName("v0"), mac=MacAddress("52:54:00:00:00:01"))
NOT_WANTED = dataclasses.replace(WANTED, value="off")


def own(here: NetworkNamespace) -> set[str]:
    """Return what v0 receives, as bridge(8) says, but for multicast."""
    rows = json.loads(here.run(["bridge", "-j", "fdb", "show", "dev", "v0"]).stdout)
    return {
        row["mac"]
        for row in rows
        if "self" in row["flags"]
        and row["state"] == "permanent"
        and row["mac"][1] not in "13579bdf"
    }


@pytest.mark.parametrize("on_bridge", [False, True])
def test_an_addresss_life(kernel: Kernel, here: NetworkNamespace, on_bridge: bool) -> None:
    """It is entered, seen and taken away, doing it twice changes nothing."""
    driver = OwnAddressDriver()
    assert {WANTED.key: ABSENT} == driver.observe(kernel, [WANTED])
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    if on_bridge:
        here.ip("link", "add", "br0", "type", "bridge")
        here.ip("link", "set", "v0", "master", "br0")
    off = Observed(presence=Presence.OURS, resource=NOT_WANTED)
    assert {WANTED.key: off} == driver.observe(kernel, [WANTED])
    for _ in range(2):
        driver.ensure(kernel, [WANTED], {})
        assert {WANTED.mac} == own(here)
    on = Observed(presence=Presence.OURS, resource=WANTED)
    assert {WANTED.key: on} == driver.observe(kernel, [WANTED])
    # Whoever puts it back knows what it was.
    driver.remove(kernel, [WANTED])
    assert {WANTED.mac} == own(here)
    for _ in range(2):
        driver.ensure(kernel, [NOT_WANTED], {})
        assert set() == own(here)


def test_a_link_that_is_not_there(kernel: Kernel) -> None:
    """It cannot be told anything, and needs not be told to forget."""
    driver = OwnAddressDriver()
    with pytest.raises(NotFound, match="v0"):
        driver.ensure(kernel, [WANTED], {})
    driver.ensure(kernel, [NOT_WANTED], {})


def test_its_name_in_the_ledger() -> None:
    """What is recorded leads back to the same address."""
    assert NOT_WANTED == shared_setting(WANTED.name, "off")
