"""Documents that clients send, read without holding up the loop."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from jackfield.document.port import read_port
from jackfield.document.reader import read_network
from jackfield.document.schema import validate
from jackfield.engine.longdocuments import aside
from jackfield.model.network import Network
from jackfield.model.port import Port

__all__ = ["read_network_text", "read_port_text"]


async def read_network_text(text: str, *, check_schema: bool) -> Network:
    """Return the network of a document, checked against the schema first if that is wanted.

    For libvirt a document without uuid is a new network, even if its name is known, so it gets one
    here.
    """

    def read() -> Network:
        if check_schema:
            validate(text)
        return read_network(text, uuid=uuid4())

    if check_schema:
        # That takes a hundred times as long as to read it.
        return await asyncio.to_thread(read)
    return await aside(read, text)


async def read_port_text(text: str) -> Port:
    """Return the port of a document."""
    return await aside(lambda: read_port(text), text)
