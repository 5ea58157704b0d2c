"""``jackfield list`` beside ``virsh net-list``: the whole process, as a person waits for it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.counts import Counts
from bench.hosts import ENVIRONMENT, RUN_DIR, Jackfield
from bench.networks import nat_network
from bench.peer import peer, why_no_peer
from bench.results import Budget, Result, milliseconds, ratio
from bench.worker import Worker

__all__ = ["listing"]


def listing(counts: Counts) -> Iterator[Result]:
    """List one network, then many, each time in a new process."""
    sizes = sorted({1, counts.peer_others})
    ours_took: dict[int, list[float]] = {size: [] for size in sizes}
    their_took: dict[int, list[float]] = {size: [] for size in sizes}
    command = str(Path(sys.executable).with_name("jackfield"))
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        libvirt = peer(stack)
        runner = Worker(ours.host, [sys.executable, "-m", "bench.runner"], ENVIRONMENT)
        their_runner = None
        if libvirt is not None:
            argv = [sys.executable, "-m", "bench.runner"]
            their_runner = Worker(libvirt.host, argv, ENVIRONMENT)
        running = 0
        for size in sizes:
            for number in range(running, size):
                for host in (ours, libvirt):
                    if host is not None:
                        host.define(nat_network(number))
                        host.start(f"bench-{number}")
            running = size
            for _ in range(counts.rounds):
                argv = [command, "--run-dir", RUN_DIR, "list"]
                ours_took[size].append(runner.call("run", argv=argv))
                if their_runner is not None:
                    argv = ["virsh", "-c", "network:///system", "net-list"]
                    their_took[size].append(their_runner.call("run", argv=argv))
    for size in sizes:
        mine, theirs = milliseconds(ours_took[size]), milliseconds(their_took[size])
        yield Result(
            work=f"list {size} network{'s' * (size > 1)}, whole process",
            unit="ms",
            count=counts.rounds,
            ours=mine,
            libvirt=theirs,
            budgets=(Budget(text="≤ 3 × libvirt", measured=ratio(mine, theirs), limit=3),),
            note=why_no_peer(),
        )
