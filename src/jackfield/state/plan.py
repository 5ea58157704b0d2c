"""A step of a plan, for people and for programs."""

from __future__ import annotations

import dataclasses

__all__ = ["PlanStep"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """One step of a plan; ``text`` is for people.

    ``action`` is create, change, remove, or keep for what stays otherwise than defined.
    """

    action: str
    kind: str
    key: str
    text: str
