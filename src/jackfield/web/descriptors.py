"""The door for descriptors: ``RUN_DIR/fd.sock``, where a port's open device is handed over.

HTTP cannot carry descriptors.  One packet asks, ``{"port": "UUID, DEVICE OR OWNER"}``, and one
answers: ``{"descriptors": N}`` with N descriptors beside it (``SCM_RIGHTS``, ``unix(7)``), one for
each queue, or the error in the shape that it has in HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket

import msgspec

from jackfield.access import Caller, require_write
from jackfield.config import Config
from jackfield.errors import InternalError, InvalidRequest, JackfieldError
from jackfield.operations import Operations
from jackfield.web import views
from jackfield.web.engine import Engine

__all__ = ["DescriptorDoor"]

log = logging.getLogger(__name__)

_REQUEST_LIMIT = 4096
_PATIENCE = 5.0
_CLIENTS = 64


class _Ask(msgspec.Struct, forbid_unknown_fields=True):
    port: str


class DescriptorDoor:
    """Opens the devices of ports for who may change them."""

    def __init__(self, engine: Engine, config: Config, operations: Operations) -> None:
        """Serve ``engine`` to whom ``config`` allows."""
        self._engine = engine
        self._config = config
        self._operations = operations
        self._listener: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, listener: socket.socket) -> None:
        """Answer at a listening ``SOCK_SEQPACKET`` socket, and no more at the one before."""
        self._leave()
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

    def _leave(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    async def close(self) -> None:
        """Answer nobody any more."""
        self._leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if len(self._tasks) >= _CLIENTS:
            connection.close()
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._answer(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        descriptors: list[int] = []
        with connection:
            try:
                async with asyncio.timeout(_PATIENCE):
                    request = await loop.sock_recv(connection, _REQUEST_LIMIT)
                caller = Caller.of_socket(connection)
                require_write(caller, self._config)
                port = _read(request)
                descriptors = await self._operations.run(
                    caller, "open", f"port {port}", self._engine.open_port(port)
                )
                answer = views.encode({"descriptors": len(descriptors)})
            except (TimeoutError, OSError):
                return
            except JackfieldError as error:
                answer = views.encode(views.error_json(error))
            except Exception:
                log.exception("a request for descriptors failed")
                answer = views.encode(views.error_json(InternalError("see the daemon's log")))
            try:
                with contextlib.suppress(OSError):
                    socket.send_fds(connection, [answer], descriptors)
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)


def _read(request: bytes) -> str:
    try:
        return msgspec.json.decode(request, type=_Ask).port
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f'the request is not {{"port": "…"}}: {error}') from error
