"""The pages of which parts are generated, and how: what ``scripts/docs`` writes and a test checks."""

from __future__ import annotations

import re
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
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        made = f"{begin}\n{make()}\n\n{end}"
        text, count = pattern.subn(lambda _match, made=made: made, text)
        if count != 1:
            raise ValueError(f"{count} places are marked for {name}, and one should be")
    return text
