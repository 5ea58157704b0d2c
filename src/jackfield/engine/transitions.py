"""A network's transitions: it starts, is changed while it runs, and stops.

Who calls holds the network's lock, and knows its record and what it is to be.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping

from jackfield.document.json import network_to_json
from jackfield.engine import networkjobs
from jackfield.engine.changeable import check_changeable, check_realised_kind
from jackfield.engine.claims import Claims, takes_uplinks
from jackfield.engine.events import EventLog
from jackfield.engine.hooks import Hooks, Operation
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.longdocuments import aside
from jackfield.engine.mending.mending import Mending
from jackfield.engine.networkjobs import Settled
from jackfield.engine.plans import Plans
from jackfield.engine.ports.mtus import fit_ports, has_other_mtu, restore_mtus, unfit_ports
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registrations import Registrations
from jackfield.engine.registry import Registry
from jackfield.engine.services import Services
from jackfield.engine.store.rows import NetworkRow
from jackfield.engine.uplinks import Uplinks
from jackfield.engine.watch.blockedways import is_blocked_way
from jackfield.engine.ways import Ways
from jackfield.engine.workplace import Workplace
from jackfield.engine.zones import Zones, bridge_name
from jackfield.errors import JackfieldError, shell_word
from jackfield.host.service.process import Process
from jackfield.host.service.readiness import serve_soon
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.plan.describe import describe
from jackfield.plan.network import check_host
from jackfield.state.hoststate import Change, HostState, difference
from jackfield.state.services import Service
from jackfield.undoing import Undoing

__all__ = ["Transitions"]

log = logging.getLogger(__name__)

Settling = Callable[[Workplace], Settled]
"""A job that closes a step."""


class Transitions:
    """Takes one network from one state to another, or leaves it as it was."""

    def __init__(
        self,
        registry: Registry,
        claims: Claims,
        events: EventLog,
        thread: KernelThread[Workplace],
        host: HostWatch,
        services: Services,
        mending: Mending,
        ways: Ways,
        plans: Plans,
        hooks: Hooks,
        uplinks: Uplinks,
        zones: Zones,
        registrations: Registrations,
    ) -> None:
        """Work on networks of ``registry`` through ``thread``; ``host`` gives the facts."""
        self._registry = registry
        self._claims = claims
        self._events = events
        self._thread = thread
        self._host = host
        self._services = services
        self._mending = mending
        self._ways = ways
        self._plans = plans
        self._hooks = hooks
        self._uplinks = uplinks
        self._zones = zones
        self._registrations = registrations

    async def start(
        self, record: NetworkRecord, network: Network, definition: NetworkRow | None = None
    ) -> None:
        """Make ``network`` run, and store ``definition`` with that."""
        wanted, document = await self._plans.prepare(network)
        await self._host.settle()
        check_realised_kind(self._registry, record, network)
        check_host(network, self._host.facts(network))
        await self._uplinks.check(network)
        self._claims.check_free(network, record)
        record.live, record.present = network, wanted
        self._claims.note(record)
        record.settled, record.problem = False, None
        begin = functools.partial(
            networkjobs.begin_start,
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
                    with Undoing(error, networkjobs.LEFT) as undoing:
                        await self._zones.leave(bridge_name(network))
                        await self._thread.run(networkjobs.undo_start, record.uuid, wanted)
                    if undoing.failure is not None:
                        record.problem = f"left by a start that failed: {undoing.failure}"
                    raise
                settled = await self._thread.run(settle)
            await self._note_settled(record, settled)
        except BaseException as error:
            record.live, record.present = None, HostState()
            self._claims.note(record)
            with Undoing(error):
                await self._mending.remove_surplus(record)
            if isinstance(error, JackfieldError):
                raise error.with_context(f"cannot start network {network.name!r}") from error
            raise
        # Whoever asked need not wait for that.
        self._services.watch_soon(processes)

    async def stop(self, record: NetworkRecord) -> None:
        """Stop a network; what could not be removed is in the error, and it runs with that."""
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
                networkjobs.stop_network,
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
        self._claims.note(record)
        record.settled, record.halted, record.problem = False, False, None
        await self._mending.remove_surplus(record)
        await self._zones.leave(bridge_name(network))
        self._registrations.forget(record.uuid)
        if record.stored is not None:
            # A transient one has no other definition until it is forgotten.
            record.live = None
        self._events.add(stopped)
        if takes_uplinks(network):
            await self._ways.judge()
        await self._hooks.tell(Operation.STOPPED, network)

    async def change(
        self, record: NetworkRecord, network: Network, definition: NetworkRow | None
    ) -> Change:
        """Change a running network by the difference, and store ``definition`` with that.

        Where there is none it is mended.  Returns what that took.
        """
        assert record.live is not None
        former = record.live
        wanted, document = await self._plans.prepare(network)
        check_changeable(self._registry, self._host.facts, record, former, network)
        present = record.present
        change = difference(wanted, present)
        if not change and former == network and definition is None:
            await self._zones.join(network)
            mended = await self._mending.mend_now(record)
            await self._registrations.note(record)
            return mended
        previous = await aside(lambda: network_to_json(former), former)
        await self._host.settle()
        check_host(network, self._host.facts(network))
        await self._uplinks.check(network, former)
        gateways = await self._uplinks.gateways(
            item for item in change.ensure if item.key not in change.replaced
        )
        self._claims.check_free(network, record)
        record.live, record.present = network, wanted
        self._claims.note(record)
        if any(isinstance(item, Service) for item in (*change.remove, *change.ensure)):
            self._services.forget(record.uuid)
        try:
            processes = await self._thread.run(
                networkjobs.begin_change,
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
                with Undoing(error, networkjobs.LEFT_OF_CHANGE):
                    await self._thread.run(
                        networkjobs.undo_change, record.uuid, previous, change, present
                    )
                    await self._zones.join(former, begun=True)
                raise
        except BaseException as error:
            record.live, record.present = former, present
            self._claims.note(record)
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
            networkjobs.settle_network,
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
            await self._ways.judge()
        elif record.current.uplinks or is_blocked_way(record.problem):
            await self._ways.judge([record])
        return change

    async def _fit_ports(self, record: NetworkRecord) -> Change:
        """Have our ports' devices have the MTU of a network that has got another one.

        Before they are on its bridge: one without a fixed MTU takes the least of its ports.
        Returns what that took.
        """
        change = Change()
        ports = [port for port in self._registry.ports_of(record.uuid) if port.device is not None]
        if not ports:
            return change
        await self._host.settle()
        altered = [port for port in ports if has_other_mtu(port, self._host.links())]
        if altered:
            # A bridge has the least MTU of its ports: what somebody gave one would be all ports'.
            change += await self._thread.run(restore_mtus, record, altered)
            await self._host.settle()
        unfit = unfit_ports(record.current, ports, self._host.links())
        if unfit:
            change += await self._thread.run(fit_ports, record, unfit)
            for port, device in unfit:
                port.device = device
        return change


def _begin_and_settle(
    tools: Workplace, begin: Callable[[Workplace], list[Process]], settle: Settling
) -> tuple[list[Process], Settled | None]:
    """Do both halves of a start, or the first where what it starts takes longer to serve."""
    processes = begin(tools)
    return processes, settle(tools) if serve_soon(processes) else None
