"""Help, made from the table of commands: for a terminal, and for ``docs/cli.md``."""

from __future__ import annotations

from jackfield.cli.command import Command, Flag, Option, Word
from jackfield.cli.commands import COMMANDS, COMMON
from jackfield.errors import every_error

__all__ = ["overview", "reference", "statuses", "usage"]


def overview() -> str:
    """Return one line about every command."""
    width = max(len(command.name) for command in COMMANDS)
    return "\n".join(
        [
            "usage: jackfield [--run-dir DIR] [--json] COMMAND ...",
            "",
            "Networks for virtual machines: the guest names one, the host decides what it is.",
            "",
            *(f"  {command.name:<{width}}  {command.summary}" for command in COMMANDS),
            "",
            "jackfield COMMAND --help says more.",
        ]
    )


def usage(command: Command) -> str:
    """Return what there is to say about one command."""
    rows = [(_spelling(item), item.help) for item in (*command.words, *command.options, *COMMON)]
    width = max(len(spelling) for spelling, _ in rows)
    return "\n".join(
        [
            f"usage: {_synopsis(command)}",
            "",
            f"{_sentence(command.summary)}",
            "",
            *(f"  {spelling:<{width}}  {help}" for spelling, help in rows),
        ]
    )


def reference() -> str:
    """Return the commands as Markdown."""
    lines = []
    for command in COMMANDS:
        lines += [f"### `{_synopsis(command)}`", "", _sentence(command.summary), ""]
        rows = [(_spelling(item), item.help) for item in (*command.words, *command.options)]
        lines += [f"- `{spelling}`: {help}" for spelling, help in rows]
        lines += [""] if rows else []
    lines += ["### Everywhere", ""]
    lines += [f"- `{_spelling(item)}`: {item.help}" for item in COMMON]
    return "\n".join(lines)


def statuses() -> str:
    """Return the exit statuses as a Markdown table."""
    names: dict[int, list[str]] = {}
    for kind in every_error():
        names.setdefault(kind.exit_status, []).append(f"`{kind.name}`")
    rows = ["| status | errors |", "|---|---|", "| 0 | none: it is done |"]
    rows += [f"| {status} | {', '.join(sorted(names[status]))} |" for status in sorted(names)]
    return "\n".join([*rows, "| 130 | interrupted |", "| 141 | nobody reads the output |"])


def _synopsis(command: Command) -> str:
    parts = ["jackfield", command.name]
    words = [item for item in command.words if not item.rest]
    choice: list[Word | Option | Flag] = list(command.exclusive)
    if command.one_of:
        choice = [*(item for item in words if item.optional), *choice]
        words = [item for item in words if not item.optional]
    parts += [f"[{item.metavar}]" if item.optional or item.many else item.metavar for item in words]
    if choice:
        alternatives = " | ".join(map(_spelling, choice))
        parts.append(f"({alternatives})" if command.one_of else f"[{alternatives}]")
    for item in command.options:
        if item not in command.exclusive:
            needed = isinstance(item, Option) and item.needed
            parts.append(_repeatable(item) if needed else f"[{_repeatable(item)}]")
    parts += [f"-- {item.metavar}…" for item in command.words if item.rest]
    return " ".join(parts)


def _repeatable(item: Option | Flag) -> str:
    """Return how an option is written, with dots where it may be given several times."""
    dots = " …" if isinstance(item, Option) and item.many else ""
    return f"{_spelling(item)}{dots}"


def _spelling(item: Word | Option | Flag) -> str:
    if isinstance(item, Word):
        return item.metavar
    if isinstance(item, Option):
        return f"{item.flag} {item.metavar}"
    return f"{item.short}, {item.flag}" if item.short else item.flag


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
