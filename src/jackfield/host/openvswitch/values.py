"""Values of OVSDB's columns in JSON (RFC 7047, section 5.1): sets, maps and references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Row", "as_map", "as_set", "named", "of_map", "of_set", "reference"]

Row = dict[str, Any]
"""A row as the database gives it: column names and JSON values."""


def reference(uuid: str) -> list[str]:
    """Return the value that refers to a row by its uuid."""
    return ["uuid", uuid]


def named(name: str) -> list[str]:
    """Return the value that refers to a row inserted under ``name`` in the same transaction."""
    return ["named-uuid", name]


def as_set(items: Iterable[Any]) -> list[Any]:
    """Return a set; each item a number, text or reference."""
    return ["set", list(items)]


def as_map(items: Mapping[Any, Any]) -> list[Any]:
    """Return a map."""
    return ["map", [[key, value] for key, value in items.items()]]


def of_set(value: Any) -> list[Any]:
    """Return the items of a set; a set of one is written as that one, references as their uuid."""
    if isinstance(value, list) and len(value) == 2:
        if value[0] == "set":
            return [item[1] if isinstance(item, list) else item for item in value[1]]
        if value[0] in ("uuid", "named-uuid"):
            return [value[1]]
    return [value]


def of_map(value: Any) -> dict[Any, Any]:
    """Return a map; references among its values as their uuid."""
    return {
        key: item[1] if isinstance(item, list) else item
        for key, item in (value[1] if isinstance(value, list) and len(value) == 2 else ())
    }
