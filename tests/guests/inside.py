"""Python in a guest: ``inside.py ASKED ANSWERED`` runs functions for who writes to a pipe.

A line that is read from the pipe ASKED is ``{"function": "module:name", "arguments": {…}}``; a
line written to ANSWERED is ``{"result": …}`` or ``{"error": TRACEBACK}``.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path

__all__ = ["ready"]


def ready() -> str:
    """Say that questions are answered."""
    return "ready"


def answer(line: str) -> dict[str, object]:
    """Return the answer to one question."""
    try:
        question = json.loads(line)
        module, _, name = question["function"].partition(":")
        function = getattr(importlib.import_module(module), name)
        return {"result": function(**question["arguments"])}
    except BaseException:
        return {"error": traceback.format_exc()}


def main(asked: Path, answered: Path) -> None:
    """Answer until nobody can ask any more."""
    while True:
        for line in asked.read_text(encoding="utf-8").splitlines():
            answered.write_text(json.dumps(answer(line)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
