"""Whether Open vSwitch works, for the networks that are on it; the host has no notice of that.

Its database may be there without ovs-vswitchd: then it takes what it is told, and nothing of it
is so.  The networks say so, and when both are back, or were so quickly that nobody saw them gone,
what was changed or lost meanwhile is mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

from jackfield.engine.mending.mending import Mending
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.engine.workplace import Workplace, sweep_switch
from jackfield.host.openvswitch.pulse import find_fault
from jackfield.host.thread import KernelThread
from jackfield.plan.openvswitch import uses_openvswitch

__all__ = ["SwitchPulse"]

_EVERY = 2.0
"""Seconds between two looks: two short messages, and only while a network is on Open vSwitch."""

_FAULT = "Open vSwitch does not work: "


class SwitchPulse:
    """Has networks on Open vSwitch say that it does not work, and mended when it does again."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        mending: Mending,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Look after the networks of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._thread = thread
        self._mending = mending
        self._tidings = tidings
        self._later = later
        self._timer: asyncio.TimerHandle | None = None
        self._worked = True

    async def expect(self) -> None:
        """Tell of what does not work already, and look again from now on."""
        await self._look()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    async def _look(self) -> None:
        try:
            records = [record for record in self._networks() if record.active]
            if records:
                await self._judge(records)
        finally:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_EVERY, lambda: self._later(self._look()))

    def _networks(self) -> list[NetworkRecord]:
        if not self._registry.devices.switches:
            return []
        return [one for one in self._registry.networks.values() if uses_openvswitch(one.current)]

    async def _judge(self, records: list[NetworkRecord]) -> None:
        database = await self._thread.run(lambda tools: tools.openvswitch)
        database.note_server()
        fault = await find_fault(database.path)
        if fault is not None:
            self._worked = False
            problem = f"{_FAULT}{fault}"
            for record in records:
                # Whatever else is wrong with it was told, and is not forgotten over this.
                if record.problem is None or (_is_told(record) and record.problem != problem):
                    await self._tidings.problem(record, problem)
            return
        if not self._worked or database.was_away:
            self._worked, database.was_away = True, False
            # First what was to be gone already: it may be in the way.
            await self._thread.run(sweep_switch)
            for record in records:
                told = _is_told(record)
                await self._mending.mend(record.uuid, "Open vSwitch is back", told=told)


def _is_told(record: NetworkRecord) -> bool:
    return (record.problem or "").startswith(_FAULT)
