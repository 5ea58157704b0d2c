"""Nothing is left to be imported when somebody asks: that would hold the event loop."""

from __future__ import annotations

import subprocess
import sys

STREAM = """
import asyncio, sys
import jackfield.daemon
from starlette.responses import StreamingResponse

async def lines():
    yield b"{}"

async def receive():
    await asyncio.Event().wait()

async def send(message):
    pass

async def main():
    await StreamingResponse(lines())({"type": "http", "asgi": {}}, receive, send)

known = set(sys.modules)
asyncio.run(main())
print(sorted(set(sys.modules) - known))
"""


def test_a_stream_imports_nothing() -> None:
    """A daemon has all that the first reader of events needs."""
    said = subprocess.run(
        [sys.executable, "-c", STREAM], capture_output=True, text=True, check=True
    )
    assert "[]\n" == said.stdout
