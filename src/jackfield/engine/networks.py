"""Running networks: start, stop, and apply, which changes one while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import msgspec

from jackfield.document.json import network_to_json
from jackfield.engine import portjobs, workplace
from jackfield.engine.blockedways import blocked_way, first_certain, is_blocked_way, ways_past
from jackfield.engine.changeable import check_changeable, check_realised_kind
from jackfield.engine.claims import check_free, takes_uplinks
from jackfield.engine.definitions import Definitions, network_row
from jackfield.engine.events import EventLog
from jackfield.engine.hooks import Hooks, Operation
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.impact import Impact
from jackfield.engine.longdocuments import aside
from jackfield.engine.mending import Mending
from jackfield.engine.plans import Plans
from jackfield.engine.portmtus import fit_ports, unfit_ports
from jackfield.engine.portsettings import kept
from jackfield.engine.records import NetworkRecord, state_of_port
from jackfield.engine.registrations import Registrations
from jackfield.engine.registry import Registry
from jackfield.engine.rows import NetworkRow
from jackfield.engine.services import Services
from jackfield.engine.tidings import Tidings
from jackfield.engine.uplinks import Uplinks
from jackfield.engine.views import NetworkView
from jackfield.engine.workplace import Settled, Workplace
from jackfield.engine.zones import Zones, bridge_name
from jackfield.errors import JackfieldError, WrongState, shell_word
from jackfield.host.service.process import Process
from jackfield.host.service.readiness import serve_soon
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.plan.describe import describe
from jackfield.plan.network import check_host
from jackfield.state.hoststate import Change, HostState, difference
from jackfield.state.plan import PlanStep
from jackfield.state.resources import Service
from jackfield.undoing import Undoing

__all__ = ["Networks"]

log = logging.getLogger(__name__)

Settling = Callable[[Workplace], Settled]
"""A job that closes a step."""


class Networks:
    """Every change of a running network goes through here; one change of one at a time."""

    def __init__(
        self,
        registry: Registry,
        definitions: Definitions,
        events: EventLog,
        thread: KernelThread[Workplace],
        host: HostWatch,
        services: Services,
        mending: Mending,
        tidings: Tidings,
        plans: Plans,
        hooks: Hooks,
        uplinks: Uplinks,
        zones: Zones,
        registrations: Registrations,
    ) -> None:
        """Work on ``registry`` through ``thread``; ``host`` gives the facts."""
        self._registry = registry
        self._definitions = definitions
        self._events = events
        self._thread = thread
        self._host = host
        self._services = services
        self._mending = mending
        self._tidings = tidings
        self._plans = plans
        self._hooks = hooks
        self._uplinks = uplinks
        self._zones = zones
        self._registrations = registrations

    async def start(self, ref: str | UUID) -> NetworkView:
        """Start a stored network."""
        async with self._registry.held(ref) as record:
            if record.stored is None or record.live is not None:
                raise WrongState(f"network {record.name!r} is already active").in_libvirt(
                    "network is already active"
                )
            await self._start(record, record.stored)
        return self._registry.network_view(record)

    async def create(self, network: Network) -> NetworkView:
        """Start a network by a definition that is not stored; what is stored of it stays."""
        async with contextlib.AsyncExitStack() as stack:
            async with self._definitions.completed(network) as (record, complete):
                await stack.enter_async_context(record.lock)
                if record.live is not None:
                    raise WrongState(f"network {record.name!r} is already active").in_libvirt(
                        f"network is already active as '{record.name}'"
                    )
                is_new = record.uuid not in self._registry.networks
                if is_new:
                    record.live = complete
                    self._registry.add(record)
            await self._start_applied(record, complete, None, is_new=is_new)
            return self._registry.network_view(record)

    async def stop(self, ref: str | UUID) -> NetworkView:
        """Stop a network; its ports keep their devices, and find it again when it starts.

        A transient network is gone then, with the ports that clients made.
        """
        async with self._registry.held(ref) as record:
            if record.live is None:
                raise WrongState(f"network {record.name!r} is not active")
            if record.stored is None:
                self._registry.refuse_with_ports(
                    record, "stopped, which would end it", realiser="jackfield"
                )
            view = msgspec.structs.replace(self._registry.network_view(record), active=False)
            if record.stored is None:
                await self._free_clients(record)
            await self._stop(record)
            if record.stored is None:
                await self._end_transient(record)
                return view
        return self._registry.network_view(record)

    async def _free_clients(self, record: NetworkRecord) -> None:
        """Remove what there is around clients' ports, before they are forgotten with their network.

        A daemon that dies meanwhile finds both on record, and puts it back.
        """
        present = {
            key: item
            for port in self._registry.ports_of(record.uuid)
            for key, item in state_of_port(record.current, port).items()
        }
        if present:
            state = HostState(present.values())
            await self._thread.run(lambda tools: tools.applier.dismantle(state))

    async def _end_transient(self, record: NetworkRecord) -> None:
        """Forget a network that has stopped and has no definition, and its ports."""
        ports = self._registry.ports_of(record.uuid)
        for event in await self._thread.run(
            portjobs.forget_network, record.uuid, record.name, [port.uuid for port in ports]
        ):
            self._events.add(event)
        for port in ports:
            self._registry.discard_port(port)
        self._registry.discard(record)
        record.live = None
        self._plans.forget(record.uuid)

    async def update(
        self, ref: str | UUID, change: Callable[[Network], Network], *, live: bool, config: bool
    ) -> NetworkView:
        """Change the running network, the stored definition, or both (see ``Impact``)."""
        async with self._registry.held(ref) as record:
            impact = Impact.of(record, live=live, config=config)
            stored, running = record.stored, record.live
            # Long definitions take longer to go through than the loop may be held up.
            if impact.config and stored is not None:
                stored = await asyncio.to_thread(change, stored)
            if impact.live and running is not None:
                await self._change(record, await asyncio.to_thread(change, running), None)
            if impact.config and stored is not None:
                await self._definitions.replace(record, stored)
            await self._hooks.run(Operation.UPDATED, record.current)
        return self._registry.network_view(record)

    async def _start(
        self, record: NetworkRecord, network: Network, definition: NetworkRow | None = None
    ) -> None:
        """Make ``network`` run, and store ``definition`` with that; the record's lock is held."""
        await self._plans.prepare(network)
        wanted = self._plans.plan(network)
        document = await aside(lambda: network_to_json(network), network)
        await self._host.settle()
        check_realised_kind(self._registry, record, network)
        check_host(network, self._host.facts(network))
        await self._uplinks.check(network)
        check_free(network, self._others(record))
        record.live, record.present = network, wanted
        record.settled, record.problem = False, None
        begin = functools.partial(
            workplace.begin_start,
            uuid=record.uuid,
            document=document,
            wanted=wanted,
        )
        settle = self._settling(record, "network-started", definition=definition, ran=False)
        try:
            await self._mending.guard_ports(record)
            await self._hooks.run(Operation.START, network)
            gateways = await self._uplinks.gateways(wanted.values())
            settled = None
            zoned = await self._zones.concern(network)
            if gateways or zoned or self._hooks.present:
                processes = await self._thread.run(begin)
            else:
                processes, settled = await self._thread.run(_begin_and_settle, begin, settle)
            if settled is None:
                try:
                    await self._zones.join(network)
                    await self._services.wait_ready(processes)
                    await self._uplinks.expect(gateways)
                    await self._hooks.run(Operation.STARTED, network)
                except BaseException as error:
                    with Undoing(error, workplace.LEFT) as undoing:
                        await self._zones.leave(bridge_name(network))
                        await self._thread.run(workplace.undo_start, record.uuid, wanted)
                    if undoing.failure is not None:
                        record.problem = f"left by a start that failed: {undoing.failure}"
                    raise
                settled = await self._thread.run(settle)
            await self._note_settled(record, settled)
        except BaseException as error:
            record.live, record.present = None, HostState()
            with Undoing(error):
                await self._mending.remove_surplus(record)
            if isinstance(error, JackfieldError):
                raise error.with_context(f"cannot start network {network.name!r}") from error
            raise
        self._services.watch(processes)

    def _settling(
        self,
        record: NetworkRecord,
        event_type: str,
        detail: Mapping[str, str] | None = None,
        definition: NetworkRow | None = None,
        *,
        ran: bool,
    ) -> Settling:
        """Return the job that closes a step which makes a network run, or run otherwise."""
        network = record.current
        return functools.partial(
            workplace.settle_network,
            uuid=record.uuid,
            name=network.name,
            event_type=event_type,
            detail=detail,
            definition=definition,
            wanted=record.present,
            ran=ran,
        )

    async def _note_settled(self, record: NetworkRecord, settled: Settled) -> Change:
        """Note that a step is closed, and put the network's ports back on its bridge.

        Returns what that took.
        """
        record.settled, record.halted = True, False
        for event in settled.events:
            self._events.add(event)
        if settled.lost:
            log.warning(
                "network %s: links gone since it was stopped: %s",
                record.name,
                ", ".join(settled.lost),
            )
        change = await self._fit_ports(record)
        change += await self._mending.reconnect_ports(record)
        await self._mending.miss_bridges(record)
        await self._registrations.note(record)
        if takes_uplinks(record.current):
            await self.judge_ways()
        elif record.current.uplinks or is_blocked_way(record.problem):
            await self.judge_ways([record])
        return change

    async def _fit_ports(self, record: NetworkRecord) -> Change:
        """Have our ports' devices have the MTU of a network that has got another one.

        Before they are on its bridge: one without a fixed MTU takes the least of its ports.
        Returns what that took.
        """
        ports = [port for port in self._registry.ports_of(record.uuid) if port.device is not None]
        if not ports:
            return Change()
        await self._host.settle()
        unfit = unfit_ports(record.current, ports, self._host.links())
        if not unfit:
            return Change()
        change = await self._thread.run(fit_ports, record, unfit)
        for port, device in unfit:
            port.device = device
        return change

    async def judge_ways(self, records: Sequence[NetworkRecord] | None = None) -> None:
        """Have routed networks say what is wrong with their ways, or that nothing is any more.

        Those of ``records``, or all: a bridge of ours may have taken an uplink, or given it back.
        """
        await self._host.settle()
        facts = self._host.links_and_routes()
        for record in records or list(self._registry.networks.values()):
            # Of a thousand, others have their turn between two.
            await asyncio.sleep(0)
            known = record.problem
            # What is wrong with the network itself is said first.
            if not record.active or not (known is None or is_blocked_way(known)):
                continue
            problem = blocked_way(record.current, facts)
            if problem is None and (past := ways_past(record.current, facts)):
                problem = await self._thread.run(first_certain, past)
                if record.live is None or record.problem != known:
                    continue
            if problem is None:
                record.problem = None
            elif problem != known:
                await self._tidings.problem(record, problem)

    async def _stop(self, record: NetworkRecord) -> None:
        assert record.live is not None
        network = record.live
        self._services.forget(record.uuid)
        ours = [
            port.device.name
            for port in self._registry.ports_of(record.uuid)
            if port.device is not None
        ]
        halted = record.halted
        # What watches the host must not make anew what is wanted to be gone.
        record.halted = True
        try:
            stopped = await self._thread.run(
                workplace.stop_network,
                record.uuid,
                network.name,
                record.present,
                ours,
                transient=record.stored is None,
            )
            if isinstance(stopped, JackfieldError):
                halted = True
                raise stopped
        except BaseException as error:
            record.halted = halted
            await self._mending.watch_services([record])
            if isinstance(error, JackfieldError):
                record.problem = f"could not be stopped: {error}"
                again = f"jackfield stop {shell_word(record.name)}"
                error.hint = f"{error.hint}; then: {again}" if error.hint else again
                raise error.with_context(f"cannot stop network {network.name!r}") from error
            raise
        record.present = HostState()
        record.settled, record.halted, record.problem = False, False, None
        await self._mending.remove_surplus(record)
        await self._zones.leave(bridge_name(network))
        self._registrations.forget(record.uuid)
        if record.stored is not None:
            # A transient one has no other definition until it is forgotten.
            record.live = None
        self._events.add(stopped)
        if takes_uplinks(network):
            await self.judge_ways()
        await self._hooks.tell(Operation.STOPPED, network)

    async def apply(
        self, network: Network, *, transient: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make the stored definition and the running network be ``network``.

        A network that does not run is started.  With ``transient`` nothing is stored.
        """
        async with contextlib.AsyncExitStack() as stack:
            async with self._definitions.completed(network) as (record, complete):
                await stack.enter_async_context(record.lock)
                if transient and record.stored is not None:
                    raise WrongState(
                        f"network {complete.name!r} has a stored definition: it is not transient",
                        hint="apply it without --transient",
                    )
                # From here on its name and devices are taken, and others may be defined meanwhile.
                is_new = record.uuid not in self._registry.networks
                if is_new:
                    record.stored = complete
                    self._registry.add(record)
            row = None
            if not transient and (is_new or record.stored != complete):
                row = await network_row(record, complete, autostart=record.autostart)
            former = record.live
            if former is not None:
                change = await self._change(record, complete, row)
                if change:
                    await self._hooks.tell(Operation.UPDATED, complete)
            else:
                change = await self._start_applied(record, complete, row, is_new=is_new)
            record.stored = None if transient else complete
        keeping = await kept(former, complete, self._registry.ports_of(record.uuid))
        return self._registry.network_view(record), [*describe(change), *keeping]

    async def apply_stored(
        self, ref: str, *, live: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make the network run as it is stored; a running one is changed by the difference.

        With ``live``, or where nothing is stored, what runs is mended, and goes on as it runs.
        """
        record = self._registry.network(ref)
        if live or record.stored is None:
            return await self._mend(record)
        try:
            return await self.apply(record.stored)
        except JackfieldError as error:
            if record.live not in (None, record.stored):
                mending = f"jackfield apply --live {shell_word(record.name)}"
                other = f"what runs can be mended without the stored definition: {mending}"
                error.hint = f"{error.hint}; {other}" if error.hint else other
            raise

    async def _mend(self, record: NetworkRecord) -> tuple[NetworkView, list[PlanStep]]:
        """Make a network be what it runs as, after somebody else has changed it."""
        async with self._registry.held(record.uuid):
            if record.live is None:
                raise WrongState(
                    f"network {record.name!r} is not active: there is nothing to mend",
                    hint=f"jackfield start {shell_word(record.name)}",
                )
            change = await self._change(record, record.live, None)
        return self._registry.network_view(record), describe(change)

    async def _start_applied(
        self,
        record: NetworkRecord,
        complete: Network,
        definition: NetworkRow | None,
        *,
        is_new: bool,
    ) -> Change:
        """Start by a definition that is stored only if that succeeds."""
        try:
            await self._start(record, complete, definition)
        except BaseException:
            if is_new:
                self._registry.discard(record)
            raise
        return Change(ensure=tuple(record.present.values()))

    async def _change(
        self, record: NetworkRecord, network: Network, definition: NetworkRow | None
    ) -> Change:
        """Change a running network by the difference; the record's lock is held."""
        assert record.live is not None
        former = record.live
        await self._plans.prepare(network)
        check_changeable(self._registry, self._host.facts, record, former, network)
        present, wanted = record.present, self._plans.plan(network)
        change = difference(wanted, present)
        if not change and former == network and definition is None:
            await self._zones.join(network)
            mended = await self._mending.mend_now(record)
            await self._registrations.note(record)
            return mended
        document, previous = await aside(
            lambda: (network_to_json(network), network_to_json(former)), network, former
        )
        await self._host.settle()
        check_host(network, self._host.facts(network))
        await self._uplinks.check(network, former)
        gateways = await self._uplinks.gateways(
            item for item in change.ensure if item.key not in change.replaced
        )
        check_free(network, self._others(record))
        record.live, record.present = network, wanted
        if any(isinstance(item, Service) for item in (*change.remove, *change.ensure)):
            self._services.forget(record.uuid)
        try:
            processes = await self._thread.run(
                workplace.begin_change,
                record.uuid,
                document,
                previous,
                change,
                present,
            )
            try:
                await self._zones.join(network)
                await self._services.wait_ready(processes)
                await self._uplinks.expect(gateways)
            except BaseException as error:
                with Undoing(error, workplace.LEFT_OF_CHANGE):
                    await self._thread.run(
                        workplace.undo_change, record.uuid, previous, change, present
                    )
                    await self._zones.join(former, begun=True)
                raise
        except BaseException as error:
            record.live, record.present = former, present
            with Undoing(error):
                await self._mending.remove_surplus(record)
            await self._mending.watch_services([record])
            if isinstance(error, JackfieldError):
                raise error.with_context(f"cannot change network {network.name!r}") from error
            raise
        detail = {"steps": str(len(describe(change)))}
        settle = self._settling(record, "network-changed", detail, definition, ran=True)
        ports = await self._note_settled(record, await self._thread.run(settle))
        if bridge_name(former) != bridge_name(network):
            await self._zones.leave(bridge_name(former))
        self._services.watch(processes)
        return change + ports

    def _others(self, record: NetworkRecord) -> list[NetworkRecord]:
        return [other for other in self._registry.networks.values() if other is not record]


def _begin_and_settle(
    tools: Workplace, begin: Callable[[Workplace], list[Process]], settle: Settling
) -> tuple[list[Process], Settled | None]:
    """Do both halves of a start, or the first where what it starts takes longer to serve."""
    processes = begin(tools)
    return processes, settle(tools) if serve_soon(processes) else None
