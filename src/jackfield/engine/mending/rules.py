"""Rules that somebody flushes, deletes or puts to sleep: a network without them is open."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from jackfield.engine import workplace
from jackfield.engine.ports.guards import Guards
from jackfield.engine.records import NetworkRecord, PortRecord, upkeep_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError, counted, shell_word
from jackfield.host.thread import KernelThread
from jackfield.model.mode import Mode
from jackfield.model.port import DirectPlug
from jackfield.plan.openvswitch import uses_openvswitch
from jackfield.state.functions import EchoGuard, FunctionPlace
from jackfield.state.hoststate import Change
from jackfield.state.openvswitch import OvsPort
from jackfield.state.private import PrivateGuard
from jackfield.state.resources import Resource
from jackfield.state.traffic import Policing

__all__ = ["RuleMending"]

log = logging.getLogger(__name__)

_RULES = frozenset({"rules", "bpdu-guard"})
_WITHOUT_RULES = "its rules are not in force: "
_PortRules = Policing | EchoGuard | PrivateGuard


class RuleMending:
    """Puts the rules of networks and ports back."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        guards: Guards,
        tidings: Tidings,
    ) -> None:
        """Mend the rules of what is in ``registry`` through ``thread``."""
        self._registry = registry
        self._thread = thread
        self._guards = guards
        self._tidings = tidings

    async def mend(self, reason: str) -> None:
        """Put the rules of every running network and every port back at once.

        Then what guards the host from ports of Open vSwitch, whose database may take its time.
        What is being changed meanwhile is looked at again when that is done: a job that takes
        rules away, or makes others, may have come before the one that puts back what was known.
        """
        woken = await self._thread.run(workplace.wake_rules)
        records = list(self._registry.networks.values())
        made = {record.uuid: list(self._wanted(record)) for record in records}
        again = self._to_be_looked_at(records)
        # These first: until they are back nothing is translated, and an answer that comes from
        # outside meanwhile is refused by the host itself, which ends a guest's connection.
        every = list(itertools.chain(*made.values()))
        mended, failed = await self._thread.run(_mend_all, every)
        guards = await self._guards.wanted()
        again |= self._to_be_looked_at(records)
        guarded, unguarded = await self._thread.run(_mend_all, guards)
        mended |= guarded
        ruled = [(one, set(self._rules_of(one))) for one in records]
        # Of one that was asleep nothing had to be mended, and nothing was in force.
        concerned = [one for one, rules in ruled if rules and (woken or mended & rules)]
        if mended:
            log.warning("rules of %s mended: %s", counted(len(concerned), "network"), reason)
        await self._guards.take_back(guards)
        for record in concerned:
            await self._tidings.tell(record, "network-repaired", {"reason": reason})
        if failed or unguarded:
            again |= {one.uuid: one for one, rules in ruled if rules}
        running = [one for one in records if one.active and one.uuid not in again]
        await self._mend_switched(running, reason)
        await asyncio.gather(
            *(self._mend_one(one, made[uuid], reason) for uuid, one in again.items())
        )

    def _to_be_looked_at(self, records: Iterable[NetworkRecord]) -> dict[UUID, NetworkRecord]:
        """Return the networks that are being changed, or said that their rules were not right."""
        return {
            record.uuid: record
            for record in records
            if record.lock.locked() or (record.problem or "").startswith(_WITHOUT_RULES)
        }

    async def _mend_one(self, record: NetworkRecord, made: Iterable[Resource], reason: str) -> None:
        """Make the rules of one network right when nobody changes it; ``made`` were put back."""
        async with record.lock:
            wanted: list[Resource] = list(self._wanted(record))
            ports = self._registry.ports_of(record.uuid)
            wanted += filter(None, (self._guards.of(port) for port in ports))
            kept = {item.key for item in wanted}
            gone = [item for item in made if item.key not in kept]
            if gone:
                # Others may have its bridge's name by now, or its port's device.
                taken = set(self._rules_elsewhere(record))
                gone = [item for item in gone if item.key not in taken]
            mended: set[str] = set()
            try:
                mended, foreign = await self._thread.run(_set_right, gone, wanted)
                failure = f"in the way, and not ours: {', '.join(foreign)}" if foreign else ""
            except (JackfieldError, ExceptionGroup) as error:
                failure = str(error)
            if failure:
                again = f"jackfield apply {shell_word(record.name)}"
                problem = f"{_WITHOUT_RULES}{failure}; try again with: {again}"
                if problem != record.problem:
                    await self._tidings.problem(record, problem)
                return
            if (record.problem or "").startswith(_WITHOUT_RULES):
                record.problem = None
            if mended:
                log.warning("rules of network %s mended: %s", record.name, reason)
                await self._tidings.tell(record, "network-repaired", {"reason": reason})
            if record.active:
                await self._mend_switched([record], reason)

    def _rules_elsewhere(self, record: NetworkRecord) -> Iterator[str]:
        """Yield the keys of the rules of all other networks and their ports."""
        for other in self._registry.networks.values():
            if other is not record:
                yield from (item.key for item in other.present.values())
                yield from (item.key for item in self._wanted(other))

    def _wanted(self, record: NetworkRecord) -> Iterator[Resource]:
        """Yield the rules of a network that runs, and the limits and guards of its ports."""
        if record.active and not record.halted:
            yield from (item for item in record.present.values() if item.kind in _RULES)
        for port in self._registry.ports_of(record.uuid):
            limited = port.device is not None and port.port.bandwidth is not None
            if limited or _is_private(port) or _carrier(port) is not None:
                upkeep = upkeep_of_port(record.current, port)
                yield from (item for item in upkeep if isinstance(item, _PortRules))

    def _rules_of(self, record: NetworkRecord) -> Iterator[str]:
        """Yield the keys of what a network and its ports have of rules."""
        yield from (item.key for item in self._wanted(record))
        for port in self._registry.ports_of(record.uuid):
            guard = self._guards.of(port)
            if guard is not None:
                yield guard.key

    async def _mend_switched(self, records: Iterable[NetworkRecord], reason: str) -> None:
        """Put what keeps the host from seeing guests' frames back."""
        ports = [
            item
            for record in records
            if uses_openvswitch(record.current)
            for items in (
                record.present.values(),
                *(
                    upkeep_of_port(record.current, one)
                    for one in self._registry.ports_of(record.uuid)
                ),
            )
            for item in items
            if isinstance(item, OvsPort)
        ]
        if not ports:
            return
        try:
            change, _, _ = await self._thread.run(workplace.mend, ports)
        except JackfieldError as error:
            log.error("ports of Open vSwitch not mended: %s", error)
            return
        if change:
            ports_mended = counted(len(change.ensure), "port")
            log.warning("%s of Open vSwitch mended: %s", ports_mended, reason)


def _is_private(port: PortRecord) -> bool:
    """Tell whether a port is kept from others, whatever its network has been defined as since."""
    plug = port.port.plug
    return isinstance(plug, DirectPlug) and plug.mode == Mode.PRIVATE.value


def _carrier(port: PortRecord) -> FunctionPlace | None:
    """Return the virtual function that a port is on, alone or with others."""
    return port.carrier if port.device is None else port.device.function


def _mend_all(tools: Workplace, wanted: Sequence[Resource]) -> tuple[set[str], bool]:
    """Make rules so; return the keys of those that were not, and whether any are not now."""
    try:
        change, foreign, _ = workplace.mend(tools, wanted)
    except (JackfieldError, ExceptionGroup) as error:
        log.warning("mending all rules at once failed (%s): network by network", error)
        return set(), True
    return {item.key for item in change.ensure}, bool(foreign)


def _set_right(
    tools: Workplace, gone: Sequence[Resource], wanted: Sequence[Resource]
) -> tuple[set[str], list[str]]:
    """Remove what is ``gone`` and mend what is ``wanted``; say what of it was not so, or cannot."""
    tools.applier.perform(Change(remove=tuple(gone)))
    change, foreign, _ = workplace.mend(tools, wanted)
    return {item.key for item in change.ensure}, foreign
