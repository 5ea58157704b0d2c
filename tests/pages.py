"""The pages that are generated in part: what ``scripts/docs`` writes, and a test checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from jackfield.cli import help
from jackfield.web import reference

__all__ = ["PAGES", "fill"]

_DOCS = Path(__file__).parents[1] / "docs"

PAGES: Mapping[Path, Mapping[str, Callable[[], str]]] = {
    _DOCS / "cli.md": {"commands": help.reference, "statuses": help.statuses},
    _DOCS / "http.md": {"paths": reference.paths_table, "errors": reference.errors_table},
}


def fill(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """Return ``text`` with what stands between the marks of each part made anew."""
    for name, make in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", "<!-- end -->"
        before, mark, rest = text.partition(begin)
        _, closing, after = rest.partition(end)
        if not mark or not closing:
            raise ValueError(f"no place is marked for {name}")
        text = f"{before}{begin}\n{make()}\n\n{end}{after}"
    return text
