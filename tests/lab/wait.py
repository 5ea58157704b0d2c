"""Wait for a condition instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["wait_for"]

T = TypeVar("T")


def wait_for(
    condition: Callable[[], T | None], timeout: float, what: str, *, interval: float = 0.02
) -> T:
    """Return the first true value of ``condition``, asked every ``interval`` seconds.

    ``what`` completes the sentence "waited N s for …" of the ``AssertionError`` that is raised
    after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout:g} s for {what}; last answer: {value!r}")
        time.sleep(interval)
