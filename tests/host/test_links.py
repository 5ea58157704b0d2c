"""Drivers of bridges, taps and veths against the kernel; ``ip -j -d`` is the witness."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jackfield.errors import ForeignObject, KernelError, NotFound, WrongState
from jackfield.host.bridge import BridgeDriver
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.links import LinkDriver
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.socket import Refusal
from jackfield.host.tap import TapDriver
from jackfield.host.veth import VethDriver, create_pair_from_here
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import BridgeLink, TapLink, VethLink
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

ALIAS = "jackfield:network:6f1e1a3c-8e1b-4d5a-9a55-1c1a5d3c7a11"
OTHER = "jackfield:network:00000000-8e1b-4d5a-9a55-1c1a5d3c7a11"

BRIDGE = BridgeLink(
    name=InterfaceName("virbr0"), alias=ALIAS, mac=MacAddress("52:54:00:aa:bb:cc"), mtu=1400
)
TAP = TapLink(
    name=InterfaceName("tap0"), alias=ALIAS, mac=MacAddress("fe:54:00:aa:bb:cc"), mtu=1400
)


LONELY = VethLink(
    name=InterfaceName("jf0"),
    alias=ALIAS,
    mac=None,
    peer_name=InterfaceName("eth0"),
    peer_netns="",
    peer_mac=MacAddress("52:54:00:aa:bb:cc"),
)


def veth(there: NetworkNamespace, **changes: Any) -> VethLink:
    """Return a veth whose peer is ``eth0`` in ``there``."""
    wanted = VethLink(
        name=InterfaceName("jf0"),
        alias=ALIAS,
        mac=MacAddress("fe:54:00:aa:bb:cc"),
        peer_name=InterfaceName("eth0"),
        peer_netns=str(there.path),
        peer_mac=MacAddress("52:54:00:aa:bb:cc"),
        mtu=1400,
    )
    return dataclasses.replace(wanted, **changes)


def ours(resource: BridgeLink | TapLink | VethLink) -> dict[str, Observed]:
    """Return what observing exactly ``resource`` gives."""
    return {resource.key: Observed(presence=Presence.OURS, resource=resource)}


def link(namespace: NetworkNamespace, name: str) -> dict[str, Any]:
    """Return what ``ip -j -d`` says of a link that must be there."""
    found = namespace.link(name)
    assert found is not None
    return found


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def check_life(driver: LinkDriver[Any], kernel: Kernel, resources: Sequence[Any]) -> None:
    """Make, look at, make again, and remove twice."""
    absent = {resource.key: ABSENT for resource in resources}
    expected: dict[str, Observed] = {}
    for resource in resources:
        expected |= ours(resource)
    assert absent == driver.observe(kernel, resources)
    driver.ensure(kernel, resources, {})
    assert expected == driver.observe(kernel, resources)
    driver.ensure(kernel, resources, {})
    driver.ensure(kernel, resources, {resource.key: resource for resource in resources})
    assert expected == driver.observe(kernel, resources)
    driver.remove(kernel, resources)
    assert absent == driver.observe(kernel, resources)
    driver.remove(kernel, resources)


def test_a_bridges_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """A bridge is made, found as it was wanted, made again without a change, and removed."""
    check_life(BridgeDriver(), kernel, [BRIDGE])
    others = [
        dataclasses.replace(BRIDGE, name=InterfaceName(f"b{number}"), mtu=None, mac=None)
        for number in range(3)
    ]
    check_life(BridgeDriver(), kernel, others)
    assert {"lo"} == here.links()


def test_a_bridge_as_the_kernel_shows_it(kernel: Kernel, here: NetworkNamespace) -> None:
    """Name, alias, address, size and options are those asked for; it is down."""
    BridgeDriver().ensure(kernel, [dataclasses.replace(BRIDGE, stp=True, forward_delay=7)], {})
    found = link(here, "virbr0")
    assert (ALIAS, "52:54:00:aa:bb:cc", 1400) == (
        found["ifalias"],
        found["address"],
        found["mtu"],
    )
    assert ("DOWN", "default") == (found["operstate"], found["group"])
    assert "UP" not in found["flags"]
    data = found["linkinfo"]["info_data"]
    assert (1, 700) == (data["stp_state"], data["forward_delay"])


def test_a_crash_leaves_no_link_without_a_mark(
    kernel: Kernel, there: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the very first send the link is ours, and removed as such."""
    drivers: list[tuple[LinkDriver[Any], Any]] = [
        (BridgeDriver(), BRIDGE),
        (TapDriver(), TAP),
        (VethDriver(), veth(there)),
    ]
    original = kernel.route.batch
    sends = 0

    def crash(messages: Sequence[Message], *, atomic: bool = False) -> list[Refusal]:
        nonlocal sends
        sends += 1
        if sends > 1:
            raise KeyboardInterrupt
        return original(messages, atomic=atomic)

    for driver, resource in drivers:
        sends = 0
        with monkeypatch.context() as patch:
            patch.setattr(kernel.route, "batch", crash)
            with contextlib.suppress(KeyboardInterrupt):
                driver.ensure(kernel, [resource], {})
        assert sends > 0
        (seen,) = driver.observe(kernel, [resource]).values()
        assert Presence.OURS is seen.presence
        driver.remove(kernel, [resource])
        assert {resource.key: ABSENT} == driver.observe(kernel, [resource])


def test_a_link_that_comes_between_is_not_marked(kernel: Kernel, here: NetworkNamespace) -> None:
    """A link that appears after we looked keeps its alias, group and size: ours is refused."""
    here.ip("link", "add", "virbr0", "type", "bridge")
    here.ip("link", "set", "virbr0", "group", "5", "alias", "somebody's")
    with pytest.raises(ForeignObject):
        BridgeDriver().ensure(kernel, [BRIDGE], {})
    found = link(here, "virbr0")
    assert ("somebody's", "5", 1500) == (found["ifalias"], found["group"], found["mtu"])


def test_a_bridges_size_stays_when_ports_come(kernel: Kernel, here: NetworkNamespace) -> None:
    """The MTU that was asked for is not overruled by a port's."""
    BridgeDriver().ensure(kernel, [BRIDGE], {})
    here.ip("link", "add", "v0", "mtu", "1300", "type", "veth", "peer", "name", "v1")
    here.ip("link", "set", "v0", "master", "virbr0")
    assert 1400 == link(here, "virbr0")["mtu"]


@pytest.mark.parametrize("delay", [0, 2, 30, 0xFFFF_FFFF])
@pytest.mark.parametrize("stp", [True, False])
def test_every_delay_is_satisfied(kernel: Kernel, delay: int, stp: bool) -> None:
    """STP does not allow every delay: the nearest it allows counts as the one wanted."""
    wanted = dataclasses.replace(BRIDGE, stp=stp, forward_delay=delay)
    BridgeDriver().ensure(kernel, [wanted], {})
    assert ours(wanted) == BridgeDriver().observe(kernel, [wanted])


@pytest.mark.parametrize(
    "changes",
    [
        {"stp": True},
        {"stp": True, "forward_delay": 9},
        {"forward_delay": 9},
        {"mac": MacAddress("52:54:00:00:00:01")},
        {"mtu": 1300},
    ],
)
def test_a_bridge_is_changed_in_place(
    kernel: Kernel, here: NetworkNamespace, changes: dict[str, Any]
) -> None:
    """A change there and back again keeps the device."""
    driver = BridgeDriver()
    driver.ensure(kernel, [BRIDGE], {})
    index = kernel.route.index("virbr0")
    changed = dataclasses.replace(BRIDGE, **changes)
    assert ours(BRIDGE) == driver.observe(kernel, [changed])
    driver.ensure(kernel, [changed], {BRIDGE.key: BRIDGE})
    assert ours(changed) == driver.observe(kernel, [changed])
    driver.ensure(kernel, [BRIDGE], {BRIDGE.key: changed})
    assert ours(BRIDGE) == driver.observe(kernel, [BRIDGE])
    assert index == kernel.route.index("virbr0")


def test_the_equal_sends_nothing(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, there: NetworkNamespace
) -> None:
    """Making so what is so already sends no message."""
    resources: list[tuple[LinkDriver[Any], BridgeLink | TapLink | VethLink]] = [
        (BridgeDriver(), BRIDGE),
        (TapDriver(), TAP),
        (VethDriver(), veth(there)),
    ]
    for driver, resource in resources:
        driver.ensure(kernel, [resource], {})
    sent: list[Message] = []

    def record(messages: Sequence[Message]) -> list[Refusal]:
        sent.extend(messages)
        return []

    monkeypatch.setattr(kernel.route, "try_all", record)
    for driver, resource in resources:
        driver.ensure(kernel, [resource], {resource.key: resource})
    assert [] == sent


@pytest.mark.parametrize("alias", ["", OTHER, "somebody's"])
def test_a_foreign_bridge_is_left_alone(kernel: Kernel, here: NetworkNamespace, alias: str) -> None:
    """A bridge without our mark is described, not adopted, changed or removed."""
    here.ip("link", "add", "virbr0", "type", "bridge")
    if alias:
        here.ip("link", "set", "virbr0", "alias", alias)
    before = link(here, "virbr0")
    driver = BridgeDriver()
    (seen,) = driver.observe(kernel, [BRIDGE]).values()
    assert Presence.FOREIGN is seen.presence
    assert f"bridge virbr0, index {before['ifindex']}" in seen.description
    assert alias in seen.description
    with pytest.raises(ForeignObject, match="virbr0"):
        driver.ensure(kernel, [BRIDGE], {})
    driver.remove(kernel, [BRIDGE])
    after = link(here, "virbr0")
    for volatile in ("linkinfo", "stats64"):
        before.pop(volatile, None)
        after.pop(volatile, None)
    assert before == after


def test_a_foreign_link_of_another_kind(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace
) -> None:
    """A link of the name but of another kind is foreign, even with our alias."""
    here.ip("link", "add", "virbr0", "type", "veth", "peer", "name", "jf0")
    here.ip("link", "add", "tap0", "type", "bridge")
    for name in ("virbr0", "tap0"):
        here.ip("link", "set", name, "alias", ALIAS)
    drivers: list[tuple[LinkDriver[Any], Any]] = [
        (BridgeDriver(), BRIDGE),
        (TapDriver(), TAP),
        (VethDriver(), veth(there)),
    ]
    for driver, resource in drivers:
        (seen,) = driver.observe(kernel, [resource]).values()
        assert Presence.FOREIGN is seen.presence
        with pytest.raises(ForeignObject):
            driver.ensure(kernel, [resource], {})
        driver.remove(kernel, [resource])
    assert {"lo", "virbr0", "jf0", "tap0"} == here.links()
    assert set() == there.links() - {"lo"}


def test_a_claimed_bridge_is_ours(kernel: Kernel, here: NetworkNamespace) -> None:
    """Unmarked, of the right kind and address, and claimed: ours, and then it gets its mark."""
    here.ip("link", "add", "virbr0", "address", str(BRIDGE.mac), "type", "bridge")
    driver = BridgeDriver()
    (seen,) = driver.observe(kernel, [BRIDGE], {BRIDGE.key}).values()
    assert Presence.OURS is seen.presence
    assert isinstance(seen.resource, BridgeLink)
    assert "" == seen.resource.alias
    driver.ensure(kernel, [BRIDGE], {BRIDGE.key: seen.resource})
    driver_sees = driver.observe(kernel, [dataclasses.replace(BRIDGE, forward_delay=15)])
    assert Presence.OURS is driver_sees[BRIDGE.key].presence
    assert ALIAS == link(here, "virbr0")["ifalias"]


def test_a_claim_needs_the_address(kernel: Kernel, here: NetworkNamespace) -> None:
    """A claimed name with another address, or another's mark, is foreign all the same."""
    here.ip("link", "add", "virbr0", "address", "52:54:00:00:00:01", "type", "bridge")
    (seen,) = BridgeDriver().observe(kernel, [BRIDGE], {BRIDGE.key}).values()
    assert Presence.FOREIGN is seen.presence
    here.ip("link", "set", "virbr0", "address", str(BRIDGE.mac), "alias", OTHER)
    (seen,) = BridgeDriver().observe(kernel, [BRIDGE], {BRIDGE.key}).values()
    assert Presence.FOREIGN is seen.presence


def test_one_bad_bridge_does_not_leave_the_others_unmarked(
    kernel: Kernel, here: NetworkNamespace
) -> None:
    """When one of many is refused, those that were made carry our mark."""
    here.ip("link", "add", "b1", "type", "bridge")
    bridges = [dataclasses.replace(BRIDGE, name=InterfaceName(f"b{number}")) for number in range(3)]
    with pytest.raises(ForeignObject, match="b1"):
        BridgeDriver().ensure(kernel, bridges, {})
    assert [ALIAS, None, ALIAS] == [link(here, f"b{n}").get("ifalias") for n in range(3)]
    BridgeDriver().remove(kernel, bridges)
    assert {"lo", "b1"} == here.links()


def test_a_taps_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """Taps of one and several queues, owned or not, one and many."""
    check_life(TapDriver(), kernel, [TAP])
    check_life(TapDriver(), kernel, [dataclasses.replace(TAP, owner=64055, queues=4)])
    many = [
        TapLink(name=InterfaceName(f"tap{number}"), alias=ALIAS, mac=None) for number in range(150)
    ]
    check_life(TapDriver(), kernel, many)
    assert {"lo"} == here.links()


def test_a_tap_as_the_kernel_shows_it(kernel: Kernel, here: NetworkNamespace) -> None:
    """The tap is persistent, marked, with virtio headers and without packet information."""
    before = open_descriptors()
    TapDriver().ensure(kernel, [dataclasses.replace(TAP, owner=64055)], {})
    assert before == open_descriptors()
    found = link(here, "tap0")
    assert (ALIAS, "fe:54:00:aa:bb:cc", 1400) == (
        found["ifalias"],
        found["address"],
        found["mtu"],
    )
    data = found["linkinfo"]["info_data"]
    assert {
        "type": "tap",
        "pi": False,
        "vnet_hdr": True,
        "persist": True,
        "multi_queue": False,
    } == {key: data[key] for key in ("type", "pi", "vnet_hdr", "persist", "multi_queue")}
    assert 64055 == int(data["user"])


def test_a_tap_that_a_guest_holds(kernel: Kernel, here: NetworkNamespace) -> None:
    """A tap in use can be opened by its name, changed, and removed under its user."""
    TapDriver().ensure(kernel, [TAP], {})
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, 0x400454CA, struct.pack("=16sH22x", b"tap0", 0x5002))
        changed = dataclasses.replace(TAP, mtu=1300)
        TapDriver().ensure(kernel, [changed], {TAP.key: TAP})
        assert 1300 == link(here, "tap0")["mtu"]
        with pytest.raises(KernelError, match="EBUSY"):
            TapDriver().ensure(kernel, [dataclasses.replace(changed, owner=1)], {TAP.key: changed})
        TapDriver().remove(kernel, [TAP])
        assert {"lo"} == here.links()
    finally:
        os.close(descriptor)


def test_a_taps_owner_is_changed_in_place(kernel: Kernel) -> None:
    """An owner is set and changed on the same device; to take it away is refused."""
    driver, present = TapDriver(), TAP
    driver.ensure(kernel, [present], {})
    index = kernel.route.index("tap0")
    for owner in (1000, 1001, (1 << 32) - 2):
        wanted = dataclasses.replace(TAP, owner=owner)
        driver.ensure(kernel, [wanted], {TAP.key: present})
        assert ours(wanted) == driver.observe(kernel, [wanted])
        present = wanted
    with pytest.raises(WrongState, match="user 4294967294 owns it"):
        driver.ensure(kernel, [TAP], {TAP.key: present})
    assert index == kernel.route.index("tap0")


def test_a_tap_cannot_become_multiqueue(kernel: Kernel) -> None:
    """The kernel has no way to do it, and we do not take a guest's tap away."""
    TapDriver().ensure(kernel, [TAP], {})
    several = dataclasses.replace(TAP, queues=2)
    (seen,) = TapDriver().observe(kernel, [several]).values()
    assert TAP == seen.resource
    with pytest.raises(WrongState, match="tap0"):
        TapDriver().ensure(kernel, [several], {TAP.key: TAP})


def test_a_veths_life(kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace) -> None:
    """A pair is made, found, and removed with its far end."""
    check_life(VethDriver(), kernel, [veth(there)])
    check_life(VethDriver(), kernel, [veth(there, mac=None, mtu=None)])
    assert {"lo"} == here.links() | there.links()


@pytest.mark.parametrize("from_here", [False, True])
def test_a_veth_as_the_kernel_shows_it(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace, from_here: bool
) -> None:
    """Both ways of making a pair end with the same: near end marked, far end up inside."""
    wanted = veth(there)
    own = Path("/proc/thread-self/ns/net").stat().st_ino
    if from_here:
        with there.path.open("rb") as namespace:
            create_pair_from_here(kernel.route, wanted, namespace.fileno())
    else:
        VethDriver().ensure(kernel, [wanted], {})
        assert "default" == link(here, "jf0")["group"]
    assert ALIAS == link(here, "jf0")["ifalias"]
    assert own == Path("/proc/thread-self/ns/net").stat().st_ino
    near, far = link(here, "jf0"), link(there, "eth0")
    assert ("fe:54:00:aa:bb:cc", 1400) == (near["address"], near["mtu"])
    assert ("52:54:00:aa:bb:cc", 1400) == (far["address"], far["mtu"])
    assert "UP" in far["flags"]
    assert {"lo", "jf0"} == here.links()
    assert {"lo", "eth0"} == there.links()


def test_the_host_may_have_a_link_of_the_peers_name(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace
) -> None:
    """The host's own eth0 is not in the way of a guest's, nor changed."""
    here.ip("link", "add", "eth0", "address", "52:54:00:00:00:09", "type", "bridge")
    VethDriver().ensure(kernel, [veth(there)], {})
    assert "52:54:00:00:00:09" == link(here, "eth0")["address"]
    assert "52:54:00:aa:bb:cc" == link(there, "eth0")["address"]


def test_an_older_kernel_wants_the_near_end_first(
    kernel: Kernel,
    here: NetworkNamespace,
    there: NetworkNamespace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the kernel takes the host's own eth0 for the guest's, the pair is made from here."""
    here.ip("link", "add", "eth0", "type", "bridge")
    original = kernel.route.batch
    sends = 0

    def refuse_first(messages: Sequence[Message], *, atomic: bool = False) -> list[Refusal]:
        nonlocal sends
        sends += 1
        if sends == 1:
            return [Refusal("cannot create: EEXIST", errno=errno.EEXIST)]
        return original(messages, atomic=atomic)

    monkeypatch.setattr(kernel.route, "batch", refuse_first)
    wanted = veth(there)
    VethDriver().ensure(kernel, [wanted], {})
    assert ours(wanted) == VethDriver().observe(kernel, [wanted])
    assert "UP" in link(there, "eth0")["flags"]


@pytest.mark.parametrize("names", [("lo",), ("lo", "eth0")])
def test_the_peers_name_is_taken(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace, names: tuple[str, ...]
) -> None:
    """A device of the peer's name in the namespace is an error that says so, if here too."""
    there.ip("link", "add", "eth0", "type", "bridge")
    for name in set(names) - {"lo"}:
        here.ip("link", "add", name, "type", "bridge")
    with pytest.raises(ForeignObject, match=f"{there.path} has an interface eth0 already"):
        VethDriver().ensure(kernel, [veth(there)], {})
    assert set(names) == here.links()


def test_the_namespace_is_missing(kernel: Kernel, here: NetworkNamespace, tmp_path: Path) -> None:
    """A namespace file that does not exist, or is none, is an error that names it."""
    there = tmp_path / "nothing"
    wanted = dataclasses.replace(LONELY, peer_netns=str(there), name=InterfaceName("jf0"))
    with pytest.raises(NotFound, match=str(there)):
        VethDriver().ensure(kernel, [wanted], {})
    there.write_text("")
    with pytest.raises(NotFound, match="cannot create veth jf0") as caught:
        VethDriver().ensure(kernel, [wanted], {})
    assert f"rm {there}" in (caught.value.hint or "")
    assert {"lo"} == here.links()


def test_a_veth_that_leads_elsewhere_is_made_anew(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace
) -> None:
    """When the far end must be in another namespace, the pair is replaced."""
    driver = VethDriver()
    driver.ensure(kernel, [veth(there)], {})
    with NetworkNamespace("elsewhere") as elsewhere:
        moved = veth(elsewhere)
        (seen,) = driver.observe(kernel, [moved]).values()
        assert isinstance(seen.resource, VethLink)
        assert moved != seen.resource
        driver.ensure(kernel, [moved], {moved.key: seen.resource})
        assert ours(moved) == driver.observe(kernel, [moved])
        assert {"lo"} == there.links()
        assert {"lo", "eth0"} == elsewhere.links()
        driver.remove(kernel, [moved])


def test_a_veth_within_one_namespace(kernel: Kernel, here: NetworkNamespace) -> None:
    """The far end may be in our own namespace, under its name."""
    wanted = veth(here)
    check_life(VethDriver(), kernel, [wanted])


def test_a_veth_is_changed_in_place(kernel: Kernel, there: NetworkNamespace) -> None:
    """Address, size and mark of the near end change without a new pair."""
    driver, wanted = VethDriver(), veth(there)
    driver.ensure(kernel, [wanted], {})
    index = kernel.route.index("jf0")
    changed = veth(there, mtu=1300, mac=MacAddress("fe:54:00:00:00:02"))
    driver.ensure(kernel, [changed], {wanted.key: wanted})
    assert ours(changed) == driver.observe(kernel, [changed])
    assert index == kernel.route.index("jf0")
