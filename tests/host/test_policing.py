"""The driver of policing; ``nft -j`` and counted frames are the witnesses."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
from pathlib import Path

import pytest

from jackfield.errors import ForeignObject
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.nft.policing import PolicingDriver
from jackfield.host.shaping import ShapingDriver
from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.links import MacvtapLink
from jackfield.state.traffic import Policing, Shaping
from tests.host.macvtaps import opened_macvtap
from tests.lab.namespace import NetworkNamespace

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("wire")]

LINK = InterfaceName("v0")
POLICING = Policing(link=LINK, rate=Rate(average=10))
MAC = MacAddress("52:54:00:00:00:07")
MACVTAP = MacvtapLink(
    name=InterfaceName("mv0"), alias="jackfield:port:x", mac=MAC, lower=LINK, mode="bridge"
)
OTHER = MacAddress("52:54:00:00:00:08")
FRAMES = 100
FRAME = MAC.packed + OTHER.packed + b"\x88\xb5" + bytes(1010)
ANSWER = OTHER.packed + MAC.packed + b"\x88\xb5" + bytes(1010)
KIB = 1024


def ours(resource: Policing) -> dict[str, Observed]:
    """Return what observing exactly ``resource`` gives."""
    return {resource.key: Observed(presence=Presence.OURS, resource=resource)}


def dropped(here: NetworkNamespace, link: str = LINK) -> int:
    """Return how many frames the limit of a device has dropped."""
    text = here.run(["nft", "list", "chain", "netdev", "jackfield-police", link]).stdout
    found = re.search(r"counter packets (\d+)", text)
    assert found is not None
    return int(found[1])


def test_policings_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """Policing is made, found as it was wanted, changed, and removed with its table."""
    driver = PolicingDriver()
    driver.refuse_impossible(kernel, [POLICING])
    assert [] == here.tables()
    assert {POLICING.key: ABSENT} == driver.observe(kernel, [POLICING])
    driver.ensure(kernel, [POLICING], {})
    assert ours(POLICING) == driver.observe(kernel, [POLICING])
    driver.ensure(kernel, [POLICING], {POLICING.key: POLICING})
    assert ours(POLICING) == driver.observe(kernel, [POLICING])
    changed = Policing(link=LINK, rate=Rate(average=2000, peak=9000, burst=5000))
    (seen,) = driver.observe(kernel, [changed]).values()
    assert POLICING == seen.resource
    driver.ensure(kernel, [changed], {POLICING.key: POLICING})
    assert ours(changed) == driver.observe(kernel, [changed])
    driver.remove(kernel, [changed])
    assert [] == here.tables()
    driver.remove(kernel, [changed])


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (Rate(average=1000), "limit rate over 1000 kbytes/second counter"),
        # nft's bucket holds a second of the rate besides: 3000 KiB in all.
        (Rate(average=1000, burst=3000), "limit rate over 1000 kbytes/second burst 2000 kbytes"),
        (Rate(average=1000, burst=64), "limit rate over 1000 kbytes/second counter"),
        (Rate(average=4_194_304), "limit rate over 4 gbytes/second counter"),
        # 400 Gbit/s, and the most that a document can say, are more than the kernel counts.
        (Rate(average=48_828_125), "limit rate over 17 gbytes/second counter"),
        (Rate(average=2**51 - 1, burst=2**51 - 1), "limit rate over 17 gbytes/second counter"),
        (Rate(average=17_000_000, burst=2**40), "limit rate over 17000000 kbytes/second burst"),
    ],
)
def test_rates_as_nft_shows_them(
    kernel: Kernel, here: NetworkNamespace, rate: Rate, words: str
) -> None:
    """KiB a second, and libvirt's burst."""
    PolicingDriver().ensure(kernel, [Policing(link=LINK, rate=rate)], {})
    text = here.run(["nft", "list", "ruleset"]).stdout
    text = text.replace("4096 mbytes", "4 gbytes").replace("17408 mbytes", "17 gbytes")
    assert words in text
    assert 'type filter hook ingress device "v0" priority filter; policy accept;' in text


def test_what_is_too_much_is_dropped(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace
) -> None:
    """A second's worth comes in at once, the rest is dropped; other devices are not touched."""
    PolicingDriver().ensure(kernel, [POLICING], {})
    with here.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as heard:
        heard.bind(("v0", 0))
        with there.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("e0", 0))
            for _ in range(FRAMES):
                sender.send(FRAME)
    assert 80 <= dropped(here) <= 91


@pytest.mark.parametrize("command", ["flush ruleset", "delete chain netdev jackfield-police v0"])
def test_what_somebody_removed_is_absent(
    kernel: Kernel, here: NetworkNamespace, command: str
) -> None:
    """Rules that are gone are seen, and made again."""
    driver = PolicingDriver()
    driver.ensure(kernel, [POLICING], {})
    if "delete" in command:
        here.run(["nft", "flush", "chain", "netdev", "jackfield-police", "v0"])
        assert {POLICING.key: ABSENT} == driver.observe(kernel, [POLICING])
    here.run(["nft", command])
    assert {POLICING.key: ABSENT} == driver.observe(kernel, [POLICING])
    driver.ensure(kernel, [POLICING], {})
    assert ours(POLICING) == driver.observe(kernel, [POLICING])


def test_a_device_that_went_leaves_nothing(kernel: Kernel, here: NetworkNamespace) -> None:
    """The chain of a device that is gone is removed as well."""
    driver = PolicingDriver()
    driver.ensure(kernel, [POLICING], {})
    here.ip("link", "del", "v0")
    driver.remove(kernel, [POLICING])
    assert [] == here.tables()


def test_a_foreign_table_is_left_alone(kernel: Kernel, here: NetworkNamespace) -> None:
    """A table of our name without our mark is named, and neither used nor deleted."""
    here.run(["nft", "add", "table", "netdev", "jackfield-police"])
    driver = PolicingDriver()
    (seen,) = driver.observe(kernel, [POLICING]).values()
    assert Presence.FOREIGN is seen.presence
    with pytest.raises(ForeignObject, match="netdev jackfield-police"):
        driver.ensure(kernel, [POLICING], {})
    driver.remove(kernel, [POLICING])
    assert ["netdev jackfield-police"] == here.tables()


def test_a_macvtaps_guest_gets_what_comes_in(
    kernel: Kernel, there: NetworkNamespace, here: NetworkNamespace, tmp_path: Path
) -> None:
    """To its guest frames come in by the macvtap: policing holds them to the rate."""
    with opened_macvtap(kernel, here, tmp_path / "node", MACVTAP) as descriptor:
        policing = dataclasses.replace(POLICING, link=InterfaceName("mv0"))
        PolicingDriver().ensure(kernel, [policing], {})
        with there.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind(("e0", 0))
            for _ in range(FRAMES):
                sender.send(FRAME)
        got = 0
        with contextlib.suppress(BlockingIOError):
            while os.read(descriptor, 2000):
                got += 1
        assert FRAMES - got == dropped(here, "mv0")
        assert 9 <= got <= 20
        PolicingDriver().remove(kernel, [policing])


def test_a_macvtaps_guest_sends_what_leaves(
    kernel: Kernel, there: NetworkNamespace, here: NetworkNamespace, tmp_path: Path
) -> None:
    """From its guest frames leave by the macvtap: shaping lets them wait."""
    with (
        opened_macvtap(kernel, here, tmp_path / "node", MACVTAP) as descriptor,
        there.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5)) as wire,
    ):
        wire.bind(("e0", 0x88B5))
        wire.setblocking(False)
        shaping = Shaping(link=InterfaceName("mv0"), rate=Rate(average=10, burst=5))
        ShapingDriver().ensure(kernel, [shaping], {})
        for _ in range(FRAMES // 2):
            os.write(descriptor, ANSWER)
        arrived = 0
        with contextlib.suppress(BlockingIOError):
            while wire.recv(2000):
                arrived += 1
        statistics = here.run(["tc", "-s", "class", "show", "dev", "mv0"]).stdout
        backlog = re.search(r"backlog (\S+) (\d+)p", statistics)
        assert backlog is not None
        assert 4 <= arrived <= 20
        assert int(backlog[2]) >= 20
