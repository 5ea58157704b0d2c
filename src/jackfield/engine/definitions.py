"""Definitions: completed, stored, forgotten, marked to be started with the host."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from collections.abc import AsyncIterator, Container
from uuid import UUID

from jackfield.document.complete import Taken, complete
from jackfield.document.json import network_to_json
from jackfield.engine import workplace
from jackfield.engine.events import EventLog
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.longdocuments import aside
from jackfield.engine.plans import Plans
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.store.rows import NetworkRow
from jackfield.engine.views import Event, NetworkView
from jackfield.engine.workplace import Workplace
from jackfield.errors import (
    AlreadyExists,
    JackfieldError,
    UnsupportedConfiguration,
    WrongState,
    shell_word,
)
from jackfield.host.thread import KernelThread
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.plan.network import check_host
from jackfield.state.facts import Facts
from jackfield.undoing import Undoing

__all__ = ["Definitions", "network_row"]

log = logging.getLogger(__name__)


async def network_row(record: NetworkRecord, network: Network, *, autostart: bool) -> NetworkRow:
    """Return a definition as the store keeps it."""
    document = await aside(lambda: network_to_json(network), network)
    return NetworkRow(record.uuid, network.name, autostart, document)


class Definitions:
    """Stored definitions; one is completed at a time, so that no two get the same names."""

    def __init__(
        self,
        registry: Registry,
        plans: Plans,
        events: EventLog,
        thread: KernelThread[Workplace],
        host: HostWatch,
    ) -> None:
        """Work on ``registry`` through ``thread``; ``host`` says which names are taken."""
        self._registry = registry
        self._plans = plans
        self._events = events
        self._thread = thread
        self._host = host
        self._completing = asyncio.Lock()

    async def define(self, network: Network) -> NetworkView:
        """Store a definition; a running network is not touched."""
        async with self._completing:
            record, made = await self.complete(network)
            await record.lock.acquire()
            is_new = record.uuid not in self._registry.networks
            if is_new:
                # Its names are taken from here on, so that others are defined meanwhile: what
                # waits for the disk together waits once.
                record.stored = made
                self._registry.add(record)
            else:
                try:
                    await self._put(record, made, "network-defined")
                finally:
                    record.lock.release()
        if is_new:
            try:
                await self._put(record, made, "network-defined")
            except BaseException as error:
                self._registry.discard(record)
                self._plans.forget(record.uuid)
                with Undoing(error):
                    # The database may have it, and would have two of the next one's name.
                    await self._thread.write(lambda tools: tools.store.delete_network(record.uuid))
                raise
            finally:
                record.lock.release()
        return self._registry.network_view(record)

    async def hindrance(self, ref: str | UUID) -> str | None:
        """Return why a network that does not run cannot be started now, where a glance tells it."""
        record = self._registry.network(ref)
        network = record.stored
        if network is None or record.live is not None:
            return None
        try:
            await self._plans.check(network)
            if network.mode is Mode.BRIDGE:
                facts = Facts(links=self._host.links())
                check_host(network, facts)
                for uplink in network.uplinks:
                    if isinstance(uplink, DeviceUplink) and uplink.dev not in facts.links:
                        return f"its uplink {uplink.dev} does not exist on this host"
        except JackfieldError as error:
            return error.message
        return None

    async def _put(self, record: NetworkRecord, network: Network, event_type: str) -> None:
        """Store ``network`` for a record whose lock is held."""
        row = await network_row(record, network, autostart=record.autostart)

        def put(tools: Workplace) -> Event:
            with tools.store.transaction(durable=True):
                tools.store.put_network(row)
                return workplace.record_event(tools, event_type, record.name, record.uuid)

        self._events.add(await self._thread.write(put))
        if record.stored is not network:
            record.stored = network

    async def replace(self, record: NetworkRecord, network: Network) -> None:
        """Store ``network`` for a record whose lock is held: the same network, changed in part."""
        await self._put(record, network, "network-updated")

    async def undefine(self, ref: str | UUID, *, with_ports: bool = False) -> NetworkView | None:
        """Forget a stored definition; a running network becomes transient, and is returned.

        One that has ports is refused, because its end would be theirs; ``with_ports`` is for a
        door whose clients know that a running network goes on.
        """
        async with self._registry.held(ref) as record:
            if record.stored is None:
                raise WrongState(
                    f"network {record.name!r} is transient: it has no definition to remove",
                    hint=f"jackfield stop {shell_word(record.name)} ends it",
                ).in_libvirt("can't undefine transient network")
            if record.live is None or not with_ports:
                self._registry.refuse_with_ports(record, "undefined")

            def forget(tools: Workplace) -> Event:
                with tools.store.transaction(durable=True):
                    tools.store.delete_network(record.uuid)
                    if record.live is None:
                        tools.store.delete_members(record.uuid)
                    event = workplace.record_event(
                        tools, "network-undefined", record.name, record.uuid
                    )
                if record.live is None:
                    tools.dnsmasq.forget_leases(tools.kernel, record.uuid)
                return event

            self._events.add(await self._thread.write(forget))
            record.stored = None
            record.autostart = False
            if record.live is None:
                self._registry.discard(record)
                self._plans.forget(record.uuid)
                return None
            return self._registry.network_view(record)

    async def set_autostart(self, ref: str | UUID, autostart: bool) -> NetworkView:
        """Mark a persistent network to be started when the daemon starts on a new boot."""
        async with self._registry.held(ref) as record:
            if record.stored is None:
                raise WrongState(
                    f"network {record.name!r} is transient and cannot be autostarted",
                    hint="define it first: "
                    f"jackfield show {shell_word(record.name)} | jackfield define -",
                ).in_libvirt("cannot set autostart for transient network")
            if record.autostart is not autostart:
                row = await network_row(record, record.stored, autostart=autostart)

                def put(tools: Workplace) -> None:
                    with tools.store.transaction(durable=True):
                        tools.store.put_network(row)

                await self._thread.write(put)
                record.autostart = autostart
        return self._registry.network_view(record)

    @contextlib.asynccontextmanager
    async def completed(self, network: Network) -> AsyncIterator[tuple[NetworkRecord, Network]]:
        """Give the record that a definition belongs to, and the definition made complete.

        Until the block ends nobody else is given names, so what it registers is its own.
        """
        async with self._completing:
            yield await self.complete(network)

    async def complete(
        self, network: Network, among: Registry | None = None
    ) -> tuple[NetworkRecord, Network]:
        """Return the record that a definition belongs to, and the definition made complete.

        ``among`` are other networks than those that there are.
        """
        registry = self._registry if among is None else among
        known = registry.by_name(network.name)
        former = None if known is None else (known.stored or known.live)
        taken = Taken(
            claimant=functools.partial(registry.devices.claimant, without=known),
            user=functools.partial(registry.devices.claimant, without=known, used=True),
            present=_Links(self._host),
        )
        made = complete(network, taken, secrets.token_bytes, former)
        if network.uuid is not None:
            # In libvirt's order: who has the bridge, then the uuid, then the name.
            same = registry.networks.get(network.uuid)
            if same is not None and same.name != network.name:
                raise AlreadyExists(
                    f"network {same.name!r} is already defined with uuid {network.uuid}"
                )
            if known is not None and known.uuid != network.uuid:
                raise AlreadyExists(
                    f"network {network.name!r} already exists with uuid {known.uuid}",
                    hint="take the <uuid> out to redefine it, or choose another name",
                )
        assert made.uuid is not None
        try:
            await self._plans.check(made)
        except UnsupportedConfiguration as error:
            log.info("defined but not startable: %s", error)
        return known or NetworkRecord(uuid=made.uuid, name=made.name), made


class _Links:
    """The names of the host's links, read when the first of them is asked for, if any is."""

    def __init__(self, host: HostWatch) -> None:
        self._host = host
        self._links: Container[object] | None = None

    def __contains__(self, name: object) -> bool:
        if self._links is None:
            self._links = self._host.links()
        return name in self._links
