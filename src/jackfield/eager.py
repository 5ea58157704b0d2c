"""Coroutines begun at once: what never waits needs no task and no turn of the event loop.

For coroutines that ask for their task only after they have waited (``asyncio.timeout`` asks
before), if at all.  Python 3.12 has this as eager tasks.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

__all__ = ["begin", "rest"]

T = TypeVar("T")


def begin(coroutine: Coroutine[Any, Any, T]) -> tuple[bool, Any]:
    """Run ``coroutine`` until it ends or waits.

    Returns ``(True, result)``, or ``(False, what it waits for)`` for ``rest``; raises what it
    raises.
    """
    try:
        return False, coroutine.send(None)
    except StopIteration as ended:
        return True, ended.value


@types.coroutine
def rest(coroutine: Coroutine[Any, Any, T], waiting: Any) -> Generator[Any, Any, T]:
    """Go on, inside a task, with a coroutine that ``begin`` left ``waiting``."""
    while True:
        raised: BaseException | None = None
        sent = None
        try:
            sent = yield waiting
        except BaseException as error:
            raised = error
        try:
            waiting = coroutine.send(sent) if raised is None else coroutine.throw(raised)
        except StopIteration as ended:
            result: T = ended.value
            return result
