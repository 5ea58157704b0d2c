"""The paths under ``/v1``: which endpoint answers what, and how its errors are told.

``ENDPOINTS`` is the whole interface; the documentation is checked against it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

import jackfield
from jackfield.access import require_write
from jackfield.allocation.check import verdict_lines
from jackfield.errors import (
    InternalError,
    InvalidRequest,
    JackfieldError,
    NotFound,
    RequestTooLarge,
)
from jackfield.model.values import NetworkName
from jackfield.web import bodies, views
from jackfield.web.doctor import examine_all, examine_network
from jackfield.web.door import JSON, Door, caller_of, json_answer
from jackfield.web.events import list_events
from jackfield.web.migration import export_networks, import_networks
from jackfield.web.networks import (
    apply_network,
    apply_stored,
    define_network,
    list_networks,
    plan_network,
    set_autostart,
    show_network,
    show_xml,
    start_network,
    stop_network,
    undefine_network,
)
from jackfield.web.ports import attach_port, detach_port, detach_ports, list_leases, list_ports
from jackfield.web.verdicts import verdict_to_builtins

__all__ = ["ENDPOINTS", "Endpoint", "build"]

logger = logging.getLogger("jackfield.web")

Handler = Callable[[Door, Request], Awaitable[Response]]


class Endpoint(NamedTuple):
    """One method of one path; ``writes`` are those that need the right to change things.

    The handler of one for ``root`` looks for itself who asks.
    """

    method: str
    path: str
    handler: Handler
    writes: bool
    summary: str
    root: bool = False


def build(door: Door) -> Starlette:
    """Return the application that serves ``ENDPOINTS``."""
    methods: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        methods.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = [
        Route(path, functools.partial(_dispatch, door, known), methods=list(known))
        for path, known in methods.items()
    ]
    application = Starlette(routes=routes, exception_handlers={HTTPException: _refuse})
    # A path that ends where a name should come is wrong; a redirect would pass for success.
    application.router.redirect_slashes = False
    return application


async def _dispatch(door: Door, known: dict[str, Endpoint], request: Request) -> Response:
    """Check the caller, call the endpoint, and turn every error into the one shape."""
    # Routes answer HEAD as GET; the body is dropped on the way out.
    endpoint = known["GET" if request.method == "HEAD" else request.method]
    try:
        if endpoint.writes and not endpoint.root:
            require_write(caller_of(request), door.config)
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
        if (refusal := _refuse_name(request)) is not None:
            return _error(refusal)
        return _error(NotFound(f"there is no {path}", hint="see docs/http.md for the paths"))
    response = _error(InvalidRequest(f"{path} has no method {request.method}"))
    response.status_code = error.status_code
    response.headers.update(error.headers or {})
    return response


def _refuse_name(request: Request) -> InvalidRequest | None:
    """Return why a network's name in the path, quoted and with a slash, cannot be one.

    The router takes that slash for one of the path's own, and finds no such path.
    """
    parts = request.scope["raw_path"].decode("latin-1").split("/")
    if parts[1:3] != ["v1", "networks"] or "%2f" not in "".join(parts[3:4]).lower():
        return None
    try:
        NetworkName(unquote(parts[3]))
    except ValueError as error:
        return InvalidRequest(str(error))
    return None


def _error(error: JackfieldError) -> Response:
    # The rest of an overlong body is not worth reading, so the connection ends here.
    headers = {"connection": "close"} if isinstance(error, RequestTooLarge) else None
    return Response(
        views.encode(views.error_json(error)),
        status_code=error.http_status,
        headers=headers,
        media_type=JSON,
    )


async def show_version(_door: Door, request: Request) -> Response:
    """Answer with the daemon's version."""
    bodies.check_parameters(request)
    return json_answer({"version": jackfield.__version__, "api": "v1"})


async def check_guest(door: Door, request: Request) -> Response:
    """Answer with what each interface of the guest in the body would get here and now."""
    bodies.check_parameters(request)
    verdicts = door.engine.check_guest(await bodies.read_guest_document(request))
    return json_answer(
        [{"lines": verdict_lines(verdict), **verdict_to_builtins(verdict)} for verdict in verdicts]
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint("GET", "/v1/version", show_version, False, "the daemon's version"),
    Endpoint(
        "POST",
        "/v1/check",
        check_guest,
        False,
        "what each interface of the guest in the body would get here and now; allocates nothing",
    ),
    Endpoint(
        "GET",
        "/v1/doctor",
        examine_all,
        False,
        "what keeps guests from the networks that run: rules of others that drop their packets, "
        "and more; for those who may change things, as it shows the host's firewall",
    ),
    Endpoint("GET", "/v1/networks", list_networks, False, "every network, without documents"),
    Endpoint(
        "POST",
        "/v1/networks",
        define_network,
        True,
        "define the network in the body; with `apply=1` apply it, with `transient=1` store "
        "nothing, with `validate=1` hold it against the schema first; `problem` of the answer says "
        "why the network cannot be started now, where that is seen",
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
    Endpoint(
        "DELETE",
        "/v1/networks/{ref}",
        undefine_network,
        True,
        "forget the definition; "
        "a running network goes on without one, and is the answer (200, else 204)",
    ),
    Endpoint(
        "POST",
        "/v1/networks/{ref}/apply",
        apply_stored,
        True,
        "make the network run as it is stored; a running one is changed by the difference; with "
        "`live=1`, or where nothing is stored, only mend what runs",
    ),
    Endpoint("POST", "/v1/networks/{ref}/start", start_network, True, "start the network"),
    Endpoint("POST", "/v1/networks/{ref}/stop", stop_network, True, "stop the network"),
    Endpoint(
        "PUT",
        "/v1/networks/{ref}/autostart",
        set_autostart,
        True,
        'say with `{"autostart": true}` that the network starts with the host',
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
    Endpoint(
        "GET",
        "/v1/networks/{ref}/doctor",
        examine_network,
        False,
        "the same of one network, which is to run",
    ),
    Endpoint("GET", "/v1/networks/{ref}/ports", list_ports, False, "the network's ports"),
    Endpoint(
        "POST",
        "/v1/networks/{ref}/ports",
        attach_port,
        True,
        "plug in a namespace (`netns`, `ifname`), a tap (`tap`, `owner`: a user's number, "
        "`queues`), who asks (`handover`, `queues`; see Descriptors), or a program at the VDE "
        "switch (`vde`: true); `mac`, `name`, `guest` (its uuid), `portgroup`; with `hold` the "
        "port goes when the process that asks ends",
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
        root=True,
    ),
    Endpoint(
        "POST",
        "/v1/export",
        export_networks,
        True,
        "give stored networks, or `network=`, to libvirt; root only; `dry_run=1` as above; with "
        "`as_bridge=1` networks of these names on our bridges",
        root=True,
    ),
    Endpoint(
        "GET",
        "/v1/events",
        list_events,
        False,
        "events after number `since`, one JSON object a line; `follow=1` goes on as they come",
    ),
)
