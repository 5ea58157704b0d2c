"""The event log: a reader goes on where it stopped, or is told that it cannot."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from jackfield.engine.events import EventLog
from jackfield.engine.store.tables import EVENTS_KEPT
from jackfield.engine.views import Event
from jackfield.errors import InvalidRequest
from jackfield.model.values import NetworkName


def event(number: int) -> Event:
    """Return an event."""
    return Event(
        number=number,
        time=float(number),
        type="network-started",
        network=NetworkName("red"),
        uuid=UUID(int=1),
        detail={},
    )


def test_since() -> None:
    """What came after a number is given, oldest first."""
    log = EventLog()
    assert [] == log.since(0)
    assert 0 == log.last
    log.load([event(1), event(2)])
    log.add(event(3))
    assert [1, 2, 3] == [item.number for item in log.since(0)]
    assert [3] == [item.number for item in log.since(2)]
    assert [] == log.since(3)
    assert 3 == log.last


def test_a_gap_is_told() -> None:
    """A reader that would miss events without knowing is refused, one that would not is not."""
    log = EventLog()
    for number in range(1, EVENTS_KEPT + 3):
        log.add(event(number))
    assert EVENTS_KEPT == len(log.since(2))
    with pytest.raises(InvalidRequest, match="no longer kept"):
        log.since(1)


def test_a_number_that_never_was_is_told() -> None:
    """A reader of a lost database would wait until as many have happened again."""
    log = EventLog()
    with pytest.raises(InvalidRequest, match="there was no event 1; the newest is 0"):
        log.since(1)
    # They come nearly in the order of their numbers.
    for number in (1, 3, 2):
        log.add(event(number))
    assert [] == log.since(3)
    with pytest.raises(InvalidRequest, match="there was no event 4; the newest is 3"):
        log.since(4)


def test_followers_see_each_event_once() -> None:
    """Events that come while a follower is busy are neither lost nor repeated."""

    async def run() -> list[int]:
        log = EventLog()
        log.add(event(1))
        seen: list[int] = []

        async def follow() -> None:
            async for item in log.follow(0):
                seen.append(item.number)
                if item.number == 2:
                    log.add(event(3))
                    log.add(event(4))
                if item.number == 5:
                    return

        follower = asyncio.create_task(follow())
        await asyncio.sleep(0)
        log.add(event(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.add(event(5))
        await asyncio.wait_for(follower, 5)
        return seen

    assert [1, 2, 3, 4, 5] == asyncio.run(run())


def test_following_from_now_on() -> None:
    """Without a number nothing of the past is given."""

    async def run() -> int:
        log = EventLog()
        log.add(event(1))
        first = asyncio.ensure_future(anext(log.follow()))
        await asyncio.sleep(0)
        log.add(event(2))
        return (await asyncio.wait_for(first, 5)).number

    assert 2 == asyncio.run(run())


def test_listeners_are_called_with_each_event() -> None:
    """They are told at once, and no more when they want no more."""
    log = EventLog()
    seen: list[int] = []

    def listener(one: Event) -> None:
        seen.append(one.number)

    log.listen(listener)
    log.add(event(1))
    log.add(event(2))
    log.unlisten(listener)
    log.unlisten(listener)
    log.add(event(3))
    assert [1, 2] == seen


def test_a_number_that_comes_late_is_not_missed() -> None:
    """One of the kernel thread may be on its way while the event loop adds a later one."""

    async def run() -> list[int]:
        log = EventLog()
        followed = log.follow(0)
        seen = []
        for number in (1, 3, 2, 4):
            log.add(event(number))
            seen.append((await asyncio.wait_for(anext(followed), 5)).number)
        return seen

    assert [1, 3, 2, 4] == asyncio.run(run())
