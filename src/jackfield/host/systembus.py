"""A connection to the system bus: calls and signals.

It takes 30 ms and 4 MiB to import what it needs, so it is imported when there is a bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

from dbus_fast import BusType, Message, MessageType
from dbus_fast.aio import MessageBus

from jackfield.errors import HostError

__all__ = ["CallRefused", "SystemBus"]

_BUS = "org.freedesktop.DBus"

_PATIENCE = 30.0
"""Seconds that somebody may take to answer: firewalld does nothing else while it reloads."""


class CallRefused(HostError):
    """A call was answered by an error; the text is that of who was called."""


class SystemBus:
    """One connection, for the event loop that made it."""

    def __init__(self, bus: MessageBus, told: Callable[[str, Sequence[Any]], None]) -> None:
        """Hand what is signalled on ``bus`` to ``told(member, body)``."""
        self._bus = bus
        self._told = told
        bus.add_message_handler(self._take)

    @classmethod
    async def connect(
        cls, told: Callable[[str, Sequence[Any]], None], matches: Sequence[str]
    ) -> Self:
        """Connect, and listen for signals that fit one of ``matches`` (the bus's match rules)."""
        try:
            async with asyncio.timeout(_PATIENCE):
                bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
        except (OSError, EOFError, TimeoutError) as error:
            raise HostError(f"the system bus cannot be used: {error}") from error
        made = cls(bus, told)
        for match in matches:
            await made.call(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", match)
        return made

    @property
    def connected(self) -> bool:
        """Whether the bus is still there."""
        return bool(self._bus.connected)

    def close(self) -> None:
        """Leave the bus."""
        self._bus.disconnect()

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        *values: Any,
    ) -> list[Any]:
        """Return the values that a call with ``values`` of this ``signature`` gives.

        Raises ``CallRefused``, and ``HostError`` where there is no answer.
        """
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(values),
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                reply = await self._bus.call(message)
        except TimeoutError:
            raise HostError(
                f"{destination} has not answered {member} for {_PATIENCE:g} s",
                hint="systemctl status shows whether its service is well",
            ) from None
        except (OSError, EOFError) as error:
            raise HostError(f"the system bus has gone: {error}") from error
        if reply.message_type is MessageType.ERROR:
            raise CallRefused(" ".join(map(str, reply.body)) or str(reply.error_name))
        return list(reply.body)

    def _take(self, message: Message) -> None:
        if message.message_type is MessageType.SIGNAL:
            self._told(str(message.member), message.body)
