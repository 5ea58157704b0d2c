"""Measured values, the budgets they are held against, and the table that shows both."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Literal

__all__ = [
    "Budget",
    "Result",
    "after_a_pause",
    "median",
    "milliseconds",
    "ratio",
    "render",
]

Verdict = Literal["ok", "missed", "no budget", "not measured"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A bound: ``measured`` must be at most (or, with ``at_least``, at least) ``limit``.

    ``text`` is the budget in words (``≤ 0.1 × libvirt``); ``measured`` is ``None`` when what it
    compares with could not be had.
    """

    text: str
    measured: float | None
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the bound holds; ``None`` when it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row of the table: a work, what it took, and its budgets.

    ``ours``, ``libvirt`` and ``raw`` are in ``unit``, medians of ``count`` samples each unless
    ``note`` says otherwise.  ``note`` also says why something was not measured.
    """

    work: str
    unit: str
    count: int | None = None
    ours: float | None = None
    libvirt: float | None = None
    raw: float | None = None
    budgets: tuple[Budget, ...] = ()
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """What to say about the row as a whole."""
        if self.ours is None:
            return "not measured"
        if not self.budgets:
            return "no budget"
        met = [budget.met for budget in self.budgets]
        if False in met:
            return "missed"
        return "not measured" if None in met else "ok"

    def as_json(self) -> dict[str, object]:
        """Return the row for ``--json``."""
        return {
            **{
                field.name: getattr(self, field.name)
                for field in dataclasses.fields(self)
                if field.name != "budgets"
            },
            "verdict": self.verdict,
            "budgets": [
                {"text": budget.text, "measured": budget.measured, "met": budget.met}
                for budget in self.budgets
            ],
        }


def median(samples: Sequence[float]) -> float | None:
    """Return the median, ``None`` of nothing."""
    return statistics.median(samples) if samples else None


def milliseconds(samples: Sequence[float]) -> float | None:
    """Return the median of ``samples`` in seconds as milliseconds, ``None`` of nothing."""
    middle = median(samples)
    return None if middle is None else middle * 1000


def ratio(value: float | None, base: float | None) -> float | None:
    """Return ``value / base``, ``None`` when either is missing."""
    return None if value is None or not base else value / base


def after_a_pause(mine: Sequence[float], theirs: Sequence[float]) -> str:
    """Return a note on the first calls of each turn, samples in seconds, ours and libvirt's."""
    ours, libvirt = milliseconds(mine), milliseconds(theirs)
    compared = _number(ratio(ours, libvirt))
    return f"the first of each turn: {_value(ours, 'ms')}, {_value(libvirt, 'ms')}, {compared}"


def render(results: Sequence[Result]) -> str:
    """Return the table for people: one line a row, Markdown's own form."""
    head = ("work", "n", "ours", "libvirt", "raw", "ratio", "budget", "")
    rows = [head, *(_cells(result) for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cells(result: Result) -> tuple[str, ...]:
    verdict = result.verdict.upper() if result.verdict == "missed" else result.verdict
    return (
        result.work,
        "" if result.count is None else str(result.count),
        *(_value(value, result.unit) for value in (result.ours, result.libvirt, result.raw)),
        "; ".join(_number(budget.measured) for budget in result.budgets),
        "; ".join(budget.text for budget in result.budgets),
        f"{verdict}: {result.note}" if result.note else verdict,
    )


def _value(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{_number(value)} {unit}".rstrip()


def _number(value: float | None) -> str:
    """Return three significant digits, whole numbers without a point."""
    if value is None:
        return "–"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
