"""Drivers of bridge ports and link states; ``ip -j`` and ``bridge -j`` are the witnesses."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from jackfield.errors import KernelError, MissingFeature, NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.membership import BridgePortDriver, LinkUpDriver
from jackfield.host.netlink.bridge import port_flags
from jackfield.host.netlink.link import decode_link
from jackfield.host.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.model.vlan import NativeMode, Vlan, VlanTag
from jackfield.state.resources import BridgePort, LinkUp
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

BRIDGE = InterfaceName("br0")
PORT = BridgePort(link=InterfaceName("v0"), bridge=BRIDGE)


@pytest.fixture(autouse=True)
def links(here: NetworkNamespace) -> None:
    """Make two bridges and a veth pair, all down."""
    here.ip("link", "add", "br0", "type", "bridge")
    here.ip("link", "add", "br1", "type", "bridge")
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")


def ours(resource: BridgePort | LinkUp) -> dict[str, Observed]:
    """Return what observing exactly ``resource`` gives."""
    return {resource.key: Observed(presence=Presence.OURS, resource=resource)}


def bridge_port(here: NetworkNamespace, name: str) -> dict[str, Any]:
    """Return what bridge(8) says of a port."""
    found: list[dict[str, Any]] = json.loads(
        here.run(["bridge", "-j", "-d", "link", "show", "dev", name]).stdout
    )
    return found[0]


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("learning", [False, True])
@pytest.mark.parametrize("unicast_flood", [False, True])
def test_a_ports_life(
    kernel: Kernel, here: NetworkNamespace, isolated: bool, learning: bool, unicast_flood: bool
) -> None:
    """A port gets its bridge and flags, is up, and can be taken off again."""
    driver = BridgePortDriver()
    port = dataclasses.replace(
        PORT, isolated=isolated, learning=learning, unicast_flood=unicast_flood
    )
    assert {port.key: ABSENT} == driver.observe(kernel, [port])
    driver.ensure(kernel, [port], {})
    assert ours(port) == driver.observe(kernel, [port])
    seen = bridge_port(here, "v0")
    assert ("br0", isolated, learning, unicast_flood) == (
        seen["master"],
        seen["isolated"],
        seen["learning"],
        seen["flood"],
    )
    assert "UP" in seen["flags"]
    driver.ensure(kernel, [port], {})
    assert [(kernel.route.index("v0"), port)] == kernel.route.bridge_ports(BRIDGE)
    driver.remove(kernel, [port])
    assert {port.key: ABSENT} == driver.observe(kernel, [port])
    driver.remove(kernel, [port])


def test_a_port_comes_up_with_its_flags(kernel: Kernel) -> None:
    """No notification ever shows the port up without the isolation that it must have."""
    with NetlinkSocket(NETLINK_ROUTE) as listener:
        listener.subscribe(1)
        BridgePortDriver().ensure(kernel, [dataclasses.replace(PORT, isolated=True)], {})
        steps: list[tuple[bool, bool]] = []
        while replies := listener.poll():
            for reply in replies:
                link = decode_link(reply.body)
                if link is not None and link.name == "v0" and link.master is not None:
                    steps.append((link.up, port_flags(link.port_data)[0]))
    assert (True, True) == steps[-1]
    assert (True, False) not in steps


def test_flags_are_changed_in_place(kernel: Kernel, here: NetworkNamespace) -> None:
    """A changed flag, and a port that somebody set down, are mended on the port."""
    driver = BridgePortDriver()
    driver.ensure(kernel, [PORT], {})
    here.ip("link", "set", "v0", "down")
    (seen,) = driver.observe(kernel, [PORT]).values()
    assert dataclasses.replace(PORT, up=False) == seen.resource
    assert seen.resource is not None
    isolated = dataclasses.replace(PORT, isolated=True)
    driver.ensure(kernel, [isolated], {PORT.key: PORT})
    assert ours(isolated) == driver.observe(kernel, [isolated])


def test_another_bridges_port_is_foreign(kernel: Kernel, here: NetworkNamespace) -> None:
    """A link that is the port of another bridge is described and stays there."""
    here.ip("link", "set", "v0", "master", "br1")
    driver = BridgePortDriver()
    (seen,) = driver.observe(kernel, [PORT]).values()
    assert Presence.FOREIGN is seen.presence
    assert "bridge br1 (v0 is on it)" == seen.description
    driver.remove(kernel, [PORT])
    assert "br1" == bridge_port(here, "v0")["master"]


def test_what_is_missing_is_named(kernel: Kernel) -> None:
    """A missing bridge and a missing link are errors that name them."""
    driver = BridgePortDriver()
    no_bridge = dataclasses.replace(PORT, bridge=InterfaceName("br9"))
    no_link = dataclasses.replace(PORT, link=InterfaceName("v9"))
    with pytest.raises(NotFound, match="cannot make v0 a port of br9: there is no link br9"):
        driver.ensure(kernel, [no_bridge], {})
    with pytest.raises(KernelError, match="cannot make v9 a port of br0: ENODEV"):
        driver.ensure(kernel, [no_link], {})
    assert {no_link.key: ABSENT} == driver.observe(kernel, [no_link])
    driver.remove(kernel, [no_bridge, no_link])


def test_up_and_down(kernel: Kernel, here: NetworkNamespace) -> None:
    """Our link goes up and down; one that is not ours is not taken down."""
    driver, wanted = LinkUpDriver(), LinkUp(link=BRIDGE)
    assert {wanted.key: ABSENT} == driver.observe(kernel, [wanted])
    driver.ensure(kernel, [wanted], {})
    assert ours(wanted) == driver.observe(kernel, [wanted])
    assert "UP" in here.ip("link", "show", "br0")[0]["flags"]
    driver.remove(kernel, [wanted])
    assert "UP" in here.ip("link", "show", "br0")[0]["flags"]
    here.ip("link", "set", "br0", "alias", "jackfield:network:x")
    driver.remove(kernel, [wanted])
    assert "UP" not in here.ip("link", "show", "br0")[0]["flags"]
    here.ip("link", "del", "br0")
    assert {wanted.key: ABSENT} == driver.observe(kernel, [wanted])
    driver.remove(kernel, [wanted])
    with pytest.raises(KernelError, match="cannot bring br0 up: ENODEV"):
        driver.ensure(kernel, [wanted], {})


def entries(here: NetworkNamespace, link: str) -> dict[str, str]:
    """Return the addresses that a bridge leads to a port, with their states; not its own."""
    found = json.loads(here.run(["bridge", "-j", "fdb", "show", "brport", link]).stdout)
    return {item["mac"]: item["state"] for item in found if item["state"] != "permanent"}


def test_addresses_lead_to_the_port(kernel: Kernel, here: NetworkNamespace) -> None:
    """Entries are made for good, found, taken from where they were learned, and taken away."""
    driver, mac = BridgePortDriver(), MacAddress("52:54:00:00:00:01")
    here.ip("link", "set", "br0", "up")
    here.ip("link", "set", "v1", "up", "master", "br0")
    here.ip("link", "set", "v0", "up")
    here.run(["bridge", "fdb", "add", mac, "dev", "v1", "master", "dynamic"])
    port = dataclasses.replace(PORT, learning=False, unicast_flood=False, addresses=(mac,))
    driver.ensure(kernel, [port], {})
    assert {mac: "static"} == entries(here, "v0")
    assert ours(port) == driver.observe(kernel, [port])
    (found,) = (found for _, found in kernel.route.bridge_ports(BRIDGE) if found.link == "v0")
    assert port == found
    here.run(["bridge", "fdb", "del", mac, "dev", "v0", "master"])
    (seen,) = driver.observe(kernel, [port]).values()
    assert dataclasses.replace(port, addresses=()) == seen.resource
    driver.ensure(kernel, [port], {port.key: dataclasses.replace(port, addresses=())})
    assert {mac: "static"} == entries(here, "v0")
    driver.ensure(kernel, [PORT], {port.key: port})
    assert {} == entries(here, "v0")
    assert ours(PORT) == driver.observe(kernel, [PORT])


def test_vlans_need_a_bridge_that_filters_them(kernel: Kernel, here: NetworkNamespace) -> None:
    """What the kernel, or this bridge, does not do is refused by name, and nothing is made."""
    driver = BridgePortDriver()
    port = dataclasses.replace(PORT, vlan=Vlan(tags=(VlanTag(id=42),)))
    driver.refuse_impossible(kernel, [PORT])
    with pytest.raises(MissingFeature) as raised:
        driver.refuse_impossible(kernel, [port])
    (bridge,) = json.loads(here.run(["ip", "-d", "-j", "link", "show", "br0"]).stdout)
    if "vlan_protocol" in bridge["linkinfo"]["info_data"]:
        assert "bridge br0: that bridge does not filter VLANs" in raised.value.message
    else:
        assert "bridge br0: the kernel cannot filter VLANs on bridges" in raised.value.message
    assert raised.value.hint
    link = here.link("v0")
    assert link is not None
    assert "master" not in link


def test_a_port_of_vlans(kernel: Kernel, here: NetworkNamespace) -> None:
    """A port is in its VLANs and in no other, whatever the bridge gives its ports."""
    on = ["ip", "link", "set", "br0", "type", "bridge", "vlan_filtering", "1"]
    if here.run(on, check=False).returncode:
        pytest.skip("needs a kernel with VLAN filtering on bridges")
    driver = BridgePortDriver()
    trunk = Vlan(tags=(VlanTag(id=42), VlanTag(id=7, native_mode=NativeMode.UNTAGGED)), trunk=True)
    former: dict[str, BridgePort] = {}
    for vlan, wanted in (
        (Vlan(tags=(VlanTag(id=42),)), {42: ["PVID", "Egress Untagged"]}),
        (trunk, {42: [], 7: ["PVID", "Egress Untagged"]}),
    ):
        port = dataclasses.replace(PORT, vlan=vlan)
        driver.refuse_impossible(kernel, [port])
        driver.ensure(kernel, [port], former)
        listed = json.loads(here.run(["bridge", "-j", "vlan", "show", "dev", "v0"]).stdout)
        assert wanted == {item["vlan"]: item.get("flags", []) for item in listed[0]["vlans"]}
        assert ours(port) == driver.observe(kernel, [port])
        former = {port.key: port}
