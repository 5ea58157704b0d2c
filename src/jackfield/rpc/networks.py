"""Calls about networks: each reads its arguments, asks the engine, and answers."""

from __future__ import annotations

import asyncio
from uuid import UUID

import msgspec

from jackfield.access import require_definition
from jackfield.document.libvirt import write_network
from jackfield.document.update.request import Command, Section
from jackfield.engine.longdocuments import aside
from jackfield.engine.views import LeaseView, NetworkView
from jackfield.errors import (
    InternalError,
    JackfieldError,
    NetworkNotFound,
    UnsupportedOperation,
)
from jackfield.model.network import Network
from jackfield.model.values import MacAddress
from jackfield.rpc.documents import read_network_text
from jackfield.rpc.errors import Code, Domain, RpcError
from jackfield.rpc.flags import (
    AFFECT_CONFIG,
    AFFECT_LIVE,
    VALIDATE,
    XML_INACTIVE,
    check_flags,
)
from jackfield.rpc.procedures import MAX_NETWORKS, Lease, NetworkRef
from jackfield.rpc.session import Session

__all__ = [
    "count_active",
    "count_defined",
    "create",
    "create_xml",
    "create_xml_flags",
    "define_xml",
    "define_xml_flags",
    "destroy",
    "get_autostart",
    "get_bridge_name",
    "get_leases",
    "get_xml",
    "is_active",
    "is_persistent",
    "list_active_names",
    "list_all",
    "list_defined_names",
    "lookup_by_name",
    "lookup_by_uuid",
    "name_of",
    "set_autostart",
    "undefine",
    "update",
    "view_of",
]

_INACTIVE, _ACTIVE = 1, 2
_PERSISTENT, _TRANSIENT = 4, 8
_AUTOSTART, _NO_AUTOSTART = 16, 32
_FILTERS = 63
_MANY = 1000
"""How many leases are put into their form at once: ten thousand take 30 ms."""


def reference(view: NetworkView) -> NetworkRef:
    """Return a network as clients hold it."""
    return NetworkRef(view.name, view.uuid)


def view_of(session: Session, net: NetworkRef) -> NetworkView:
    """Return the network that a client means; its uuid is what counts."""
    try:
        return session.engine.network(net.uuid)
    except NetworkNotFound as error:
        raise _unknown(net, error) from None


def name_of(session: Session, net: NetworkRef) -> str:
    """Return the name of the network that a client means, as ``view_of`` finds it."""
    try:
        return session.engine.network_name(net.uuid)
    except NetworkNotFound as error:
        raise _unknown(net, error) from None


def _unknown(net: NetworkRef, error: NetworkNotFound) -> JackfieldError:
    return error.in_libvirt(f"no network with matching uuid '{net.uuid}' ({net.name})")


# Finding networks


def lookup_by_name(session: Session, name: str) -> tuple[object, ...]:
    """Return the network of that name."""
    try:
        view = session.engine.network(name)
    except NetworkNotFound as error:
        raise error.in_libvirt(f"no network with matching name '{name}'") from None
    if view.name != name:
        # The engine also finds by uuid, and this call does not.
        raise NetworkNotFound(f"no network with matching name '{name}'")
    return (reference(view),)


def lookup_by_uuid(session: Session, uuid: UUID) -> tuple[object, ...]:
    """Return the network of that uuid."""
    try:
        return (reference(session.engine.network(uuid)),)
    except NetworkNotFound as error:
        raise error.in_libvirt(f"no network with matching uuid '{uuid}'") from None


def _active(session: Session) -> list[NetworkView]:
    return [view for view in session.engine.networks() if view.active]


def _defined(session: Session) -> list[NetworkView]:
    return [view for view in session.engine.networks() if view.persistent and not view.active]


def count_active(session: Session) -> tuple[object, ...]:
    """Return how many networks run."""
    return (len(_active(session)),)


def count_defined(session: Session) -> tuple[object, ...]:
    """Return how many stored networks do not run."""
    return (len(_defined(session)),)


def list_active_names(session: Session, limit: int) -> tuple[object, ...]:
    """Return the names of running networks, at most ``limit``."""
    return (_names(_active(session), limit),)


def list_defined_names(session: Session, limit: int) -> tuple[object, ...]:
    """Return the names of stored networks that do not run, at most ``limit``."""
    return (_names(_defined(session), limit),)


def _names(found: list[NetworkView], limit: int) -> list[str]:
    if limit < 0:
        raise RpcError(Code.RPC, "maxnames must be non-negative", Domain.RPC)
    if limit > MAX_NETWORKS:
        raise RpcError(Code.RPC, "maxnames > REMOTE_NETWORK_LIST_MAX", Domain.RPC)
    return [view.name for view in found[:limit]]


def list_all(session: Session, need_results: int, flags: int) -> tuple[object, ...]:
    """Return the networks that the filters in ``flags`` leave."""
    check_flags(flags, _FILTERS, "networkConnectListAllNetworks")
    found = session.engine.networks()
    if flags:
        found = [view for view in found if _passes(view, flags)]
    # A view has what a reference has.
    return (found if need_results else [], len(found))


def _passes(view: NetworkView, flags: int) -> bool:
    """Return whether a network passes every group of filters of which one is set."""
    for yes, no, value in (
        (_ACTIVE, _INACTIVE, view.active),
        (_PERSISTENT, _TRANSIENT, view.persistent),
        (_AUTOSTART, _NO_AUTOSTART, view.autostart),
    ):
        if flags & (yes | no) and not flags & (yes if value else no):
            return False
    return True


# One network


async def get_xml(session: Session, net: NetworkRef, flags: int) -> tuple[object, ...]:
    """Return the document of the running network, or of the stored one."""
    check_flags(flags, XML_INACTIVE, "networkGetXMLDesc")
    view = view_of(session, net)
    inactive = bool(flags & XML_INACTIVE)
    network = view.current
    if inactive and view.stored is not None:
        network = view.stored
    network = msgspec.structs.replace(network, connections=view.ports or None)
    # libvirt counts what is plugged into an uplink, not what is routed through it.
    connections = {} if network.mode.is_routed else session.engine.connections(network)

    def write() -> str:
        return write_network(network, inactive=inactive, connections=connections)

    return (await aside(write, network),)


def get_autostart(session: Session, net: NetworkRef) -> tuple[object, ...]:
    """Return whether the network starts with the host."""
    return (int(view_of(session, net).autostart),)


def get_bridge_name(session: Session, net: NetworkRef) -> tuple[object, ...]:
    """Return the network's bridge."""
    view = view_of(session, net)
    bridge = view.current.bridge
    if bridge is None or bridge.name is None:
        text = f"network '{view.name}' does not have a bridge name."
        raise InternalError(text)
    return (bridge.name,)


def is_active(session: Session, net: NetworkRef) -> tuple[object, ...]:
    """Return whether the network runs."""
    return (int(view_of(session, net).active),)


def is_persistent(session: Session, net: NetworkRef) -> tuple[object, ...]:
    """Return whether the network has a stored definition."""
    return (int(view_of(session, net).persistent),)


async def get_leases(
    session: Session, net: NetworkRef, mac: str | None, need_results: int, flags: int
) -> tuple[object, ...]:
    """Return the DHCP leases of the network, or of one address of it."""
    check_flags(flags, 0, "networkGetDHCPLeases")
    view = view_of(session, net)
    wanted = None if mac is None else _mac(mac)
    leases = await session.engine.leases(view.uuid)
    if wanted is not None:
        leases = [lease for lease in leases if lease.mac == wanted]
    if not need_results:
        return [], len(leases)
    if len(leases) > _MANY:
        return await asyncio.to_thread(lambda: list(map(_lease, leases))), len(leases)
    return list(map(_lease, leases)), len(leases)


def _mac(text: str) -> MacAddress:
    try:
        return MacAddress(text)
    except ValueError:
        raise RpcError(Code.INVALID_MAC, text) from None


def _lease(lease: LeaseView) -> Lease:
    return Lease(
        iface=lease.device,
        expiry=lease.expires,
        type=0 if lease.address.version == 4 else 1,
        mac=None if lease.mac is None else str(lease.mac),
        iaid=lease.iaid,
        address=str(lease.address),
        prefix=lease.prefix,
        hostname=lease.hostname,
        client_id=lease.client_id,
    )


# Changing networks


async def define_xml(session: Session, text: str) -> tuple[object, ...]:
    """Store a definition."""
    return await define_xml_flags(session, text, 0)


async def define_xml_flags(session: Session, text: str, flags: int) -> tuple[object, ...]:
    """Store a definition, checked against the schema if that is wanted."""
    network = await _read(session, text, flags, "networkDefineXMLFlags")
    view = await session.change(
        "define", f"network {network.name}", lambda: session.engine.define(network)
    )
    return (reference(view),)


async def create_xml(session: Session, text: str) -> tuple[object, ...]:
    """Start a network that is not stored."""
    return await create_xml_flags(session, text, 0)


async def create_xml_flags(session: Session, text: str, flags: int) -> tuple[object, ...]:
    """Start a network that is not stored, checked against the schema if that is wanted."""
    network = await _read(session, text, flags, "networkCreateXMLFlags")
    view = await session.change(
        "create", f"network {network.name}", lambda: session.engine.create(network)
    )
    return (reference(view),)


async def _read(session: Session, text: str, flags: int, function: str) -> Network:
    check_flags(flags, VALIDATE, function)
    network = await read_network_text(text, check_schema=bool(flags & VALIDATE))
    require_definition(session.caller, session.door.config, network)
    return network


async def create(session: Session, net: NetworkRef) -> tuple[object, ...]:
    """Start a stored network."""
    view = view_of(session, net)
    await session.change("start", f"network {view.name}", lambda: session.engine.start(view.uuid))
    return ()


async def destroy(session: Session, net: NetworkRef) -> tuple[object, ...]:
    """Stop a network."""
    view = view_of(session, net)
    await session.change("stop", f"network {view.name}", lambda: session.engine.stop(view.uuid))
    return ()


async def undefine(session: Session, net: NetworkRef) -> tuple[object, ...]:
    """Forget a stored definition."""
    view = view_of(session, net)
    await session.change(
        "undefine",
        f"network {view.name}",
        # libvirt's clients expect a running network to go on, transient, guests and all.
        lambda: session.engine.undefine(view.uuid, with_ports=True),
    )
    return ()


async def set_autostart(session: Session, net: NetworkRef, autostart: int) -> tuple[object, ...]:
    """Mark a network to be started with the host, or not."""
    view = view_of(session, net)
    await session.change(
        "autostart",
        f"network {view.name}",
        lambda: session.engine.set_autostart(view.uuid, bool(autostart)),
    )
    return ()


async def update(
    session: Session,
    net: NetworkRef,
    command: int,
    section: int,
    parent_index: int,
    text: str,
    flags: int,
) -> tuple[object, ...]:
    """Change one entry of a network."""
    check_flags(flags, AFFECT_LIVE | AFFECT_CONFIG, "networkUpdate")
    view = view_of(session, net)
    live, config = bool(flags & AFFECT_LIVE), bool(flags & AFFECT_CONFIG)
    try:
        known_section, known_command = Section(section), Command(command)
    except ValueError:
        # What libvirt says first.
        session.engine.affected(view.uuid, live=live, config=config)
        raise _unknown_update(view, section, command) from None
    await session.change(
        "update",
        f"network {view.name}, {known_section.title}",
        lambda: session.engine.update(
            view.uuid,
            known_section,
            known_command,
            parent_index,
            text,
            live=live,
            config=config,
        ),
    )
    return ()


def _unknown_update(view: NetworkView, section: int, command: int) -> JackfieldError:
    if section not in {one.value for one in Section}:
        return UnsupportedOperation(
            f"network '{view.name}' cannot be updated: there is no section {section}"
        ).in_libvirt("can't update unrecognized section of network")
    return UnsupportedOperation(
        f"network '{view.name}' cannot be updated: there is no command {command}"
    ).in_libvirt(f"unrecognized network update command code {command}")
