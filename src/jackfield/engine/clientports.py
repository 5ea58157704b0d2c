"""Ports whose device a client makes: libvirt's QEMU driver, which asks for a plug and acts on it.

We allocate and keep the record; the client makes the tap or macvtap and tells nobody its name.
"""

from __future__ import annotations

import dataclasses
import logging
from uuid import UUID

from jackfield.allocation.allocate import allocate
from jackfield.allocation.request import Request
from jackfield.engine.events import EventLog
from jackfield.engine.hooks import Hooks, Operation
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.portbook import PortBook
from jackfield.engine.ports import port_detail
from jackfield.engine.records import NetworkRecord, PortRecord, Registry
from jackfield.engine.views import PortView
from jackfield.errors import (
    AlreadyExists,
    InvalidRequest,
    PortNotFound,
    UnsupportedOperation,
    WrongState,
)
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.state.facts import Facts

__all__ = ["CLIENT", "ClientPorts"]

log = logging.getLogger(__name__)

CLIENT = "client"
"""The realiser of a port whose device its client makes."""

_NO_FACTS = Facts()


class ClientPorts:
    """Creates ports for clients, and changes their limits."""

    def __init__(
        self,
        registry: Registry,
        events: EventLog,
        host: HostWatch,
        book: PortBook,
        hooks: Hooks,
    ) -> None:
        """Work on ``registry`` and ``book``; ``host`` gives the facts."""
        self._registry = registry
        self._events = events
        self._host = host
        self._book = book
        self._hooks = hooks

    async def create(self, ref: str | UUID, wish: Port, *, reclaim: bool) -> PortView:
        """Allocate a port, or take back (``reclaim``) one that has its plug already.

        Choosing and reserving is one step of the event loop, so no two ports get the same place.
        """
        record = self._registry.network(ref)
        async with record.lock:
            network = _running(record)
            _check_wish(wish, reclaim=reclaim)
            assert wish.uuid is not None
            if wish.uuid in self._registry.ports:
                raise AlreadyExists(f"a port with uuid {wish.uuid} exists already").in_libvirt(
                    f"Network port with UUID {wish.uuid} already exists", code=106
                )
            _check_floor(network, wish)
            port = wish if reclaim else self._allocate(network, wish)
            made = PortRecord(uuid=wish.uuid, network=record.uuid, port=port, realiser=CLIENT)
            self._registry.add_port(made)
            created = False
            try:
                await self._hooks.run(Operation.PORT_CREATED, network, port)
                created = True
                event = self._book.put("port-attached", made, record.name, port_detail(made))
            except BaseException:
                self._registry.discard_port(made)
                if created:
                    await self._hooks.tell(Operation.PORT_DELETED, network, port)
                raise
            self._events.add(event)
            return self._registry.port_view(made)

    async def limit(self, uuid: UUID, bandwidth: Bandwidth | None) -> PortView:
        """Set the bandwidth of a port, which its client then applies to the device."""
        port = self._registry.port_by_uuid(uuid)
        record = self._registry.networks[port.network]
        async with record.lock:
            if port.uuid not in self._registry.ports:
                raise PortNotFound(f"port {uuid} has just been detached by somebody else")
            if bandwidth is not None and port.port.bandwidth is not None:
                bandwidth = dataclasses.replace(bandwidth, class_id=port.port.bandwidth.class_id)
            changed = dataclasses.replace(
                port, port=dataclasses.replace(port.port, bandwidth=bandwidth)
            )
            _check_floor(record.current, changed.port)
            event = self._book.put("port-changed", changed, record.name, port_detail(port))
            self._registry.discard_port(port)
            port.port = changed.port
            self._registry.add_port(port)
            self._events.add(event)
            return self._registry.port_view(port)

    def _allocate(self, network: Network, wish: Port) -> Port:
        # A routed network is its own bridge: nothing of the host decides about its ports.
        facts = _NO_FACTS if network.mode.is_routed else self._host.all_facts()
        allocation = allocate(
            network,
            facts,
            self._registry.usage,
            Request.from_port(wish),
        )
        for note in allocation.notes:
            log.info("port %s of network %s: %s", wish.uuid, network.name, note)
        return allocation.port


def _running(record: NetworkRecord) -> Network:
    if record.live is None or not record.settled:
        raise WrongState(
            f"network {record.name!r} is not active", hint=f"jackfield start {record.name}"
        )
    return record.live


def _check_wish(wish: Port, *, reclaim: bool) -> None:
    if wish.uuid is None:
        raise InvalidRequest("the port has no <uuid>").in_libvirt(
            "network port has no uuid", code=1
        )
    if reclaim and wish.plug is None:
        raise InvalidRequest("Port reclaim requested but plug type is none")
    if not reclaim and wish.plug is not None:
        raise InvalidRequest("Port reclaim not requested but plug type is not none")


def _check_floor(network: Network, port: Port) -> None:
    """Refuse a guaranteed rate where the network has nothing to divide."""
    inbound = None if port.bandwidth is None else port.bandwidth.inbound
    whole = None if network.bandwidth is None else network.bandwidth.inbound
    if inbound is None or not inbound.floor or (whole is not None and whole.average is not None):
        return
    raise UnsupportedOperation(
        f"network {network.name!r} has no inbound bandwidth of which a port could be guaranteed "
        f"floor='{inbound.floor}'",
        hint="give the network <bandwidth><inbound average='…'/></bandwidth>",
    ).in_libvirt(
        f"Invalid use of 'floor' on interface with MAC address {port.mac} - network "
        f"'{network.name}' has no inbound QoS set"
    )
