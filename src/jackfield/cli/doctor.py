"""Why guests have no network."""

from __future__ import annotations

from jackfield.cli.output import print_json, say
from jackfield.client import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from jackfield.cli.command import Arguments, Context

__all__ = ["doctor"]

_FOUND = 1


def doctor(context: Context, arguments: Arguments) -> int:
    """Print what keeps guests from their networks; return 1 when there is something."""
    paths = [f"/v1/networks/{quote(name)}/doctor" for name in arguments.names]
    answers = [context.client.request("GET", path) for path in paths or ["/v1/doctor"]]
    told = _together(answers)
    if context.json:
        print_json(told)
    else:
        _print(told)
    return _FOUND if told["findings"] else 0


def _together(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one answer for several networks, what is certain first and nothing twice."""
    told: dict[str, Any] = {"networks": [], "findings": [], "notes": []}
    for answer in answers:
        for key, known in told.items():
            known += [item for item in answer[key] if item not in known]
    told["findings"].sort(key=lambda item: not item["certain"])
    return told


def _print(told: dict[str, Any]) -> None:
    for finding in told["findings"]:
        say(f"{finding['network']}: {finding['text']}")
        say(f"  hint: {finding['hint']}")
    if not told["networks"]:
        say("No network runs, so there is nothing to look at; see: jackfield list")
    elif not told["findings"]:
        say(f"Nothing found: the host does not keep guests of {_names(told)} from the network.")
    for note in told["notes"]:
        say(f"  note: {note}")


def _names(told: dict[str, Any]) -> str:
    *others, last = told["networks"]
    return f"{', '.join(others)} and {last}" if others else str(last)
