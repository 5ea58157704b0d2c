"""Calls about network ports: each reads its arguments, asks the engine, and answers."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

import msgspec

from jackfield.document.port import write_port
from jackfield.engine.views import NetworkView, PortView
from jackfield.errors import PortNotFound, WrongState
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.port import BridgePlug, VdePlug
from jackfield.rpc.documents import read_port_text
from jackfield.rpc.flags import RECLAIM, VALIDATE_PORT, check_flags
from jackfield.rpc.networks import name_of, view_of
from jackfield.rpc.procedures import NetworkRef, PortRef
from jackfield.rpc.session import Session
from jackfield.rpc.xdr import Parameter, ParameterType

__all__ = [
    "create",
    "delete",
    "get_parameters",
    "get_xml",
    "list_all",
    "lookup",
    "set_parameters",
]

_INBOUND = ("average", "peak", "floor", "burst")
_OUTBOUND = ("average", "peak", "burst")
_MOST = 2**32 - 1
"""The largest value that clients can be told of a rate; a document may have a larger one."""


class _Target(NamedTuple):
    """What a change is about; the text is for the log, and made when a line is written."""

    port: UUID | None
    network: str

    def __str__(self) -> str:
        return f"{self.port} of network {self.network}"


def _require_active(view: NetworkView) -> None:
    if not view.active:
        raise WrongState(f"network '{view.name}' is not active")


def _port(session: Session, net: NetworkRef, uuid: UUID) -> PortView:
    """Return the port that a client means; one of another network is none."""
    try:
        port = session.engine.port(uuid)
        if port.network_uuid == net.uuid:
            return port
    except PortNotFound:
        pass
    # That the network does not exist is said first.
    name_of(session, net)
    raise PortNotFound(f"Network port with UUID {uuid} does not exist")


def _reference(port: PortView) -> PortRef:
    assert port.port.uuid is not None
    return PortRef(NetworkRef(port.network, port.network_uuid), port.port.uuid)


def list_all(
    session: Session, net: NetworkRef, need_results: int, flags: int
) -> tuple[object, ...]:
    """Return the ports of a running network."""
    check_flags(flags, 0, "networkListAllPorts")
    view = view_of(session, net)
    _require_active(view)
    ports = session.engine.port_uuids(view.uuid)
    network = NetworkRef(view.name, view.uuid)
    return ([PortRef(network, port) for port in ports] if need_results else [], len(ports))


def lookup(session: Session, net: NetworkRef, uuid: UUID) -> tuple[object, ...]:
    """Return the port of that uuid."""
    return (_reference(_port(session, net, uuid)),)


async def create(session: Session, net: NetworkRef, text: str, flags: int) -> tuple[object, ...]:
    """Allocate a port for a client that makes its device."""
    check_flags(flags, RECLAIM | VALIDATE_PORT, "networkPortCreateXML")
    name = name_of(session, net)
    wish = await read_port_text(text)
    reclaim = bool(flags & RECLAIM)
    port = await session.change(
        "create port",
        _Target(wish.uuid, name),
        lambda: session.engine.create_port(net.uuid, wish, reclaim=reclaim),
    )
    return (_reference(port),)


async def delete(session: Session, port: PortRef, flags: int) -> tuple[object, ...]:
    """Remove a port."""
    check_flags(flags, 0, "networkPortDelete")
    found = _port(session, port.net, port.uuid)
    await session.change(
        "delete port",
        _Target(port.uuid, found.network),
        lambda: session.engine.detach(port.uuid),
    )
    return ()


def get_xml(session: Session, port: PortRef, flags: int) -> tuple[object, ...]:
    """Return the document of a port, with its plug.

    A port at the network's VDE switch is, to libvirt's parser, one on the bridge behind it.
    """
    check_flags(flags, 0, "networkPortGetXMLDesc")
    found = _port(session, port.net, port.uuid)
    bridge = view_of(session, port.net).current.bridge
    shown = found.port
    if isinstance(shown.plug, VdePlug) and bridge is not None and bridge.name is not None:
        shown = msgspec.structs.replace(shown, plug=BridgePlug(bridge=bridge.name))
    return (write_port(shown),)


def get_parameters(session: Session, port: PortRef, _limit: int, flags: int) -> tuple[object, ...]:
    """Return the limits of a port, every one of a direction that has limits."""
    check_flags(flags, 0, "networkPortGetParameters")
    bandwidth = _port(session, port.net, port.uuid).port.bandwidth or Bandwidth()
    found = []
    for direction, rate, names in (
        ("inbound", bandwidth.inbound, _INBOUND),
        ("outbound", bandwidth.outbound, _OUTBOUND),
    ):
        if rate is not None:
            found += [
                Parameter(
                    f"{direction}.{name}", ParameterType.UINT, min(getattr(rate, name) or 0, _MOST)
                )
                for name in names
            ]
    # The client counts the parameters itself; libvirt's daemon always says 0 here.
    return (found, 0)


async def set_parameters(
    session: Session, port: PortRef, parameters: list[Parameter], flags: int
) -> tuple[object, ...]:
    """Set the limits of a port: those of both directions, so a missing one is lifted."""
    check_flags(flags, 0, "networkPortSetParameters")
    found = _port(session, port.net, port.uuid)
    values = {item.name: item.value for item in parameters if item.type == ParameterType.UINT}
    bandwidth = Bandwidth(
        inbound=_rate(values, "inbound", _INBOUND), outbound=_rate(values, "outbound", _OUTBOUND)
    )
    uuid = port.uuid
    await session.change(
        "limit port",
        _Target(uuid, found.network),
        lambda: session.engine.limit_port(
            uuid, bandwidth if bandwidth.inbound or bandwidth.outbound else None
        ),
    )
    return ()


def _rate(values: dict[str, object], direction: str, names: tuple[str, ...]) -> Rate | None:
    given = {}
    for name in names:
        value = values.get(f"{direction}.{name}")
        if isinstance(value, int) and value:
            given[name] = value
    # A peak or a burst limits nothing without an average.
    return Rate(**given) if given.keys() & {"average", "floor"} else None
