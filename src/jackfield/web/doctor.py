"""What keeps guests from their networks: asked by whoever may change things.

An answer has rules of the host's firewall, which only its administrators may read.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jackfield.access import require_write
from jackfield.diagnosis.finding import Examination
from jackfield.web import bodies, views
from jackfield.web.door import Door, caller_of, json_answer, ref_of

__all__ = ["examine_all", "examine_network"]


async def examine_all(door: Door, request: Request) -> Response:
    """Answer with what is wrong with the networks that run."""
    bodies.check_parameters(request)
    _require_right(door, request)
    return _answer(await door.engine.examine())


async def examine_network(door: Door, request: Request) -> Response:
    """Answer with what is wrong with one network."""
    bodies.check_parameters(request)
    _require_right(door, request)
    return _answer(await door.engine.examine([ref_of(request)]))


def _require_right(door: Door, request: Request) -> None:
    refused = "may not ask doctor, which shows the host's firewall"
    require_write(caller_of(request), door.config, refused)


def _answer(examination: Examination) -> Response:
    return json_answer(views.examination_json(examination))
