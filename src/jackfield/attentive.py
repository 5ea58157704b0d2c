"""An event loop that looks for a moment whether something is next before it sleeps.

Who has had an answer often asks again at once.  Where client and daemon run on two cores, the
kernel takes longer to wake the daemon than the daemon to answer: see
``docs/decisions/0015-look-before-sleeping.md``.
"""

from __future__ import annotations

import asyncio
import selectors
import time

__all__ = ["new_event_loop"]

LOOK = 50e-6
"""Seconds for which the loop looks, each time that it has served somebody."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop that looks before it sleeps."""
    return asyncio.SelectorEventLoop(_AttentiveSelector())


class _AttentiveSelector(selectors.EpollSelector):
    """Looks again and again for ``LOOK`` after something was ready, and sleeps then."""

    def __init__(self) -> None:
        super().__init__()
        self._served = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, as the base class does."""
        if self._served and (timeout is None or timeout > LOOK):
            end = time.perf_counter() + LOOK
            while time.perf_counter() < end:
                # Each look lets the kernel thread run.
                if ready := super().select(0):
                    return ready
        ready = super().select(timeout)
        self._served = bool(ready)
        return ready
