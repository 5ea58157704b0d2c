"""The driver of guarantees on a bridge's shaping; ``tc -j`` and packets are the witnesses."""

from __future__ import annotations

import dataclasses
import json
import socket
from typing import Any

import pytest

from jackfield.errors import WrongState
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.guarantee import GuaranteeDriver
from jackfield.host.kernel import Kernel
from jackfield.host.shaping import ShapingDriver
from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.traffic import Guarantee, Shaping
from tests.lab.namespace import NetworkNamespace
from tests.lab.tc import guaranteed

pytestmark = pytest.mark.kernel

BRIDGE = InterfaceName("br0")
WHOLE = Shaping(link=BRIDGE, rate=Rate(average=1000, peak=2000, burst=512), divided=True)
ONE = Guarantee(link=BRIDGE, number=3, mac=MacAddress("52:54:00:00:00:03"), floor=300, ceiling=2000)
OTHER = dataclasses.replace(ONE, number=4, mac=MacAddress("52:54:00:00:00:04"), floor=100)


@pytest.fixture(autouse=True)
def shaped(here: NetworkNamespace, kernel: Kernel) -> None:
    """Make a bridge that is shaped."""
    here.ip("link", "add", "br0", "up", "type", "bridge")
    ShapingDriver().ensure(kernel, [WHOLE], {})


def ours(resource: Guarantee | Shaping) -> dict[str, Observed]:
    """Return what observing exactly ``resource`` gives."""
    return {resource.key: Observed(presence=Presence.OURS, resource=resource)}


def filters(here: NetworkNamespace) -> list[str]:
    """Return to which class each filter of the bridge leads."""
    found: list[dict[str, Any]] = json.loads(
        here.run(["tc", "-j", "filter", "show", "dev", "br0", "parent", "4a46:"]).stdout
    )
    return [item["options"]["flowid"] for item in found if "flowid" in item.get("options", {})]


def test_guarantees_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """Guarantees are taken from the rest, changed in place, and given back."""
    driver = GuaranteeDriver()
    assert {"1": (1000, 2000), "2": (1000, 2000)} == guaranteed(here, "br0")
    assert {ONE.key: ABSENT} == driver.observe(kernel, [ONE])
    driver.ensure(kernel, [ONE, OTHER], {})
    assert ours(ONE) | ours(OTHER) == driver.observe(kernel, [ONE, OTHER])
    whole = {"1": (1000, 2000), "2": (600, 2000), "3": (300, 2000), "4": (100, 2000)}
    assert whole == guaranteed(here, "br0")
    assert ["4a46:3", "4a46:4"] == sorted(filters(here))
    assert ours(WHOLE) == ShapingDriver().observe(kernel, [WHOLE])
    driver.ensure(kernel, [ONE, OTHER], {ONE.key: ONE, OTHER.key: OTHER})
    assert whole == guaranteed(here, "br0")

    more = dataclasses.replace(ONE, floor=500)
    driver.ensure(kernel, [more], {ONE.key: ONE})
    assert ours(more) == driver.observe(kernel, [more])
    assert (400, 2000) == guaranteed(here, "br0")["2"]
    driver.remove(kernel, [more])
    assert {"1": (1000, 2000), "2": (900, 2000), "4": (100, 2000)} == guaranteed(here, "br0")
    assert ["4a46:4"] == filters(here)
    driver.remove(kernel, [more])
    here.ip("link", "del", "br0")
    driver.remove(kernel, [OTHER])
    assert {OTHER.key: ABSENT} == driver.observe(kernel, [OTHER])


def test_a_class_of_another_guest_is_mended(kernel: Kernel, here: NetworkNamespace) -> None:
    """A class to which another guest's frames go is seen, and led to the right one."""
    driver = GuaranteeDriver()
    driver.ensure(kernel, [ONE], {})
    moved = dataclasses.replace(ONE, mac=OTHER.mac)
    assert ours(ONE) == driver.observe(kernel, [moved])
    driver.ensure(kernel, [moved], {moved.key: ONE})
    assert ours(moved) == driver.observe(kernel, [moved])
    assert ["4a46:3"] == filters(here)
    here.run(["tc", "filter", "del", "dev", "br0", "parent", "4a46:"])
    (seen,) = driver.observe(kernel, [moved]).values()
    assert moved != seen.resource
    driver.ensure(kernel, [moved], {})
    assert ours(moved) == driver.observe(kernel, [moved])


def test_another_rate_of_the_whole(kernel: Kernel, here: NetworkNamespace) -> None:
    """When the whole changes the rest does, and the guarantees stay; a wrong rest is seen."""
    driver = ShapingDriver()
    GuaranteeDriver().ensure(kernel, [ONE], {})
    changed = dataclasses.replace(WHOLE, rate=Rate(average=5000, peak=2000))
    driver.ensure(kernel, [changed], {WHOLE.key: WHOLE})
    assert {"1": (5000, 5000), "2": (4700, 5000), "3": (300, 2000)} == guaranteed(here, "br0")
    assert ours(changed) == driver.observe(kernel, [changed])
    wrong = "parent 4a46:1 classid 4a46:2 htb rate 8kbit"
    here.run(["tc", "class", "change", "dev", "br0", *wrong.split()])
    (seen,) = driver.observe(kernel, [changed]).values()
    assert changed != seen.resource
    driver.ensure(kernel, [changed], {WHOLE.key: WHOLE})
    assert (4700, 5000) == guaranteed(here, "br0")["2"]
    # More is promised than there is now: what is left over is next to nothing, not an error.
    least = dataclasses.replace(WHOLE, rate=Rate(average=100))
    driver.ensure(kernel, [least], {WHOLE.key: changed})
    assert (1, 100) == guaranteed(here, "br0")["2"]


def test_what_is_not_shaped_cannot_be_divided(kernel: Kernel, here: NetworkNamespace) -> None:
    """Without the network's shaping there is nothing to take a part of."""
    ShapingDriver().remove(kernel, [WHOLE])
    with pytest.raises(WrongState, match="br0 is not shaped"):
        GuaranteeDriver().ensure(kernel, [ONE], {})
    assert [] == here.run(["tc", "class", "show", "dev", "br0"]).stdout.splitlines()


def test_frames_go_where_they_are_promised(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace
) -> None:
    """Frames to the guest are counted in its class, of every protocol, and all others' are not."""
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "e0", "netns", str(there.path))
    here.ip("link", "set", "v0", "up", "master", "br0")
    there.ip("link", "set", "e0", "up")
    GuaranteeDriver().ensure(kernel, [ONE], {})
    with here.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("br0", 0))
        for target, kind, count in (
            (ONE.mac.packed, b"\x08\x00", 5),
            (ONE.mac.packed, b"\x86\xdd", 2),
            (ONE.mac.packed, b"\x08\x06", 1),
            (OTHER.mac.packed, b"\x08\x00", 4),
        ):
            for _ in range(count):
                sender.send(target + bytes.fromhex("525400000001") + kind + bytes(86))
    assert (8, 800) == sent(here, "3")
    assert sent(here, "2") >= (4, 400)


def sent(here: NetworkNamespace, number: str) -> tuple[int, int]:
    """Return how many frames and bytes have left a class."""
    text = here.run(["tc", "-s", "class", "show", "dev", "br0", "classid", f"4a46:{number}"]).stdout
    words = text.split()
    place = words.index("Sent")
    return int(words[place + 3]), int(words[place + 1])
