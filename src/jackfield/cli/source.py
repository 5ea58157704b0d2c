"""Where documents come from: a file, or standard input."""

from __future__ import annotations

import os
import sys

from jackfield.errors import UsageError

__all__ = ["is_file", "read_source"]

_LIMIT = 8 * 1024 * 1024  # what the daemon takes


def is_file(name: str) -> bool:
    """Return whether ``name`` is standard input or a file, and not a network's name.

    Those have no slash, so a path is meant for a file although none is there.
    """
    if name == "-" or "/" in name:
        return True
    return os.path.exists(name) and not os.path.isdir(name)  # noqa: PTH110, PTH112


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
