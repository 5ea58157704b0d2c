"""The endpoint of events, as a list or as a stream."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from jackfield.errors import JackfieldError
from jackfield.web import bodies, views
from jackfield.web.door import LINES, Door

__all__ = ["list_events"]

_RECENT = 100

# What streams its answer needs this, and would import it when the first reader comes: that holds
# the event loop for as long as it takes to read, and where it may not be kept, to compile.
with contextlib.suppress(ImportError):
    importlib.import_module("anyio._backends._asyncio")


async def list_events(door: Door, request: Request) -> Response:
    """Answer with events, one JSON object a line, and with ``follow`` go on as they come."""
    bodies.check_parameters(request, "since", "follow")
    events = door.engine.events
    since = bodies.read_number(request, "since")
    # Numbered from here and not from the first read, so that whoever has the answer's head
    # misses nothing that happens after it.
    headers = {"jackfield-last-event": str(events.last)}
    if not bodies.read_flag(request, "follow"):
        found = events.since(max(0, events.last - _RECENT) if since is None else since)
        lines = b"".join(views.encode(views.event_json(event)) + b"\n" for event in found)
        return Response(lines, media_type=LINES, headers=headers)
    number = events.last if since is None else since
    events.since(number)
    return StreamingResponse(_follow(door, number), media_type=LINES, headers=headers)


async def _follow(door: Door, number: int) -> AsyncIterator[bytes]:
    """Yield the events after ``number`` as lines, until the door closes."""
    events = door.engine.events.follow(number)
    closing = asyncio.create_task(door.closing.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(events))
            try:
                await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    return
                yield views.encode(views.event_json(coming.result())) + b"\n"
            except JackfieldError as error:
                # A reader slower than the log is long: told in the last line of its stream.
                yield views.encode(views.error_json(error)) + b"\n"
                return
            finally:
                coming.cancel()
    finally:
        closing.cancel()
