"""Events: what happened, numbered, so that a reader can go on where it stopped."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Callable, Iterable

from jackfield.engine.store.tables import EVENTS_KEPT
from jackfield.engine.views import Event
from jackfield.errors import InvalidRequest

__all__ = ["EventLog"]

_ANEW = "list networks, ports and leases anew, then follow from the newest event"


class EventLog:
    """The last events in memory; the store keeps them over a restart."""

    def __init__(self) -> None:
        """Begin empty."""
        self._events: collections.deque[Event] = collections.deque(maxlen=EVENTS_KEPT)
        self._listeners: list[Callable[[Event], None]] = []
        self._added = 0
        self._highest = 0
        self._arrived: asyncio.Event | None = None

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._events[-1].number if self._events else 0

    def load(self, events: Iterable[Event]) -> None:
        """Take over stored events, oldest first."""
        self._events.extend(events)
        self._added = len(self._events)
        self._highest = max((event.number for event in self._events), default=0)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with each event as it is added; it must not raise, nor take long."""
        self._listeners.append(listener)

    def unlisten(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` no more, if it is called."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def add(self, event: Event) -> None:
        """Append an event, tell those who listen, and wake those who follow."""
        self._events.append(event)
        self._added += 1
        self._highest = max(self._highest, event.number)
        for listener in tuple(self._listeners):
            listener(event)
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None

    def since(self, number: int) -> list[Event]:
        """Return the events after ``number``.

        Raises ``InvalidRequest`` when events after ``number`` are no longer kept, or its event
        never was, as after a lost database: the reader would miss some without knowing.
        """
        if self._events and number < self._events[0].number - 1:
            raise self._not_kept(number)
        if number > self._highest:
            raise InvalidRequest(
                f"there was no event {number}; the newest is {self._highest}", hint=_ANEW
            )
        found: list[Event] = []
        for event in reversed(self._events):
            if event.number <= number:
                break
            found.append(event)
        found.reverse()
        return found

    def _not_kept(self, number: int) -> InvalidRequest:
        return InvalidRequest(
            f"events after {number} are no longer kept; the oldest is {self._events[0].number}",
            hint=_ANEW,
        )

    async def follow(self, since: int | None = None) -> AsyncIterator[Event]:
        """Yield events after ``since`` (``None``: from now on), as they come, for ever.

        They come nearly in the order of their numbers: while one of the kernel thread is on its
        way to the event loop, the loop may add others.
        """
        last = self.last if since is None else since
        seen = self._added - len(self.since(last))
        while True:
            if seen < self._added - len(self._events):
                raise self._not_kept(last)
            if seen == self._added:
                if self._arrived is None:
                    self._arrived = asyncio.Event()
                await self._arrived.wait()
            event = self._events[seen - self._added]
            seen, last = seen + 1, event.number
            yield event
