"""What is known of one client of the libvirt door, and what its calls work with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from uuid import UUID

from jackfield.access import Caller, may_write, require_write
from jackfield.config import Config
from jackfield.operations import Operations
from jackfield.rpc.engine import Engine
from jackfield.rpc.errors import Code, RpcError

__all__ = ["Door", "Registration", "Session"]

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What all clients share."""

    engine: Engine
    config: Config
    operations: Operations


@dataclasses.dataclass(frozen=True, slots=True)
class Registration:
    """A wish for events of one kind, of one network or (``None``) of all."""

    event: int
    network: UUID | None


@dataclasses.dataclass(slots=True, kw_only=True)
class Session:
    """One connection: who it is, how far its handshake is, what it wants to be told.

    ``behind`` is what a daemon that connects for somebody else says of them; it is logged and
    decides nothing.
    """

    door: Door
    caller: Caller
    read_only: bool
    opened: bool = False
    keepalive: bool = False
    behind: str | None = None
    registrations: dict[int, Registration] = dataclasses.field(default_factory=dict)
    next_registration: int = 0
    _may_write: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Who connected stays who it is, so what it may do is decided once."""
        self._may_write = may_write(self.caller, self.door.config)

    @property
    def engine(self) -> Engine:
        """The engine behind the door."""
        return self.door.engine

    def require_write(self, api: str) -> None:
        """Raise unless this client may change things by the call ``api`` of libvirt's API."""
        if self.read_only:
            raise RpcError(Code.OPERATION_DENIED, f"read only access prevents {api}")
        if not self._may_write:
            require_write(self.caller, self.door.config)

    async def change(
        self, name: str, target: object, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Do ``work``, which finishes whatever becomes of the client, and log who asked."""
        if self.behind is not None:
            target = f"{target} for {self.behind}"
        return await self.door.operations.run_here(self.caller, name, target, work())
