"""Read the JUnit reports of a run: print the totals, or refuse skips that nobody expects.

``python -m tests.reports FOLDER TIER…`` prints one line of totals over the tiers.
``python -m tests.reports FOLDER --skips FILE`` fails for each skip that FILE does not list.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

__all__ = ["main", "read_expected", "skips", "totals"]


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
    counts = totals(reports)
    print(
        f"\ntotal: {counts['passed']} passed, {counts['failed']} failed, "
        f"{counts['skipped']} skipped"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
