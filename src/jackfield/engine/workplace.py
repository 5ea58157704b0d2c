"""What the kernel thread works with, and what its jobs have in common."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from jackfield.engine.ports.journal import PortJournal
from jackfield.engine.store.tables import Store
from jackfield.engine.views import Event
from jackfield.errors import JackfieldError
from jackfield.host.applier import Applier
from jackfield.host.dnsmasq.driver import DnsmasqDriver
from jackfield.host.kernel import Kernel
from jackfield.host.nft.tables import wake_tables
from jackfield.host.openvswitch.database import Database
from jackfield.host.openvswitch.sweep import sweep
from jackfield.host.service.driver import ServiceDriver
from jackfield.host.service.process import Process
from jackfield.model.values import NetworkName
from jackfield.state.hoststate import Change
from jackfield.state.links import OwnerKind, alias_of
from jackfield.state.openvswitch import AnyRow
from jackfield.state.resources import Resource
from jackfield.state.services import Service

__all__ = [
    "Workplace",
    "launched",
    "mend",
    "record_event",
    "sweep_before",
    "sweep_switch",
    "wake_rules",
]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Workplace:
    """The tools of the kernel thread; ``services`` are the drivers of helper processes by kind."""

    kernel: Kernel
    applier: Applier
    store: Store
    journal: PortJournal
    dnsmasq: DnsmasqDriver
    services: Mapping[str, ServiceDriver[Any, Any]]
    openvswitch: Database

    def settle(self, wait: bool) -> bool:
        """Return whether all that must be on disk is there; with ``wait``, see to it."""
        if wait:
            self.store.sync()
        return not self.store.unsynced

    def close(self) -> None:
        """Close what is open."""
        self.journal.close()
        self.store.close()
        self.kernel.close()


def record_event(
    tools: Workplace,
    event_type: str,
    name: NetworkName,
    uuid: UUID,
    detail: Mapping[str, str] | None = None,
) -> Event:
    """Store an event, inside the caller's transaction or in one of its own, and return it."""
    now = time.time()
    kept = dict(detail or {})
    number = tools.store.add_event(now, event_type, name, uuid, kept)
    return Event(number=number, time=now, type=event_type, network=name, uuid=uuid, detail=kept)


def sweep_switch(tools: Workplace) -> None:
    """Remove rows of Open vSwitch's database that are ours and of nothing that is on record."""
    known = {alias_of(OwnerKind.NETWORK, row.uuid) for row in tools.store.live()}
    known |= {alias_of(OwnerKind.PORT, row.uuid) for row in tools.store.ports()}
    try:
        for name in sweep(tools.openvswitch, tools.kernel, known):
            log.warning("%s was ours and of no network: removed from Open vSwitch", name)
    except JackfieldError as error:
        log.error("Open vSwitch's database could not be swept: %s", error)


def sweep_before(tools: Workplace, wanted: Iterable[Resource]) -> None:
    """Sweep now, before something is made there, what could not be swept at the start."""
    if not tools.openvswitch.swept and any(isinstance(item, AnyRow) for item in wanted):
        sweep_switch(tools)


def launched(tools: Workplace, resources: Iterable[Resource]) -> list[Process]:
    """Return the processes that serve those of ``resources`` that are services."""
    return [
        tools.services[item.kind].launched(tools.kernel, item.network)
        for item in resources
        if isinstance(item, Service)
    ]


def mend(tools: Workplace, wanted: Sequence[Resource]) -> tuple[Change, list[str], list[Process]]:
    """Make ``wanted`` so where it is not.

    Returns what that took, what foreign things are in the way, and the processes started.
    """
    wake_rules(tools)
    change, foreign = tools.applier.mend_whole(wanted)
    return change, foreign, launched(tools, change.ensure)


def wake_rules(tools: Workplace) -> list[str]:
    """Have the tables of ours work again that somebody has put to sleep; return which."""
    woken = wake_tables(tools.kernel.nft)
    for words in woken:
        log.warning("mended: %s was dormant", words)
    return woken
