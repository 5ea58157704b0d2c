"""Coroutines begun without a task, and gone on with in one."""

from __future__ import annotations

import asyncio

import pytest

from jackfield.eager import begin, rest


async def _after(future: asyncio.Future[int] | None) -> int:
    if future is None:
        return 1
    try:
        return await future + await future
    except ValueError:
        return -1


def test_what_never_waits_ends_at_once() -> None:
    """There is no loop here at all."""
    assert (True, 1) == begin(_after(None))


@pytest.mark.parametrize(("outcome", "expected"), [(4, 8), (ValueError("no"), -1)])
def test_what_waits_goes_on_in_a_task(outcome: int | ValueError, expected: int) -> None:
    """Results and errors reach the place that waits for them."""

    async def main() -> int:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        work = _after(future)
        ended, waiting = begin(work)
        assert not ended
        task = loop.create_task(_finish(work, waiting))
        await asyncio.sleep(0)
        if isinstance(outcome, int):
            future.set_result(outcome)
        else:
            future.set_exception(outcome)
        return await task

    assert expected == asyncio.run(main())


def test_a_cancelled_task_cancels_the_rest() -> None:
    """What was begun without a task ends with the one it goes on in."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        work = _after(loop.create_future())
        _, waiting = begin(work)
        task = loop.create_task(_finish(work, waiting))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(RuntimeError, match=r"cannot reuse already awaited coroutine"):
            work.send(None)

    asyncio.run(main())


async def _finish(work: object, waiting: object) -> int:
    result: int = await rest(work, waiting)  # type: ignore[arg-type]
    return result
