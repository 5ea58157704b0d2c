"""Recovery: what a daemon does at its start about what the last one left.

Unfinished starts and attachments are undone, unfinished stops and detachments completed,
unfinished changes taken back: none of them was acknowledged.  What was acknowledged is compared
with the host, all of it with one question for each kind of thing, and mended where it differs;
where nothing differs, nothing is sent.

What this version cannot read or plan, because a later one has stored it, is left as it is, on the
host and in the store: it costs nobody else's network.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from uuid import UUID

from jackfield.engine.mending.orphans import sweep_limits
from jackfield.engine.mending.start import mend_states, note_mended, tell_mended
from jackfield.engine.mending.strays import bridges_made, put_strays_back
from jackfield.engine.networkjobs import undo_change
from jackfield.engine.ports.rows import load_port
from jackfield.engine.records import PortRecord
from jackfield.engine.store import ledger
from jackfield.engine.store.rows import LiveRow, NetworkRow, Step
from jackfield.engine.views import Event
from jackfield.engine.workplace import Workplace, record_event, sweep_switch, wake_rules
from jackfield.errors import JackfieldError, shell_word
from jackfield.host.driver import Presence
from jackfield.host.nft.former import remove_former
from jackfield.host.renamed import LinkHere, remove_renamed
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.state.hoststate import HostState, difference
from jackfield.state.links import AnyLink, BridgeLink
from jackfield.state.resources import BridgePort, NetworkRules

__all__ = ["Planner", "Recovered", "recover"]

log = logging.getLogger(__name__)

_SO_NETNS_COOKIE = 71  # asm-generic/socket.h; the standard library does not name it


@dataclasses.dataclass(frozen=True, slots=True)
class Planner:
    """How documents and ports become host states, given by the engine."""

    load: Callable[[bytes], Network]
    plan: Callable[[Network], HostState]
    plan_port: Callable[[Network, PortRecord], HostState]


@dataclasses.dataclass(slots=True)
class Recovered:
    """What was found: definitions, running networks and what they want, ports, and problems.

    ``mended`` says of networks what was, with their ports, and ``unmended`` of ports what could not
    be; of networks that are ``halted`` a stop has
    failed on the way, and nothing is mended.  ``waiting`` are networks that could not be started
    with the host, ``None`` where that has not been tried.
    """

    definitions: list[tuple[NetworkRow, Network]] = dataclasses.field(default_factory=list)
    live: dict[UUID, Network] = dataclasses.field(default_factory=dict)
    present: dict[UUID, HostState] = dataclasses.field(default_factory=dict)
    ports: list[PortRecord] = dataclasses.field(default_factory=list)
    problems: dict[UUID, str] = dataclasses.field(default_factory=dict)
    mended: dict[UUID, list[str]] = dataclasses.field(default_factory=dict)
    unmended: dict[UUID, str] = dataclasses.field(default_factory=dict)
    events: list[Event] = dataclasses.field(default_factory=list)
    unread: set[UUID] = dataclasses.field(default_factory=set)
    halted: set[UUID] = dataclasses.field(default_factory=set)
    waiting: frozenset[UUID] | None = None


def recover(tools: Workplace, planner: Planner) -> Recovered:
    """Bring host, store and memory together; see the module's text."""
    # Of whatever boot: another one's ports are forgotten with the rest.
    tools.journal.fold(tools.store)
    tools.journal.open()
    if tools.store.enter(_boot_id(), _namespace_id()):
        log.info("new boot or network namespace: what was running before is forgotten")
    found = Recovered(waiting=tools.store.autostarted())
    for definition in tools.store.networks():
        network = _load(planner, definition.uuid, definition.document, found)
        if network is not None:
            found.definitions.append((definition, network))
    found.events = [
        Event(
            number=number,
            time=time,
            type=kind,
            network=NetworkName(name),
            uuid=uuid,
            detail=detail,
        )
        for number, time, kind, name, uuid, detail in tools.store.events()
    ]
    rows = tools.store.live()
    _recover_services(tools, {row.uuid for row in rows})
    for row in rows:
        _recover_network(tools, planner, row, found)
    known = {row.uuid for row, _ in found.definitions} | found.live.keys() | found.unread
    tools.dnsmasq.forget_other_leases(tools.kernel, known)
    _recover_ports(tools, planner, found)
    wake_rules(tools)
    made = _mend_networks(tools, planner, found)
    if not found.unread and not found.problems:
        # What a version left that knew more may be what a network runs by that we leave alone.
        _remove_former_rules(tools)
        sweep_limits(tools, found.ports)
    _mend_ports(tools, planner, found)
    if made:
        ports: dict[UUID, list[PortRecord]] = {}
        for port in found.ports:
            ports.setdefault(port.network, []).append(port)
        for uuid, network in found.live.items():
            put_strays_back(tools, network, ports.get(uuid, ()), made)
    if found.mended:
        names = {uuid: network.name for uuid, network in found.live.items()}
        found.events += tell_mended(tools, names, found.mended)
    sweep_switch(tools)
    everything = (item for state in found.present.values() for item in state.values())
    if any(isinstance(item, NetworkRules) for item in everything):
        # The former daemon's went with it.
        tools.kernel.connections.hold(tools.kernel.nft)
    return found


def _recover_services(tools: Workplace, known: Collection[UUID]) -> None:
    """Put on record what was started just before a crash; end what belongs to no network."""
    for driver in tools.services.values():
        ended, serving = driver.sweep(tools.kernel, known)
        for process in ended:
            log.warning(
                "%s, pid %d, serves no network of ours: ended", process.program, process.pid
            )
        for process in serving:
            log.warning(
                "%s serves network %s, which is not on record, and is left alone; when nobody "
                "needs it any more: kill %d",
                process.program,
                process.network,
                process.pid,
            )


def _load(planner: Planner, uuid: UUID, document: bytes, found: Recovered) -> Network | None:
    """Return a stored network; ``None``, and a line in the log, where it cannot be read."""
    try:
        return planner.load(document)
    except JackfieldError as error:
        log.error(
            "network %s: what is stored of it cannot be read, and is left as it is: %s; the "
            "version of Jackfield that has stored it can",
            uuid,
            error,
        )
        found.unread.add(uuid)
        return None


def _plan(planner: Planner, uuid: UUID, network: Network, found: Recovered) -> HostState:
    """Return what a network wants, and nothing with a problem where it cannot be planned."""
    try:
        return planner.plan(network)
    except JackfieldError as error:
        found.problems[uuid] = f"this version cannot run it, and leaves it as it is: {error}"
        log.error("network %s: %s", network.name, found.problems[uuid])
        return HostState()


def _recover_network(tools: Workplace, planner: Planner, row: LiveRow, found: Recovered) -> None:
    network = _load(planner, row.uuid, row.document, found)
    if network is None:
        return
    if row.step in (Step.SETTLED, Step.HALTED):
        found.live[row.uuid] = network
        if row.step == Step.HALTED:
            name = shell_word(network.name)
            found.halted.add(row.uuid)
            reason = (row.previous or b"somebody was told why").decode()
            found.problems[row.uuid] = (
                f"could not be stopped: {reason}; jackfield stop {name} goes on, jackfield apply "
                f"{name} makes it whole"
            )
        return
    log.warning("network %s: unfinished step %s is being mended", network.name, row.step)
    if row.step == Step.CHANGING and row.previous is not None:
        former = _load(planner, row.uuid, row.previous, found)
        if former is None:
            return
        present = _plan(planner, row.uuid, former, found)
        change = difference(_plan(planner, row.uuid, network, found), present)
        found.live[row.uuid] = former
        if row.uuid in found.problems:
            # The step stays open for a version that can plan both.
            return
        try:
            undo_change(tools, row.uuid, row.previous, change, present)
        except* JackfieldError as errors:
            # The step stays open, so the next start of the daemon tries again.
            log.error("network %s: %s", network.name, _flat(errors))
        return
    wanted = _plan(planner, row.uuid, network, found)
    if found.problems.pop(row.uuid, None) is not None:
        found.unread.add(row.uuid)
        return
    _dismantle(tools, wanted, f"network {network.name}", tools.applier.dismantle_whole)
    ledger.release(tools.store, tools.applier, row.uuid)
    with tools.store.transaction():
        tools.store.delete_live(row.uuid)
        if row.step == Step.STOPPING:
            found.events.append(record_event(tools, "network-stopped", network.name, row.uuid))


def _recover_ports(tools: Workplace, planner: Planner, found: Recovered) -> None:
    known = {row.uuid: network for row, network in found.definitions} | found.live
    for row in tools.store.ports():
        if row.network in found.unread:
            continue
        record = load_port(row)
        network = known.get(row.network)
        if network is not None and row.step == Step.SETTLED:
            found.ports.append(record)
            continue
        log.warning("port %s: unfinished step %s is being mended", row.uuid, row.step)
        if network is not None:
            state = planner.plan_port(network, record)
            _dismantle(tools, state, f"port {row.uuid}", tools.applier.dismantle)
            # Somebody may have renamed its device.
            remove_renamed(
                tools.kernel, [item for item in state.values() if isinstance(item, LinkHere)]
            )
            try:
                ledger.release(tools.store, tools.applier, row.uuid)
            except JackfieldError as error:
                # The step stays open, so the next start of the daemon tries again.
                log.error("port %s: %s", row.uuid, error)
                continue
        with tools.store.transaction():
            tools.store.delete_port(row.uuid)
            if network is not None and row.step == Step.STOPPING:
                found.events.append(
                    record_event(
                        tools, "port-detached", network.name, row.network, {"port": str(row.uuid)}
                    )
                )


def _dismantle(
    tools: Workplace, state: HostState, whose: str, dismantle: Callable[[HostState], None]
) -> None:
    """Remove what an open step made or was removing, whether it had got its mark or not."""
    try:
        tools.applier.claim(list(state.values()))
        dismantle(state)
    except* JackfieldError as errors:
        log.error("%s: %s", whose, _flat(errors))


def _mend_networks(tools: Workplace, planner: Planner, found: Recovered) -> set[InterfaceName]:
    """Mend the networks that run; return the bridges that had to be made anew."""
    found.present = {
        uuid: _plan(planner, uuid, network, found) for uuid, network in found.live.items()
    }
    made: set[InterfaceName] = set()
    wanted = {uuid: item for uuid, item in found.present.items() if uuid not in found.halted}
    problems, changes = mend_states(tools, wanted)
    found.problems.update(problems)
    for change in changes:
        made |= bridges_made(change)
        note_mended(found.mended, wanted, change, {uuid: uuid for uuid in wanted})
    return made


def _remove_former_rules(tools: Workplace) -> None:
    try:
        left = remove_former(tools.kernel.nft)
    except JackfieldError as error:
        log.error("rules of a former version are left in the firewall: %s", error)
        return
    if left:
        log.warning("mended: rules of a former version are gone: %s", ", ".join(left))


def _mend_ports(tools: Workplace, planner: Planner, found: Recovered) -> None:
    taken = _taken_bridges(tools, found)
    wanted = {}
    for port in found.ports:
        if port.network not in found.live or port.network in found.halted:
            continue
        try:
            planned = planner.plan_port(found.live[port.network], port)
        except JackfieldError as error:
            log.error("port %s: left as it is: %s", port.uuid, error)
            continue
        wanted[port.uuid] = HostState(
            item
            for item in planned.values()
            if not (isinstance(item, BridgePort) and item.bridge in taken)
        )
    _note_other_links(tools, wanted)
    found.unmended, changes = mend_states(tools, wanted)
    networks = {port.uuid: port.network for port in found.ports}
    for change in changes:
        note_mended(found.mended, wanted, change, networks)
    for uuid, problem in found.unmended.items():
        log.error("port %s: %s", uuid, problem)


def _note_other_links(tools: Workplace, wanted: Mapping[UUID, HostState]) -> None:
    """Record what NICs are by themselves that came instead of others, before it is changed."""
    every = (item for state in wanted.values() for item in state.values())
    others = {item.key for item in ledger.of_another_link(tools.store, tools.applier, every)}
    for uuid, state in wanted.items() if others else ():
        links = [item for item in state.values() if isinstance(item, AnyLink)]
        found = tools.applier.observe(links)
        if any(found[item.key].presence is Presence.ABSENT for item in links):
            with tools.store.transaction():
                settings = [item for item in state.values() if item.key in others]
                ledger.acquire(tools.store, tools.applier, uuid, settings)


def _taken_bridges(tools: Workplace, found: Recovered) -> set[InterfaceName]:
    """Return the names of bridges of ours that somebody else's bridges have now.

    Guests are not plugged into those.
    """
    bridges = [
        item
        for uuid in found.problems
        for item in found.present[uuid].values()
        if isinstance(item, BridgeLink)
    ]
    seen = tools.applier.observe(bridges)
    return {item.name for item in bridges if seen[item.key].presence is Presence.FOREIGN}


def _flat(error: BaseExceptionGroup[JackfieldError]) -> str:
    return "; ".join(str(item) for item in error.exceptions)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace_id() -> str:
    """Return what tells this network namespace from others, never used twice where possible."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            return probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8).hex()
        except OSError:  # before Linux 5.14
            return str(Path("/proc/self/ns/net").stat().st_ino)
