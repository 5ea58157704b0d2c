"""HTTP on sockets that are ready, inside the daemon's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jackfield import openfiles
from jackfield.access import Caller
from jackfield.config import Config
from jackfield.errors import InvalidRequest, JackfieldError
from jackfield.listener import close_servers
from jackfield.operations import Operations
from jackfield.web import views
from jackfield.web.api import build
from jackfield.web.door import Door
from jackfield.web.engine import Engine

__all__ = ["WebServer"]

# How long a client may take to read its answer, or to send the rest of its request, when the
# daemon is going; changes under way are waited for without limit, before that.
_GRACE = 2


class _Protocol(HttpToolsProtocol):
    """HTTP/1.1 on a UNIX socket, with the caller in each request's ``state``."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who connected; who would take what is kept for changes is told so."""
        super().connection_made(transport)  # type: ignore[arg-type]
        if not openfiles.are_left():
            self._refuse("503 Service Unavailable", openfiles.shortage())
            return
        caller = Caller.of_socket(transport.get_extra_info("socket"))
        self.app_state = {**self.app_state, "caller": caller}

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the one shape that errors have."""
        self._refuse("400 Bad Request", InvalidRequest(msg))

    def _refuse(self, status: str, error: JackfieldError) -> None:
        body = views.encode(views.error_json(error))
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class WebServer(uvicorn.Server):
    """The HTTP door.  ``serve`` runs until ``stop`` is called and every change is finished."""

    def __init__(self, engine: Engine, config: Config) -> None:
        """Serve ``engine`` to whom ``config`` allows."""
        self.operations = Operations()
        self._closing = asyncio.Event()
        door = Door(engine=engine, config=config, operations=self.operations, closing=self._closing)
        super().__init__(
            uvicorn.Config(
                build(door),
                http=_Protocol,
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )

    async def listen(self, listener: socket.socket) -> None:
        """Answer at ``listener`` as well, while ``serve`` runs."""
        protocol = functools.partial(
            _Protocol,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        self.servers.append(
            await asyncio.get_running_loop().create_server(
                protocol, sock=listener, backlog=self.config.backlog
            )
        )

    def stop(self) -> None:
        """End the event streams and, when every change is finished, ``serve``."""
        self._closing.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the daemon."""
        yield

    async def main_loop(self) -> None:
        """Wait for ``stop``: without a date header there is nothing to do at intervals."""
        await self._closing.wait()

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Wait for the changes under way, then close the connections and ``sockets``."""
        await self.operations.close()
        await close_servers(self.servers)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(list(sockets or ()))
        else:
            # It would sleep for 0.1 s first, also when there is nobody to wait for.
            for listening in sockets or ():
                listening.close()
