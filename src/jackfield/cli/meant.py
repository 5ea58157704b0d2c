"""Which file an error is about, and which may have been meant where none was taken."""

from __future__ import annotations

import os

from jackfield.cli.source import is_file
from jackfield.errors import (
    DaemonUnreachable,
    DocumentError,
    InvalidRequest,
    NetworkNotFound,
    shell_word,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from jackfield.cli.command import Arguments, Command, Word
    from jackfield.errors import JackfieldError

__all__ = ["name_files"]


def name_files(error: JackfieldError, command: Command, arguments: Arguments) -> None:
    """Have ``error`` name the file that holds the document, or that has a network's name."""
    for word in command.words:
        if word.rest:
            continue
        given = getattr(arguments, word.name)
        for name in given if isinstance(given, list) else [given]:
            if name is None:
                continue
            if word.completes == "file" or (word.completes == "file-or-network" and is_file(name)):
                if isinstance(error, DocumentError):
                    error.with_context("standard input" if name == "-" else name)
            elif word.completes in {"network", "file-or-network"}:
                _hint_at_file(error, command, word, name)


def _hint_at_file(error: JackfieldError, command: Command, word: Word, name: str) -> None:
    """Say how to name the file, where a network was looked for and not found."""
    either = word.completes == "file-or-network"
    # Of several names the error is about one.
    missed = isinstance(error, NetworkNotFound) and name in error.message
    missed = missed or (either and isinstance(error, DaemonUnreachable))
    # A path is refused as a network's name before one is looked for.
    refused = isinstance(error, InvalidRequest) and "/" in name
    if not missed and not refused:
        return
    if os.path.isfile(name):  # noqa: PTH113
        if either:
            file = shell_word(f"./{name}")
            way = f"the file of this name is taken by: jackfield {command.name} {file}"
        else:
            way = f"this is a file; store the network first: jackfield define {shell_word(name)}"
        before = error.hint if isinstance(error, DaemonUnreachable) else None
    elif either:
        before, way = error.hint, "a file has a name with .xml or .json at its end, or a slash"
    else:
        return
    error.hint = f"{before}; {way}" if before else way
