"""The settings of ports of ours: what their network's definition gives, also when that changes.

What a client's port has, its client has set on a device that it has made; it is said to keep it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from jackfield.allocation.given import PORTGROUP, follow, former_settings, given_to, placed
from jackfield.engine.mending.strays import leave_other_bridges
from jackfield.engine.ports import jobs
from jackfield.engine.ports.rows import port_detail, port_row
from jackfield.engine.records import NetworkRecord, PortRecord, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.store import ledger
from jackfield.engine.store.rows import PortRow
from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.driver import Presence
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, NetworkPlug, Port
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.state.hoststate import Change, HostState, difference
from jackfield.state.plan import PlanStep
from jackfield.state.resources import BridgePort
from jackfield.state.settings import SharedSetting

__all__ = [
    "Followed",
    "follow_definition",
    "followed",
    "kept",
    "kept_settings",
    "replace_port",
]

_SLICE = 500


@dataclasses.dataclass(slots=True)
class Followed:
    """What it took to have ports follow, the events of that, and what could not be done.

    ``behind`` are those that keep former settings, and did not before; ``bridges`` where clients'
    devices are to be now.
    """

    change: Change = dataclasses.field(default_factory=Change)
    behind: list[PortRecord] = dataclasses.field(default_factory=list)
    bridges: set[InterfaceName] = dataclasses.field(default_factory=set)
    events: list[Event] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)


async def follow_definition(
    registry: Registry, thread: KernelThread[Workplace], record: NetworkRecord
) -> Followed:
    """Have the ports of a running network be as it gives them to be; its lock is held."""
    done = Followed()
    left: list[tuple[Port, InterfaceName]] = []
    network = record.current
    for number, port in enumerate(registry.ports_of(record.uuid)):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        try:
            changed = followed(network, port)
            if changed is port:
                continue
            former, wanted = _present(network, port), state_of_port(network, changed)
            change = Change() if port.uuid in registry.lost else difference(wanted, former)
            event = await thread.run(
                _follow,
                port_row(changed),
                port_row(port),
                record.name,
                port_detail(port),
                change,
                former,
                wanted,
            )
        except (JackfieldError, ExceptionGroup) as error:
            done.failures.append(f"{_name(port)} keeps its former settings: {error}")
            continue
        before, after = _bridge_of(port), _bridge_of(changed)
        if port.device is None and before is not None and after is not None and before != after:
            left.append((port.port, before))
            done.bridges.add(after)
        replace_port(registry, port, changed)
        done.change += change
        done.events.append(event)
    try:
        if left:
            await thread.run(leave_other_bridges, left)
    except (JackfieldError, ExceptionGroup) as error:
        done.failures.append(str(error))
    try:
        done.behind = await _note_behind(registry, thread, record)
    except JackfieldError as error:
        done.failures.append(f"which ports keep former settings is not known: {error}")
    return done


async def _note_behind(
    registry: Registry, thread: KernelThread[Workplace], record: NetworkRecord
) -> list[PortRecord]:
    """Note which ports keep what a former definition gave them; return those that are new."""
    former, network = record.followed, record.current
    if former is None or former == network:
        record.followed = network
        return []
    changed = []
    for number, port in enumerate(registry.ports_of(record.uuid)):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        kept = kept_settings(former, network, port)
        if kept != port.former:
            changed.append((port, dataclasses.replace(port, former=kept)))
    if changed:
        await thread.run(jobs.put_ports, [port_row(new) for _, new in changed])
    found = [port for port, new in changed if not port.former and new.former]
    for port, new in changed:
        registry.set_former(port, new.former)
    record.followed = network
    return found


def kept_settings(former: Network, network: Network, port: PortRecord) -> frozenset[str]:
    """Return which settings a port has of ``former``, or of one before, and not of ``network``."""
    if _follows(port):
        gone = port.port.group is not None and given_to(network, port.port) is None
        return frozenset({PORTGROUP}) if gone else frozenset()
    return former_settings(former, network, port.port, port.former)


def _follows(port: PortRecord) -> bool:
    """Tell whether a port is given what its network's definition says, also when that changes.

    A virtual function keeps what it was given: its guest has it, or others share it.  So does a
    client's port, but for its place.
    """
    return port.device is not None and port.device.function is None


def followed(network: Network, port: PortRecord) -> PortRecord:
    """Return a port as ``network`` gives it to be: itself, where that is as it is."""
    if port.device is not None and port.device.function is not None:
        return port
    wanted = placed(network, port.port)
    if _follows(port):
        wanted = follow(network, wanted, limited=port.limited)
    return port if wanted == port.port else dataclasses.replace(port, port=wanted)


def _bridge_of(port: PortRecord) -> InterfaceName | None:
    plug = port.port.plug
    return plug.bridge if isinstance(plug, NetworkPlug | BridgePlug) else None


def _present(network: Network, port: PortRecord) -> HostState:
    """Return what a port has: its place is where it was put, whatever its network has now."""
    state, plug = state_of_port(network, port), port.port.plug
    if not isinstance(plug, NetworkPlug | BridgePlug):
        return state
    return HostState(
        dataclasses.replace(item, bridge=plug.bridge) if isinstance(item, BridgePort) else item
        for item in state.values()
    )


def replace_port(registry: Registry, port: PortRecord, changed: PortRecord) -> None:
    """Have ``port`` be known as ``changed``; what is wrong with its device is wrong as before."""
    lost, nic = port.uuid in registry.lost, registry.lost.get(port.uuid)
    astray = port.uuid in registry.astray
    registry.discard_port(port)
    port.port, port.limited, port.former = changed.port, changed.limited, changed.former
    registry.add_port(port)
    if lost:
        registry.set_lost(port, port.problem, nic=nic)
    elif astray:
        registry.set_astray(port, port.problem)


async def kept(
    former: Network | None, network: Network, ports: Iterable[PortRecord]
) -> Sequence[PlanStep]:
    """Return steps that name the ports which keep what ``former`` gave them."""
    found = []
    for number, port in enumerate(ports):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        if given_to(network, port.port) is None:
            why = f"its portgroup {port.port.group!r} is no more"
            if port.device is not None:
                why += "; attach it anew"
        elif former is None or _follows(port) or not former_settings(former, network, port.port):
            continue
        elif port.device is None:
            why = "its client has made its device: its guest has the new ones when it is started"
        else:
            why = "it is on a virtual function; detach it, and attach it anew"
        text = f"{_name(port)} keeps its former settings: {why}"
        found.append(PlanStep(action="keep", kind="port", key=f"port:{port.uuid}", text=text))
    return found


def _follow(
    tools: Workplace,
    row: PortRow,
    former_row: PortRow,
    name: NetworkName,
    detail: Mapping[str, str],
    change: Change,
    former: HostState,
    wanted: HostState,
) -> Event:
    """Change a port on the host and on record; shared settings go when nobody needs them."""
    with tools.store.transaction():
        ledger.acquire(tools.store, tools.applier, row.uuid, change.ensure)
    own = _left(tools, _here(tools, change))
    needed = former
    try:
        event = jobs.change_port(tools, row, former_row, name, own, detail)
        needed = wanted
    finally:
        ledger.release(tools.store, tools.applier, row.uuid, needed.values())
    return event


def _here(tools: Workplace, change: Change) -> Change:
    """Return what is to be done of ``change`` where not all of what it replaces is there.

    What a port had on a bridge that its network made anew is put there with the other ports.
    """
    found = tools.applier.observe([*change.remove, *change.replaced.values()])
    there = {key for key, seen in found.items() if seen.presence is Presence.OURS}
    return Change(
        remove=tuple(one for one in change.remove if one.key in there and not _is_shared(one)),
        ensure=tuple(
            one for one in change.ensure if one.key in there or one.key not in change.replaced
        ),
        replaced={key: one for key, one in change.replaced.items() if key in there},
    )


def _left(tools: Workplace, change: Change) -> Change:
    """Take links off bridges that they are to leave; return what is to be done then.

    First of all: mending puts one that is on no bridge in its place, and leaves others where they
    are.
    """
    places = {one.key: one.bridge for one in change.ensure if isinstance(one, BridgePort)}
    leaving = {
        key: one
        for key, one in change.replaced.items()
        if isinstance(one, BridgePort) and one.bridge != places[key]
    }
    tools.applier.perform(Change(remove=tuple(leaving.values())))
    rest = {key: one for key, one in change.replaced.items() if key not in leaving}
    return dataclasses.replace(change, replaced=rest)


def _is_shared(item: object) -> bool:
    return isinstance(item, SharedSetting) and item.shared


def _name(port: PortRecord) -> str:
    return f"port {port.port.owner.name if port.port.owner else port.uuid}"
