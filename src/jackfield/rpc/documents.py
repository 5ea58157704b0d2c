"""Documents, without holding up the loop.

A long document takes longer than a callback may, so it is done on another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

from jackfield.document.port import read_port
from jackfield.document.reader import read_network
from jackfield.document.schema import validate
from jackfield.model.network import Network
from jackfield.model.port import Port

__all__ = ["read_network_text", "read_port_text"]

T = TypeVar("T")

_LONG = 32 * 1024


async def read_network_text(text: str, *, check_schema: bool) -> Network:
    """Return the network of a document, checked against the schema first if that is wanted.

    For libvirt a document without uuid is a new network, even if its name is known, so it gets one
    here.
    """

    def read() -> Network:
        if check_schema:
            validate(text)
        return read_network(text, uuid=uuid4())

    return await _read(read, text, slow=check_schema)


async def read_port_text(text: str) -> Port:
    """Return the port of a document."""
    return await _read(lambda: read_port(text), text)


async def _read(read: Callable[[], T], text: str, *, slow: bool = False) -> T:
    if slow or len(text) > _LONG:
        return await asyncio.to_thread(read)
    return read()
