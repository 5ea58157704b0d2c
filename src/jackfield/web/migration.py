"""The endpoints that take networks over from libvirt, and give them back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from jackfield.access import require_root
from jackfield.engine.views import MigrationStep
from jackfield.web import bodies
from jackfield.web.door import Door, caller_of, json_answer

__all__ = ["export_networks", "import_networks"]


async def import_networks(door: Door, request: Request) -> Response:
    """Take over libvirt's networks."""
    return await _migrate(door, request, "import", door.engine.import_libvirt)


async def export_networks(door: Door, request: Request) -> Response:
    """Give stored networks to libvirt, or stand-ins of them."""
    as_bridge = bodies.read_flag(request, "as_bridge")
    work = functools.partial(door.engine.export_libvirt, as_bridge=as_bridge)
    return await _migrate(door, request, "export", work, "as_bridge")


async def _migrate(
    door: Door,
    request: Request,
    name: str,
    work: Callable[..., Coroutine[None, None, list[MigrationStep]]],
    *parameters: str,
) -> Response:
    """Answer with what was done, or with ``dry_run`` would be."""
    bodies.check_parameters(request, "network", "dry_run", *parameters)
    require_root(caller_of(request), f"{name} networks: that reads and writes libvirt's files")
    dry_run = bodies.read_flag(request, "dry_run")
    ref = request.query_params.get("network")
    own = (door.config.libvirt_path, door.config.libvirt_ro_path)
    coroutine = work(ref, dry_run=dry_run, own_sockets=own)
    if dry_run:
        steps = await coroutine
    else:
        target = "all networks" if ref is None else f"network {ref}"
        steps = await door.operations.run(caller_of(request), name, target, coroutine)
    return json_answer({"steps": [msgspec.structs.asdict(step) for step in steps]})
