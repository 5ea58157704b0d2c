"""The paths under ``/v1``: each endpoint reads a request, asks the engine, and answers.

``ENDPOINTS`` is the whole interface; the documentation is checked against it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import jackfield
from jackfield.access import Caller, require_definition, require_root, require_write
from jackfield.allocation.check import verdict_lines
from jackfield.config import Config
from jackfield.document import layered, libvirt
from jackfield.engine.views import MigrationStep, NetworkView
from jackfield.errors import (
    InternalError,
    InvalidRequest,
    JackfieldError,
    NotFound,
    RequestTooLarge,
    WrongState,
)
from jackfield.model.network import Network
from jackfield.operations import Operations
from jackfield.state.plan import PlanStep
from jackfield.web import bodies, views
from jackfield.web.engine import Engine
from jackfield.web.verdicts import verdict_to_builtins

__all__ = ["ENDPOINTS", "Door", "Endpoint", "build"]

logger = logging.getLogger("jackfield.web")

_RECENT = 100
_JSON = "application/json"
_LINES = "application/x-ndjson"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Door:
    """What the endpoints work with; ``closing`` is set when streams must end."""

    engine: Engine
    config: Config
    operations: Operations
    closing: asyncio.Event


Handler = Callable[[Door, Request], Awaitable[Response]]


class Endpoint(NamedTuple):
    """One method of one path; ``writes`` are those that need the right to change things."""

    method: str
    path: str
    handler: Handler
    writes: bool
    summary: str


def build(door: Door) -> Starlette:
    """Return the application that serves ``ENDPOINTS``."""
    methods: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        methods.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = [
        Route(path, functools.partial(_dispatch, door, known), methods=list(known))
        for path, known in methods.items()
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _refuse})


async def _dispatch(door: Door, known: dict[str, Endpoint], request: Request) -> Response:
    """Check the caller, call the endpoint, and turn every error into the one shape."""
    # Routes answer HEAD as GET; the body is dropped on the way out.
    endpoint = known["GET" if request.method == "HEAD" else request.method]
    try:
        if endpoint.writes:
            require_write(_caller(request), door.config)
        return await endpoint.handler(door, request)
    except JackfieldError as error:
        return _error(error)
    except ClientDisconnect:
        # Nobody is there to read this.
        return Response(status_code=400)
    except Exception:
        logger.exception("%s %s failed unexpectedly", request.method, request.url.path)
        return _error(
            InternalError(
                f"{request.method} {request.url.path} failed unexpectedly",
                hint="this is a defect of Jackfield; the daemon's log has the details",
            )
        )


async def _refuse(request: Request, error: Exception) -> Response:
    """Turn the router's own refusals into the one shape, with the status they had."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 404:
        return _error(NotFound(f"there is no {path}", hint="see docs/http.md for the paths"))
    response = _error(InvalidRequest(f"{path} has no method {request.method}"))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


def _error(error: JackfieldError) -> Response:
    # The rest of an overlong body is not worth reading, so the connection ends here.
    headers = {"connection": "close"} if isinstance(error, RequestTooLarge) else None
    return Response(
        views.encode(views.error_json(error)),
        status_code=error.http_status,
        headers=headers,
        media_type=_JSON,
    )


def _json(value: object, status: int = 200) -> Response:
    return Response(views.encode(value), status_code=status, media_type=_JSON)


def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["state"]["caller"]
    return caller


def _ref(request: Request) -> str:
    ref: str = request.path_params["ref"]
    return ref


async def _definition(door: Door, request: Request) -> Network:
    """Return the network in the body, which its sender must be allowed to define."""
    schema = bodies.read_flag(request, "validate")
    network = await bodies.read_document(request, schema=schema)
    if network is None:
        raise InvalidRequest("the request has no body, and needs a network, as XML or JSON")
    require_definition(_caller(request), door.config, network)
    return network


async def _apply(door: Door, request: Request, network: Network) -> Response:
    transient = bodies.read_flag(request, "transient")
    return await _applied(
        door, request, network.name, door.engine.apply(network, transient=transient)
    )


async def _applied(
    door: Door,
    request: Request,
    name: str,
    work: Coroutine[None, None, tuple[NetworkView, list[PlanStep]]],
) -> Response:
    """Answer with the network and what was done to make it so."""
    view, steps = await door.operations.run(_caller(request), "apply", f"network {name}", work)
    done = [views.step_json(step) for step in steps]
    return _json({"network": views.network_json(view), "steps": done})


async def show_version(_door: Door, request: Request) -> Response:
    """Answer with the daemon's version."""
    bodies.check_parameters(request)
    return _json({"version": jackfield.__version__, "api": "v1"})


async def check_guest(door: Door, request: Request) -> Response:
    """Answer with what each interface of the guest in the body would get here and now."""
    bodies.check_parameters(request)
    verdicts = door.engine.check_guest(await bodies.read_guest_document(request))
    return _json(
        [{"lines": verdict_lines(verdict), **verdict_to_builtins(verdict)} for verdict in verdicts]
    )


async def list_networks(door: Door, request: Request) -> Response:
    """Answer with every network."""
    bodies.check_parameters(request)
    body = await views.encode_list(door.engine.networks(), views.summary_json)
    return Response(body, media_type=_JSON)


async def define_network(door: Door, request: Request) -> Response:
    """Define, or apply, the network in the body."""
    bodies.check_parameters(request, "apply", "transient", "validate")
    network = await _definition(door, request)
    if bodies.read_flag(request, "apply"):
        return await _apply(door, request, network)
    if bodies.read_flag(request, "transient"):
        raise InvalidRequest("'transient' goes with 'apply': nothing is stored of it")
    view = await door.operations.run(
        _caller(request), "define", f"network {network.name}", door.engine.define(network)
    )
    return _json(views.network_json(view), 201)


async def show_network(door: Door, request: Request) -> Response:
    """Answer with one network and its documents."""
    bodies.check_parameters(request)
    return _json(views.network_json(door.engine.network(_ref(request))))


async def apply_network(door: Door, request: Request) -> Response:
    """Apply the network in the body, which must be the one of the path."""
    bodies.check_parameters(request, "transient", "validate")
    network = await _definition(door, request)
    if _ref(request) not in {str(network.name), str(network.uuid)}:
        raise InvalidRequest(
            f"the path names {_ref(request)!r}, and the document network {network.name!r}"
        )
    return await _apply(door, request, network)


async def apply_stored(door: Door, request: Request) -> Response:
    """Apply a network's stored definition."""
    bodies.check_parameters(request)
    ref = _ref(request)
    return await _applied(door, request, ref, door.engine.apply_stored(ref))


async def undefine_network(door: Door, request: Request) -> Response:
    """Forget a definition."""
    bodies.check_parameters(request)
    ref = _ref(request)
    await door.operations.run(
        _caller(request), "undefine", f"network {ref}", door.engine.undefine(ref)
    )
    return Response(status_code=204)


async def start_network(door: Door, request: Request) -> Response:
    """Start a network."""
    bodies.check_parameters(request)
    ref = _ref(request)
    view = await door.operations.run(
        _caller(request), "start", f"network {ref}", door.engine.start(ref)
    )
    return _json(views.network_json(view))


async def stop_network(door: Door, request: Request) -> Response:
    """Stop a network."""
    bodies.check_parameters(request)
    ref = _ref(request)
    view = await door.operations.run(
        _caller(request), "stop", f"network {ref}", door.engine.stop(ref)
    )
    return _json(views.network_json(view))


async def set_autostart(door: Door, request: Request) -> Response:
    """Say whether a network starts with the daemon."""
    bodies.check_parameters(request)
    ref = _ref(request)
    autostart = await bodies.read_autostart(request)
    view = await door.operations.run(
        _caller(request),
        "autostart" if autostart else "no autostart",
        f"network {ref}",
        door.engine.set_autostart(ref, autostart),
    )
    return _json(views.network_json(view))


async def plan_network(door: Door, request: Request) -> Response:
    """Answer with what is to be done until the host is as it should be."""
    bodies.check_parameters(request)
    network = await bodies.read_document(request)
    steps = await door.engine.plan(_ref(request), network)
    return _json({"steps": [views.step_json(step) for step in steps]})


async def show_xml(door: Door, request: Request) -> Response:
    """Answer with a network's document in one of the dialects."""
    bodies.check_parameters(request, "dialect", "inactive")
    dialect = request.query_params.get("dialect", "libvirt")
    if dialect not in _WRITERS:
        raise InvalidRequest(
            f"there is no dialect {dialect!r}", hint=f"use {' or '.join(_WRITERS)}"
        )
    view = door.engine.network(_ref(request))
    inactive = view.live is None or bodies.read_flag(request, "inactive")
    network = view.stored if inactive else view.live
    if network is None:
        raise WrongState(f"network {view.name!r} is transient: nothing of it is stored")
    if view.ports and not inactive:
        network = dataclasses.replace(network, connections=view.ports)
    return Response(_WRITERS[dialect](network, inactive=inactive), media_type="application/xml")


async def list_ports(door: Door, request: Request) -> Response:
    """Answer with the ports of one network or of all."""
    bodies.check_parameters(request)
    ports = door.engine.ports(request.path_params.get("ref"))
    return Response(await views.encode_list(ports, views.port_json), media_type=_JSON)


async def attach_port(door: Door, request: Request) -> Response:
    """Plug a namespace, a tap or whoever asks into a network."""
    bodies.check_parameters(request)
    ref = _ref(request)
    caller = _caller(request)
    asked = await bodies.read_attach(request, caller.pid)
    port = await door.operations.run(
        caller,
        "attach",
        f"{asked.tap or asked.netns or asked.name or 'a guest'} to network {ref}",
        door.engine.attach(ref, asked),
    )
    return _json(views.port_json(port), 201)


async def detach_port(door: Door, request: Request) -> Response:
    """Unplug a port."""
    bodies.check_parameters(request)
    port: str = request.path_params["port"]
    await door.operations.run(_caller(request), "detach", f"port {port}", door.engine.detach(port))
    return Response(status_code=204)


async def detach_ports(door: Door, request: Request) -> Response:
    """Unplug every port of a network that Jackfield made."""
    bodies.check_parameters(request)
    ref = _ref(request)
    count = await door.operations.run(
        _caller(request), "detach", f"all of network {ref}", door.engine.detach_all(ref)
    )
    return _json({"detached": count})


async def list_leases(door: Door, request: Request) -> Response:
    """Answer with the DHCP leases of one network or of all."""
    bodies.check_parameters(request)
    leases = await door.engine.leases(request.path_params.get("ref"))
    return Response(await views.encode_list(leases, views.lease_json), media_type=_JSON)


async def import_networks(door: Door, request: Request) -> Response:
    """Take over libvirt's networks."""
    return await _migrate(door, request, "import", door.engine.import_libvirt)


async def export_networks(door: Door, request: Request) -> Response:
    """Give stored networks to libvirt."""
    return await _migrate(door, request, "export", door.engine.export_libvirt)


async def _migrate(
    door: Door,
    request: Request,
    name: str,
    work: Callable[..., Coroutine[None, None, list[MigrationStep]]],
) -> Response:
    """Answer with what was done, or with ``dry_run`` would be."""
    bodies.check_parameters(request, "network", "dry_run")
    require_root(_caller(request), f"{name} networks: that reads and writes libvirt's files")
    dry_run = bodies.read_flag(request, "dry_run")
    ref = request.query_params.get("network")
    own = (door.config.libvirt_path, door.config.libvirt_ro_path)
    coroutine = work(ref, dry_run=dry_run, own_sockets=own)
    if dry_run:
        steps = await coroutine
    else:
        target = "all networks" if ref is None else f"network {ref}"
        steps = await door.operations.run(_caller(request), name, target, coroutine)
    return _json({"steps": [dataclasses.asdict(step) for step in steps]})


async def list_events(door: Door, request: Request) -> Response:
    """Answer with events, one JSON object a line, and with ``follow`` go on as they come."""
    bodies.check_parameters(request, "since", "follow")
    events = door.engine.events
    since = bodies.read_number(request, "since")
    # Numbered from here and not from the first read, so that whoever has the answer's head
    # misses nothing that happens after it.
    headers = {"jackfield-last-event": str(events.last)}
    if not bodies.read_flag(request, "follow"):
        found = events.since(max(0, events.last - _RECENT) if since is None else since)
        lines = b"".join(views.encode(views.event_json(event)) + b"\n" for event in found)
        return Response(lines, media_type=_LINES, headers=headers)
    number = events.last if since is None else since
    events.since(number)
    return StreamingResponse(_follow(door, number), media_type=_LINES, headers=headers)


async def _follow(door: Door, number: int) -> AsyncIterator[bytes]:
    """Yield the events after ``number`` as lines, until the door closes."""
    events = door.engine.events.follow(number)
    closing = asyncio.create_task(door.closing.wait())
    try:
        while True:
            coming = asyncio.ensure_future(anext(events))
            try:
                await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    return
                yield views.encode(views.event_json(coming.result())) + b"\n"
            except JackfieldError as error:
                # A reader slower than the log is long: told in the last line of its stream.
                yield views.encode(views.error_json(error)) + b"\n"
                return
            finally:
                coming.cancel()
    finally:
        closing.cancel()


_WRITERS: dict[str, Callable[..., str]] = {
    "libvirt": libvirt.write_network,
    "layered": layered.write_layered,
}


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/v1/version", show_version, False, "the daemon's version"),
    Endpoint(
        "POST",
        "/v1/check",
        check_guest,
        False,
        "what each interface of the guest in the body would get here and now; allocates nothing",
    ),
    Endpoint("GET", "/v1/networks", list_networks, False, "every network, without documents"),
    Endpoint(
        "POST",
        "/v1/networks",
        define_network,
        True,
        "define the network in the body; with `apply=1` apply it, with `transient=1` store "
        "nothing, with `validate=1` hold it against the schema first",
    ),
    Endpoint("GET", "/v1/networks/{ref}", show_network, False, "a network with its documents"),
    Endpoint(
        "PUT",
        "/v1/networks/{ref}",
        apply_network,
        True,
        "apply the body: definition and running network become this; `transient` and `validate` "
        "as above",
    ),
    Endpoint("DELETE", "/v1/networks/{ref}", undefine_network, True, "forget the definition"),
    Endpoint(
        "POST",
        "/v1/networks/{ref}/apply",
        apply_stored,
        True,
        "make the network run as it is stored; a running one is changed by the difference",
    ),
    Endpoint("POST", "/v1/networks/{ref}/start", start_network, True, "start the network"),
    Endpoint("POST", "/v1/networks/{ref}/stop", stop_network, True, "stop the network"),
    Endpoint(
        "PUT",
        "/v1/networks/{ref}/autostart",
        set_autostart,
        True,
        'say with `{"autostart": true}` that the network starts with the daemon',
    ),
    Endpoint(
        "POST",
        "/v1/networks/{ref}/plan",
        plan_network,
        False,
        "what is to be done until the host is as the definition, or the body, says",
    ),
    Endpoint(
        "GET",
        "/v1/networks/{ref}/xml",
        show_xml,
        False,
        "the document, live if there is one; `dialect=libvirt` or `layered`, `inactive=1`",
    ),
    Endpoint("GET", "/v1/networks/{ref}/ports", list_ports, False, "the network's ports"),
    Endpoint(
        "POST",
        "/v1/networks/{ref}/ports",
        attach_port,
        True,
        "plug in a namespace (`netns`, `ifname`), a tap (`tap`, `owner`, `queues`), who asks "
        "(`handover`, `queues`; see Descriptors), or a program at the VDE switch (`vde`: true); "
        "`mac`, `name`, `portgroup`; with `hold` the port goes when the process that asks ends",
    ),
    Endpoint(
        "DELETE",
        "/v1/networks/{ref}/ports",
        detach_ports,
        True,
        "unplug every port that Jackfield made, at once; those of libvirt's guests stay",
    ),
    Endpoint("GET", "/v1/networks/{ref}/leases", list_leases, False, "the network's DHCP leases"),
    Endpoint("GET", "/v1/ports", list_ports, False, "every port"),
    Endpoint(
        "DELETE",
        "/v1/ports/{port:path}",
        detach_port,
        True,
        "unplug a port, by uuid, device, or its owner's name",
    ),
    Endpoint("GET", "/v1/leases", list_leases, False, "every DHCP lease"),
    Endpoint(
        "POST",
        "/v1/import",
        import_networks,
        True,
        "take over libvirt's networks, or `network=`; root only; `dry_run=1` says what would be",
    ),
    Endpoint(
        "POST",
        "/v1/export",
        export_networks,
        True,
        "give stored networks, or `network=`, to libvirt; root only; `dry_run=1` as above",
    ),
    Endpoint(
        "GET",
        "/v1/events",
        list_events,
        False,
        "events after number `since`, one JSON object a line; `follow=1` goes on as they come",
    ),
)
