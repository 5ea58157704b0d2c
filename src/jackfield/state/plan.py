"""A step of a plan, for people and for programs."""

from __future__ import annotations

import dataclasses

__all__ = ["PlanStep"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One step of a plan: ``action`` is create, change or remove; ``text`` is for people."""

    action: str
    kind: str
    key: str
    text: str
