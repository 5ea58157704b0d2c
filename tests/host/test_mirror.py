"""The facts mirror against the kernel; a fresh dump and ``ip -j`` are the witnesses."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jackfield.host.ipv6 import with_ipv6
from jackfield.host.kernel import Kernel
from jackfield.host.mirror import Mirror
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.thread import KernelThread
from jackfield.state.facts import Facts, LinkFact
from tests.host.taps import make_taps
from tests.lab.namespace import NetworkNamespace
from tests.lab.wait import wait_for

pytestmark = pytest.mark.kernel

# What a host may go through, one ip(8) command a line.  After each the mirror must be what a
# dump shows: where the kernel announces nothing, the mirror must know by itself.
HISTORY = """
link add br0 type bridge
address add 10.1.0.1/24 brd + dev br0
address add 10.1.0.2/24 dev br0
address add fd00:1::1/64 dev br0 nodad
link set br0 up
route add 192.168.1.0/24 via 10.1.0.9
route add 192.168.2.0/24 via 10.1.0.9 src 10.1.0.2
route add 192.168.3.0/24 dev br0 metric 7
route add fd00:9::/64 via fd00:1::9
route replace 192.168.1.0/24 via 10.1.0.10
route append 192.168.1.0/24 via 10.1.0.11
route add unreachable 192.168.4.0/24
route add 192.168.5.0/24 dev br0 table 77
address del 10.1.0.2/24 dev br0
link add v0 type veth peer name v1
link set v0 master br0 up
link set v1 up
link set v1 address 52:54:00:00:00:01
address add 10.1.0.5/24 dev v1
link set v0 mtu 1400
link set v0 alias somebody
route add default via 10.1.0.9 dev br0
route replace default via 10.1.0.10 dev br0
route del 192.168.3.0/24 metric 7
link set br0 down
link set br0 up
link set br0 down
link set br0 name bridge
link add other type bridge
link set bridge down
link set bridge name passing
link set other name bridge
link set passing name other
link del bridge
link set other name bridge
link set bridge up
route add 192.168.6.0/24 via 10.1.0.9
link set v0 nomaster
link del v0
address flush dev bridge
link del bridge
"""


def comparable(facts: Facts) -> tuple[dict[str, Any], set[Any]]:
    """Return facts in an order of their own: a dump lists in another than things arise in."""
    links: dict[str, Any] = {}
    for name, link in facts.links.items():
        links[name] = {
            field: getattr(link, field)
            for field in link.__dataclass_fields__
            if field != "addresses"
        } | {"addresses": set(link.addresses)}
    assert sorted(facts.routes, key=lambda route: route.span) == list(facts.routes)
    return links, set(facts.routes)


@pytest.fixture
def mirror(kernel: Kernel) -> Iterator[Mirror]:
    """Give a mirror that listens and knows what is there."""
    opened = Mirror()
    opened.listen()
    opened.install(opened.take(kernel.route))
    yield opened
    opened.close()


def dumped(kernel: Kernel) -> Facts:
    """Return the facts of a fresh dump."""
    fresh = Mirror()
    fresh.listen()
    try:
        fresh.install(fresh.take(kernel.route))
        return fresh.facts()
    finally:
        fresh.close()


def settled(mirror: Mirror, kernel: Kernel) -> bool:
    """Read what has come and return whether the mirror shows what is there."""
    assert mirror.read()
    return comparable(dumped(kernel)) == comparable(mirror.facts())


def test_the_mirror_follows(kernel: Kernel, mirror: Mirror, here: NetworkNamespace) -> None:
    """After every step of a long history the mirror is what a fresh dump shows."""
    for line in HISTORY.strip().splitlines():
        here.run(["ip", *line.split()])
        wait_for(lambda: settled(mirror, kernel), 10, f"the mirror to follow ip {line}")
    assert {"lo"} == set(mirror.facts().links)


def test_a_link_as_facts(kernel: Kernel, mirror: Mirror, here: NetworkNamespace) -> None:
    """What ip(8) shows is what the facts hold."""
    here.ip("link", "add", "br0", "address", "52:54:00:00:00:09", "type", "bridge")
    here.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    here.ip("link", "set", "v0", "master", "br0", "alias", "somebody's", "mtu", "1400")
    here.ip("address", "add", "10.0.0.1/24", "dev", "br0")
    mirror.read()
    facts = mirror.facts()
    bridge, port = facts.links["br0"], facts.links["v0"]
    shown = {link["ifname"]: link for link in here.ip("link", "show")}
    assert (shown["br0"]["ifindex"], "bridge", "52:54:00:00:00:09", False, None) == (
        bridge.index,
        bridge.kind,
        bridge.mac,
        bridge.up,
        bridge.carrier,
    )
    assert (ipaddress.ip_interface("10.0.0.1/24"),) == bridge.addresses
    assert (bridge.index, "somebody's", 1400) == (port.master, port.alias, port.mtu)
    assert (port,) == facts.members("br0")
    here.ip("link", "set", "br0", "up")
    wait_for(
        lambda: mirror.read() and mirror.facts().links["br0"].carrier is False,
        5,
        "the bridge without a live port to have no carrier",
    )
    here.ip("link", "set", "v0", "up")
    here.ip("link", "set", "v1", "up")
    wait_for(
        lambda: mirror.read() and mirror.facts().links["v0"].carrier,
        5,
        "the pair to have a carrier",
    )


def test_facts_do_not_change_any_more(mirror: Mirror, here: NetworkNamespace) -> None:
    """Facts that were given out stay; without a change the same are given again."""
    before = mirror.facts()
    assert before is mirror.facts()
    here.ip("link", "add", "br0", "type", "bridge")
    assert "br0" not in mirror.facts().links
    mirror.read()
    assert "br0" in mirror.facts().links
    assert "br0" not in before.links


def test_subscribers_are_told(mirror: Mirror, here: NetworkNamespace) -> None:
    """A callback sees a link come, change and go."""
    told: list[tuple[LinkFact | None, LinkFact | None]] = []
    mirror.on_link(lambda old, new: told.append((old, new)))
    here.ip("link", "add", "br0", "type", "bridge")
    mirror.read()
    here.ip("link", "set", "br0", "mtu", "1400")
    mirror.read()
    here.ip("link", "del", "br0")
    mirror.read()
    assert [None] == [old for old, _ in told[:1]]
    assert [None] == [new for _, new in told[-1:]]
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(told))
    assert {1400, 1500} == {new.mtu for _, new in told if new is not None}


def test_an_overflow_is_mended(kernel: Kernel, here: NetworkNamespace) -> None:
    """With a buffer too small for what happens, the mirror is stale until it is read anew."""
    mirror = Mirror(receive_buffer=2048)
    mirror.listen()
    told: list[tuple[LinkFact | None, LinkFact | None]] = []
    rerouted: list[str] = []
    missed: list[bool] = []
    try:
        here.ip("link", "add", "gone", "type", "bridge")
        here.ip("route", "add", "192.0.2.0/24", "dev", "lo")
        mirror.install(mirror.take(kernel.route))
        assert mirror.tell()
        mirror.on_link(lambda old, new: told.append((old, new)))
        mirror.on_route(lambda destination, _: rerouted.append(str(destination)))
        mirror.on_missed(lambda: missed.append(True))
        make_taps(kernel, 20)
        here.ip("link", "del", "gone")
        here.ip("route", "del", "192.0.2.0/24", "dev", "lo")
        here.ip("route", "add", "198.51.100.0/24", "dev", "lo")
        assert not mirror.read()
        assert not mirror.read()
        told.clear()
        assert [] == rerouted
        assert [] == missed
        known = set(mirror.facts().links)
        assert "gone" in known
        mirror.install(mirror.take(kernel.route))
        assert mirror.tell()
        assert comparable(dumped(kernel)) == comparable(mirror.facts())
        gone = {old.name for old, new in told if old is not None and new is None}
        come = {new.name for old, new in told if new is not None and old is None}
        assert {"gone"} == gone
        assert {f"tap{number}" for number in range(20)} - known == come
        assert ["192.0.2.0/24", "198.51.100.0/24"] == sorted(rerouted)
        assert [True] == missed
    finally:
        mirror.close()


def run_in(namespace: NetworkNamespace, work: Callable[[KernelThread[RouteSocket]], Any]) -> None:
    """Run a coroutine function with a kernel thread, both in ``namespace``."""
    thread = KernelThread(RouteSocket)

    async def whole() -> None:
        await thread.open()
        try:
            await work(thread)
        finally:
            await thread.close(lambda route: route.close())

    with namespace.entered():
        asyncio.run(whole())


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Let the loop run until ``condition`` holds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"waited 20 s for {what}"
        await asyncio.sleep(0.01)


def test_the_mirror_in_a_loop(here: NetworkNamespace) -> None:
    """Opened in an event loop, the mirror follows by itself, also after an overflow."""

    async def work(thread: KernelThread[RouteSocket]) -> None:
        mirror = Mirror(receive_buffer=4096)
        await mirror.open(asyncio.get_running_loop(), thread, lambda route: route)
        try:
            assert {"lo"} == set(mirror.facts().links)
            here.ip("link", "add", "first", "type", "bridge")
            await eventually(lambda: "first" in mirror.facts().links, "a link")
            # The loop does not run while this does, so that the buffer overflows.
            lines = "".join(f"link add b{number} type bridge\n" for number in range(40))
            here.run(["ip", "-batch", "-"], input=lines)
            here.ip("link", "del", "first")
            wanted = {"lo", *(f"b{number}" for number in range(40))}
            await eventually(lambda: wanted == set(mirror.facts().links), "all links")
            here.ip("link", "add", "last", "type", "bridge")
            await eventually(lambda: "last" in mirror.facts().links, "a link after the overflow")
        finally:
            mirror.close()

    run_in(here, work)


def test_thousands_of_links_do_not_hold_the_loop(here: NetworkNamespace, kernel: Kernel) -> None:
    """Telling the subscribers of a large reading is done in slices, the loop running between."""
    make_taps(kernel, 400)

    async def work(thread: KernelThread[RouteSocket]) -> None:
        mirror = Mirror()
        told: list[LinkFact | None] = []
        turns = 0

        def slow(old: LinkFact | None, new: LinkFact | None) -> None:
            told.append(new)
            time.sleep(0.0005)

        mirror.on_link(slow)
        await mirror.open(asyncio.get_running_loop(), thread, lambda route: route)
        try:
            while len(told) < 401:
                turns += 1
                await asyncio.sleep(0)
            assert turns > 10
        finally:
            mirror.close()

    run_in(here, work)


def test_nothing_is_lost_while_the_host_is_read(
    kernel: Kernel, mirror: Mirror, here: NetworkNamespace
) -> None:
    """With links coming and going all the time, the mirror ends up at what is there."""
    stop = threading.Event()
    done = threading.Event()

    def churn() -> None:
        try:
            number = 0
            while not stop.is_set():
                number += 1
                lines = f"link add c{number} type veth peer name d{number}\nlink del c{number}\n"
                here.run(["ip", "-batch", "-"], input=lines + f"link add k{number} type bridge\n")
        finally:
            done.set()

    worker = threading.Thread(target=churn)
    worker.start()
    try:
        for _ in range(8):
            mirror._stale = True
            mirror.install(mirror.take(kernel.route))
            mirror.tell()
    finally:
        stop.set()
        assert done.wait(30)
        worker.join()
    wait_for(lambda: settled(mirror, kernel), 10, "the mirror to be what is there")


def test_ipv6_facts(kernel: Kernel, mirror: Mirror, here: NetworkNamespace) -> None:
    """A route from router advertisements counts where forwarding would lose it."""
    here.ip("link", "add", "up0", "up", "type", "veth", "peer", "name", "up1")
    here.ip("link", "set", "up1", "up")
    here.ip("address", "add", "fd00:1::5/64", "dev", "up0", "nodad")
    here.ip("-6", "route", "add", "default", "via", "fd00:1::1", "dev", "up0", "proto", "ra")
    wait_for(lambda: settled(mirror, kernel), 10, "the mirror to follow")
    facts = with_ipv6(mirror.facts())
    assert (True, ("up0",), False) == (facts.ipv6, facts.ra_interfaces, facts.ipv6_forwarding)
    here.set_sysctl("net/ipv6/conf/up0/accept_ra", "2")
    assert () == with_ipv6(mirror.facts()).ra_interfaces
    here.set_sysctl("net/ipv6/conf/all/forwarding", "1")
    assert with_ipv6(mirror.facts()).ipv6_forwarding
