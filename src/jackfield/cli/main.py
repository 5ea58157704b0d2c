"""The program ``jackfield``: parse the command line, run one command, report errors.

Only the parser of the command that is called is built, and only its module is imported.
"""

from __future__ import annotations

import os
import sys

from jackfield.cli.command import Command, Context
from jackfield.cli.commands import COMMANDS, COMMON, find
from jackfield.errors import JackfieldError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["build_parser", "main"]

_INTERRUPTED = 130  # what a shell reports for a program ended by SIGINT
_BROKEN_PIPE = 141  # and by SIGPIPE


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line ``argv`` (``sys.argv``) and exit with its status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(words)
        sys.stdout.flush()
    except JackfieldError as error:
        _report(error, as_json="--json" in words)
        status = error.exit_status
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone; nothing must be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = _BROKEN_PIPE
    sys.exit(status)


def _run(words: list[str]) -> int:
    if words[:1] == ["__complete"]:
        from jackfield.cli.completion import complete

        return complete(words[1:])
    name, position = _find_name(words)
    if name is None:
        return _without_command(words)
    command = find(name)
    if command is None:
        raise UsageError(
            f"there is no command {name!r}", hint=f"{_nearest(name)}see: jackfield --help"
        )
    arguments = build_parser(command).parse_args(words[:position] + words[position + 1 :])
    run_dir = arguments.run_dir or os.environ.get("JACKFIELD_RUN_DIR") or "/run/jackfield"
    context = Context(run_dir=run_dir, json=arguments.json)
    return command.load()(context, arguments) or 0


def _find_name(words: Sequence[str]) -> tuple[str | None, int]:
    """Return the command's name and where it stands: the first word that is no common option."""
    position = 0
    while position < len(words):
        word = words[position]
        if word == "--run-dir":
            position += 2
        elif word.startswith("-"):
            position += 1
        else:
            return word, position
    return None, position


def _without_command(words: Sequence[str]) -> int:
    if "--version" in words:
        import jackfield

        print(f"jackfield {jackfield.__version__}")
        return 0
    for word in words:
        if word in {"-h", "--help"}:
            print(_overview())
            return 0
    print(_overview(), file=sys.stderr)
    return UsageError.exit_status


def _overview() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = [f"  {command.name:<{width}}  {command.summary}" for command in COMMANDS]
    return "\n".join(
        [
            "usage: jackfield [--run-dir DIR] [--json] COMMAND ...",
            "",
            "Networks for virtual machines: the guest names one, the host decides what it is.",
            "",
            *lines,
            "",
            "jackfield COMMAND --help says more.",
        ]
    )


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, [command.name for command in COMMANDS], n=1)
    return f"did you mean {near[0]}? " if near else ""


def build_parser(command: Command) -> argparse.ArgumentParser:
    """Return the parser of the words after ``command``, or around it."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UsageError(f"{command.name}: {message}", hint=f"see: {self.prog} --help")

    parser = Parser(
        prog=f"jackfield {command.name}",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.",
        allow_abbrev=False,
    )
    group = parser.add_mutually_exclusive_group()
    for argument in command.arguments + COMMON:
        parser.add_argument(*argument.flags, help=argument.help, **argument.settings)
    for argument in command.exclusive:
        group.add_argument(*argument.flags, help=argument.help, **argument.settings)
    return parser


def _report(error: JackfieldError, *, as_json: bool) -> None:
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
    print(f"jackfield: error: {error.message}", file=sys.stderr)
    if error.hint is not None:
        print(f"  hint: {error.hint}", file=sys.stderr)


if __name__ == "__main__":
    main()
