"""The driver of shaping; ``tc -j`` and packets are the witnesses."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import socket
import struct
from typing import Any

import pytest

from jackfield.errors import ForeignObject
from jackfield.host import shaping
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.filter import add_checksum_filter
from jackfield.host.netlink.message import Message, attribute_list, attributes
from jackfield.host.netlink.traffic import ask_for_clsact
from jackfield.host.shaping import ShapingDriver
from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName
from jackfield.state.traffic import Shaping
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

SHAPING = Shaping(
    link=InterfaceName("br0"), rate=Rate(average=1000, peak=5000, burst=5120), checksum_dhcp=True
)


@pytest.fixture(autouse=True)
def bridge(here: NetworkNamespace) -> None:
    """Make a bridge."""
    here.ip("link", "add", "br0", "up", "type", "bridge")


def ours(resource: Shaping) -> dict[str, Observed]:
    """Return what observing exactly ``resource`` gives."""
    return {resource.key: Observed(presence=Presence.OURS, resource=resource)}


def qdiscs(here: NetworkNamespace, link: str = "br0") -> list[dict[str, Any]]:
    """Return what tc(8) says of the qdiscs of the bridge, but the kernel's own."""
    found = json.loads(here.run(["tc", "-j", "qdisc", "show", "dev", link]).stdout)
    return [entry for entry in found if entry["kind"] != "noqueue"]


def shaped(here: NetworkNamespace) -> str:
    """Return tc(8)'s line about the bridge's class, bursts in bits left out."""
    return here.run(["tc", "class", "show", "dev", "br0"]).stdout.strip()


def test_shapings_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """Shaping is made, found as it was wanted, made again, and removed."""
    driver = ShapingDriver()
    assert {SHAPING.key: ABSENT} == driver.observe(kernel, [SHAPING])
    driver.ensure(kernel, [SHAPING], {})
    assert ours(SHAPING) == driver.observe(kernel, [SHAPING])
    driver.ensure(kernel, [SHAPING], {SHAPING.key: SHAPING})
    assert ours(SHAPING) == driver.observe(kernel, [SHAPING])
    driver.remove(kernel, [SHAPING])
    assert [] == qdiscs(here)
    driver.remove(kernel, [SHAPING])
    here.ip("link", "del", "br0")
    assert {SHAPING.key: ABSENT} == driver.observe(kernel, [SHAPING])
    driver.remove(kernel, [SHAPING])


def test_a_link_that_goes_meanwhile(
    kernel: Kernel, here: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nothing, and nothing is to be removed from it."""
    driver = ShapingDriver()
    link, index = kernel.route.links([SHAPING.link]), kernel.route.index(SHAPING.link)
    here.ip("link", "del", "br0")
    monkeypatch.setattr(kernel.route, "links", lambda _: link)
    monkeypatch.setattr(kernel.route, "index", lambda _: index)
    assert {SHAPING.key: ABSENT} == driver.observe(kernel, [SHAPING])
    driver.remove(kernel, [SHAPING])


@pytest.mark.parametrize(
    ("rate", "words", "burst"),
    [
        (Rate(average=1000, peak=5000, burst=5120), "rate 8192Kbit ceil 40960Kbit", 5 << 20),
        (Rate(average=1000), "rate 8192Kbit ceil 8192Kbit", 2623),
        (Rate(average=1, burst=1), "rate 8192bit ceil 8192bit", 1600),
        (Rate(average=10_000_000, peak=20_000_000), "rate 81920Mbit ceil 163840Mbit", 10_000 << 10),
    ],
)
def test_rates_as_the_kernel_shows_them(
    kernel: Kernel, here: NetworkNamespace, rate: Rate, words: str, burst: int
) -> None:
    """KiB a second become bits; without a peak there is none; rates above 32 bits fit."""
    wanted = dataclasses.replace(SHAPING, rate=rate)
    ShapingDriver().ensure(kernel, [wanted], {})
    found = re.search(r"(rate \S+ ceil \S+) burst (\d+)(b|Kb|Mb)", shaped(here))
    assert found is not None
    assert words == found[1]
    # The kernel keeps a burst as a time, which tc(8) makes bytes again.
    shown = int(found[2]) << {"b": 0, "Kb": 10, "Mb": 20}[found[3]]
    assert pytest.approx(burst, rel=2e-4) == shown
    seen = ShapingDriver().observe(kernel, [dataclasses.replace(wanted, checksum_dhcp=False)])
    resource = seen[wanted.key].resource
    assert isinstance(resource, Shaping)
    assert rate == resource.rate


def test_a_rate_is_changed_in_place(kernel: Kernel, here: NetworkNamespace) -> None:
    """A new rate takes the place of the old one in the same queue."""
    driver = ShapingDriver()
    driver.ensure(kernel, [SHAPING], {})
    changed = dataclasses.replace(SHAPING, rate=Rate(average=2000))
    (seen,) = driver.observe(kernel, [changed]).values()
    assert seen.resource == dataclasses.replace(
        SHAPING, rate=Rate(average=1000, peak=5000, burst=5120)
    )
    (before,) = qdiscs(here)
    driver.ensure(kernel, [changed], {SHAPING.key: SHAPING})
    assert [before] == qdiscs(here)
    assert "rate 16384Kbit ceil 16384Kbit" in shaped(here)
    assert ours(changed) == driver.observe(kernel, [changed])
    without = dataclasses.replace(SHAPING, rate=None)
    driver.ensure(kernel, [without], {SHAPING.key: changed})
    assert ours(without) == driver.observe(kernel, [without])
    assert "htb" not in {entry["kind"] for entry in qdiscs(here)}


@pytest.mark.parametrize("divided", [False, True])
def test_a_queue_with_another_default_class_is_made_anew(
    kernel: Kernel, here: NetworkNamespace, divided: bool
) -> None:
    """With our handle and classes, but traffic that goes to no class, there is no limit."""
    driver = ShapingDriver()
    wanted = dataclasses.replace(SHAPING, divided=divided)
    former = dataclasses.replace(SHAPING, divided=not divided)
    driver.ensure(kernel, [former], {})
    (seen,) = driver.observe(kernel, [wanted]).values()
    assert dataclasses.replace(wanted, rate=None) == seen.resource
    driver.ensure(kernel, [wanted], {wanted.key: former})
    assert ours(wanted) == driver.observe(kernel, [wanted])
    (htb,) = (entry for entry in qdiscs(here) if entry["kind"] == "htb")
    assert ("0x2" if divided else "0x1") == htb["options"]["default"]


def test_a_foreign_qdisc_is_left_alone(kernel: Kernel, here: NetworkNamespace) -> None:
    """A root qdisc that somebody else put there is described and stays."""
    here.run(["tc", "qdisc", "add", "dev", "br0", "root", "handle", "1:", "htb"])
    (seen,) = ShapingDriver().observe(kernel, [SHAPING]).values()
    assert Presence.FOREIGN is seen.presence
    assert "qdisc htb 1: on bridge br0" in seen.description
    ShapingDriver().remove(kernel, [SHAPING])
    assert ["1:"] == [entry["handle"] for entry in qdiscs(here)]


def test_a_foreign_qdisc_where_ours_was(kernel: Kernel, here: NetworkNamespace) -> None:
    """It is named before anything is changed; without a rate it is no business of ours."""
    driver = ShapingDriver()
    wanted = dataclasses.replace(SHAPING, checksum_dhcp=False)
    driver.ensure(kernel, [wanted], {})
    driver.refuse_impossible(kernel, [wanted])
    here.run(["tc", "qdisc", "replace", "dev", "br0", "root", "handle", "7:", "pfifo"])
    with pytest.raises(ForeignObject, match="qdisc pfifo 7: on bridge br0") as caught:
        driver.refuse_impossible(kernel, [wanted])
    assert "tc qdisc del dev br0 root" in str(caught.value.hint)
    without = dataclasses.replace(wanted, rate=None)
    driver.refuse_impossible(kernel, [without])
    driver.ensure(kernel, [without], {wanted.key: wanted})
    assert ours(without) == driver.observe(kernel, [without])
    assert ["7:"] == [entry["handle"] for entry in qdiscs(here)]


def test_traffic_is_held_to_the_rate(
    kernel: Kernel, here: NetworkNamespace, there: NetworkNamespace
) -> None:
    """What is sent at once beyond the burst is queued by the class, and counted there."""
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "e0", "netns", str(there.path))
    here.ip("link", "set", "v0", "up", "master", "br0")
    there.ip("link", "set", "e0", "up")
    here.ip("address", "add", "10.0.0.1/24", "dev", "br0")
    here.ip("neighbour", "add", "10.0.0.2", "lladdr", "52:54:00:00:00:02", "dev", "br0")
    ShapingDriver().ensure(kernel, [dataclasses.replace(SHAPING, rate=Rate(average=10))], {})
    with here.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(20):
            sender.sendto(bytes(1000), ("10.0.0.2", 9))
    statistics = here.run(["tc", "-s", "class", "show", "dev", "br0"]).stdout
    backlog = re.search(r"backlog (\S+) (\d+)p", statistics)
    assert backlog is not None
    assert int(backlog[2]) > 10


def test_the_checksum_filter_is_what_tc_sends(here: NetworkNamespace) -> None:
    """Our request holds the attributes that tc(8) sends for the same words."""
    words = "egress protocol ip prio 68 u32 match ip protocol 17 0xff match ip dport 68 0xffff"
    here.run(["tc", "qdisc", "add", "dev", "br0", "clsact"])
    action = "action csum ip and udp"
    command = ["tc", "filter", "add", "dev", "br0", *words.split(), *action.split()]
    trace = ["strace", "-xx", "-s", "4096", "-e", "trace=sendmsg"]
    traced = here.run([*trace, *command], check=False).stderr
    options = re.findall(r'nla_type=(?:0x2|TCA_OPTIONS|[^}]*)}, "((?:\\x[0-9a-f]{2})+)"', traced)
    theirs = bytes.fromhex(max(options, key=len).replace("\\x", ""))
    ours_ = attributes(add_checksum_filter(2, "").body, 20)[2]
    # tc leaves the flag of nested attributes out where it can; values and order are the same.
    assert flatten(theirs) == flatten(ours_)


def flatten(data: bytes, depth: int = 3) -> list[Any]:
    """Return the attributes in ``data``, opened as far as the actions' parameters."""
    found: list[Any] = []
    for kind, payload in attribute_list(data):
        length = struct.unpack_from("=H", payload)[0] if len(payload) >= 4 else 0
        nested = depth > 0 and 4 <= length <= len(payload) and kind not in (1, 5)
        found.append((kind, flatten(payload, depth - 1) if nested else payload))
    return sorted(found, key=lambda item: item[0])


def test_without_the_action_the_wish_is_passed_over(kernel: Kernel, here: NetworkNamespace) -> None:
    """Where the kernel cannot fill checksums nothing is left behind and the wish is fulfilled."""
    probe = here.run(["tc", "actions", "add", "action", "csum", "udp"], check=False)
    offered = probe.returncode == 0
    driver, wanted = ShapingDriver(), dataclasses.replace(SHAPING, rate=None)
    before = {wanted.key: ABSENT} if offered else ours(wanted)
    assert before == driver.observe(kernel, [wanted])
    driver.ensure(kernel, [wanted], {})
    assert ours(wanted) == driver.observe(kernel, [wanted])
    assert (["clsact"] if offered else []) == [entry["kind"] for entry in qdiscs(here)]
    driver.remove(kernel, [wanted])
    assert [] == qdiscs(here)


@pytest.mark.parametrize(
    ("lacks", "said"), [("clsact", "CONFIG_NET_SCH_INGRESS"), ("u32", "CONFIG_NET_CLS_U32")]
)
def test_a_part_of_what_it_takes_is_missing(
    kernel: Kernel,
    here: NetworkNamespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lacks: str,
    said: str,
) -> None:
    """The wish is passed over as well, and the log says once what is missing."""

    def without(message: Message) -> Message:
        """Ask for the part by a name that no kernel knows."""
        unknown = "x" * len(lacks)
        body = message.body.replace(lacks.encode(), unknown.encode())
        return message._replace(body=body)

    # The action is there, as what is asked for in its place is.
    monkeypatch.setattr(shaping, "ask_for_checksums", ask_for_clsact)
    monkeypatch.setattr(shaping, "ask_for_clsact", lambda: without(ask_for_clsact()))
    monkeypatch.setattr(
        shaping, "add_checksum_filter", lambda *about: without(add_checksum_filter(*about))
    )
    driver, wanted = ShapingDriver(), dataclasses.replace(SHAPING, rate=None)
    for _ in range(2):
        driver.ensure(kernel, [wanted], {})
        assert ours(wanted) == driver.observe(kernel, [wanted])
        assert [] == qdiscs(here)
    (record,) = caplog.records
    assert said in record.getMessage()


def test_asking_for_clsact_makes_nothing(kernel: Kernel, here: NetworkNamespace) -> None:
    """A kernel that has it refuses the question too."""
    (refusal,) = kernel.route.try_all([ask_for_clsact()])
    assert errno.ENOENT != refusal.errno
    assert [] == qdiscs(here, "lo")
