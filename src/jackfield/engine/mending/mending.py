"""Mending: what is done when somebody else changes what is ours, or a service dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from jackfield.document.rules import makes_bridge
from jackfield.engine import networkjobs, workplace
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.lostports import LostPorts
from jackfield.engine.mending.strays import bridges_made, leave_former_bridge, put_strays_back
from jackfield.engine.mending.surplus import (
    bridges_wanted,
    networks_with_surplus,
    remove_surplus,
    surplus_of,
)
from jackfield.engine.mending.upkeep import mend_each, upkeep_of_ports
from jackfield.engine.ports.guards import Guards
from jackfield.engine.ports.mtus import has_other_mtu, restore_mtus
from jackfield.engine.ports.settings import follow_definition
from jackfield.engine.records import (
    NetworkRecord,
    PortRecord,
    bridges_of,
    state_of_port,
)
from jackfield.engine.registry import Registry
from jackfield.engine.services import Services
from jackfield.engine.tidings import Tidings
from jackfield.engine.watch.blockedways import is_blocked_way
from jackfield.engine.workplace import Workplace
from jackfield.errors import ForeignObject, JackfieldError, ServiceError, shell_word
from jackfield.host.renamed import LinkHere, take_names_back
from jackfield.host.service.process import Process
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName
from jackfield.plan.describe import describe
from jackfield.state.facts import LinkFact
from jackfield.state.hoststate import Change
from jackfield.state.resources import PortGuard, Resource

__all__ = ["Mending"]

log = logging.getLogger(__name__)

_NOT_MENDED = "its ports are not as they should be"


class Mending:
    """Makes running networks what they should be."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        host: HostWatch,
        services: Services,
        guards: Guards,
        lost: LostPorts,
        tidings: Tidings,
    ) -> None:
        """Mend the networks of ``registry`` through ``thread``; ``host`` says what is there."""
        self._guards = guards
        self._registry = registry
        self._thread = thread
        self._host = host
        self._services = services
        self._lost = lost
        self._tidings = tidings

    async def mend(self, uuid: UUID, reason: str, *, told: bool = False) -> None:
        """Make a running network what it should be, after somebody else changed it.

        Where its problem was ``told``, that it is well again is told as well.
        """
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            if not record.active or record.halted:
                return
            try:
                change = await self.mend_now(record)
            except (JackfieldError, ExceptionGroup) as error:
                await self._tidings.problem(record, f"{reason}; mending failed: {error}")
                return
            for step in describe(change):
                log.warning("network %s: mended: %s (%s)", record.name, step.text, reason)
            if change or (told and record.problem is None):
                await self._tidings.tell(record, "network-repaired", {"reason": reason})

    async def mend_now(self, record: NetworkRecord) -> Change:
        """Mend a running network because somebody asks for it; its lock is held."""
        self._services.forget(record.uuid)
        try:
            guards = (self._guards.of(port) for port in self._registry.ports_of(record.uuid))
            change, foreign, processes = await self._thread.run(
                workplace.mend, [*record.present.values(), *filter(None, guards)]
            )
            await self._services.wait_ready(processes)
        finally:
            await self.watch_services([record])
        if foreign:
            raise ForeignObject(
                f"network {record.name!r}: in the way and not ours: {', '.join(foreign)}"
            )
        if record.halted:
            await self._thread.run(networkjobs.settle_halted, record.uuid)
            record.halted = False
        gone = {_gone(bridge) for bridge in bridges_of(record.current)}
        if record.problem not in gone and not is_blocked_way(record.problem):
            # All that it is made of was looked at, and is as it should be.
            record.problem = None
        anew = bridges_made(change) | await self.remove_surplus(record)
        return change + await self.reconnect_ports(record, anew)

    async def remove_surplus(self, record: NetworkRecord) -> set[InterfaceName]:
        """Remove bridges that were left of a network; its lock is held.

        Returns the network's own if there were any: guests may have been on the others.
        """
        await self._host.settle()
        surplus = surplus_of(record, self._host.links())
        if not surplus:
            return set()
        await self._thread.run(remove_surplus, record.name, surplus)
        return bridges_wanted(record)

    async def sweep_surplus(self, links: Mapping[str, LinkFact]) -> None:
        """Remove bridges that were left of any network, whether it runs or not."""
        for record in networks_with_surplus(self._registry.networks, links.values()):
            await self.remove_surplus(record)

    async def watch_services(self, records: Iterable[NetworkRecord]) -> None:
        """Watch what serves running networks, whoever started it.

        One that could not be started is told of by who tried to, and must cost no other.
        """
        services = [item for record in records for item in record.present.values()]
        for process in await self._thread.run(_started, services):
            self._services.watch([process])
            await asyncio.sleep(0)

    async def tell_waiting(self, uuid: UUID, problem: str) -> None:
        """Tell what is wrong with a running network until it is mended; what is known stays."""
        record = self._registry.networks.get(uuid)
        if record is not None and record.active and record.problem is None:
            await self._tidings.problem(record, problem)

    async def bridge_gone(self, uuid: UUID, bridge: str) -> None:
        """Tell that the bridge of somebody else that a network uses has gone."""
        record = self._registry.networks.get(uuid)
        if record is not None and record.active:
            await self._tidings.problem(record, _gone(bridge))

    async def miss_bridges(self, record: NetworkRecord) -> None:
        """Tell of the bridge of somebody else that a running network uses and that is not there."""
        if record.active and not makes_bridge(record.current):
            for name in bridges_of(record.current) - self._host.links().keys():
                await self._tidings.problem(record, _gone(name))

    async def tell_unmended(self, problems: Mapping[UUID, str]) -> None:
        """Tell of ports that could not be mended when the daemon started, but of lost devices."""
        found: dict[UUID, list[str]] = {}
        for uuid in problems.keys() & self._registry.ports.keys() - self._registry.lost.keys():
            found.setdefault(self._registry.ports[uuid].network, []).append(problems[uuid])
        for uuid, failures in found.items():
            record = self._registry.networks[uuid]
            if record.active and record.problem is None:
                await self._tell_failures(record, sorted(failures))

    async def _tell_failures(self, record: NetworkRecord, failures: Sequence[str]) -> None:
        more = f", and {len(failures) - 1} more" if failures[1:] else ""
        again = f"try again with: jackfield apply {shell_word(record.name)}"
        await self._tidings.problem(record, f"{_NOT_MENDED}: {failures[0]}{more}; {again}")

    async def bridge_back(self, uuid: UUID, bridge: InterfaceName, former: int | None) -> None:
        """Put ports back on a bridge of somebody else, who has made it anew.

        ``former`` is the index of one that had its name before, and is called otherwise now.
        """
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            if not record.active:
                return
            ports = self._registry.ports_of(uuid)
            try:
                await self._thread.run(leave_former_bridge, ports, bridge, former)
            except (JackfieldError, ExceptionGroup) as error:
                await self._tidings.problem(
                    record, f"its ports are not on bridge {bridge}: {error}"
                )
                return
            await self.reconnect_ports(record, {bridge})
            if record.problem == _gone(bridge):
                record.problem = None
            await self._tidings.tell(
                record, "network-repaired", {"reason": f"bridge {bridge} is back"}
            )

    async def take_name_back(self, uuid: UUID, reason: str) -> None:
        """Give a port's device that somebody renamed its name back."""
        port = self._registry.ports.get(uuid)
        if port is None:
            return
        record = self._registry.networks[port.network]
        async with record.lock:
            if uuid not in self._registry.ports:
                return
            wanted = state_of_port(record.current, port).values()
            links = [item for item in wanted if isinstance(item, LinkHere)]
            try:
                taken = await self._thread.run(lambda tools: take_names_back(tools.kernel, links))
            except JackfieldError as error:
                log.error("network %s: %s; mending failed: %s", record.name, reason, error)
                return
            if taken:
                await self._tidings.repaired(record, reason)

    def guards(
        self, network: Network, ports: Iterable[PortRecord]
    ) -> tuple[list[PortGuard], list[PortGuard]]:
        """Return the guards that ports have, and those that they have by this definition."""
        pairs = [(self._guards.of(port), self._guards.by(network, port)) for port in ports]
        return [old for old, _ in pairs if old], [new for _, new in pairs if new]

    async def guard_ports(self, record: NetworkRecord) -> None:
        """Guard the ports of a network that starts, before they have their place on it back."""
        await self._guards.prepare(record)

    async def reconnect_ports(
        self, record: NetworkRecord, anew: Collection[InterfaceName] = ()
    ) -> Change:
        """Give the ports their place on their network back, guarded and limited as it says.

        Those that clients made are put on the bridges that are ``anew``.  Returns what that took;
        what could not be done is told of.
        """
        change = Change()
        try:
            change = await self._guards.refresh(record)
        except (JackfieldError, ExceptionGroup) as error:
            await self._tidings.problem(record, f"what its ports may send is as before: {error}")
        network = record.current
        ports = self._registry.ports_of(record.uuid)
        if not ports:
            # Those that come are given theirs by this definition.
            record.followed = network
            _forget_failures(record)
            return change
        done = await follow_definition(self._registry, self._thread, record)
        self._tidings.add(done.events)
        change += done.change
        if done.behind:
            problem = self._registry.former_settings(record)
            log.warning("network %s: %s", record.name, problem)
            await self._tidings.tell(record, "network-problem", {"problem": problem or ""})
        # A lost device is another matter.
        here = [port for port in ports if port.uuid not in self._registry.lost]
        # What a start has just done need not be read where nobody asks.
        links = self._host.links() if here else {}
        altered = [port for port in here if has_other_mtu(port, links)]
        if altered:
            # Before they are on their bridge, as in a change: it may take the least of its ports'.
            change += await self._thread.run(restore_mtus, record, altered)
        upkeep = await upkeep_of_ports(network, here)
        _forget_failures(record)
        failures = done.failures
        if upkeep.wanted:
            mended, unmended = await self._thread.run(mend_each, upkeep)
            change += mended
            failures += unmended
        if failures:
            await self._tell_failures(record, failures)
        if anew or done.bridges:
            await self._thread.run(put_strays_back, network, ports, {*anew, *done.bridges})
        return change + await self._lost.make_again(record)


def _forget_failures(record: NetworkRecord) -> None:
    """Forget what could not be done for a network's ports: it is tried anew."""
    if (record.problem or "").startswith(_NOT_MENDED):
        record.problem = None


def _gone(bridge: str) -> str:
    return f"bridge {bridge}, which is somebody else's, does not exist"


def _started(tools: Workplace, services: Sequence[Resource]) -> list[Process]:
    """Return the processes that were started for those of ``services`` that are services."""
    found = []
    for item in services:
        with contextlib.suppress(ServiceError):
            found += workplace.launched(tools, [item])
    return found
