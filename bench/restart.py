"""A restart of the daemon with a full host, and what a guest notices of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench.counts import Counts
from bench.hosts import Jackfield
from bench.networks import nat_network
from bench.peer import peer, why_no_peer
from bench.results import Budget, Result
from bench.topology import OUTSIDE, Guest

__all__ = ["restart"]

INTERVAL = 0.001
SECONDS = 10.0
RESTARTS = 3


def restart(counts: Counts) -> Iterator[Result]:
    """Restart with all networks and ports there, while a guest pings every millisecond."""
    share, rest = divmod(counts.ports, counts.networks)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        begin = time.perf_counter()
        for number in range(counts.networks):
            ours.define(nat_network(number))
            ours.start(f"bench-{number}")
            for port in range(share + (number < rest)):
                ours.attach_tap(f"bench-{number}", f"tap{number}-{port}")
        filling = time.perf_counter() - begin
        guest = stack.enter_context(Guest(ours, 0))
        ending: list[float] = []
        serving: list[float] = []
        guest.worker.call("train", address=OUTSIDE, interval=INTERVAL)
        for _ in range(RESTARTS):
            begin = time.perf_counter()
            ours.terminate()
            ending.append(time.perf_counter() - begin)
            serving.append(ours.launch())
        active = sum(network["active"] for network in ours.networks())
        ports = len(ours.client.request("GET", "/v1/ports"))
        seen = guest.worker.call("stop")
    theirs = their_seen = None
    with contextlib.ExitStack() as stack:
        libvirt = peer(stack)
        if libvirt is not None:
            for number in range(counts.peer_others):
                libvirt.define(nat_network(number))
                libvirt.start(f"bench-{number}")
            guest = stack.enter_context(Guest(libvirt, 0))
            guest.worker.call("train", address=OUTSIDE, interval=INTERVAL)
            libvirt.daemon.stop()
            begin = time.perf_counter()
            libvirt.daemon.start()
            theirs = time.perf_counter() - begin
            their_seen = guest.worker.call("stop")
    told = why_no_peer() or f"libvirt with {counts.peer_others} networks and no ports"
    yield Result(
        work=f"daemon start with {counts.networks} networks and {counts.ports} ports running",
        unit="s",
        count=RESTARTS,
        ours=max(serving),
        libvirt=theirs,
        budgets=(Budget(text=f"≤ {SECONDS:g} s", measured=max(serving), limit=SECONDS),),
        note=f"the slowest; {told}",
    )
    lost = counts.networks - active + max(0, counts.ports + 1 - ports)
    yield Result(
        work="networks and ports missing after it",
        unit="",
        ours=lost,
        budgets=(Budget(text="0", measured=lost, limit=0),),
        note=f"{active} networks and {ports} ports, the pinging guest's among them",
    )
    yield Result(
        work=f"packets lost in {RESTARTS} restarts, one sent every millisecond",
        unit="",
        count=int(seen["sent"]),
        ours=seen["lost"],
        libvirt=None if their_seen is None else their_seen["lost"],
        budgets=(Budget(text="0", measured=seen["lost"], limit=0),),
        note=f"longest gap {seen['longest_gap'] * 1000:.0f} ms; libvirt: 1 restart"
        + ("" if their_seen is None else f", gap {their_seen['longest_gap'] * 1000:.0f} ms"),
    )
    yield Result(work="daemon's orderly end", unit="ms", count=RESTARTS, ours=max(ending) * 1000)
    yield Result(
        work="start of a network and its 10 taps, mean over all",
        unit="ms",
        count=counts.networks,
        ours=filling / counts.networks * 1000,
    )
