"""One client's connection: frames in, calls out in order, replies, events, keepalive.

Nothing of a client grows without bound.  Calls in flight are limited, and while the limit is
reached, or replies wait to be read, nothing is read from it; a client that reads nothing for a
time, or answers no ping, is dropped.  Calls may be answered out of order, but those of one network
are done in the order in which they came.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from jackfield.access import Caller
from jackfield.eager import begin, rest
from jackfield.errors import InternalError, JackfieldError
from jackfield.rpc.call import Call, prepare
from jackfield.rpc.errors import RpcError, WireError, to_wire
from jackfield.rpc.frame import KEEPALIVE, REMOTE, VERSION, Frame, FrameBuffer, FrameError
from jackfield.rpc.frame import Status as FrameStatus
from jackfield.rpc.frame import Type as FrameType
from jackfield.rpc.handlers import WAITING
from jackfield.rpc.procedures import Procedure
from jackfield.rpc.session import Door, Registration, Session
from jackfield.rpc.turns import Turns
from jackfield.rpc.xdr import Codec, XdrError, pack

__all__ = ["Connection"]

log = logging.getLogger("jackfield.rpc")

PING, PONG = 1, 2

# Before a client has opened the connection its frames are short (VIR_NET_MESSAGE_INITIAL).
_FIRST_LIMIT = 64 * 1024
# Three strings of 4 MiB, which is the most that any call of ours takes, and what is around them.
_LIMIT = 13 * 1024 * 1024

_CALLS_IN_FLIGHT = 32
_CALLS_AT_ONCE = 64
"""How many calls are answered before others of the loop have their turn."""

_AT_ONCE = frozenset(
    {
        "network_create",
        "network_define_xml",
        "network_define_xml_flags",
        "network_undefine",
        "port_create",
        "port_delete",
    }
)
"""Calls that change something and yet wait rarely, or for one thing only."""

_MANY_VALUES = 2000
"""How many values of a list become bytes at once: ten thousand take a tenth of a second."""

_UNREAD_EVENTS = 4 * 1024 * 1024
_READING_TIME = 30.0
"""Seconds that a client may leave its replies unread."""

_SILENT_TICKS = 5
"""How many pings a client may leave unanswered."""

_ARRIVAL = memoryview(bytearray(256 * 1024))
"""Where bytes arrive, of whatever connection: they are taken from there at once.

A protocol without a buffer of its own gets bytes, for which asyncio takes this much memory anew
at each call: longer than the rest of its work.
"""


class Connection(asyncio.BufferedProtocol):
    """The protocol of one connection; ``ended`` is called with it when it is over."""

    def __init__(
        self,
        door: Door,
        *,
        read_only: bool,
        admitted: bool,
        ended: Callable[[Connection], None],
        caller: Caller | None = None,
    ) -> None:
        """Serve ``door``, unless the client is not ``admitted``.

        On a read-only socket nothing can be changed.  ``caller`` is who connected; without it
        the socket knows.
        """
        self._door = door
        self._read_only = read_only
        self._admitted = admitted
        self._ended = ended
        self._caller = caller
        self._buffer = FrameBuffer(_FIRST_LIMIT)
        self._in_flight = 0
        #: What the client wants to be told, by number.
        self.registrations: dict[int, Registration] = {}
        self._turns = Turns()
        self._unread = False
        self._closing = False
        self._pumping: asyncio.Handle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._silent = 0
        self._session: Session
        self._transport: asyncio.Transport

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._session = Session(
            door=self._door,
            caller=self._caller or Caller.of_socket(transport.get_extra_info("socket")),
            read_only=self._read_only,
            registrations=self.registrations,
        )
        if not self._admitted:
            self.drop("too many clients")
        elif self._closing:
            self._transport.close()

    def get_buffer(self, _wanted: int) -> memoryview:
        """Return where to put what arrives."""
        return _ARRIVAL

    def buffer_updated(self, count: int) -> None:
        """Take what arrived and answer the calls in it."""
        self._silent = 0
        self._buffer.feed(_ARRIVAL[:count])
        if self._pumping is None:
            self._pump()

    def eof_received(self) -> bool:
        """Close; a client that has closed its side reads no replies."""
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """Let go; what was begun is finished, what waits for it is not begun any more."""
        self._closing = True
        for handle in (self._pumping, self._deadline):
            if handle is not None:
                handle.cancel()
        self.registrations.clear()
        self._ended(self)

    def pause_writing(self) -> None:
        """Read no more calls while replies are unread, and not for ever."""
        self._unread = True
        self._transport.pause_reading()
        self._deadline = asyncio.get_running_loop().call_later(
            _READING_TIME, self.drop, f"replies unread for {_READING_TIME:.0f} s"
        )

    def resume_writing(self) -> None:
        """Go on."""
        self._unread = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._pumping is None:
            self._pump()

    def drop(self, reason: str) -> None:
        """End the connection at once."""
        if not self._closing:
            log.warning("%s: connection dropped: %s", self._session.caller, reason)
            self._closing = True
        self._transport.abort()

    def close(self) -> None:
        """End the connection when what was written is read, or as soon as it is made."""
        self._closing = True
        if hasattr(self, "_transport"):
            self._transport.close()
        else:
            # It may never be, once nobody is accepted any more.
            self._ended(self)

    # Frames

    @property
    def _held(self) -> bool:
        return self._unread or self._in_flight >= _CALLS_IN_FLIGHT

    def _pump(self) -> None:
        """Answer what waits, as far as the client's limits and the other clients allow."""
        self._pumping = None
        for _ in range(_CALLS_AT_ONCE):
            if self._closing or self._held:
                break
            try:
                frame = self._buffer.next()
            except FrameError as error:
                self.drop(str(error))
                return
            if frame is None:
                break
            self._take(frame)
        else:
            self._pumping = asyncio.get_running_loop().call_soon(self._pump)
        if self._closing:
            return
        if self._held or self._pumping is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _take(self, frame: Frame) -> None:
        if frame.program == KEEPALIVE and frame.version == VERSION:
            if frame.procedure == PING:
                self._write(Frame(KEEPALIVE, VERSION, PONG, FrameType.MESSAGE, 0, FrameStatus.OK))
            return
        if frame.type not in (FrameType.CALL, FrameType.CALL_WITH_FDS):
            # libvirt's daemon ignores what a client has no business to send.
            log.debug("%s: frame of type %d ignored", self._session.caller, frame.type)
            return
        try:
            call = prepare(self._session, frame)
        except RpcError as error:
            self._answer(frame, error=to_wire(error))
            return
        procedure = call.procedure
        self._in_flight += 1
        before = self._turns.before(call)
        if not before and procedure.name not in WAITING:
            try:
                values = call()
            except Exception as error:
                self._fail(frame, procedure, error)
            else:
                self._succeed(frame, procedure, cast("tuple[Any, ...]", values))
            return
        begun: Awaitable[tuple[Any, ...]] | None = None
        if not before and procedure.name in _AT_ONCE:
            try:
                work = cast("Coroutine[Any, Any, tuple[Any, ...]]", call())
                ended, result = begin(work)
            except Exception as error:
                self._fail(frame, procedure, error)
                return
            if ended:
                self._succeed(frame, procedure, result)
                return
            begun = rest(work, result)
        task = asyncio.get_running_loop().create_task(self._run(frame, call, before, begun))
        self._turns.take(call, task)

    async def _run(
        self,
        frame: Frame,
        call: Call,
        before: list[asyncio.Task[None]],
        begun: Awaitable[tuple[Any, ...]] | None,
    ) -> None:
        """Do a call that takes its time, or go on with one, once those before it are over.

        It is never cancelled: changes are made in this task (``Operations.run_here``).
        """
        try:
            if before:
                await asyncio.wait(before)
                if self._closing:
                    return
            values = call() if begun is None else begun
            if inspect.isawaitable(values):
                values = await values
        except Exception as error:
            self._fail(frame, call.procedure, error)
        else:
            self._succeed(frame, call.procedure, values)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        """Have what waits in the buffer have its turn, if it may now."""
        if not self._closing and self._pumping is None:
            self._pump()

    # Replies

    def _succeed(self, frame: Frame, procedure: Procedure, values: tuple[Any, ...]) -> None:
        if values and isinstance(values[0], list) and len(values[0]) > _MANY_VALUES:
            task = asyncio.get_running_loop().create_task(self._pack(frame, procedure, values))
            self._turns.keep(task)
            return
        try:
            payload = pack(procedure.returns, values)
        except XdrError as error:
            self._fail(frame, procedure, _not_sent(procedure, error))
            return
        self._in_flight -= 1
        if procedure.name == "connect_open":
            self._buffer.limit = _LIMIT
        self._answer(frame, payload)
        if procedure.name == "connect_close":
            self.close()

    async def _pack(self, frame: Frame, procedure: Procedure, values: tuple[Any, ...]) -> None:
        """Answer with a list that is too long to become bytes while everybody waits."""
        try:
            payload = await asyncio.to_thread(pack, procedure.returns, values)
        except XdrError as error:
            self._fail(frame, procedure, _not_sent(procedure, error))
        else:
            self._in_flight -= 1
            self._answer(frame, payload)
        self._go_on()

    def _fail(self, frame: Frame, procedure: Procedure, error: Exception) -> None:
        self._in_flight -= 1
        caller = self._session.caller
        if isinstance(error, JackfieldError):
            log.info("%s: %s: %s", caller, procedure.api, error.message)
        elif not isinstance(error, RpcError):
            log.error("%s: %s failed unexpectedly", caller, procedure.api, exc_info=error)
            error = InternalError(f"{procedure.api} failed unexpectedly; the log has the details")
        self._answer(frame, error=to_wire(error))

    def _answer(
        self, frame: Frame, payload: bytes = b"", *, error: WireError | None = None
    ) -> None:
        status = FrameStatus.OK
        if error is not None:
            status, payload = FrameStatus.ERROR, error.encode()
        self._write(
            Frame(
                frame.program,
                frame.version,
                frame.procedure,
                FrameType.REPLY,
                frame.serial,
                status,
                payload,
            )
        )

    def _write(self, frame: Frame) -> None:
        if not self._transport.is_closing():
            self._transport.write(frame.encode())

    # What we say unasked

    def push(self, message: tuple[int, tuple[Codec[Any], ...]], values: tuple[object, ...]) -> None:
        """Send an event; a client that does not read its events is dropped."""
        if self._closing:
            return
        number, codecs = message
        payload = pack(codecs, values)
        self._write(Frame(REMOTE, VERSION, number, FrameType.MESSAGE, 0, FrameStatus.OK, payload))
        if self._transport.get_write_buffer_size() > _UNREAD_EVENTS:
            self.drop("events unread")

    def tick(self) -> None:
        """Ping a silent client that knows keepalive; drop one that was silent for long."""
        if not self._session.keepalive or self._closing or self._held:
            return
        if self._silent > _SILENT_TICKS:
            self.drop(f"silent for {_SILENT_TICKS} pings")
            return
        if self._silent:
            self._write(Frame(KEEPALIVE, VERSION, PING, FrameType.MESSAGE, 0, FrameStatus.OK))
        self._silent += 1


def _not_sent(procedure: Procedure, error: XdrError) -> InternalError:
    log.error("%s: the reply cannot be sent: %s", procedure.name, error)
    return InternalError(f"{procedure.api}: {error}")
