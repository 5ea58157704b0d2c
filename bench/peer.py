"""Whether there is a libvirtd to compare with."""

from __future__ import annotations

import contextlib

from bench.hosts import Libvirt
from tests.lab.libvirtd import skip_reason

__all__ = ["peer", "why_no_peer"]


def peer(stack: contextlib.ExitStack) -> Libvirt | None:
    """Return a host with libvirtd, which ends with ``stack``, or ``None`` where there is none."""
    return stack.enter_context(Libvirt()) if skip_reason() is None else None


def why_no_peer() -> str:
    """Return why there is no libvirtd to compare with; empty when there is one."""
    return skip_reason() or ""
