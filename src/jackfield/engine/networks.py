"""The life of networks: define, apply, start, stop, undefine, and mending what others break."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Iterable, Mapping
from uuid import UUID

from jackfield.document.complete import Taken
from jackfield.document.complete import complete as complete_network
from jackfield.document.json import network_from_json, network_to_json
from jackfield.engine import workplace
from jackfield.engine.events import EventLog
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.records import NetworkRecord, Registry, state_of_port
from jackfield.engine.services import Services
from jackfield.engine.store import NetworkRow
from jackfield.engine.views import NetworkView
from jackfield.engine.workplace import Workplace
from jackfield.errors import (
    AlreadyExists,
    ForeignObject,
    JackfieldError,
    UnsupportedConfiguration,
    WrongState,
)
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.plan.describe import describe
from jackfield.plan.network import bridge_of, check_host, overlap, plan_network
from jackfield.state.hoststate import Change, HostState, difference
from jackfield.state.plan import PlanStep
from jackfield.state.resources import BridgePort, Dnsmasq, Resource

__all__ = ["Networks"]

log = logging.getLogger(__name__)


class Networks:
    """Every change of a network goes through here; one change of one network at a time."""

    def __init__(
        self,
        registry: Registry,
        events: EventLog,
        thread: KernelThread[Workplace],
        host: HostWatch,
        services: Services,
        *,
        dnsmasq_user: str | None,
    ) -> None:
        """Work on ``registry`` through ``thread``; ``host`` gives the facts."""
        self._registry = registry
        self._events = events
        self._thread = thread
        self._host = host
        self._services = services
        self._dnsmasq_user = dnsmasq_user
        self._definitions = asyncio.Lock()

    def plan(self, network: Network) -> HostState:
        """Return the host state that ``network`` wants."""
        return plan_network(network, dnsmasq_user=self._dnsmasq_user)

    # Definitions

    async def define(self, network: Network) -> NetworkView:
        """Store a definition; a running network is not touched."""
        async with self._definitions:
            record, complete = self._completed(network)
            async with record.lock:
                await self._store(record, complete)
        return self._registry.network_view(record)

    async def undefine(self, ref: str) -> None:
        """Forget a stored definition; a running network becomes transient."""
        async with self._definitions:
            record = self._registry.network(ref)
            async with record.lock:
                if record.stored is None:
                    raise WrongState(
                        f"network {record.name!r} is transient: it has no definition to remove",
                        hint=f"jackfield stop {record.name} ends it",
                    )
                self._refuse_with_ports(record, "undefined")

                def forget(tools: Workplace) -> None:
                    with tools.store.transaction(durable=True):
                        tools.store.delete_network(record.uuid)
                        if record.live is None:
                            tools.store.delete_members(record.uuid)

                await self._thread.run(forget)
                record.stored = None
                record.autostart = False
                if record.live is None:
                    self._registry.discard(record)
                await self._tell(record, "network-undefined")

    async def set_autostart(self, ref: str, autostart: bool) -> NetworkView:
        """Mark a persistent network to be started when the daemon starts on a new boot."""
        record = self._registry.network(ref)
        async with record.lock:
            if record.stored is None:
                raise WrongState(
                    f"network {record.name!r} is transient and cannot be autostarted",
                    hint=f"define it first: jackfield show {record.name} | jackfield define -",
                )
            if record.autostart is not autostart:
                await self._put(record, record.stored, autostart)
                record.autostart = autostart
        return self._registry.network_view(record)

    def _completed(self, network: Network) -> tuple[NetworkRecord, Network]:
        """Return the record that a definition belongs to, and the definition made complete."""
        known = self._registry.by_name(network.name)
        if network.uuid is not None:
            same = self._registry.networks.get(network.uuid)
            if known is not None and known.uuid != network.uuid:
                raise AlreadyExists(
                    f"network {network.name!r} already exists with uuid {known.uuid}",
                    hint="take the <uuid> out to redefine it, or choose another name",
                )
            if same is not None and same.name != network.name:
                raise AlreadyExists(
                    f"network {same.name!r} is already defined with uuid {network.uuid}"
                )
        former = None if known is None else (known.stored or known.live)
        taken = Taken(claimed=self._registry.devices(without=known), present=self._host.links())
        complete = complete_network(network, taken, secrets.token_bytes, former)
        assert complete.uuid is not None
        try:
            self.plan(complete)
        except UnsupportedConfiguration as error:
            log.info("defined but not startable: %s", error)
        return known or NetworkRecord(uuid=complete.uuid, name=complete.name), complete

    async def _store(self, record: NetworkRecord, network: Network) -> None:
        await self._put(record, network, record.autostart)
        record.stored = network
        self._registry.add(record)
        await self._tell(record, "network-defined")

    async def _put(self, record: NetworkRecord, network: Network, autostart: bool) -> None:
        row = NetworkRow(record.uuid, network.name, autostart, network_to_json(network))

        def put(tools: Workplace) -> None:
            with tools.store.transaction(durable=True):
                tools.store.put_network(row)

        await self._thread.run(put)

    # Start and stop

    async def start(self, ref: str) -> NetworkView:
        """Start a stored network."""
        record = self._registry.network(ref)
        async with record.lock:
            if record.stored is None or record.live is not None:
                raise WrongState(f"network {record.name!r} is already active")
            await self._start(record, record.stored)
        return self._registry.network_view(record)

    async def stop(self, ref: str) -> NetworkView:
        """Stop a network; its ports keep their devices, and find it again when it starts."""
        record = self._registry.network(ref)
        async with record.lock:
            if record.live is None:
                raise WrongState(f"network {record.name!r} is not active")
            if record.stored is None:
                self._refuse_with_ports(record, "stopped, which would end it")
            view = dataclasses.replace(self._registry.network_view(record), active=False)
            await self._stop(record)
            if record.stored is None:
                self._registry.discard(record)
                return view
        return self._registry.network_view(record)

    async def _start(self, record: NetworkRecord, network: Network) -> None:
        """Make ``network`` run; the record's lock is held."""
        wanted = self.plan(network)
        self._check_host(record, network)
        record.live, record.present = network, wanted
        record.settled, record.problem = False, None
        try:
            processes = await self._thread.run(
                workplace.begin_start, record.uuid, network_to_json(network), wanted
            )
            try:
                await self._services.wait_ready(processes)
            except BaseException:
                await self._thread.run(workplace.undo_start, record.uuid, wanted)
                raise
            await self._settle(record, "network-started")
        except BaseException as error:
            record.live, record.present = None, HostState()
            if isinstance(error, JackfieldError):
                raise error.with_context(f"cannot start network {network.name!r}") from error
            raise
        self._services.watch(processes)

    async def _settle(
        self, record: NetworkRecord, event_type: str, detail: Mapping[str, str] | None = None
    ) -> None:
        """Close a step that makes a network run, and put its ports back on its bridge."""
        network = record.current
        bridge = None if network.bridge is None else network.bridge.name
        event, lost = await self._thread.run(
            workplace.settle_network,
            record.uuid,
            network.name,
            bridge,
            event_type,
            detail,
        )
        record.settled = True
        self._events.add(event)
        if lost:
            log.warning(
                "network %s: links gone since it was stopped: %s", network.name, ", ".join(lost)
            )
        await self._reconnect_ports(record)

    async def _reconnect_ports(self, record: NetworkRecord) -> None:
        network = record.current
        resources: list[Resource] = []
        for port in self._registry.ports_of(record.uuid):
            resources += state_of_port(network, port).values()
        members = [item for item in resources if isinstance(item, BridgePort)]
        if members:
            await self._thread.run(_reconnect, members)

    async def _stop(self, record: NetworkRecord) -> None:
        assert record.live is not None
        network = record.live
        self._services.forget(record.uuid)
        ours = [
            port.device.name
            for port in self._registry.ports_of(record.uuid)
            if port.device is not None
        ]
        bridge = None if network.bridge is None else network.bridge.name
        event = await self._thread.run(
            workplace.stop_network, record.uuid, network.name, bridge, record.present, ours
        )
        record.live, record.present = None, HostState()
        record.settled, record.problem = False, None
        self._events.add(event)

    # Apply

    async def apply(
        self, network: Network, *, transient: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make the stored definition and the running network be ``network``.

        A network that does not run is started.  With ``transient`` nothing is stored.
        """
        async with self._definitions:
            record, complete = self._completed(network)
            if transient and record.stored is not None:
                raise WrongState(
                    f"network {complete.name!r} has a stored definition: it is not transient",
                    hint="apply it without --transient",
                )
            async with record.lock:
                if record.live is None:
                    change = Change(ensure=tuple(self.plan(complete).values()))
                    if transient:
                        await self._start_transient(record, complete)
                    else:
                        await self._start_new(record, complete)
                else:
                    change = await self._change(record, complete)
                    if not transient and record.stored != complete:
                        await self._store(record, complete)
        return self._registry.network_view(record), describe(change)

    async def _start_transient(self, record: NetworkRecord, complete: Network) -> None:
        self._registry.add(record)
        try:
            await self._start(record, complete)
        except BaseException:
            self._registry.discard(record)
            raise

    async def _start_new(self, record: NetworkRecord, complete: Network) -> None:
        """Store and start; when the start fails, the stored definition is what it was."""
        former = record.stored
        if former != complete:
            await self._store(record, complete)
        try:
            await self._start(record, complete)
        except BaseException:
            if former is not None:
                await self._store(record, former)
            else:
                await self._forget(record)
            raise

    async def _forget(self, record: NetworkRecord) -> None:
        def forget(tools: Workplace) -> None:
            with tools.store.transaction(durable=True):
                tools.store.delete_network(record.uuid)

        await self._thread.run(forget)
        self._registry.discard(record)
        await self._tell(record, "network-undefined")

    async def _change(self, record: NetworkRecord, network: Network) -> Change:
        """Change a running network by the difference; the record's lock is held."""
        assert record.live is not None
        former = record.live
        self._check_changeable(record, former, network)
        present, wanted = record.present, self.plan(network)
        change = difference(wanted, present)
        previous = network_to_json(former)
        if not change and former == network:
            return await self._mend_now(record, wanted)
        self._check_host(record, network)
        record.live, record.present = network, wanted
        if any(isinstance(item, Dnsmasq) for item in (*change.remove, *change.ensure)):
            self._services.forget(record.uuid)
        try:
            processes = await self._thread.run(
                workplace.begin_change,
                record.uuid,
                network_to_json(network),
                previous,
                change,
                wanted,
            )
            try:
                await self._services.wait_ready(processes)
            except BaseException:
                await self._thread.run(workplace.undo_change, record.uuid, previous, change)
                raise
        except BaseException as error:
            record.live, record.present = former, present
            await self.watch_services([record])
            if isinstance(error, JackfieldError):
                raise error.with_context(f"cannot change network {network.name!r}") from error
            raise
        await self._settle(record, "network-changed", {"steps": str(len(describe(change)))})
        self._services.watch(processes)
        return change

    async def _mend_now(self, record: NetworkRecord, wanted: HostState) -> Change:
        """Make a running network be as it is defined, where somebody else changed the host."""
        self._services.forget(record.uuid)
        change, foreign, processes = await self._thread.run(workplace.mend, list(wanted.values()))
        if foreign:
            raise ForeignObject(
                f"network {record.name!r}: in the way and not ours: {', '.join(foreign)}"
            )
        await self._services.wait_ready(processes)
        await self.watch_services([record])
        await self._reconnect_ports(record)
        return change

    async def watch_services(self, records: Iterable[NetworkRecord]) -> None:
        """Watch what serves running networks, whoever started it."""
        services = [item for record in records for item in record.present.values()]
        for process in await self._thread.run(workplace.launched, services):
            self._services.watch([process])
            await asyncio.sleep(0)

    def _check_changeable(self, record: NetworkRecord, former: Network, network: Network) -> None:
        ports = self._registry.port_count(record.uuid)
        if former.mode is not network.mode and ports:
            raise WrongState(
                f"network {network.name!r} has {ports} ports: its mode cannot change from "
                f"{former.mode.value} to {network.mode.value}",
                hint="detach the ports, or define it now and stop and start it later",
            )
        if former.bridge != network.bridge and bridge_of(former) != bridge_of(network):
            raise WrongState(
                f"network {network.name!r} runs on bridge {bridge_of(former)}: it cannot move to "
                f"{bridge_of(network)} while it runs",
                hint="define it, then stop and start it",
            )

    async def difference(self, ref: str, network: Network | None = None) -> list[PlanStep]:
        """Return what would be done to make the host be as the definition says.

        For a running network the host itself is asked: what somebody else removed is a step.
        """
        record = self._registry.network(ref)
        target = network or record.stored or record.live
        assert target is not None
        if network is not None:
            _, target = self._completed(network)
        wanted = self.plan(target)
        present = record.present

        def look(tools: Workplace) -> HostState:
            found = tools.applier.observe([*present.values()])
            return HostState(seen.resource for seen in found.values() if seen.resource is not None)

        async with record.lock:
            actual = await self._thread.run(look)
        return describe(difference(wanted, actual))

    # Mending

    async def mend(self, uuid: UUID, reason: str) -> None:
        """Make a running network what it should be, after somebody else changed it."""
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            if record.live is None or not record.settled:
                return
            wanted = record.present
            self._services.forget(record.uuid)
            try:
                change, foreign, processes = await self._thread.run(
                    workplace.mend, list(wanted.values())
                )
                await self._services.wait_ready(processes)
            except (JackfieldError, ExceptionGroup) as error:
                await self._problem(record, f"{reason}; mending failed: {error}")
                return
            finally:
                await self.watch_services([record])
            if foreign:
                await self._problem(record, f"{reason}; in the way: {', '.join(foreign)}")
            elif change:
                for step in describe(change):
                    log.warning("network %s: mended: %s (%s)", record.name, step.text, reason)
                record.problem = None
                await self._tell(record, "network-repaired", {"reason": reason})
                await self._reconnect_ports(record)

    async def mend_rules(self, reason: str) -> None:
        """Put the rules of every running network back at once, in one batch."""
        records = [record for record in self._registry.networks.values() if record.active]
        wanted = [
            item for record in records for item in record.present.values() if item.kind == "rules"
        ]
        change, _, _ = await self._thread.run(workplace.mend, wanted)
        if not change:
            return
        mended = {item.key for item in change.ensure}
        log.warning("rules of %d networks mended: %s", len(mended), reason)
        for record in records:
            if any(item.kind == "rules" and item.key in mended for item in record.present.values()):
                await self._tell(record, "network-repaired", {"reason": reason})

    async def _problem(self, record: NetworkRecord, problem: str) -> None:
        record.problem = problem
        log.error("network %s: %s", record.name, problem)
        await self._tell(record, "network-problem", {"problem": problem})

    # Helpers

    def load(self, document: bytes) -> Network:
        """Return the network that the store holds as ``document``."""
        return network_from_json(document)

    async def _tell(
        self,
        record: NetworkRecord,
        event_type: str,
        detail: Mapping[str, str] | None = None,
    ) -> None:
        self._events.add(
            await self._thread.run(
                workplace.record_event, event_type, record.name, record.uuid, detail
            )
        )

    def _refuse_with_ports(self, record: NetworkRecord, done: str) -> None:
        ports = self._registry.ports_of(record.uuid)
        if ports:
            names = ", ".join(
                sorted(
                    str(port.port.owner.name if port.port.owner else port.uuid) for port in ports
                )
            )
            raise WrongState(
                f"network {record.name!r} has {len(ports)} ports ({names}) and cannot be {done}",
                hint="detach them first: jackfield detach PORT",
            )

    def _check_host(self, record: NetworkRecord, network: Network) -> None:
        """Refuse what the host, or a network that is just starting, forbids.

        Networks that run have their routes on the host; those that start have not yet.
        """
        check_host(network, self._host.facts(network))
        subnets = [item.interface.network for item in network.subnets if item.interface]
        for other in self._registry.networks.values():
            if other is record or other.live is None or other.settled:
                continue
            for subnet in other.live.subnets:
                theirs = None if subnet.interface is None else subnet.interface.network
                for mine in subnets:
                    if theirs is not None and overlap(mine, theirs):
                        raise ForeignObject(
                            f"subnet {mine} overlaps {theirs} of network {other.name!r}, "
                            "which is being started",
                            hint="two active networks of a host need different subnets",
                        )


def _reconnect(tools: Workplace, members: list[BridgePort]) -> None:
    """Put devices of ours on their bridge; those that vanished meanwhile are left to be seen."""
    for member in members:
        try:
            tools.applier.mend([member])
        except JackfieldError as error:
            log.warning("cannot connect %s to %s: %s", member.link, member.bridge, error)
