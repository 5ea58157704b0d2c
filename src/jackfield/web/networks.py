"""The endpoints of networks: each reads a request, asks the engine, and answers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from jackfield.access import require_definition
from jackfield.document import layered, libvirt
from jackfield.engine.longdocuments import aside
from jackfield.engine.views import NetworkView
from jackfield.errors import InvalidRequest, WrongState
from jackfield.model.network import Network
from jackfield.state.plan import PlanStep
from jackfield.web import bodies, views
from jackfield.web.door import JSON, Door, caller_of, json_answer, ref_of

__all__ = [
    "apply_network",
    "apply_stored",
    "define_network",
    "list_networks",
    "plan_network",
    "set_autostart",
    "show_network",
    "show_xml",
    "start_network",
    "stop_network",
    "undefine_network",
]


async def _definition(door: Door, request: Request) -> Network:
    """Return the network in the body, which its sender must be allowed to define."""
    schema = bodies.read_flag(request, "validate")
    network = await bodies.read_document(request, schema=schema)
    if network is None:
        raise InvalidRequest("the request has no body, and needs a network, as XML or JSON")
    require_definition(caller_of(request), door.config, network)
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
    view, steps = await door.operations.run(caller_of(request), "apply", f"network {name}", work)
    done = [views.step_json(step) for step in steps]
    return await _answer(view, lambda: {"network": views.network_json(view), "steps": done})


async def _network_answer(view: NetworkView, status: int = 200) -> Response:
    """Answer with a network and its documents."""
    return await _answer(view, lambda: views.network_json(view), status)


async def _answer(view: NetworkView, make: Callable[[], object], status: int = 200) -> Response:
    """Answer with what ``make`` makes of a network, whose documents may be long."""
    return await aside(lambda: json_answer(make(), status), view.stored, view.live)


async def list_networks(door: Door, request: Request) -> Response:
    """Answer with every network."""
    bodies.check_parameters(request)
    body = await views.encode_list(door.engine.networks(), views.summary_json)
    return Response(body, media_type=JSON)


async def define_network(door: Door, request: Request) -> Response:
    """Define, or apply, the network in the body."""
    bodies.check_parameters(request, "apply", "transient", "validate")
    network = await _definition(door, request)
    if bodies.read_flag(request, "apply"):
        return await _apply(door, request, network)
    if bodies.read_flag(request, "transient"):
        raise InvalidRequest("'transient' goes with 'apply': nothing is stored of it")
    view = await door.operations.run(
        caller_of(request), "define", f"network {network.name}", door.engine.define(network)
    )
    hindrance = await door.engine.hindrance(str(view.uuid))
    if hindrance is not None:
        view = msgspec.structs.replace(view, problem=hindrance)
    return await _network_answer(view, 201)


async def show_network(door: Door, request: Request) -> Response:
    """Answer with one network and its documents."""
    bodies.check_parameters(request)
    return await _network_answer(door.engine.network(ref_of(request)))


async def apply_network(door: Door, request: Request) -> Response:
    """Apply the network in the body, which must be the one of the path."""
    bodies.check_parameters(request, "transient", "validate")
    network = await _definition(door, request)
    if ref_of(request) not in {str(network.name), str(network.uuid)}:
        raise InvalidRequest(
            f"the path names {ref_of(request)!r}, and the document network {network.name!r}"
        )
    return await _apply(door, request, network)


async def apply_stored(door: Door, request: Request) -> Response:
    """Apply a network's stored definition, or mend what runs."""
    bodies.check_parameters(request, "live")
    ref, live = ref_of(request), bodies.read_flag(request, "live")
    return await _applied(door, request, ref, door.engine.apply_stored(ref, live=live))


async def undefine_network(door: Door, request: Request) -> Response:
    """Forget a definition; answer with a network that runs on without one."""
    bodies.check_parameters(request)
    ref = ref_of(request)
    view = await door.operations.run(
        caller_of(request), "undefine", f"network {ref}", door.engine.undefine(ref)
    )
    return Response(status_code=204) if view is None else await _network_answer(view)


async def start_network(door: Door, request: Request) -> Response:
    """Start a network."""
    return await _turn(door, request, "start", door.engine.start)


async def stop_network(door: Door, request: Request) -> Response:
    """Stop a network."""
    return await _turn(door, request, "stop", door.engine.stop)


async def _turn(
    door: Door,
    request: Request,
    verb: str,
    turn: Callable[[str], Coroutine[None, None, NetworkView]],
) -> Response:
    """Have ``turn`` done to the network in the path, and answer with it."""
    bodies.check_parameters(request)
    ref = ref_of(request)
    view = await door.operations.run(caller_of(request), verb, f"network {ref}", turn(ref))
    return await _network_answer(view)


async def set_autostart(door: Door, request: Request) -> Response:
    """Say whether a network starts with the host."""
    bodies.check_parameters(request)
    ref = ref_of(request)
    autostart = await bodies.read_autostart(request)
    view = await door.operations.run(
        caller_of(request),
        "autostart" if autostart else "no autostart",
        f"network {ref}",
        door.engine.set_autostart(ref, autostart),
    )
    return await _network_answer(view)


async def plan_network(door: Door, request: Request) -> Response:
    """Answer with what is to be done until the host is as it should be."""
    bodies.check_parameters(request)
    network = await bodies.read_document(request)
    steps = await door.engine.plan(ref_of(request), network)
    return json_answer({"steps": [views.step_json(step) for step in steps]})


async def show_xml(door: Door, request: Request) -> Response:
    """Answer with a network's document in one of the dialects."""
    bodies.check_parameters(request, "dialect", "inactive")
    dialect = request.query_params.get("dialect", "libvirt")
    if dialect not in _WRITERS:
        raise InvalidRequest(
            f"there is no dialect {dialect!r}", hint=f"use {' or '.join(_WRITERS)}"
        )
    view = door.engine.network(ref_of(request))
    inactive = view.live is None or bodies.read_flag(request, "inactive")
    network = view.stored if inactive else view.live
    if network is None:
        raise WrongState(f"network {view.name!r} is transient: nothing of it is stored")
    if view.ports and not inactive:
        network = msgspec.structs.replace(network, connections=view.ports)
    shown = network
    text = await aside(lambda: _WRITERS[dialect](shown, inactive=inactive), shown)
    return Response(text, media_type="application/xml")


_WRITERS: dict[str, Callable[..., str]] = {
    "libvirt": libvirt.write_network,
    "layered": layered.write_layered,
}
