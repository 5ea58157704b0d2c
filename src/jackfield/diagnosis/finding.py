"""What a look at a network has found."""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["Examination", "Finding", "Likelihood"]


class Likelihood(enum.IntEnum):
    """How likely something is what guests suffer from; the most likely first."""

    FAULT = 0
    """Guests lack something, for sure."""
    OBSTACLE = 1
    """Something that guests need lacks something itself."""
    PERHAPS = 2
    """It may be, and cannot be told from here."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with ``network``, and what to do about it."""

    network: str
    likelihood: Likelihood
    text: str
    hint: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All that was found of ``networks``, by likelihood, and ``notes`` on what was not seen."""

    networks: tuple[str, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
