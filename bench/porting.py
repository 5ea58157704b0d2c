"""Creating and deleting ports: the record alone, as for libvirt's QEMU driver, and with a tap."""

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
    """Create and delete ports of a running network.

    A client of libvirt's protocol makes the device itself: what is measured is allocation and
    record, asked by the same client of both daemons.  Beside it stands a tap that we make.
    """
    recorded, attach, detach, bare, theirs = [], [], [], [], []
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        raw = stack.enter_context(RawHost())
        libvirt = peer(stack)
        client = None if libvirt is None else ours.libvirt_client()
        raw.start(services=False)
        for host in (ours, libvirt):
            if host is not None:
                host.define(nat_network(1))
                host.start("bench-1")
        for _ in range(counts.rounds):
            attach.append(ours.attach_tap("bench-1", TAP))
            detach.append(ours.detach(TAP))
            bare.append(raw.port())
            if libvirt is not None and client is not None:
                recorded.append(float(client.call("port", name="bench-1", mac=MAC)))
                theirs.append(float(libvirt.worker.call("port", name="bench-1", mac=MAC)))
    yield Result(
        work="create + delete a port, durably",
        unit="ms",
        count=counts.rounds,
        ours=milliseconds(recorded),
        libvirt=milliseconds(theirs),
        budgets=(
            Budget(
                text="≤ 0.2 × libvirt",
                measured=ratio(milliseconds(recorded), milliseconds(theirs)),
                limit=0.2,
            ),
        ),
        note=why_no_peer() or "both by python3-libvirt, whose QEMU driver makes the device",
    )
    both = [one + other for one, other in zip(attach, detach, strict=True)]
    yield Result(
        work="attach + detach a tap that we make",
        unit="ms",
        count=counts.rounds,
        ours=milliseconds(both),
        raw=milliseconds(bare),
    )
    yield Result(work="of this, attach", unit="ms", count=counts.rounds, ours=milliseconds(attach))
    yield Result(work="of this, detach", unit="ms", count=counts.rounds, ours=milliseconds(detach))
