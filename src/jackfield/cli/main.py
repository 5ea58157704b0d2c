"""The program ``jackfield``: parse the command line, run one command, report errors.

Only the module of the command that is called is imported.
"""

from __future__ import annotations

import os
import sys

from jackfield.cli.command import Context
from jackfield.cli.commands import find
from jackfield.cli.output import report
from jackfield.cli.parser import parse, split
from jackfield.errors import JackfieldError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main"]

_INTERRUPTED = 130  # what a shell reports for a program ended by SIGINT
_BROKEN_PIPE = 141  # and by SIGPIPE


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line ``argv`` (``sys.argv``) and exit with its status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(words)
        sys.stdout.flush()
    except JackfieldError as error:
        report(error, as_json="--json" in _ours(words))
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
    name, rest = split(words)
    command = None if name is None else find(name)
    ours = _ours(rest)
    if "-h" in ours or "--help" in ours:
        from jackfield.cli import help

        print(help.overview() if command is None else help.usage(command))
        return 0
    if name is None and "--version" in ours:
        import jackfield

        print(f"jackfield {jackfield.__version__}")
        return 0
    if name is None:
        raise UsageError("there is no command", hint="see: jackfield --help")
    if command is None:
        raise UsageError(
            f"there is no command {name!r}", hint=f"{_nearest(name)}see: jackfield --help"
        )
    arguments = parse(command, rest)
    run_dir = arguments.run_dir or os.environ.get("JACKFIELD_RUN_DIR") or "/run/jackfield"
    try:
        return command.load()(Context(run_dir=run_dir, json=arguments.json), arguments) or 0
    except JackfieldError as error:
        from jackfield.cli.meant import name_files

        name_files(error, command, arguments)
        raise


def _ours(words: Sequence[str]) -> Sequence[str]:
    """Return the words before ``--``: those after it are the options of somebody else."""
    return words[: words.index("--")] if "--" in words else words


def _nearest(name: str) -> str:
    import difflib

    from jackfield.cli.commands import COMMANDS

    near = difflib.get_close_matches(name, [command.name for command in COMMANDS], n=1)
    return f"did you mean {near[0]}? " if near else ""


if __name__ == "__main__":
    main()
