"""Whether Open vSwitch works: its database answers, and ovs-vswitchd is there to do what it says.

ovs-vswitchd holds the lock ``ovs_vswitchd`` of the database (RFC 7047, section 4.1.8) while it is
connected.  Who asks for it is told whether somebody has it.  Both questions are one message: the
server lets go for us before it hears anybody else, so that an ovs-vswitchd that starts just then
is not in our way, nor we in its, whatever becomes of us meanwhile.

One that hangs, or that somebody has stopped, holds the lock all the same; it is asked itself, at
its control socket beside the database's (``ovs-appctl(8)``), where there is one that we may use.
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
_CONTROL = "ovs-vswitchd*.ctl"
_SERVICE = "its service (openvswitch-switch)"


async def find_fault(path: Path) -> str | None:
    """Return what of the Open vSwitch with its database at ``path`` does not work, in words.

    And what helps.
    """
    try:
        async with asyncio.timeout(_LIMIT):
            held = await _is_held(path)
    except TimeoutError:
        return f"its database at {path} has not answered in {_LIMIT:g} s; restart {_SERVICE}"
    except OSError as error:
        return f"its database does not run: {why_unreachable(path, error)}; start {_SERVICE}"
    except ValueError as error:
        return f"what answers at {path} does not speak OVSDB: {error}"
    if not held:
        return f"ovs-vswitchd does not run; start {_SERVICE}"
    for control in sorted(path.parent.glob(_CONTROL)):
        try:
            async with asyncio.timeout(_LIMIT):
                await _hear(control)
        except TimeoutError:
            return f"ovs-vswitchd has not answered in {_LIMIT:g} s; restart {_SERVICE}"
        except OSError:
            # It was left by one that has gone, or is not for us.
            continue
    return None


async def _hear(control: Path) -> None:
    """Return when what listens at a control socket has said anything, or hung up."""
    reader, writer = await asyncio.open_unix_connection(control)
    try:
        writer.write(encode({"method": "version", "params": [], "id": 0}))
        await reader.read(_READ)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


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
