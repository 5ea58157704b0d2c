"""The kernel thread's jobs about ports: each changes the host, and what is recorded of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from uuid import UUID

from jackfield.engine.store import ledger
from jackfield.engine.store.rows import PortRow, Step
from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace, record_event, sweep_before
from jackfield.host.renamed import LinkHere, remove_renamed
from jackfield.model.values import NetworkName
from jackfield.state.hoststate import Change, HostState
from jackfield.undoing import Undoing

__all__ = [
    "Leaving",
    "begin_leaving",
    "begin_port",
    "change_port",
    "create_port",
    "delete_ports",
    "forget_network",
    "put_ports",
    "settle_port",
    "undo_port",
]


def create_port(
    tools: Workplace, row: PortRow, name: NetworkName, wanted: HostState, detail: Mapping[str, str]
) -> Event:
    """Make a port's device and record the port; a failure is undone before it is raised."""
    begin_port(tools, row, wanted)
    return settle_port(tools, row, name, detail)


def begin_port(tools: Workplace, row: PortRow, wanted: HostState) -> None:
    """Open a port's attachment and make its device; a failure is undone before it is raised."""
    store = tools.store
    _fold_journal(tools)
    sweep_before(tools, wanted.values())
    tools.applier.refuse_impossible(list(wanted.values()))
    tools.applier.refuse_foreign(list(wanted.values()))
    if wanted:
        with store.transaction(opens=True):
            store.put_port(dataclasses.replace(row, step=Step.STARTING))
            ledger.acquire(store, tools.applier, row.uuid, wanted.values())
        try:
            tools.applier.perform(Change(ensure=tuple(wanted.values())))
        except Exception as error:
            with Undoing(error, "what is left goes when jackfieldd starts next"):
                tools.applier.dismantle(wanted)
                # Somebody may have renamed its device.
                links = [item for item in wanted.values() if isinstance(item, LinkHere)]
                remove_renamed(tools.kernel, links)
                ledger.release(store, tools.applier, row.uuid)
            with store.transaction():
                store.delete_port(row.uuid)
            raise


def settle_port(
    tools: Workplace, row: PortRow, name: NetworkName, detail: Mapping[str, str]
) -> Event:
    """Close a port's attachment: it is recorded."""
    with tools.store.transaction():
        tools.store.put_port(row)
        return record_event(tools, "port-attached", name, row.network, detail)


def undo_port(tools: Workplace, uuid: UUID, wanted: HostState) -> None:
    """Take back an attachment whose second half failed."""
    tools.applier.dismantle(wanted)
    ledger.release(tools.store, tools.applier, uuid)
    with tools.store.transaction():
        tools.store.delete_port(uuid)


def begin_leaving(tools: Workplace, ports: Sequence[UUID]) -> None:
    """Open the detachment of ports that somebody else is told of before their devices go."""
    _fold_journal(tools)
    with tools.store.transaction(opens=True):
        for uuid in ports:
            tools.store.set_port_step(uuid, Step.STOPPING)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A port that goes: what it has on the host, and what its event says."""

    uuid: UUID
    present: HostState
    detail: Mapping[str, str]


def delete_ports(
    tools: Workplace, network: UUID, name: NetworkName, ports: Sequence[Leaving]
) -> list[Event]:
    """Remove the devices of ports, all of a kind at once, and forget the ports."""
    _fold_journal(tools)
    with tools.store.transaction(opens=True):
        for port in ports:
            tools.store.set_port_step(port.uuid, Step.STOPPING)
    # Two ports may need the same setting of one uplink.
    together = {key: item for port in ports for key, item in port.present.items()}
    tools.applier.dismantle_whole(HostState(together.values()))
    for port in ports:
        ledger.release(tools.store, tools.applier, port.uuid)
    with tools.store.transaction():
        tools.store.delete_ports(port.uuid for port in ports)
        return [record_event(tools, "port-detached", name, network, port.detail) for port in ports]


def forget_network(
    tools: Workplace, uuid: UUID, name: NetworkName, ports: Sequence[UUID]
) -> list[Event]:
    """Forget the ports and former members of a network that is gone; they have no devices."""
    # What is left in the journal of ports would bring them back.
    tools.journal.fold(tools.store)
    for port in ports:
        ledger.release(tools.store, tools.applier, port)
    with tools.store.transaction():
        tools.store.delete_members(uuid)
        for port in ports:
            tools.store.delete_port(port)
        return [
            record_event(tools, "port-detached", name, uuid, {"port": str(port)}) for port in ports
        ]


def change_port(
    tools: Workplace,
    row: PortRow,
    former: PortRow,
    name: NetworkName,
    change: Change,
    detail: Mapping[str, str],
) -> Event:
    """Change what a port has of the host from ``former``, and record it.

    What goes, goes before the record is another, and what comes, comes after it: whenever we die,
    mending what is recorded leaves nothing that is not.  A failure is undone before it is raised.
    """
    store, applier = tools.store, tools.applier
    _fold_journal(tools)
    new = [item for item in change.ensure if item.key not in change.replaced]
    applier.refuse_impossible(change.ensure)
    applier.refuse_foreign(new)
    try:
        applier.perform(Change(remove=change.remove))
        with store.transaction():
            store.put_port(row)
        applier.perform(Change(ensure=change.ensure, replaced=change.replaced))
    except Exception as error:
        with Undoing(error):
            applier.dismantle(HostState(new))
            with store.transaction():
                store.put_port(former)
            applier.mend(list(HostState([*change.replaced.values(), *change.remove]).values()))
        raise
    with store.transaction():
        return record_event(tools, "port-changed", name, row.network, detail)


def put_ports(tools: Workplace, rows: Sequence[PortRow]) -> None:
    """Record ports of which nothing else changes."""
    _fold_journal(tools)
    with tools.store.transaction():
        tools.store.put_ports(rows)


def _fold_journal(tools: Workplace) -> None:
    """Have the database know what the journal of ports says, before a port's row is written.

    An older line that is folded in later would undo it.
    """
    tools.journal.fold(tools.store)
