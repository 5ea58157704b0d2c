"""What clients send: bodies and query parameters, read into values or refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar
from uuid import UUID

import msgspec
from starlette.requests import Request

from jackfield.document.convert import read_definition
from jackfield.document.guest import read_guest
from jackfield.engine.longdocuments import aside
from jackfield.engine.views import AttachRequest
from jackfield.errors import InvalidRequest, RequestTooLarge, SyntaxDocumentError
from jackfield.model.guest import Guest
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName, MacAddress, Text

__all__ = [
    "BODY_LIMIT",
    "check_parameters",
    "read_attach",
    "read_autostart",
    "read_body",
    "read_document",
    "read_flag",
    "read_guest_document",
    "read_number",
]

T = TypeVar("T")

BODY_LIMIT = 8 * 1024 * 1024
"""The longest body that is read, in bytes."""

_FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class _Autostart(msgspec.Struct, forbid_unknown_fields=True):
    autostart: bool


class _Attach(msgspec.Struct, forbid_unknown_fields=True):
    netns: str | None = None
    ifname: str | None = None
    tap: str | None = None
    handover: bool = False
    hold: bool = False
    vde: bool = False
    owner: int | None = None
    queues: int = 1
    mac: str | None = None
    name: str | None = None
    guest: str | None = None
    portgroup: str | None = None


async def read_body(request: Request) -> bytes:
    """Return the request's body, or raise ``RequestTooLarge`` as soon as it is too long."""
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > BODY_LIMIT:
        raise _too_large()
    chunks = []
    length = 0
    async for chunk in request.stream():
        length += len(chunk)
        if length > BODY_LIMIT:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(f"the request's body is longer than {BODY_LIMIT} bytes")


async def read_guest_document(request: Request) -> Guest:
    """Return the guest in the body: a ``<domain>``, or one ``<interface>``."""
    body = await read_body(request)
    return await aside(lambda: read_guest(body), body)


async def read_document(request: Request, *, schema: bool = False) -> Network | None:
    """Return the network in the body, XML or JSON; ``None`` when there is no body.

    With ``schema`` XML must be as the RELAX NG schema has it, which knows every element.
    """
    body = await read_body(request)
    if not body.strip():
        return None
    if schema:
        # That takes a hundred times as long as to read it.
        return await asyncio.to_thread(read_definition, body, schema=True)
    return await aside(lambda: read_definition(body), body)


async def read_autostart(request: Request) -> bool:
    """Return the ``autostart`` of the body."""
    return _decode(await read_body(request), _Autostart).autostart


async def read_attach(request: Request, pid: int) -> AttachRequest:
    """Return what the body asks to plug in; ``pid`` is who asks."""
    asked = _decode(await read_body(request), _Attach)
    wishes = (asked.tap is not None, asked.netns is not None, asked.handover, asked.vde)
    if sum(wishes) != 1:
        raise InvalidRequest("give one of 'netns' with 'ifname', 'tap', 'handover' and 'vde'")
    if asked.netns is not None and asked.ifname is None:
        raise InvalidRequest("'netns' needs 'ifname', the name of the interface in there")
    if asked.tap is None and asked.owner is not None:
        raise InvalidRequest("'owner' is for taps only")
    if (asked.netns is not None or asked.vde) and asked.queues != 1:
        raise InvalidRequest("'queues' is for taps only")
    if asked.netns is None and asked.ifname is not None:
        raise InvalidRequest("'ifname' is for namespaces only; a tap's own name is 'tap'")
    if not 1 <= asked.queues <= 256:
        raise InvalidRequest(f"'queues' is {asked.queues}, and must be between 1 and 256")
    if asked.owner is not None and not 0 <= asked.owner < 2**32 - 1:
        raise InvalidRequest(f"'owner' is {asked.owner}, which is not a user's number")
    if asked.netns is not None and ("\0" in asked.netns or not asked.netns):
        raise InvalidRequest(f"'netns' is {asked.netns!r}, which cannot name a namespace")
    return AttachRequest(
        netns=asked.netns,
        ifname=_value("ifname", InterfaceName, asked.ifname),
        tap=_value("tap", InterfaceName, asked.tap),
        handover=asked.handover,
        holder=pid if asked.hold else None,
        vde=asked.vde,
        owner=asked.owner,
        queues=asked.queues,
        mac=_value("mac", MacAddress, asked.mac),
        name=_value("name", Text, asked.name),
        guest=_value("guest", _uuid, asked.guest),
        portgroup=_value("portgroup", Text, asked.portgroup),
    )


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a uuid") from None


def check_parameters(request: Request, *known: str) -> None:
    """Refuse query parameters that mean nothing here: a misspelt one must not be ignored."""
    for name in request.query_params:
        if name not in known:
            allowed = f"use {', '.join(known)}" if known else "there are none here"
            raise InvalidRequest(f"unknown query parameter {name!r}", hint=allowed)


def read_flag(request: Request, name: str) -> bool:
    """Return the query parameter ``name``: absent is false, without a value true."""
    text = request.query_params.get(name)
    if text is None:
        return False
    if text == "":
        return True
    if text.lower() not in _FLAGS:
        raise InvalidRequest(f"query parameter {name!r} is {text!r}, and must be 1 or 0")
    return _FLAGS[text.lower()]


def read_number(request: Request, name: str) -> int | None:
    """Return the query parameter ``name``, a number of at most 18 digits, or ``None``."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(f"query parameter {name!r} is {text!r}, and must be a number")
    return int(text)


def _decode(body: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"the request's body is wrong: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SyntaxDocumentError(f"the request's body is not JSON: {error}") from error


def _value(name: str, form: Callable[[str], T], text: str | None) -> T | None:
    if text is None:
        return None
    try:
        return form(text)
    except ValueError as error:
        raise InvalidRequest(f"{name!r}: {error}") from error
