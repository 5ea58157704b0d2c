"""How fast packets are forwarded, with one network on the host and with a thousand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from bench.counts import Counts
from bench.hosts import Jackfield, Libvirt
from bench.networks import nat_network
from bench.peer import why_no_peer
from bench.results import Budget, Result, median, ratio
from bench.topology import Guest

__all__ = ["forwarding"]


def forwarding(counts: Counts) -> Iterator[Result]:
    """Flood the outside from a guest behind NAT, on an almost empty host and on a full one.

    Bursts take turns.  The guest is on the network that was started first.
    """
    ours = _rates(Jackfield, [1, counts.networks], counts)
    theirs: list[list[float]] = [[], []]
    if not why_no_peer():
        theirs = _rates(Libvirt, [1, counts.peer_others], counts)
    alone, full = median(ours[0]), median(ours[1])
    # Each pair of bursts was measured within a second: their ratios hide what else went on.
    share = median([two / one for one, two in zip(*ours, strict=True) if one])
    yield Result(
        work="forward 64-byte packets, 1 network",
        unit="kpps",
        count=counts.bursts,
        ours=_thousands(alone),
        libvirt=_thousands(median(theirs[0])),
        note=why_no_peer(),
    )
    their_share = ratio(median(theirs[1]), median(theirs[0]))
    told = "" if their_share is None else f"; libvirt's own ratio: {their_share:.2f}"
    yield Result(
        work=f"forward 64-byte packets, {counts.networks} networks",
        unit="kpps",
        count=counts.bursts,
        ours=_thousands(full),
        libvirt=_thousands(median(theirs[1])),
        budgets=(Budget(text="≥ 0.97 × with 1", measured=share, limit=0.97, at_least=True),),
        note=why_no_peer() or f"libvirt with {counts.peer_others}{told}",
    )


def _rates(
    kind: Callable[[], Jackfield | Libvirt], sizes: list[int], counts: Counts
) -> list[list[float]]:
    """Return the packets per second of each burst, for hosts with so many networks."""
    rates: list[list[float]] = [[] for _ in sizes]
    with contextlib.ExitStack() as stack:
        guests = []
        for size in sizes:
            host = kind()
            stack.callback(host.close)
            for number in range(size):
                host.define(nat_network(number))
                host.start(f"bench-{number}")
            guests.append(stack.enter_context(Guest(host, 0)))
        for guest in guests:
            guest.rate(counts.burst)
        for turn in range(counts.bursts):
            order = list(enumerate(guests))
            for index, guest in order if turn % 2 else reversed(order):
                rates[index].append(guest.rate(counts.burst))
    return rates


def _thousands(rate: float | None) -> float | None:
    return None if rate is None else rate / 1000
