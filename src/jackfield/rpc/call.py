"""A call of libvirt's protocol: from the frame that asks for it to the handler that answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any
from uuid import UUID

from jackfield.rpc.errors import Code, Domain, RpcError
from jackfield.rpc.foreign import FOREIGN
from jackfield.rpc.frame import REMOTE, VERSION, Frame
from jackfield.rpc.frame import Status as FrameStatus
from jackfield.rpc.handlers import HANDLERS
from jackfield.rpc.procedures import PROCEDURES, Needs, NetworkRef, PortRef, Procedure
from jackfield.rpc.session import Session
from jackfield.rpc.xdr import XdrError, unpack

__all__ = ["Call", "prepare"]

log = logging.getLogger("jackfield.rpc")


def prepare(session: Session, frame: Frame) -> Call:
    """Return the call that a frame asks for, or raise why there is none."""
    if frame.program != REMOTE or frame.version != VERSION:
        raise RpcError(
            Code.RPC,
            f"Cannot find program {frame.program} version {frame.version}",
            Domain.RPC,
        )
    if frame.status != FrameStatus.OK:
        raise RpcError(Code.RPC, f"Unexpected message status {frame.status}", Domain.RPC)
    procedure = PROCEDURES.get(frame.procedure)
    foreign = FOREIGN.get(frame.procedure)
    if procedure is None and foreign is None:
        raise RpcError(Code.RPC, f"unknown procedure: {frame.procedure}", Domain.RPC)
    if not session.opened and (procedure is None or procedure.needs is not Needs.NOTHING):
        api = "" if procedure is None else procedure.api
        which = "" if "Network" in api else "hypervisor "
        raise RpcError(Code.INTERNAL_ERROR, f"{which}connection not open", Domain.RPC)
    if procedure is None:
        assert foreign is not None
        raise RpcError(Code.NO_SUPPORT, *foreign)
    try:
        args = unpack(procedure.args, frame.payload)
    except XdrError as error:
        log.debug("%s: %s: %s", session.caller, procedure.name, error)
        raise RpcError(Code.RPC, "Unable to decode message payload", Domain.RPC) from None
    return Call(session, procedure, args)


class Call:
    """A handler with its arguments; ``network`` is the one that it is about."""

    __slots__ = ("args", "handler", "network", "procedure", "session")

    def __init__(self, session: Session, procedure: Procedure, args: list[object]) -> None:
        """Find the handler, and the network among the arguments."""
        self.session = session
        self.procedure = procedure
        self.args = args
        self.handler = HANDLERS[procedure.name]
        first = args[0] if args else None
        self.network: UUID | None = None
        if isinstance(first, NetworkRef):
            self.network = first.uuid
        elif isinstance(first, PortRef):
            self.network = first.net.uuid

    def __call__(self) -> tuple[Any, ...] | Awaitable[tuple[Any, ...]]:
        """Have the handler begin; a client that may only read changes nothing."""
        if self.procedure.needs is Needs.WRITING:
            self.session.require_write(self.procedure.api)
        return self.handler(self.session, *self.args)
