"""A thousand networks with DHCP on one host: do all start, do all stop, what do they take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from bench.counts import Counts
from bench.hosts import Jackfield, Libvirt, process_memory
from bench.networks import nat_network
from bench.peer import peer, why_no_peer
from bench.results import Budget, Result
from jackfield.errors import JackfieldError
from tests.lab.host import Host

__all__ = ["scale"]


def scale(counts: Counts) -> Iterator[Result]:
    """Define and start all networks, count them from outside, and stop them."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        started, seconds = _start_all(ours, counts.networks)
        memory = process_memory(ours.process.pid)
        per_network = _dnsmasq_memory(ours.host, started)
        left, stopping = _stop_all(ours, started)
    with contextlib.ExitStack() as stack:
        libvirt = peer(stack)
        their_started = their_seconds = their_memory = their_per_network = their_stopping = None
        if libvirt is not None:
            their_started, their_seconds = _start_all(libvirt, counts.peer_networks)
            their_memory = process_memory(libvirt.daemon.process.pid)
            their_per_network = _dnsmasq_memory(libvirt.host, their_started)
            _, their_stopping = _stop_all(libvirt, their_started)
    limit = "" if why_no_peer() else f"libvirt: of {counts.peer_networks} tried"
    yield Result(
        work="NAT networks with DHCP that start on one host",
        unit="",
        ours=started,
        libvirt=their_started,
        budgets=(
            Budget(
                text=f"≥ {counts.networks}",
                measured=started,
                limit=counts.networks,
                at_least=True,
            ),
        ),
        note=limit or why_no_peer(),
    )
    yield Result(
        work="and of these, still there after all were stopped",
        unit="",
        ours=left,
        budgets=(Budget(text="0", measured=left, limit=0),),
        note="bridges and dnsmasq processes, counted from outside",
    )
    yield _per_network("start of all, for each network", seconds, started, their_seconds)
    yield _per_network("stop of all, for each network", stopping, started, their_stopping)
    yield Result(
        work="memory of the daemon with all running (PSS)",
        unit="MiB",
        ours=memory,
        libvirt=their_memory,
        note=f"ours with {started}, libvirt with {their_started} networks",
    )
    yield Result(
        work="memory of dnsmasq for each network (PSS)",
        unit="MiB",
        ours=per_network,
        libvirt=their_per_network,
    )


def _per_network(work: str, seconds: float, networks: int, theirs: float | None) -> Result:
    return Result(
        work=work,
        unit="ms",
        count=networks,
        ours=seconds * 1000,
        libvirt=None if theirs is None else theirs * 1000,
        note="mean",
    )


def _start_all(host: Jackfield | Libvirt, networks: int) -> tuple[int, float]:
    """Start networks until one fails; return how many run, and the mean seconds of a start."""
    for number in range(networks):
        host.define(nat_network(number))
    begin = time.perf_counter()
    tried = 0
    for number in range(networks):
        try:
            host.start(f"bench-{number}")
        except (RuntimeError, JackfieldError) as error:
            print(f"network {number} of {networks} does not start: {error}")
            break
        tried += 1
    seconds = (time.perf_counter() - begin) / max(tried, 1)
    running = min(_bridges(host.host), len(host.host.processes("dnsmasq")))
    return min(running, tried), seconds


def _stop_all(host: Jackfield | Libvirt, networks: int) -> tuple[int, float]:
    """Stop all; return how many bridges and processes are left, and the mean seconds of a stop."""
    begin = time.perf_counter()
    for number in range(networks):
        host.stop(f"bench-{number}")
    seconds = (time.perf_counter() - begin) / max(networks, 1)
    return _bridges(host.host) + len(host.host.processes("dnsmasq")), seconds


def _bridges(host: Host) -> int:
    return sum(link.name.startswith("virbr") for link in host.file("/sys/class/net").iterdir())


def _dnsmasq_memory(host: Host, networks: int) -> float:
    """Return the memory of all dnsmasqs of a host in MiB, divided by the networks."""
    total = 0.0
    for pid in host.processes("dnsmasq"):
        rollup = host.file(f"/proc/{pid}/smaps_rollup").read_text()
        total += next(int(line.split()[1]) for line in rollup.splitlines() if "Pss:" in line)
    return total / 1024 / max(networks, 1)
