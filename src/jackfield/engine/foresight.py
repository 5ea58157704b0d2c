"""What would be done to make the host be as a definition says, without doing it."""

from __future__ import annotations

from jackfield.engine.definitions import Definitions
from jackfield.engine.mending import Mending
from jackfield.engine.plans import Plans
from jackfield.engine.records import Upkeep, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.upkeep import upkeep_of_ports
from jackfield.engine.workplace import Workplace
from jackfield.host.nft.tables import sleeping_tables
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.plan.describe import describe, describe_waking
from jackfield.state.hoststate import Change, HostState, difference
from jackfield.state.links import AnyLink
from jackfield.state.plan import PlanStep
from jackfield.state.resources import PortGuard

__all__ = ["Foresight"]


class Foresight:
    """Compares definitions with the host."""

    def __init__(
        self,
        registry: Registry,
        definitions: Definitions,
        plans: Plans,
        mending: Mending,
        thread: KernelThread[Workplace],
    ) -> None:
        """Look at the networks of ``registry`` through ``thread``."""
        self._registry = registry
        self._definitions = definitions
        self._plans = plans
        self._mending = mending
        self._thread = thread

    async def difference(self, ref: str, network: Network | None = None) -> list[PlanStep]:
        """Return what would be done to make the host be as the definition says.

        For a running network the host itself is asked: what somebody else removed is a step.
        """
        record = self._registry.network(ref)
        target = network or record.stored or record.live
        assert target is not None
        if network is not None:
            _, target = await self._definitions.complete(network)
        await self._plans.prepare(target)
        ports = self._registry.ports_of(record.uuid) if record.active else []
        wanted = self._plans.plan(target)
        upkeep = await upkeep_of_ports(target, ports)
        states = [state_of_port(target, port) for port in self._registry.lost_ports_of(record.uuid)]
        lost = [item for state in states for item in state.values() if isinstance(item, AnyLink)]
        guarded, guards = self._mending.guards(target, ports)
        present = record.present

        def look(tools: Workplace) -> tuple[Change, list[str]]:
            def is_there(item: Upkeep | PortGuard) -> bool:
                return tools.kernel.route.index(item.link) is not None

            plugged = [item for item in (*guards, *upkeep.here(tools)) if is_there(item)]
            former = filter(is_there, guarded)
            found = tools.applier.observe([*present.values(), *former, *plugged, *lost])
            actual = [seen.resource for seen in found.values() if seen.resource is not None]
            # Ports share some of it with each other, and with their network.
            whole = {item.key: item for item in (*wanted.values(), *plugged, *lost)}
            asleep = sleeping_tables(tools.kernel.nft) if record.active else []
            return difference(HostState(whole.values()), HostState(actual)), asleep

        async with record.lock:
            change, asleep = await self._thread.run(look)
            return [*describe_waking(asleep), *describe(change)]
