"""The kernel thread's jobs about networks, each a part of a start, a change or a stop.

Every change has the same three parts: its intent is committed, the host is changed, the end is
committed.  A daemon that dies in between finds the open step at its next start and undoes or
completes it (``recovery``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from jackfield import openfiles
from jackfield.engine.members import member_port, member_row
from jackfield.engine.store import ledger
from jackfield.engine.store.rows import LiveRow, MemberRow, NetworkRow, Step
from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace, launched, record_event, sweep_before
from jackfield.errors import JackfieldError
from jackfield.host.openvswitch.members import note_members, put_back
from jackfield.host.renamed import LinkHere, names_now, take_names_back
from jackfield.host.service.driver import ServiceDriver
from jackfield.host.service.process import Process
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.state.hoststate import Change, HostState
from jackfield.state.links import AnyLink, BridgeLink, TapLink
from jackfield.state.openvswitch import OvsBridge
from jackfield.state.resources import ManagedUplink, Resource
from jackfield.state.services import Service
from jackfield.state.vlans import VlanFiltering
from jackfield.undoing import Undoing

__all__ = [
    "LEFT",
    "LEFT_OF_CHANGE",
    "Settled",
    "begin_change",
    "begin_start",
    "settle_halted",
    "settle_network",
    "stop_network",
    "undo_change",
    "undo_start",
]

LEFT = "what is left goes when the network is started and stopped again, or jackfieldd starts"
LEFT_OF_CHANGE = "jackfield apply, or the next start of jackfieldd, tries again"
_WITH_MTU = BridgeLink | ManagedUplink


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """A closed step: its events, and the links that are gone or on another bridge now."""

    events: list[Event]
    lost: list[str]


def begin_start(tools: Workplace, uuid: UUID, document: bytes, wanted: HostState) -> list[Process]:
    """Open the start of a network and make everything that does not need waiting for.

    Returns the processes that are to become ready.  A failure is undone before it is raised.
    Helpers are started before the step is open: to become their programs takes them longer than
    everything else, and what serves no network is ended after a crash (``ServiceDriver.sweep``).
    """
    openfiles.require()
    services = _by_driver(tools, wanted.values())
    try:
        for driver, items in services:
            driver.prepare(tools.kernel, items)
        sweep_before(tools, wanted.values())
        tools.applier.refuse_impossible(list(wanted.values()))
        tools.applier.refuse_foreign(list(wanted.values()))
        with tools.store.transaction(opens=True):
            tools.store.put_live(LiveRow(uuid, Step.STARTING, document))
            ledger.acquire(tools.store, tools.applier, uuid, wanted.values())
    except Exception as error:
        for driver, items in services:
            with Undoing(error):
                driver.remove(tools.kernel, items)
        raise
    try:
        tools.applier.perform(Change(ensure=tuple(wanted.values())))
    except Exception as error:
        with Undoing(error, LEFT):
            undo_start(tools, uuid, wanted)
        raise
    return launched(tools, wanted.values())


def _by_driver(
    tools: Workplace, resources: Iterable[Resource]
) -> list[tuple[ServiceDriver[Any, Any], list[Service]]]:
    """Return the services among ``resources`` with their drivers."""
    services = [item for item in resources if isinstance(item, Service)]
    return [
        (driver, [item for item in services if item.kind == kind])
        for kind, driver in tools.services.items()
    ]


def undo_start(tools: Workplace, uuid: UUID, wanted: HostState) -> None:
    """Take back a start whose second half failed."""
    tools.applier.dismantle_whole(wanted)
    _forget_live(tools, uuid)


def settle_network(
    tools: Workplace,
    uuid: UUID,
    name: NetworkName,
    event_type: str,
    detail: Mapping[str, str] | None = None,
    definition: NetworkRow | None = None,
    *,
    wanted: HostState,
    ran: bool,
) -> Settled:
    """Close a network's step: it runs, with the links that were on its bridges before.

    ``definition`` is stored in the same transaction, so that both are so or neither.  Shared
    settings that are not ``wanted`` any more are put back, of a network that ``ran`` before.
    """
    if ran:
        ledger.release(tools.store, tools.applier, uuid, wanted.values())
    members = tools.store.members(uuid)
    lost = _reattach(tools, _bridges(wanted), members)
    events = []
    with tools.store.transaction(durable=definition is not None):
        if definition is not None:
            tools.store.put_network(definition)
            events.append(record_event(tools, "network-defined", name, uuid))
        tools.store.set_live_step(uuid, Step.SETTLED)
        if members:
            tools.store.delete_members(uuid)
        events.append(record_event(tools, event_type, name, uuid, detail))
    return Settled(events, lost)


def begin_change(
    tools: Workplace,
    uuid: UUID,
    document: bytes,
    previous: bytes,
    change: Change,
    present: HostState,
) -> list[Process]:
    """Open a change of a running network and do what does not need waiting for.

    ``present`` is what it leads away from.  Returns the processes that are to become ready.  A
    failure is undone before it is raised.
    """
    openfiles.require()
    tools.applier.refuse_impossible(change.ensure)
    # One that is to go is known by its name, and nobody would look for it any more.
    take_names_back(tools.kernel, [item for item in present.values() if isinstance(item, LinkHere)])
    # Nothing new is put on a link that was ours, and is somebody else's now.
    going = {item.key for item in change.remove}
    links = [item for item in present.values() if isinstance(item, AnyLink)]
    tools.applier.refuse_foreign(
        [
            *(item for item in links if item.key not in going),
            *(item for item in change.ensure if item.key not in change.replaced),
        ]
    )
    with tools.store.transaction(opens=True):
        tools.store.put_live(LiveRow(uuid, Step.CHANGING, document, previous))
        ledger.acquire(tools.store, tools.applier, uuid, change.ensure)
    try:
        tools.applier.perform(change)
    except Exception as error:
        with Undoing(error, LEFT_OF_CHANGE):
            undo_change(tools, uuid, previous, change, present)
        raise
    return launched(tools, change.ensure)


def settle_halted(tools: Workplace, uuid: UUID) -> None:
    """Have a network whose stop failed on the way count as running, whole."""
    with tools.store.transaction():
        tools.store.set_live_step(uuid, Step.SETTLED)


def undo_change(
    tools: Workplace, uuid: UUID, previous: bytes, change: Change, present: HostState
) -> None:
    """Make a running network ``present``, what it was before ``change``.

    That may have put shared settings back already, so they are acquired again.
    """
    made = HostState(item for item in change.ensure if item.key not in change.replaced)
    # One that somebody renamed meanwhile is not to be made again beside it.
    links = {item.key: item for item in (*present.values(), *made.values())}
    take_names_back(tools.kernel, [item for item in links.values() if isinstance(item, LinkHere)])
    tools.applier.claim(list(made.values()))
    tools.applier.dismantle(made)
    with tools.store.transaction():
        ledger.acquire(tools.store, tools.applier, uuid, present.values())
    # In making order: a service starts when its addresses are there.
    former = HostState([*change.replaced.values(), *change.remove])
    tools.applier.mend(list(former.values()))
    # What leaves its MTU open is right with any, also with the one that it was to have instead.
    given = {item.key: item for item in change.ensure if isinstance(item, _WITH_MTU) and item.mtu}
    opened = [
        item
        for item in former.values()
        if isinstance(item, _WITH_MTU) and item.mtu is None and item.key in given
    ]
    tools.applier.perform(Change(ensure=tuple(opened), replaced=given))
    ledger.release(tools.store, tools.applier, uuid, present.values())
    with tools.store.transaction():
        tools.store.put_live(LiveRow(uuid, Step.SETTLED, previous))


def stop_network(
    tools: Workplace,
    uuid: UUID,
    name: NetworkName,
    present: HostState,
    ours: Iterable[InterfaceName],
    *,
    transient: bool,
) -> Event | JackfieldError:
    """Remove what a network made; remember which links lose their bridge.

    ``ours`` are the devices of our own ports, which find their bridge by themselves.  Of a
    ``transient`` network nothing is remembered: it does not come again.  Returns why not all
    could be removed, where that is so: then it counts as running, with what is left of it, and
    can be stopped again or mended.  Raises ``JackfieldError`` before anything is removed.
    """
    known = {
        *ours,
        *(item.name for item in present.values() if isinstance(item, TapLink)),
        *(item.link for item in present.values() if isinstance(item, ManagedUplink)),
    }
    bridges = [item for item in present.values() if isinstance(item, BridgeLink)]
    # Somebody may have renamed one of them, and another one's ports are none of ours.
    names = {} if transient else names_now(tools.kernel, bridges)
    members = [
        member_row(uuid, index, dataclasses.replace(member, bridge=bridge))
        for bridge, name in names.items()
        for index, member in tools.kernel.route.bridge_ports(name)
        if member.link not in known
    ]
    if not transient:
        members += [
            MemberRow(uuid, member, tools.kernel.route.index(member) or 0, row)
            for item in present.values()
            if isinstance(item, OvsBridge)
            for member, row in note_members(tools.openvswitch, item.name).items()
        ]
    with tools.store.transaction(opens=True):
        tools.store.set_live_step(uuid, Step.STOPPING)
        tools.store.put_members(members)
    try:
        tools.applier.dismantle_whole(present)
        ledger.release(tools.store, tools.applier, uuid)
    except JackfieldError as error:
        # A daemon that starts later neither completes what was refused, and perhaps mended, nor
        # makes anew what is wanted to be gone.
        with tools.store.transaction():
            tools.store.halt_live(uuid, str(error))
        return error
    with tools.store.transaction():
        tools.store.delete_live(uuid)
        event = record_event(tools, "network-stopped", name, uuid)
    if transient:
        tools.dnsmasq.forget_leases(tools.kernel, uuid)
    return event


def _forget_live(tools: Workplace, uuid: UUID) -> None:
    ledger.release(tools.store, tools.applier, uuid)
    with tools.store.transaction():
        tools.store.delete_live(uuid)


def _bridges(state: HostState) -> list[InterfaceName]:
    """Return the bridges that a network makes, the first one first."""
    return [item.name for item in state.values() if isinstance(item, BridgeLink)]


def _reattach(
    tools: Workplace, bridges: Sequence[InterfaceName], rows: Iterable[MemberRow]
) -> list[str]:
    """Put links back on their bridge; return the names of those that are gone or taken.

    A link is the one remembered only with its old name and index, and without another master.
    What was on a bridge that the network does not make any more goes to its first one.
    """
    lost = []
    for row in rows:
        if "interface" in row.flags:
            # What it was for Open vSwitch is all that Open vSwitch needs.
            if not put_back(tools.openvswitch, tools.kernel, row.name, row.link, row.flags):
                lost.append(row.name)
            continue
        link = tools.kernel.route.link(row.name)
        if not bridges or link is None or link.index != row.link or link.master is not None:
            lost.append(row.name)
            continue
        bridge = next((item for item in bridges if item == row.bridge), bridges[0])
        member = member_port(row, bridge)
        # One that was in VLANs must not be among the others, now that it comes back first.
        filtering = () if member.vlan is None else (VlanFiltering(link=bridge),)
        try:
            tools.applier.perform(Change(ensure=(*filtering, member)))
        except JackfieldError:
            lost.append(row.name)
    return lost
