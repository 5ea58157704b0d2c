"""Whether Open vSwitch works: its database answers, and ovs-vswitchd is there to do what it says.

ovs-vswitchd holds the lock ``ovs_vswitchd`` of the database (RFC 7047, section 4.1.8) while it is
connected.  Who asks for it is told whether somebody has it.  Both questions are one message: the
server lets go for us before it hears anybody else, so that an ovs-vswitchd that starts just then
is not in our way, nor we in its, whatever becomes of us meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from jackfield.host.openvswitch.jsonrpc import Messages, encode, why_unreachable

__all__ = ["find_fault"]

_LOCK = ["ovs_vswitchd"]
_LIMIT = 5.0
_READ = 4096


async def find_fault(path: Path) -> str | None:
    """Return what of the Open vSwitch with its database at ``path`` does not work, in words."""
    try:
        async with asyncio.timeout(_LIMIT):
            held = await _is_held(path)
    except TimeoutError:
        return f"its database at {path} has not answered in {_LIMIT:g} s"
    except OSError as error:
        return f"its database does not run: {why_unreachable(path, error)}"
    except ValueError as error:
        return f"what answers at {path} does not speak OVSDB: {error}"
    return None if held else "ovs-vswitchd does not run"


async def _is_held(path: Path) -> bool:
    """Ask for the lock and give it back; return whether somebody else has it."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        questions = [
            {"method": method, "params": _LOCK, "id": method} for method in ("lock", "unlock")
        ]
        writer.write(b"".join(map(encode, questions)))
        messages = Messages()
        while data := await reader.read(_READ):
            for message in messages.feed(data):
                if message.get("id") == "lock" and "method" not in message:
                    result = message.get("result")
                    if not isinstance(result, dict) or "locked" not in result:
                        raise ValueError(f"{message!r} where it says who has a lock")
                    return result["locked"] is not True
        raise ConnectionResetError("it closed the connection")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
