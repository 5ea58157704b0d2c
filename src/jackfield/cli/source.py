"""Where documents come from: a file, or standard input."""

from __future__ import annotations

import sys

from jackfield.errors import UsageError

__all__ = ["is_file", "read_source"]

_LIMIT = 8 * 1024 * 1024  # what the daemon takes


def is_file(name: str) -> bool:
    """Return whether ``name``, which may be a file or a network, is a file or standard input.

    The word alone decides: what it means must not depend on what lies in the current directory,
    or on what the daemon knows.
    """
    return name == "-" or "/" in name or name.lower().endswith((".xml", ".json"))


def read_source(name: str) -> bytes:
    """Return what is in file ``name``, or standard input for ``-``; ``UsageError`` if nothing."""
    try:
        if name == "-":
            content = sys.stdin.buffer.read(_LIMIT + 1)
        else:
            with open(name, "rb") as file:  # noqa: PTH123
                content = file.read(_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"cannot read {name}: {error.strerror or error}") from error
    if len(content) > _LIMIT:
        raise UsageError(f"{name} is longer than {_LIMIT} bytes, and no document is")
    if not content.strip():
        raise UsageError(f"{'standard input' if name == '-' else name} is empty")
    return content
