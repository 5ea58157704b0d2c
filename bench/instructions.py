"""How many instructions of the interpreter the daemon takes for what clients of libvirt ask."""

from __future__ import annotations

import collections
import json
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.bare_client import BareClient
from bench.counts import Counts
from bench.hosts import LIBVIRT_SOCKET, Jackfield
from bench.networks import nat_network
from tests.lab.wait import wait_for

__all__ = ["instructions"]

_SAID = 0.1
"""Seconds after which everything that was done is in the log."""
_SHOWN = 12
_AT_REST = 500
"""Instructions in that time of a daemon that has nothing to do but what it does each second."""


def instructions(counts: Counts) -> str:
    """Return tables of the instructions by file, for a port and for a definition."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Jackfield(module="bench.counted_daemon", output=Path(folder) / "counts") as ours,
    ):
        output = Path(folder) / "counts"
        ours.define(nat_network(1))
        ours.start("bench-1")
        libvirt = ours.libvirt_client()
        _wait_at_rest(ours, output)
        with BareClient(ours.host.file(LIBVIRT_SOCKET), "bench-1") as client:
            works: dict[str, Callable[[], object]] = {
                "create + delete a port": lambda: client.port("52:54:00:be:00:02"),
                "define + undefine a network": lambda: libvirt.call(
                    "define_undefine", document=nat_network(2)
                ),
            }
            return "\n".join(
                _table(title, ours, output, work, counts.rounds) for title, work in works.items()
            )


def _table(
    title: str, ours: Jackfield, output: Path, work: Callable[[], object], rounds: int
) -> str:
    work()
    before = _counts(ours, output)
    for _ in range(rounds):
        work()
    found = _counts(ours, output) - before
    lines = [f"\n{title}: {found.total() / rounds:.0f} instructions, most of them in"]
    lines += [
        f"  {number / rounds:6.0f}  {'/'.join(Path(file).parts[-2:])}"
        for file, number in found.most_common(_SHOWN)
    ]
    return "\n".join(lines)


def _wait_at_rest(ours: Jackfield, output: Path) -> None:
    """Return when the daemon has taken note of all that came of the network's start."""

    def is_at_rest() -> bool:
        before = _counts(ours, output)
        return (_counts(ours, output) - before).total() < _AT_REST

    wait_for(is_at_rest, 10, "the daemon to be at rest")


def _counts(ours: Jackfield, output: Path) -> collections.Counter[str]:
    """Ask the daemon how many instructions there have been in each file."""
    time.sleep(_SAID)
    told = len(output.read_text().splitlines()) if output.exists() else 0
    ours.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: output.exists() and output.read_text().count("\n") > told, 10, "its counts")
    return collections.Counter(json.loads(output.read_text().splitlines()[-1]))
