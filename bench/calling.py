"""What libvirt's clients call most: lookups, lists, definitions and ports; one client and several.

All with python3-libvirt, whose own time is in every figure, and beside many defined networks.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bench.counts import Counts
from bench.hosts import Jackfield, Libvirt
from bench.networks import idle_network, nat_network
from bench.peer import peer, why_no_peer
from bench.results import Budget, Result, after_a_pause, median, milliseconds, ratio
from bench.worker import Worker

__all__ = ["calling"]

MAC = "52:54:00:be:{:02x}:00"
ROUNDS_AT_ONCE = 5


def calling(counts: Counts) -> Iterator[Result]:
    """Call each thing by one client, then by several at once; the daemons take turns.

    One client calls several times in its turn, and its first call is shown beside the others: what
    it needs is not in the processor's caches any more.
    """
    alone: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    first: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    at_once: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        libvirt = peer(stack)
        hosts: dict[str, Jackfield | Libvirt] = {"ours": ours}
        if libvirt is not None:
            hosts["libvirt"] = libvirt
        clients: dict[str, list[Worker]] = {}
        for who, host in hosts.items():
            host.define(nat_network(1))
            host.start("bench-1")
            for number in range(2, 1 + counts.defined):
                host.define(idle_network(number))
            clients[who] = [host.libvirt_client() for _ in range(counts.clients)]
        for _ in range(counts.rounds):
            for who, workers in clients.items():
                for operation, arguments in _calls(counts, 0).items():
                    took = workers[0].call(
                        "repeat", what=operation, times=counts.in_a_row, **arguments
                    )
                    alone[operation, who] += took
                    first[operation, who].append(took[0])
        for _ in range(ROUNDS_AT_ONCE):
            for who, workers in clients.items():
                for operation in _calls(counts, 0):
                    rate = _together(workers, operation, counts)
                    at_once[operation, who].append(rate)
    for operation, (work, limit, _) in WORKS.items():
        mine, theirs = (milliseconds(alone[operation, who]) for who in ("ours", "libvirt"))
        yield Result(
            work=work.format(counts.defined),
            unit="ms",
            count=counts.rounds * counts.in_a_row,
            ours=mine,
            libvirt=theirs,
            budgets=(
                Budget(text=f"≤ {limit:g} × libvirt", measured=ratio(mine, theirs), limit=limit),
            ),
            note=why_no_peer()
            or after_a_pause(first[operation, "ours"], first[operation, "libvirt"]),
        )
    for operation, (work, _, least) in WORKS.items():
        mine, theirs = (median(at_once[operation, who]) for who in ("ours", "libvirt"))
        yield Result(
            work=f"{work.format(counts.defined)}, {counts.clients} clients at once",
            unit="a second",
            count=ROUNDS_AT_ONCE,
            ours=mine,
            libvirt=theirs,
            budgets=(
                Budget(
                    text=f"≥ {least:g} × libvirt",
                    measured=ratio(mine, theirs),
                    limit=least,
                    at_least=True,
                ),
            ),
            note=why_no_peer(),
        )


#: What is called, the words for it, what it may take of libvirt's time, and how many times as
#: often as libvirt it must be answered to several clients.
WORKS: Mapping[str, tuple[str, float, float]] = {
    "lookup": ("look a network up by name", 1, 1),
    "lookup_uuid": ("look a network up by uuid", 1, 1),
    "list_all": ("list {} networks", 1, 1),
    "define_undefine": ("define + undefine a network", 1, 1),
    "port": ("create + delete a port, beside many networks", 0.2, 5),
}


def _calls(counts: Counts, number: int) -> dict[str, dict[str, object]]:
    """Return the arguments of each call by client ``number``."""
    return {
        "lookup": {"name": "bench-1"},
        "lookup_uuid": {"name": "bench-1"},
        "list_all": {"count": counts.defined},
        "define_undefine": {"document": idle_network(counts.defined + 1 + number)},
        "port": {"name": "bench-1", "mac": MAC.format(number)},
    }


def _together(workers: Sequence[Worker], operation: str, counts: Counts) -> float:
    """Return how often a second all clients together get an answer."""
    times = counts.client_rounds
    begin = time.perf_counter()
    for number, worker in enumerate(workers):
        arguments = _calls(counts, number)[operation]
        worker.begin("repeat", what=operation, times=times, **arguments)
    for worker in workers:
        worker.finish()
    return times * len(workers) / (time.perf_counter() - begin)
