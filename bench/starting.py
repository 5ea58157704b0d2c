"""Starting and stopping one network: alone, beside the peer, and beside hundreds of others."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator

from bench.counts import Counts
from bench.hosts import Jackfield, Libvirt, RawHost
from bench.networks import nat_network
from bench.peer import peer, why_no_peer
from bench.rest import rest
from bench.results import Budget, Result, milliseconds, ratio

__all__ = ["crowded", "starting"]

KINDS = {True: "NAT + DHCP", False: "NAT, no DHCP and DNS"}
NUMBERS = {True: 0, False: 1}
NAMES = {services: f"bench-{number}" for services, number in NUMBERS.items()}
FIRST_OTHER = 2


def starting(counts: Counts) -> Iterator[Result]:
    """Start and stop one network where no other is: ours, libvirt's, and the bare work.

    Both daemons are asked by libvirt's own client where it is installed, ours over HTTP otherwise.
    The three take turns, so that what else the machine does meets all of them alike, and rest
    in between.
    """
    took: defaultdict[tuple[str, str, bool], list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        raw = stack.enter_context(RawHost())
        libvirt = peer(stack)
        for services in KINDS:
            ours.define(nat_network(NUMBERS[services], services=services))
            if libvirt is not None:
                libvirt.define(nat_network(NUMBERS[services], services=services))
        if libvirt is not None:
            ours.ask_as_libvirt()
        for turn in range(counts.rounds):
            for services, name in NAMES.items():
                rest()
                took["raw", "start", services].append(raw.start(services=services))
                rest()
                took["raw", "stop", services].append(raw.stop())
                rest()
                took["ours", "start", services].append(ours.start(name))
                rest()
                took["ours", "stop", services].append(ours.stop(name))
                if libvirt is not None and turn < counts.peer_rounds:
                    rest()
                    took["libvirt", "start", services].append(libvirt.start(name))
                    rest()
                    took["libvirt", "stop", services].append(libvirt.stop(name))
    for services, kind in KINDS.items():
        for verb in ("start", "stop"):
            mine, theirs, bare = (
                milliseconds(took[who, verb, services]) for who in ("ours", "libvirt", "raw")
            )
            budgets = []
            if verb == "start":
                if services:
                    budgets.append(
                        Budget(text="≤ 0.1 × libvirt", measured=ratio(mine, theirs), limit=0.1)
                    )
                budgets.append(Budget(text="≤ 2 × raw", measured=ratio(mine, bare), limit=2))
            yield Result(
                work=f"{verb} {kind}",
                unit="ms",
                count=counts.rounds,
                ours=mine,
                libvirt=theirs,
                raw=bare,
                budgets=tuple(budgets),
                note=why_no_peer(),
            )


def crowded(counts: Counts) -> Iterator[Result]:
    """Start and stop one network on a host where hundreds of others run, and on an empty one."""
    took: defaultdict[tuple[str, str, bool], list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        alone = stack.enter_context(Jackfield())
        crowd = stack.enter_context(Jackfield())
        libvirt = peer(stack)
        for services in KINDS:
            for host in (alone, crowd, libvirt):
                if host is not None:
                    host.define(nat_network(NUMBERS[services], services=services))
        _fill(crowd, counts.others)
        if libvirt is not None:
            _fill(libvirt, counts.peer_others)
        for turn in range(counts.rounds):
            for services, name in NAMES.items():
                for who, ours in (("alone", alone), ("crowd", crowd)):
                    rest()
                    took[who, "start", services].append(ours.start(name))
                    rest()
                    took[who, "stop", services].append(ours.stop(name))
                if libvirt is not None and turn < counts.peer_rounds:
                    rest()
                    took["libvirt", "start", services].append(libvirt.start(name))
                    rest()
                    took["libvirt", "stop", services].append(libvirt.stop(name))
    for services, kind in KINDS.items():
        for verb in ("start", "stop"):
            lonely, mine, theirs = (
                milliseconds(took[who, verb, services]) for who in ("alone", "crowd", "libvirt")
            )
            yield Result(
                work=f"{verb} {kind}, {counts.others} others running",
                unit="ms",
                count=counts.rounds,
                ours=mine,
                libvirt=theirs,
                budgets=(Budget(text="≤ 1.3 × alone", measured=ratio(mine, lonely), limit=1.3),),
                note=why_no_peer() or f"libvirt with {counts.peer_others} others",
            )


def _fill(host: Jackfield | Libvirt, others: int) -> None:
    """Start that many networks with DHCP."""
    for number in range(FIRST_OTHER, FIRST_OTHER + others):
        host.define(nat_network(number))
        host.start(f"bench-{number}")
