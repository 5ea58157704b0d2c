"""What every endpoint works with, and how it reads its caller and answers."""

from __future__ import annotations

import asyncio
import dataclasses

from starlette.requests import Request
from starlette.responses import Response

from jackfield.access import Caller
from jackfield.config import Config
from jackfield.operations import Operations
from jackfield.web import views
from jackfield.web.engine import Engine

__all__ = ["JSON", "LINES", "Door", "caller_of", "json_answer", "ref_of"]

JSON = "application/json"
LINES = "application/x-ndjson"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Door:
    """What the endpoints work with; ``closing`` is set when streams must end."""

    engine: Engine
    config: Config
    operations: Operations
    closing: asyncio.Event


def json_answer(value: object, status: int = 200) -> Response:
    """Return an answer whose body is ``value``."""
    return Response(views.encode(value), status_code=status, media_type=JSON)


def caller_of(request: Request) -> Caller:
    """Return who asks."""
    caller: Caller = request.scope["state"]["caller"]
    return caller


def ref_of(request: Request) -> str:
    """Return the name or uuid of a network in the path."""
    ref: str = request.path_params["ref"]
    return ref
