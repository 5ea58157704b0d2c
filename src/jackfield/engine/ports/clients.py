"""Ports whose device a client makes: libvirt's QEMU driver, which asks for a plug and acts on it.

We allocate and keep the record; the client makes the tap or macvtap and tells nobody its name.
"""

from __future__ import annotations

import dataclasses
import logging
from uuid import UUID

import msgspec

from jackfield.allocation.allocate import allocate, allocate_bandwidth
from jackfield.allocation.reclaim import check_reclaimed
from jackfield.allocation.request import Request
from jackfield.engine.events import EventLog
from jackfield.engine.hooks import Hooks, Operation
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.ports import jobs
from jackfield.engine.ports.book import PortBook
from jackfield.engine.ports.namesakes import unshared_states
from jackfield.engine.ports.rows import port_detail, port_row
from jackfield.engine.ports.settings import replace_port
from jackfield.engine.records import NetworkRecord, PortRecord, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.views import PortView
from jackfield.engine.workplace import Workplace
from jackfield.errors import (
    AlreadyExists,
    InvalidRequest,
    PortNotFound,
    UnsupportedOperation,
    WrongState,
    shell_word,
)
from jackfield.host.thread import KernelThread
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.plan.virtualfunction import carrier_of
from jackfield.state.facts import Facts
from jackfield.state.hoststate import Change, difference
from jackfield.state.traffic import Guarantee

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
        thread: KernelThread[Workplace],
        host: HostWatch,
        book: PortBook,
        hooks: Hooks,
    ) -> None:
        """Work on ``registry`` through ``book``, and ``thread`` where the host has a part in it.

        ``host`` gives the facts.
        """
        self._registry = registry
        self._events = events
        self._thread = thread
        self._host = host
        self._book = book
        self._hooks = hooks

    async def create(self, ref: str | UUID, wish: Port, *, reclaim: bool) -> PortView:
        """Allocate a port, or take back (``reclaim``) one that has its plug already.

        Choosing and reserving is one step of the event loop, so no two ports get the same place.
        """
        async with self._registry.held(ref) as record:
            network = _running(record)
            port = self.choose(network, wish, reclaim=reclaim)
            assert wish.uuid is not None
            made = PortRecord(
                uuid=wish.uuid,
                network=record.uuid,
                port=port,
                realiser=CLIENT,
                carrier=carrier_of(port.plug, self._facts(network)),
            )
            self._registry.add_port(made)
            created = False
            try:
                await self._hooks.run(Operation.PORT_CREATED, network, port)
                created = True
                detail = port_detail(made)
                (wanted,) = unshared_states(self._registry, record, [made])
                if wanted:
                    event = await self._thread.run(
                        jobs.create_port, port_row(made), record.name, wanted, detail
                    )
                else:
                    event = self._book.put("port-attached", made, record.name, detail)
            except BaseException:
                self._registry.discard_port(made)
                if created:
                    await self._hooks.tell(Operation.PORT_DELETED, network, port)
                raise
            self._events.add(event)
            return self._registry.port_view(made)

    def choose(self, network: Network, wish: Port, *, reclaim: bool) -> Port:
        """Return what a client gets for ``wish``, or raise why nothing; it is not reserved yet."""
        _check_wish(wish, reclaim=reclaim)
        if wish.uuid in self._registry.ports:
            raise AlreadyExists(f"a port with uuid {wish.uuid} exists already").in_libvirt(
                f"Network port with UUID {wish.uuid} already exists", code=106
            )
        _check_floor(network, wish)
        return self._reclaim(network, wish) if reclaim else self._allocate(network, wish)

    async def limit(self, uuid: UUID, bandwidth: Bandwidth | None) -> PortView:
        """Set the bandwidth of a port; what its client limits itself, it does when we agree."""
        port = self._registry.port_by_uuid(uuid)
        record = self._registry.networks[port.network]
        async with record.lock:
            if port.uuid not in self._registry.ports:
                raise PortNotFound(f"port {uuid} has just been detached by somebody else")
            limited = self._limited(record, port.port, bandwidth)
            changed = dataclasses.replace(
                port, port=limited, limited=True, former=port.former - {"bandwidth"}
            )
            change = difference(
                state_of_port(record.current, changed), state_of_port(record.current, port)
            )
            event = await self._thread.run(
                jobs.change_port,
                port_row(changed),
                port_row(port),
                record.name,
                change if record.active else _without_bridge(change),
                port_detail(port),
            )
            replace_port(self._registry, port, changed)
            self._events.add(event)
            return self._registry.port_view(port)

    def _limited(self, record: NetworkRecord, port: Port, bandwidth: Bandwidth | None) -> Port:
        """Return the port with another bandwidth, and with the class that it needs for that."""
        if bandwidth is None:
            return msgspec.structs.replace(port, bandwidth=None)
        if port.bandwidth is not None:
            bandwidth = msgspec.structs.replace(bandwidth, class_id=port.bandwidth.class_id)
        changed = msgspec.structs.replace(port, bandwidth=bandwidth)
        _check_floor(record.current, changed)
        others = self._registry.usage.without_port(str(record.uuid), port)
        allocated = allocate_bandwidth(record.current, others, bandwidth)
        return msgspec.structs.replace(port, bandwidth=allocated)

    def _reclaim(self, network: Network, wish: Port) -> Port:
        """Return the port as it was allocated once; only its class may be another."""
        usage = self._registry.usage
        check_reclaimed(network, self._facts(network), usage, wish)
        if wish.bandwidth is None:
            return wish
        allocated = allocate_bandwidth(network, usage, wish.bandwidth)
        return msgspec.structs.replace(wish, bandwidth=allocated)

    def _allocate(self, network: Network, wish: Port) -> Port:
        allocation = allocate(
            network,
            self._facts(network),
            self._registry.usage,
            Request.from_port(wish),
        )
        for note in allocation.notes:
            log.info("port %s of network %s: %s", wish.uuid, network.name, note)
        return allocation.port

    def _facts(self, network: Network) -> Facts:
        """Return the host; for a routed network nothing of it decides about its ports."""
        return _NO_FACTS if network.mode.is_routed else self._host.all_facts()


def _running(record: NetworkRecord) -> Network:
    if record.live is None or not record.settled:
        raise WrongState(
            f"network {record.name!r} is not active",
            hint=f"jackfield start {shell_word(record.name)}",
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


def _without_bridge(change: Change) -> Change:
    """Return what can be done of ``change`` while the network's bridge is not there."""
    return Change(
        remove=tuple(item for item in change.remove if not isinstance(item, Guarantee)),
        ensure=tuple(item for item in change.ensure if not isinstance(item, Guarantee)),
        replaced=change.replaced,
    )
