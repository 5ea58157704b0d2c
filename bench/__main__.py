"""The command behind ``scripts/bench``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.calling import calling
from bench.counts import FULL, QUICK, Counts
from bench.documents import documents
from bench.forwarding import forwarding
from bench.hosts import daemon_python, distribution_python, use_python
from bench.instructions import instructions
from bench.kinds import kinds
from bench.listing import listing
from bench.migrating import migrating
from bench.openvswitch import openvswitch
from bench.porting import porting
from bench.restart import restart
from bench.results import Result, render
from bench.scale import scale
from bench.stages import stages
from bench.starting import crowded, starting
from jackfield.errors import JackfieldError

__all__ = ["BENCHMARKS", "main"]


#: Every benchmark, in the order in which they run.
BENCHMARKS: dict[str, Callable[[Counts], Iterator[Result]]] = {
    "documents": documents,
    "start": starting,
    "crowd": crowded,
    "scale": scale,
    "port": porting,
    "kinds": kinds,
    "openvswitch": openvswitch,
    "call": calling,
    "forward": forwarding,
    "restart": restart,
    "list": listing,
    "migrate": migrating,
}


TABLES: dict[str, Callable[[Counts], str]] = {"stages": stages, "instructions": instructions}


def main(argv: Sequence[str] | None = None) -> int:
    """Run benchmarks; return 1 with ``--check`` when a budget is missed."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure Jackfield beside a stock libvirtd and beside the raw cost.",
        epilog=f"NAME is one of: {', '.join(BENCHMARKS)}; or stages or instructions, which "
        "tell where the time goes inside the daemon.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to run (default: all)")
    parser.add_argument("--check", action="store_true", help="fail when a budget is missed")
    parser.add_argument("--quick", action="store_true", help="tiny counts: only to see it run")
    parser.add_argument(
        "--python",
        metavar="PATH",
        help="the Python that runs our daemon (default: the distribution's, if of this version)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    arguments = parser.parse_args(argv)
    counts = QUICK if arguments.quick else FULL
    unknown = [name for name in arguments.names if name not in {*BENCHMARKS, *TABLES}]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}")
    if os.geteuid() != 0:
        parser.error("this needs root: it makes network namespaces")
    try:
        use_python(arguments.python or distribution_python())
    except ValueError as error:
        parser.error(str(error))
    # An end from outside must still take the hosts away.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    for name, tell in TABLES.items():
        if name in arguments.names:
            print(tell(counts))
    names = [name for name in BENCHMARKS if name in arguments.names or not arguments.names]
    results = [result for name in names for result in _run(name, counts)]
    if results:
        print(machine())
        print(render(results))
    if arguments.json is not None:
        report = {"machine": machine(), "results": [result.as_json() for result in results]}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    missed = [result.work for result in results if result.verdict == "missed"]
    if missed:
        print(f"missed: {'; '.join(missed)}")
    return 1 if arguments.check and missed else 0


def machine() -> str:
    """Return what the figures were measured on, in one line."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}, "
        f"Python {_version(daemon_python())}, load {load:.1f}, {time.strftime('%Y-%m-%d %H:%M')}"
    )


def _version(python: str) -> str:
    """Return the version of a Python, and where it is if it is not the one that runs this."""
    code = "import platform; print(platform.python_version())"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    return said.strip() + ("" if python == sys.executable else f" ({python})")


def _run(name: str, counts: Counts) -> list[Result]:
    """Run one benchmark; what breaks it becomes a row."""
    print(f"{name} …", file=sys.stderr, flush=True)
    begin = time.monotonic()
    results: list[Result] = []
    try:
        results += BENCHMARKS[name](counts)
    except (OSError, RuntimeError, AssertionError, JackfieldError) as error:
        print(error, file=sys.stderr)
        reason = str(error).strip().rpartition("\n")[2]
        results.append(Result(work=name, unit="", note=f"{type(error).__name__}: {reason}"))
    print(f"{name} took {time.monotonic() - begin:.0f} s", file=sys.stderr)
    print(render(results), file=sys.stderr, flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
