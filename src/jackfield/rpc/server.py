"""The libvirt door: sockets to connect to, and who is told of which event."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Sequence

from jackfield import openfiles
from jackfield.access import Caller
from jackfield.config import Config
from jackfield.engine.metadata import MetadataType
from jackfield.engine.views import Event
from jackfield.listener import close_servers
from jackfield.operations import Operations
from jackfield.rpc.connection import Connection
from jackfield.rpc.credentials import Credentials
from jackfield.rpc.engine import Engine
from jackfield.rpc.procedures import LIFECYCLE, METADATA_CHANGE, NetworkRef
from jackfield.rpc.session import Door
from jackfield.rpc.tls import Admission, Gate

__all__ = ["RpcServer"]

log = logging.getLogger("jackfield.rpc")

_KEEPALIVE_INTERVAL = 5.0
"""Seconds between pings, libvirt's default."""

_BACKLOG = 1024

_CLIENTS = 5000
"""How many clients may be connected at once, libvirt's default."""

_GRACE = 2.0
"""Seconds that clients have to read their last replies when the daemon ends."""

_EVENT_LIFECYCLE, _EVENT_METADATA = 0, 1
_LIFECYCLE = {
    "network-defined": 0,
    "network-undefined": 1,
    "network-started": 2,
    "network-stopped": 3,
}


class RpcServer:
    """Serves libvirt's protocol until ``close``."""

    def __init__(self, engine: Engine, config: Config) -> None:
        """Serve ``engine`` to whom ``config`` allows."""
        self.operations = Operations()
        self._door = Door(engine=engine, config=config, operations=self.operations)
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._deserted = asyncio.Event()

    def open(self) -> None:
        """Begin to look after clients, and to tell them of events."""
        self._door.engine.events.listen(self._tell)
        self._tasks = [asyncio.get_running_loop().create_task(self._tick())]

    async def listen(self, listener: socket.socket) -> None:
        """Accept connections at ``listener``."""
        await self._listen(listener, read_only=False)

    async def listen_read_only(self, listener: socket.socket) -> None:
        """Accept connections that change nothing at ``listener``."""
        await self._listen(listener, read_only=True)

    async def _listen(self, listener: socket.socket, *, read_only: bool) -> None:
        connect = functools.partial(self._connect, read_only)
        self._servers.append(
            await asyncio.get_running_loop().create_unix_server(
                connect, sock=listener, backlog=_BACKLOG
            )
        )

    async def open_tls(
        self,
        listener: socket.socket,
        credentials: Credentials,
        allowed: Sequence[str] | None,
    ) -> None:
        """Accept connections from elsewhere at ``listener``, of those ``allowed``."""
        connect = functools.partial(self._connect, False)

        self._servers.append(
            await asyncio.get_running_loop().create_server(
                lambda: Admission(credentials, Gate(allowed, connect)),
                sock=listener,
                backlog=_BACKLOG,
            )
        )

    async def close(self) -> None:
        """Accept no more; finish the changes under way; end the connections."""
        await close_servers(self._servers)
        await self.operations.close()
        # Replies to what has just finished are written in the loop's next turn.
        await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._door.engine.events.unlisten(self._tell)
        for connection in list(self._connections):
            connection.close()
        if self._connections:
            self._deserted.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._deserted.wait(), _GRACE)
        for connection in list(self._connections):
            connection.drop("the daemon is stopping")

    def _connect(self, read_only: bool, caller: Caller | None = None) -> Connection:
        connection = Connection(
            self._door,
            read_only=read_only,
            admitted=len(self._connections) < _CLIENTS and openfiles.are_left(),
            ended=self._end,
            caller=caller,
        )
        self._connections.add(connection)
        return connection

    def _end(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._deserted.set()

    def _tell(self, event: Event) -> None:
        """Hand an event of the engine to the clients that want it, if it is one for them.

        Not while the engine is at work: what goes wrong with a client is none of its business.
        """
        if event.type not in _LIFECYCLE and event.type != "network-metadata":
            return
        if any(connection.registrations for connection in self._connections):
            asyncio.get_running_loop().call_soon(self._push, event)

    def _push(self, event: Event) -> None:
        detail = _LIFECYCLE.get(event.type)
        kind = _EVENT_METADATA if detail is None else _EVENT_LIFECYCLE
        net = NetworkRef(event.network, event.uuid)
        for connection in list(self._connections):
            for number, wish in list(connection.registrations.items()):
                if wish.event != kind or wish.network not in (None, event.uuid):
                    continue
                if detail is not None:
                    connection.push(LIFECYCLE, (number, net, detail, 0))
                else:
                    part = MetadataType[event.detail["type"].upper()]
                    connection.push(METADATA_CHANGE, (number, net, part, event.detail.get("uri")))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_KEEPALIVE_INTERVAL)
            for connection in list(self._connections):
                connection.tick()
