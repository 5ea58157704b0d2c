"""Creating and deleting ports: the record alone, as for libvirt's QEMU driver, and with a tap."""

from __future__ import annotations

import contextlib
import subprocess
from collections import defaultdict
from collections.abc import Iterator

from bench.bare_client import BareClient
from bench.counts import Counts
from bench.hosts import ENVIRONMENT, LIBVIRT_SOCKET, Jackfield, RawHost, daemon_python
from bench.networks import nat_network
from bench.peer import peer, why_no_peer
from bench.results import Budget, Result, after_a_pause, milliseconds, ratio
from tests.lab.libvirtd import SOCKET as PEER_SOCKET

__all__ = ["mute_server", "porting"]

TAP = "bench-tap"
MAC = "52:54:00:be:00:02"
MUTE_SOCKET = "/run/bench-mute"


def porting(counts: Counts) -> Iterator[Result]:
    """Create and delete ports of a running network.

    A client of libvirt's protocol makes the device itself: what is measured is allocation and
    record.  The same client asks both daemons, and one that only answers: libvirt's own library,
    as in earnest, and one that sends and receives bare frames, which tells more of the daemons.
    They take turns, of several ports each; the first one of a turn is shown beside the others, as
    what it needs is not in the processor's caches any more.
    Beside them stands a tap that we make.
    """
    took: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    first: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        raw = stack.enter_context(RawHost())
        libvirt = peer(stack)
        raw.start(services=False)
        for host in (ours, libvirt):
            if host is not None:
                host.define(nat_network(1))
                host.start("bench-1")
        mute_server(ours)
        by_library = {}
        by_frames = {
            "ours": BareClient(ours.host.file(LIBVIRT_SOCKET), "bench-1"),
        }
        if libvirt is not None:
            by_library = {
                "ours": ours.libvirt_client(),
                "libvirt": libvirt.worker,
                "raw": ours.libvirt_client(MUTE_SOCKET),
            }
            by_frames["libvirt"] = BareClient(libvirt.host.file(PEER_SOCKET), "bench-1")
        for bare in by_frames.values():
            stack.enter_context(bare)
        for _ in range(counts.rounds):
            took["attach", "ours"].append(ours.attach_tap("bench-1", TAP))
            took["detach", "ours"].append(ours.detach(TAP))
            took["tap", "raw"].append(raw.port())
        # Not in between: what the kernel does after a tap's end would be in the next figure.
        for _ in range(counts.rounds):
            turns: dict[tuple[str, str], list[float]] = {}
            for who, client in by_library.items():
                turns["library", who] = client.call(
                    "repeat", what="port", times=counts.in_a_row, name="bench-1", mac=MAC
                )
            for who, bare in by_frames.items():
                turns["frames", who] = [bare.port(MAC) for _ in range(counts.in_a_row)]
            for key, seconds in turns.items():
                took[key] += seconds
                first[key].append(seconds[0])
    for work, how, note in (
        (
            "create + delete a port, durably",
            "library",
            "by python3-libvirt; raw: a server that only answers",
        ),
        ("the same by a client of bare frames", "frames", "the daemons' time, and the wire's"),
    ):
        mine, theirs, alone = (milliseconds(took[how, who]) for who in ("ours", "libvirt", "raw"))
        yield Result(
            work=work,
            unit="ms",
            count=counts.rounds * counts.in_a_row,
            ours=mine,
            libvirt=theirs,
            raw=alone,
            budgets=(Budget(text="≤ 0.2 × libvirt", measured=ratio(mine, theirs), limit=0.2),),
            note=why_no_peer()
            or f"{note}; {after_a_pause(first[how, 'ours'], first[how, 'libvirt'])}",
        )
    attach, detach = took["attach", "ours"], took["detach", "ours"]
    both = [one + other for one, other in zip(attach, detach, strict=True)]
    yield Result(
        work="attach + detach a tap that we make",
        unit="ms",
        count=counts.rounds,
        ours=milliseconds(both),
        raw=milliseconds(took["tap", "raw"]),
    )
    yield Result(work="of this, attach", unit="ms", count=counts.rounds, ours=milliseconds(attach))
    yield Result(work="of this, detach", unit="ms", count=counts.rounds, ours=milliseconds(detach))


def mute_server(host: Jackfield) -> None:
    """Start a server on the host that answers libvirt's clients and does nothing."""
    process = host.host.start(
        [daemon_python(), "-m", "bench.mute", MUTE_SOCKET], env=ENVIRONMENT, stdout=subprocess.PIPE
    )
    assert process.popen.stdout is not None
    process.popen.stdout.readline()
