"""Drivers of what managed bridges have of VLANs; ``ip -j`` and ``bridge -j`` are the witnesses.

Where the kernel filters VLANs, ``tests/guests/test_full_kernel.py`` shows more.
"""

from __future__ import annotations

import json

import pytest

from jackfield.errors import ForeignObject, MissingFeature, NotFound
from jackfield.host.driver import Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.vlans import UplinkVlanDriver, VlanFilteringDriver
from jackfield.model.values import InterfaceName
from jackfield.state.vlans import OFF, Membership, UplinkVlan, VlanFiltering
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

ON = VlanFiltering(link=InterfaceName("br0"))
NOT_ON = VlanFiltering(link=ON.link, value=OFF)
TAGGED = UplinkVlan(link=InterfaceName("v0"), vlan=42)
NONE = UplinkVlan(link=TAGGED.link, vlan=42, value=Membership.NONE.value)


@pytest.fixture
def can(here: NetworkNamespace) -> bool:
    """Make a bridge of ours with a port, and tell whether the kernel filters VLANs on it."""
    here.ip("link", "add", "br0", "type", "bridge")
    here.ip("link", "set", "br0", "alias", "jackfield:network:x")
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    here.ip("link", "set", "v0", "master", "br0")
    (bridge,) = json.loads(here.run(["ip", "-d", "-j", "link", "show", "br0"]).stdout)
    return "vlan_protocol" in bridge["linkinfo"]["info_data"]


def vlans(here: NetworkNamespace) -> set[int]:
    """Return the VLANs of the port."""
    found = json.loads(here.run(["bridge", "-j", "vlan", "show", "dev", "v0"]).stdout)
    return {item["vlan"] for entry in found for item in entry["vlans"]}


def test_the_kernel_says_what_it_can(kernel: Kernel, here: NetworkNamespace, can: bool) -> None:
    """Without a bridge to look at, and nothing is made or changed by the question."""
    here.ip("link", "del", "br0")
    before = here.run(["ip", "-d", "link"]).stdout
    assert can is kernel.route.filters_vlans()
    assert before == here.run(["ip", "-d", "link"]).stdout


def test_a_bridge_filters(kernel: Kernel, here: NetworkNamespace, can: bool) -> None:
    """Where the kernel can; where not, that is said before anything is made."""
    driver = VlanFilteringDriver()
    off = Observed(presence=Presence.OURS, resource=NOT_ON)
    assert {ON.key: off} == driver.observe(kernel, [ON])
    driver.refuse_impossible(kernel, [NOT_ON])
    driver.ensure(kernel, [NOT_ON], {})
    if can:
        driver.refuse_impossible(kernel, [ON])
        driver.ensure(kernel, [ON], {})
        on = Observed(presence=Presence.OURS, resource=ON)
        assert {ON.key: on} == driver.observe(kernel, [ON])
    else:
        refusal = "br0: the kernel cannot filter VLANs"
        with pytest.raises(MissingFeature, match=refusal):
            driver.refuse_impossible(kernel, [ON])
        with pytest.raises(MissingFeature, match=refusal):
            driver.ensure(kernel, [ON], {})
        assert {ON.key: off} == driver.observe(kernel, [ON])
    here.ip("link", "set", "br0", "alias", "")
    with pytest.raises(ForeignObject, match="it is not ours"):
        driver.ensure(kernel, [NOT_ON], {})
    here.ip("link", "del", "br0")
    assert {ON.key: off} == driver.observe(kernel, [ON])
    with pytest.raises(NotFound):
        driver.ensure(kernel, [ON], {})


def test_an_uplink_carries_vlans(kernel: Kernel, here: NetworkNamespace, can: bool) -> None:
    """While it is a port of a bridge of ours; elsewhere it is left alone."""
    driver = UplinkVlanDriver()
    none = {TAGGED.key: Observed(presence=Presence.OURS, resource=NONE)}
    assert none == driver.observe(kernel, [TAGGED])
    driver.refuse_impossible(kernel, [TAGGED])
    if can:
        driver.ensure(kernel, [TAGGED], {})
        assert {1, 42} == vlans(here)
        tagged = {TAGGED.key: Observed(presence=Presence.OURS, resource=TAGGED)}
        assert tagged == driver.observe(kernel, [TAGGED])
        driver.ensure(kernel, [NONE], {})
        assert none == driver.observe(kernel, [TAGGED])
    before = vlans(here)
    for change in (("br0", "alias", ""), ("v0", "nomaster")):
        here.ip("link", "set", *change)
        driver.ensure(kernel, [TAGGED], {})
        assert none == driver.observe(kernel, [TAGGED])
        assert vlans(here) <= before
