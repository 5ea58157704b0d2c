"""Bandwidth limits (libvirt: Quality of Service, ``<bandwidth>``)."""

from __future__ import annotations

import dataclasses

__all__ = ["Bandwidth", "Rate"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One direction: ``average``, ``peak``, ``floor`` in kibibytes a second, ``burst`` in KiB."""

    average: int | None = None
    peak: int | None = None
    floor: int | None = None
    burst: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth:
    """Both directions as the guest sees them: ``inbound`` is traffic to the guest."""

    inbound: Rate | None = None
    outbound: Rate | None = None
    class_id: int | None = None
    """Minor number of the htb class (live network ports only, ``classID``)."""
