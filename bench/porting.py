"""Creating and deleting a port, durably."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bench.counts import Counts
from bench.hosts import Jackfield, RawHost
from bench.networks import nat_network
from bench.peer import peer, why_no_peer
from bench.results import Budget, Result, milliseconds, ratio

__all__ = ["porting"]

TAP = "bench-tap"
MAC = "52:54:00:be:00:01"


def porting(counts: Counts) -> Iterator[Result]:
    """Attach and detach a tap on a running network; the peer only records a port."""
    attach, detach, bare, theirs = [], [], [], []
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        raw = stack.enter_context(RawHost())
        libvirt = peer(stack)
        raw.start(services=False)
        for host in (ours, libvirt):
            if host is not None:
                host.define(nat_network(1))
                host.start("bench-1")
        for _ in range(counts.rounds):
            attach.append(ours.attach_tap("bench-1", TAP))
            detach.append(ours.detach(TAP))
            bare.append(raw.port())
            if libvirt is not None:
                theirs.append(float(libvirt.worker.call("port", name="bench-1", mac=MAC)))
    both = milliseconds([one + other for one, other in zip(attach, detach, strict=True)])
    yield Result(
        work="create + delete a port, durably",
        unit="ms",
        count=counts.rounds,
        ours=both,
        libvirt=milliseconds(theirs),
        raw=milliseconds(bare),
        budgets=(
            Budget(text="≤ 0.2 × libvirt", measured=ratio(both, milliseconds(theirs)), limit=0.2),
        ),
        note=why_no_peer() or "ours and raw make and delete a tap, libvirt makes no device",
    )
    yield Result(work="of this, create", unit="ms", count=counts.rounds, ours=milliseconds(attach))
    yield Result(work="of this, delete", unit="ms", count=counts.rounds, ours=milliseconds(detach))
