"""The endpoints of ports, and of the leases of what is plugged in."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jackfield.web import bodies, views
from jackfield.web.door import JSON, Door, caller_of, json_answer, ref_of

__all__ = ["attach_port", "detach_port", "detach_ports", "list_leases", "list_ports"]


async def list_ports(door: Door, request: Request) -> Response:
    """Answer with the ports of one network or of all."""
    bodies.check_parameters(request)
    ports = await door.engine.ports(request.path_params.get("ref"))
    return Response(await views.encode_list(ports, views.port_json), media_type=JSON)


async def attach_port(door: Door, request: Request) -> Response:
    """Plug a namespace, a tap or whoever asks into a network."""
    bodies.check_parameters(request)
    ref = ref_of(request)
    caller = caller_of(request)
    asked = await bodies.read_attach(request, caller.pid)
    port = await door.operations.run(
        caller,
        "attach",
        f"{asked.tap or asked.netns or asked.name or 'a guest'} to network {ref}",
        door.engine.attach(ref, asked),
    )
    return json_answer(views.port_json(port), 201)


async def detach_port(door: Door, request: Request) -> Response:
    """Unplug a port."""
    bodies.check_parameters(request)
    port: str = request.path_params["port"]
    await door.operations.run(
        caller_of(request), "detach", f"port {port}", door.engine.detach(port)
    )
    return Response(status_code=204)


async def detach_ports(door: Door, request: Request) -> Response:
    """Unplug every port of a network that Jackfield made."""
    bodies.check_parameters(request)
    ref = ref_of(request)
    count = await door.operations.run(
        caller_of(request), "detach", f"all of network {ref}", door.engine.detach_all(ref)
    )
    return json_answer({"detached": count})


async def list_leases(door: Door, request: Request) -> Response:
    """Answer with the DHCP leases of one network or of all."""
    bodies.check_parameters(request)
    leases = await door.engine.leases(request.path_params.get("ref"))
    return Response(await views.encode_list(leases, views.lease_json), media_type=JSON)
