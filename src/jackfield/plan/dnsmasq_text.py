"""Text as dnsmasq reads it: values in quotes where they need them, lines that it takes whole."""

from __future__ import annotations

import re
from collections.abc import Iterable

from jackfield.errors import InvalidRequest

__all__ = ["LINE_LIMIT", "checked_line", "file_text", "quoted"]

LINE_LIMIT = 1023
"""Bytes of a line: dnsmasq (``MAXDNAME``) takes what is longer for another line."""

_PLAIN = re.compile(r"[A-Za-z0-9_.:/+-]+")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def quoted(text: str) -> str:
    """Return ``text`` so that dnsmasq takes it as it is, commas, quotes and ``#`` included."""
    if _PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def file_text(lines: Iterable[str]) -> str:
    """Return ``lines`` as a file's text, or raise ``InvalidRequest`` for one that is not one."""
    found = list(lines)
    text = "\n".join([*found, ""])
    # Mostly all of them are right: what is printable is no control character, and a character
    # is four bytes at most.
    longest = max(map(len, found), default=0)
    if not "".join(found).isprintable() or 4 * longest > LINE_LIMIT:
        for line in found:
            checked_line(line)
    return text


def checked_line(line: str) -> str:
    """Return ``line`` if dnsmasq reads it as one line, or raise ``InvalidRequest``."""
    if _UNWRITABLE.search(line):
        raise InvalidRequest(f"{line[:64]!r} for dnsmasq holds a control character")
    if len(line.encode()) > LINE_LIMIT:
        raise InvalidRequest(
            f"{line[:64]!r}… for dnsmasq is longer than {LINE_LIMIT} bytes",
            hint="dnsmasq would take the rest for another line",
        )
    return line
