"""Bandwidth limits (libvirt: Quality of Service, ``<bandwidth>``)."""

from __future__ import annotations

from jackfield.model.value import Value

__all__ = ["Bandwidth", "Rate"]


class Rate(Value, frozen=True, kw_only=True):
    """One direction: ``average``, ``peak``, ``floor`` in kibibytes a second, ``burst`` in KiB."""

    average: int | None = None
    peak: int | None = None
    floor: int | None = None
    burst: int | None = None


class Bandwidth(Value, frozen=True, kw_only=True):
    """Both directions as the guest sees them: ``inbound`` is traffic to the guest."""

    inbound: Rate | None = None
    outbound: Rate | None = None
    class_id: int | None = None
    """Minor number of the htb class (live network ports only, ``classID``)."""
