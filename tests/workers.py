"""Run test files by two workers: ``python -m tests.workers FOLDER TIER… -- PYTEST ARGUMENTS…``.

A long file is a run of pytest of its own, short ones of a tier share one: to start it takes as
long as many a file.  What a run prints is printed when it has ended, and the reports of a tier
become one, FOLDER/TIER.xml.  A worker does not wait at the end of a tier for the other one.  What
is quick begins first, unit and kernel; then the longest, by what they took the last time they ran
here or, without that, by their size.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from tests.lab.packages import cache_folder

__all__ = ["main"]

WORKERS = 2
SELECTIONS = {
    "unit": "not kernel and not lab and not slow",
    "kernel": "kernel and not slow",
    "lab": "lab and not slow",
    "slow": "slow",
}
_TURNS = {"unit": 0, "kernel": 1, "lab": 2, "slow": 2}
_LONG = 20.0
"""Seconds that a run of pytest should take at least."""
_NOTHING_COLLECTED = 5
_print_lock = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    """One run of pytest: files of a tier, and how long they will take."""

    tier: str
    files: Sequence[str]
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Run what pytest finds with the arguments; return the worst exit status.

    A tier without tests is an error unless there are arguments, which may leave it without.
    """
    end = arguments.index("--")
    folder, *tiers = arguments[:end]
    words = arguments[end + 1 :]
    times = _Times(words)
    with (
        tempfile.TemporaryDirectory(prefix="jf-") as parts,
        concurrent.futures.ThreadPoolExecutor(WORKERS) as pool,
    ):
        collected = list(pool.map(lambda tier: _collect(tier, words), tiers))
        runs = [
            run
            for tier, files in zip(tiers, collected, strict=True)
            for run in _packed(tier, files, times)
        ]
        runs.sort(key=lambda run: (_TURNS[run.tier], -run.seconds))
        paths = [Path(parts, f"{run.tier}-{number}.xml") for number, run in enumerate(runs)]
        statuses = list(pool.map(lambda run, path: _do(run, path, words, times), runs, paths))
        for tier in tiers:
            _join(sorted(Path(parts).glob(f"{tier}-*.xml")), Path(folder, f"{tier}.xml"))
    if not any(word.startswith("-k") for word in words):
        # A part of a file says nothing about the whole.
        times.save()
    worst = max((status for status in statuses if status != _NOTHING_COLLECTED), default=0)
    return worst if words or all(collected) else _NOTHING_COLLECTED


def _pytest(tier: str, *arguments: str) -> list[str]:
    """Return the command; but for the unit tier it is root's, who leaves nothing here."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", SELECTIONS[tier], *arguments]
    if tier == "unit" or os.geteuid() == 0:
        return command
    root = ["sudo", "--preserve-env", "env", f"PATH={os.environ['PATH']}"]
    return [*root, *command, "-p", "no:cacheprovider"]


def _do(run: _Run, report: Path, words: Sequence[str], times: _Times) -> int:
    """Do one run, and print what it said; return its status."""
    begin = time.monotonic()
    result = subprocess.run(
        _pytest(run.tier, "--junitxml", str(report), *words, *run.files),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    took = time.monotonic() - begin
    if report.exists():
        times.note(run.tier, run.files, report)
    with _print_lock:
        lines = result.stdout.strip().splitlines()
        told = lines if result.returncode else lines[-1:]
        print(f"{run.tier}:", *run.files)
        print(*(f"  {line}" for line in told), f"  {took:.0f} s in all", sep="\n")
        sys.stdout.flush()
    return result.returncode


def _collect(tier: str, words: Sequence[str]) -> list[str]:
    """Return the files that have tests to run, as pytest says."""
    said = subprocess.run(
        _pytest(tier, "--collect-only", *words), capture_output=True, text=True, check=False
    )
    if said.returncode not in (0, _NOTHING_COLLECTED):
        print(said.stdout, said.stderr, file=sys.stderr)
        raise SystemExit(said.returncode)
    names = (line.partition("::")[0] for line in said.stdout.splitlines() if "::" in line)
    return list(dict.fromkeys(names))


def _packed(tier: str, files: Sequence[str], times: _Times) -> list[_Run]:
    """Return what is run together."""
    runs: list[_Run] = []
    for file in sorted(files, key=lambda file: times.expected(tier, file), reverse=True):
        seconds = times.expected(tier, file)
        if runs and runs[-1].seconds < _LONG:
            last = runs.pop()
            runs.append(_Run(tier, [*last.files, file], last.seconds + seconds))
        else:
            runs.append(_Run(tier, [file], seconds))
    return runs


class _Times:
    """What each file took when it was run with the same arguments, kept in the cache folder."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._path = cache_folder() / "test-times.json"
        try:
            self._known: dict[str, float] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._known = {}

    def expected(self, tier: str, file: str) -> float:
        """Return the seconds that a file will take; a kilobyte counts as two."""
        return self._known.get(self._key(tier, file), Path(file).stat().st_size / 500)

    def note(self, tier: str, files: Sequence[str], report: Path) -> None:
        """Remember what files took, as the report of their run says."""
        took = dict.fromkeys(files, 0.0)
        modules = {file.removesuffix(".py").replace("/", "."): file for file in files}
        for case in ElementTree.parse(report).iter("testcase"):
            file = modules.get(case.get("classname", ""))
            if file is not None:
                took[file] += float(case.get("time", 0))
        self._known |= {self._key(tier, file): round(seconds, 1) for file, seconds in took.items()}

    def _key(self, tier: str, file: str) -> str:
        return " ".join((file, "-m", SELECTIONS[tier], *self._words))

    def save(self) -> None:
        """Keep it; without a folder to keep it in, nothing is lost but an order."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._known, indent=1))


def _join(parts: Sequence[Path], report: Path) -> None:
    """Write one report with the suites of all."""
    root = ElementTree.Element("testsuites")
    for part in parts:
        root.extend(ElementTree.parse(part).getroot().iter("testsuite"))
    ElementTree.ElementTree(root).write(report, encoding="utf-8", xml_declaration=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
