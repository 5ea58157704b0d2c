"""Run test files by two workers: ``python -m tests.workers REPORT.xml PYTEST ARGUMENTS…``.

A long file is a run of pytest of its own, short ones share one: to start it takes as long as many
a file.  What a run prints is printed when it has ended, and the reports become one.  The longest
begin first, by what they took the last time they ran here or, without that, by their size.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
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
_LONG = 20.0
"""Seconds that a run of pytest should take at least."""
_NOTHING_COLLECTED = 5
_print_lock = threading.Lock()


def main(arguments: Sequence[str]) -> int:
    """Run what pytest finds with the arguments; return the worst exit status."""
    report, *words = arguments
    files = _collect(words)
    times = _Times(words)
    runs = _packed(files, times)
    with tempfile.TemporaryDirectory(prefix="jf-") as folder:

        def run(number: int, together: Sequence[str]) -> int:
            begin = time.monotonic()
            part = Path(folder, f"{number}.xml")
            result = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "--junitxml", part, *words, *together],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            took = time.monotonic() - begin
            if part.exists():
                times.note(together, part)
            with _print_lock:
                lines = result.stdout.strip().splitlines()
                told = lines if result.returncode else lines[-1:]
                print(*together)
                print(*(f"  {line}" for line in told), f"  {took:.0f} s in all", sep="\n")
                sys.stdout.flush()
            return result.returncode

        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            statuses = list(pool.map(run, range(len(runs)), runs))
        _join(sorted(Path(folder).glob("*.xml")), Path(report))
    if not any(word.startswith("-k") for word in words):
        # A part of a file says nothing about the whole.
        times.save()
    worst = max((status for status in statuses if status != _NOTHING_COLLECTED), default=0)
    return worst if files else _NOTHING_COLLECTED


def _collect(words: Sequence[str]) -> list[str]:
    """Return the files that have tests to run, as pytest says."""
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode not in (0, _NOTHING_COLLECTED):
        print(said.stdout, said.stderr, file=sys.stderr)
        raise SystemExit(said.returncode)
    names = (line.partition("::")[0] for line in said.stdout.splitlines() if "::" in line)
    return list(dict.fromkeys(names))


def _packed(files: Sequence[str], times: _Times) -> list[list[str]]:
    """Return what is run together, the longest first."""
    runs: list[list[str]] = []
    filled = _LONG
    for file in sorted(files, key=times.expected, reverse=True):
        if filled >= _LONG:
            runs.append([])
            filled = 0.0
        runs[-1].append(file)
        filled += times.expected(file)
    return runs


class _Times:
    """What each file took when it was run with the same arguments, kept in the cache folder."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = " ".join(words)
        self._path = cache_folder() / "test-times.json"
        try:
            self._known: dict[str, float] = json.loads(self._path.read_text())
        except (OSError, ValueError):
            self._known = {}

    def expected(self, file: str) -> float:
        """Return the seconds that a file will take; a kilobyte counts as two."""
        return self._known.get(self._key(file), Path(file).stat().st_size / 500)

    def note(self, files: Sequence[str], report: Path) -> None:
        """Remember what files took, as the report of their run says."""
        took = dict.fromkeys(files, 0.0)
        modules = {file.removesuffix(".py").replace("/", "."): file for file in files}
        for case in ElementTree.parse(report).iter("testcase"):
            file = modules.get(case.get("classname", ""))
            if file is not None:
                took[file] += float(case.get("time", 0))
        self._known |= {self._key(file): round(seconds, 1) for file, seconds in took.items()}

    def _key(self, file: str) -> str:
        return f"{file} {self._words}"

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
