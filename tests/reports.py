"""Read the JUnit reports of a run: print the totals, or refuse skips that nobody expects.

``python -m tests.reports FOLDER TIER…`` prints how each mode was shown, and the totals.
``python -m tests.reports FOLDER --skips FILE`` fails for each skip that FILE does not list.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from jackfield.model.mode import Mode

__all__ = ["SHOWS", "describe_shown", "main", "read_expected", "shown", "skips", "totals"]

SHOWS = "shows"
"""The marker of tests that show a mode, and what its properties begin with in a report."""


def totals(reports: Sequence[Path]) -> dict[str, int]:
    """Return how many tests passed, failed (errors too) and were skipped."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for report in reports:
        for suite in ElementTree.parse(report).iter("testsuite"):
            tests, failures, errors, skipped = (
                int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")
            )
            counts["failed"] += failures + errors
            counts["skipped"] += skipped
            counts["passed"] += max(0, tests - failures - errors - skipped)
    return counts


def skips(reports: Sequence[Path]) -> dict[str, str]:
    """Return the reason of each skipped test, by ``MODULE::NAME``."""
    found = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            for skipped in case.iter("skipped"):
                # A test that is expected to fail is reported as skipped too.
                if skipped.get("type") != "pytest.xfail":
                    name = f"{case.get('classname')}::{case.get('name')}"
                    found[name] = skipped.get("message", "")
    return found


def shown(reports: Sequence[Path]) -> dict[str, dict[str, int]]:
    """Return how each thing that tests are marked with ``shows`` was shown: ways, with counts.

    Only tests that passed count.
    """
    found: dict[str, dict[str, int]] = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            if any(case.find(word) is not None for word in ("failure", "error", "skipped")):
                continue
            for item in case.iterfind("properties/property"):
                kind, _, what = item.get("name", "").partition(":")
                if kind == SHOWS:
                    ways = found.setdefault(what, {})
                    ways[item.get("value", "")] = ways.get(item.get("value", ""), 0) + 1
    return found


def describe_shown(found: Mapping[str, Mapping[str, int]]) -> str:
    """Return a line for each mode and for whatever else was shown."""
    modes = [mode.value for mode in Mode]
    lines = []
    for what in (*modes, *sorted(found.keys() - set(modes))):
        ways = "; ".join(f"{way} ({count})" for way, count in sorted(found.get(what, {}).items()))
        lines.append(f"  {what:<26} {ways or 'not shown'}")
    return "\n".join(lines)


def read_expected(text: str) -> dict[str, str]:
    """Return pattern and reason of each line ``PATTERN  # REASON``.

    Patterns are of fnmatch, over ``MODULE::NAME``.  Raises ``ValueError`` for a line without
    reason; lines that begin with ``#`` are remarks.
    """
    expected = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, _, reason = line.partition(" # ")
            if not reason.strip():
                raise ValueError(f"expected-skips: this line has no reason: {line}")
            expected[pattern.strip()] = reason.strip()
    return expected


def main(arguments: Sequence[str]) -> int:
    """Do what the module's title says; return the exit status."""
    folder, *rest = arguments
    if rest and rest[0] == "--skips":
        expected = read_expected(Path(rest[1]).read_text())
        unexpected = {
            name: reason
            for name, reason in skips(sorted(Path(folder).glob("*.xml"))).items()
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in expected)
        }
        for name, reason in unexpected.items():
            print(f"unexpected skip: {name}: {reason}", file=sys.stderr)
        return 1 if unexpected else 0
    reports = [Path(folder, f"{tier}.xml") for tier in rest]
    missing = [report.name for report in reports if not report.exists()]
    if missing:
        print(f"no report: {', '.join(missing)}", file=sys.stderr)
        return 1
    found = shown(reports)
    if found:
        print(f"\nshown, and how (passed tests):\n{describe_shown(found)}")
    counts = totals(reports)
    print(
        f"\ntotal: {counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['skipped']} skipped"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
