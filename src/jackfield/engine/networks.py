"""Running networks: start, stop, and apply, which changes one while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from uuid import UUID

import msgspec

from jackfield.engine.definitions import Definitions, network_row
from jackfield.engine.events import EventLog
from jackfield.engine.hooks import Hooks, Operation
from jackfield.engine.impact import Impact
from jackfield.engine.plans import Plans
from jackfield.engine.ports import jobs
from jackfield.engine.ports.settings import kept
from jackfield.engine.records import NetworkRecord, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.store.rows import NetworkRow
from jackfield.engine.transitions import Transitions
from jackfield.engine.views import NetworkView
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError, WrongState, shell_word
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.plan.describe import describe
from jackfield.state.hoststate import Change, HostState
from jackfield.state.plan import PlanStep
from jackfield.undoing import Undoing

__all__ = ["Networks"]


class Networks:
    """Every change of a running network goes through here; one change of one at a time."""

    def __init__(
        self,
        registry: Registry,
        definitions: Definitions,
        events: EventLog,
        thread: KernelThread[Workplace],
        plans: Plans,
        hooks: Hooks,
        transitions: Transitions,
    ) -> None:
        """Change networks of ``registry`` by ``transitions``."""
        self._registry = registry
        self._definitions = definitions
        self._events = events
        self._thread = thread
        self._plans = plans
        self._hooks = hooks
        self._transitions = transitions

    async def start(self, ref: str | UUID) -> NetworkView:
        """Start a stored network."""
        async with self._registry.held(ref) as record:
            if record.stored is None or record.live is not None:
                raise WrongState(f"network {record.name!r} is already active").in_libvirt(
                    "network is already active"
                )
            await self._transitions.start(record, record.stored)
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
            await self._transitions.stop(record)
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
            jobs.forget_network, record.uuid, record.name, [port.uuid for port in ports]
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
                await self._transitions.change(
                    record, await asyncio.to_thread(change, running), None
                )
            if impact.config and stored is not None:
                await self._definitions.replace(record, stored)
            await self._hooks.run(Operation.UPDATED, record.current)
        return self._registry.network_view(record)

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
            former = record.followed
            change = await self._make_run(record, complete, row, is_new=is_new)
            record.stored = None if transient else complete
        keeping = await kept(former, complete, self._registry.ports_of(record.uuid))
        return self._registry.network_view(record), [*describe(change), *keeping]

    async def apply_stored(
        self, ref: str, *, live: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make the network run as it is stored; a running one is changed by the difference.

        With ``live``, or where nothing is stored, what runs is mended, and goes on as it runs.
        """
        # By what is stored when it is its turn: somebody may define or undefine it until then.
        async with self._registry.held(ref) as record:
            former, network = record.followed, record.stored
            if live or network is None:
                return await self._mend(record)
            try:
                change = await self._make_run(record, network, None, is_new=False)
            except JackfieldError as error:
                if record.live not in (None, network):
                    mending = f"jackfield apply --live {shell_word(record.name)}"
                    other = f"what runs can be mended without the stored definition: {mending}"
                    error.hint = f"{error.hint}; {other}" if error.hint else other
                raise
        keeping = await kept(former, network, self._registry.ports_of(record.uuid))
        return self._registry.network_view(record), [*describe(change), *keeping]

    async def _make_run(
        self,
        record: NetworkRecord,
        complete: Network,
        definition: NetworkRow | None,
        *,
        is_new: bool,
    ) -> Change:
        """Make a network, whose lock is held, run by a definition; return what that took."""
        if record.live is None:
            return await self._start_applied(record, complete, definition, is_new=is_new)
        change = await self._transitions.change(record, complete, definition)
        if change:
            await self._hooks.tell(Operation.UPDATED, complete)
        return change

    async def _mend(self, record: NetworkRecord) -> tuple[NetworkView, list[PlanStep]]:
        """Make a network, whose lock is held, be what it runs as, after somebody changed it."""
        if record.live is None:
            raise WrongState(
                f"network {record.name!r} is not active: there is nothing to mend",
                hint=f"jackfield start {shell_word(record.name)}",
            )
        change = await self._transitions.change(record, record.live, None)
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
            await self._transitions.start(record, complete, definition)
        except BaseException as error:
            if is_new:
                self._registry.discard(record)
                self._plans.forget(record.uuid)

                def forget(tools: Workplace) -> None:
                    tools.dnsmasq.forget_leases(tools.kernel, record.uuid)
                    # As in ``Definitions.define``.
                    tools.store.delete_network(record.uuid)

                with Undoing(error):
                    await self._thread.run(forget)
            raise
        return Change(ensure=tuple(record.present.values()))
