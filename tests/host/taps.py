"""Taps of ours, as many as a test wants."""

from __future__ import annotations

from jackfield.host.kernel import Kernel
from jackfield.host.tap import TapDriver
from jackfield.model.values import InterfaceName
from jackfield.state.links import TapLink

__all__ = ["make_taps"]


def make_taps(kernel: Kernel, count: int) -> list[TapLink]:
    """Make ``count`` marked taps."""
    taps = [
        TapLink(name=InterfaceName(f"tap{number}"), alias=f"jackfield:port:{number}", mac=None)
        for number in range(count)
    ]
    TapDriver().ensure(kernel, taps, {})
    return taps
