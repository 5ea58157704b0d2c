"""Tasks that no client waits for, and their end."""

from __future__ import annotations

import asyncio

from jackfield.engine.background import Background


def test_one_that_has_just_ended() -> None:
    """It is closed also in the turn of the loop in which nobody has been told of that end yet."""

    async def nothing() -> None:
        pass

    async def close() -> None:
        background = Background()
        ended = background.later(nothing())
        await asyncio.sleep(0)
        assert ended.done()
        await background.close()

    asyncio.run(close())


def test_none_is_left() -> None:
    """One that waits is cancelled, and one that comes too late never begins."""
    ended: list[str] = []

    async def wait(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def close() -> None:
        background = Background()
        background.later(wait("begun"))
        await asyncio.sleep(0)
        await background.close()
        background.later(wait("too late"))
        await background.close()
        assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(close())
    assert ["begun"] == ended
