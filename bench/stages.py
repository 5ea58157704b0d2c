"""Where the time of an operation goes inside the daemon: true times, stage by stage."""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path

from bench.counts import Counts
from bench.hosts import Jackfield
from bench.networks import nat_network
from bench.rest import rest

__all__ = ["stages"]

#: What is started and stopped: with DHCP and DNS or without, and beside many others or only
#: one, which is there so that what the first network makes for all is there.
NETWORKS = {
    "start, stop: NAT + DHCP": (True, False),
    "start, stop: NAT, no DHCP and DNS": (False, False),
    "start, stop: NAT, no DHCP and DNS, beside many others": (False, True),
}


def stages(counts: Counts) -> str:
    """Return tables of the stages of start and stop, and of attach and detach."""
    parts = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "stages.json"
        for title, (services, crowded) in NETWORKS.items():
            client = []
            with Jackfield(module="bench.staged_daemon", output=output) as ours:
                for number in range(1, 1 + (counts.others if crowded else 1)):
                    ours.define(nat_network(number, services=False))
                    ours.start(f"bench-{number}")
                ours.define(nat_network(0, services=services))
                for _ in range(counts.rounds):
                    rest()
                    client.append(ours.start("bench-0"))
                    rest()
                    ours.stop("bench-0")
            parts.append(_table(title, output, ("start", "stop"), counts.rounds))
            middle = statistics.median(client) * 1000
            parts.append(f"start as the client sees it: {middle:.2f} ms")
        with Jackfield(module="bench.staged_daemon", output=output) as ours:
            ours.define(nat_network(1, services=False))
            ours.start("bench-1")
            for _ in range(counts.rounds):
                rest()
                ours.attach_tap("bench-1", "bench-tap")
                rest()
                ours.detach("bench-tap")
        parts.append(_table("attach, detach: a tap", output, ("attach", "detach"), counts.rounds))
    return "\n".join(parts)


def _table(title: str, output: Path, operations: tuple[str, ...], rounds: int) -> str:
    """Return the medians of each stage's last ``rounds`` in milliseconds, longest first."""
    lines = [f"\n{title}, medians in ms; a stage's time is in that of the stage that calls it"]
    measured = json.loads(output.read_text())
    for operation in operations:
        rows = {
            stage: statistics.median(took[-rounds:]) for stage, took in measured[operation].items()
        }
        lines += [
            f"  {seconds * 1000:8.3f}  {operation}: {stage}"
            for stage, seconds in sorted(rows.items(), key=lambda row: -row[1])
            if seconds > 0.00001
        ]
    return "\n".join(lines)
