"""Changes are done whatever becomes of who asked, and each is in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from jackfield.access import Caller
from jackfield.errors import WrongState
from jackfield.operations import Operations

ANNA = Caller(uid=7, gid=7, pid=70)


async def number(value: int) -> int:
    """Return a number without waiting for anything."""
    return value


async def refuse() -> None:
    """Fail without waiting for anything."""
    raise WrongState("it is not so")


def test_the_answer_does_not_wait_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What was done at once is told first, and in the log when the daemon ends, in order."""

    async def run() -> tuple[int, int]:
        operations = Operations()
        answer = await operations.run_here(ANNA, "create port", "a", number(7))
        before = len(caplog.records)
        await operations.run_here(ANNA, "delete port", "a", number(8))
        with pytest.raises(WrongState):
            await operations.run_here(ANNA, "delete port", "b", refuse())
        await operations.run(ANNA, "stop", "red", number(9))
        await operations.run_here(ANNA, "create port", "c", number(10))
        await operations.close()
        return answer, before

    with caplog.at_level("INFO", logger="jackfield.operations"):
        assert (7, 0) == asyncio.run(run())
    who = "asked by user 7 (process 70)"
    assert [
        f"create port a: {who}, done",
        f"delete port a: {who}, done",
        f"delete port b: {who}, failed: it is not so",
        f"stop red: {who}, done",
        f"create port c: {who}, done",
    ] == [record.getMessage() for record in caplog.records]
    assert "delete port" == vars(caplog.records[1])["operation"]


class Told(logging.Handler):
    """Sets ``event`` at the first line."""

    def __init__(self, event: asyncio.Event) -> None:
        super().__init__()
        self.event = event

    def emit(self, record: logging.LogRecord) -> None:
        """Set the event."""
        self.event.set()


def test_the_log_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    """A line comes soon, though nothing else happens."""

    async def run() -> None:
        operations = Operations()
        told = Told(asyncio.Event())
        logging.getLogger("jackfield.operations").addHandler(told)
        try:
            await operations.run_here(ANNA, "create port", "a", number(7))
            await asyncio.wait_for(told.event.wait(), 5)
        finally:
            logging.getLogger("jackfield.operations").removeHandler(told)

    with caplog.at_level("INFO", logger="jackfield.operations"):
        asyncio.run(run())
    assert 1 == len(caplog.records)
