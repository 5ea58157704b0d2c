"""What a guest would get, as JSON."""

from __future__ import annotations

from typing import Any

from jackfield.allocation.check import Verdict
from jackfield.document.json import port_to_builtins, to_builtins
from jackfield.model.uplink import describe

__all__ = ["verdict_to_builtins"]


def verdict_to_builtins(verdict: Verdict) -> dict[str, Any]:
    """Return ``verdict`` for JSON: interface, and port, uplink and notes, or the error."""
    shown: dict[str, Any] = {"interface": to_builtins(verdict.interface)}
    if verdict.error is not None:
        shown["error"] = {
            "name": verdict.error.name,
            "message": verdict.error.message,
            "hint": verdict.error.hint,
        }
    if verdict.allocation is not None:
        shown["port"] = port_to_builtins(verdict.allocation.port)
        shown["notes"] = list(verdict.allocation.notes)
        if verdict.allocation.uplink is not None:
            shown["uplink"] = describe(verdict.allocation.uplink)
        if verdict.allocation.bring_up is not None:
            shown["bring_up"] = verdict.allocation.bring_up
    return shown
