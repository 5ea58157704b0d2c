"""Events: what happened, numbered, so that a reader can go on where it stopped."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Iterable

from jackfield.engine.store import EVENTS_KEPT
from jackfield.engine.views import Event
from jackfield.errors import InvalidRequest

__all__ = ["EventLog"]


class EventLog:
    """The last events in memory; the store keeps them over a restart."""

    def __init__(self) -> None:
        """Begin empty."""
        self._events: collections.deque[Event] = collections.deque(maxlen=EVENTS_KEPT)
        self._arrived = asyncio.Event()

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._events[-1].number if self._events else 0

    def load(self, events: Iterable[Event]) -> None:
        """Take over stored events, oldest first."""
        self._events.extend(events)

    def add(self, event: Event) -> None:
        """Append an event and wake those who follow."""
        self._events.append(event)
        self._arrived.set()
        self._arrived = asyncio.Event()

    def since(self, number: int) -> list[Event]:
        """Return the events after ``number``.

        Raises ``InvalidRequest`` when events after ``number`` are no longer kept, because the
        reader would miss some without knowing.
        """
        if self._events and number < self._events[0].number - 1:
            raise InvalidRequest(
                f"events after {number} are no longer kept; the oldest is {self._events[0].number}",
                hint="list networks, ports and leases anew, then follow from the newest event",
            )
        found: list[Event] = []
        for event in reversed(self._events):
            if event.number <= number:
                break
            found.append(event)
        found.reverse()
        return found

    async def follow(self, since: int | None = None) -> AsyncIterator[Event]:
        """Yield events after ``since`` (``None``: from now on), as they come, for ever."""
        number = self.last if since is None else since
        while True:
            arrived = self._arrived
            for event in self.since(number):
                number = event.number
                yield event
            if arrived is self._arrived and self.last <= number:
                await arrived.wait()
