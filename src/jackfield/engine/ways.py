"""The ways of routed networks judged, and what is wrong with them told (``blockedways``)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.engine.watch.blockedways import blocked_way, first_certain, is_blocked_way, ways_past
from jackfield.engine.workplace import Workplace
from jackfield.host.thread import KernelThread

__all__ = ["Ways"]


class Ways:
    """Has networks say what is wrong with their ways, or that nothing is any more."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        host: HostWatch,
        tidings: Tidings,
    ) -> None:
        """Judge the networks of ``registry`` by what ``host`` shows."""
        self._registry = registry
        self._thread = thread
        self._host = host
        self._tidings = tidings

    async def judge(self, records: Sequence[NetworkRecord] | None = None) -> None:
        """Judge the ways of ``records``, or of all networks.

        Of all when a bridge of ours has taken an uplink, or given it back.
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
