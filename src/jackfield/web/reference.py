"""The tables of ``docs/http.md``, made from what is served."""

from __future__ import annotations

from jackfield.errors import JackfieldError, every_error
from jackfield.web.api import ENDPOINTS

__all__ = ["errors_table", "paths_table"]


def paths_table() -> str:
    """Return the endpoints as a Markdown table."""
    rows = ["| method and path | changes | what |", "|---|---|---|"]
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace(":path", "")
        changes = "yes" if endpoint.writes else ""
        rows.append(f"| `{endpoint.method} {path}` | {changes} | {endpoint.summary} |")
    return "\n".join(rows)


def errors_table() -> str:
    """Return the errors that the daemon answers with, by status, as a Markdown table."""
    by_status = {405: ["`invalid-request`: the path has no such method"]}
    for kind in every_error():
        if kind is not JackfieldError and kind.name not in _ELSEWHERE:
            by_status.setdefault(kind.http_status, []).append(f"`{kind.name}`")
    rows = ["| status | names |", "|---|---|"]
    for status, names in sorted(by_status.items()):
        rows.append(f"| {status} | {', '.join(sorted(names))} |")
    return "\n".join(rows)


# What the command line finds wrong by itself, or the daemon before it serves.
_ELSEWHERE = frozenset({"configuration-error", "daemon-unreachable", "usage-error"})
