"""How answers look: aligned tables and sentences for people, JSON for programs."""

from __future__ import annotations

import sys

from jackfield.errors import visible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from jackfield.errors import JackfieldError

__all__ = ["print_json", "print_table", "print_text", "report", "say", "when"]


def print_json(value: object) -> None:
    """Print ``value`` as one JSON document."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print ``rows`` under ``headings``, columns aligned; ``None`` and ``""`` are a dash.

    What would disturb the terminal, or the reader, stands in escapes.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    table = [list(headings), *cells]
    widths = [max(len(row[column]) for row in table) for column in range(len(headings))]
    for row in table:
        line = "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True))
        print(line.rstrip())


def say(line: str) -> None:
    """Print one line for people, with escapes for what would disturb the terminal."""
    # A line is of use when it comes, not when a buffer is full.
    print(visible(line), flush=True)


def print_text(text: str) -> None:
    """Print a document as it is, with the end of line that it may lack."""
    print(text, end="" if text.endswith("\n") else "\n")


def when(seconds: float) -> str:
    """Return a time, given in seconds since the epoch, as the local clock shows it."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def report(error: JackfieldError, *, as_json: bool) -> None:
    """Print an error for people, or for programs."""
    if as_json:
        import json

        told = {
            "name": error.name,
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
        }
        print(json.dumps({"error": told}), file=sys.stderr)
        return
    print(f"jackfield: error: {_lines(error.message)}", file=sys.stderr)
    if error.hint is not None:
        print(f"  hint: {_lines(error.hint)}", file=sys.stderr)


def _lines(text: str) -> str:
    """Return ``text`` with escapes for what would disturb the terminal, its lines as they are."""
    return "\n".join(map(visible, text.split("\n")))


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return visible(str(value))
