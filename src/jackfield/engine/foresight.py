"""What would be done to make the host be as a definition says, without doing it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Container, Mapping, Sequence
from uuid import UUID

from jackfield.engine.definitions import Definitions
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.lostdevices import has_where_to_be
from jackfield.engine.mending.mending import Mending
from jackfield.engine.mending.upkeep import upkeep_of_ports
from jackfield.engine.plans import Plans
from jackfield.engine.ports.mtus import has_other_mtu, unfit_ports
from jackfield.engine.ports.settings import followed, kept
from jackfield.engine.records import (
    NetworkRecord,
    PortRecord,
    Upkeep,
    state_of_port,
    upkeep_of_port,
)
from jackfield.engine.registry import Registry
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.nft.tables import sleeping_tables
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.plan.describe import describe, describe_waking
from jackfield.state.facts import LinkFact
from jackfield.state.hoststate import Change, HostState, difference
from jackfield.state.links import AnyLink
from jackfield.state.plan import PlanStep
from jackfield.state.resources import PortGuard
from jackfield.state.settings import Setting

__all__ = ["Foresight"]

Device = AnyLink | Setting
"""What a port's device is, and has of its own accord."""


class Foresight:
    """Compares definitions with the host."""

    def __init__(
        self,
        registry: Registry,
        definitions: Definitions,
        plans: Plans,
        mending: Mending,
        thread: KernelThread[Workplace],
        host: HostWatch,
    ) -> None:
        """Look at the networks of ``registry`` through ``thread``; ``host`` knows the links."""
        self._registry = registry
        self._definitions = definitions
        self._plans = plans
        self._mending = mending
        self._thread = thread
        self._host = host

    async def difference(self, ref: str, network: Network | None = None) -> list[PlanStep]:
        """Return what would be done to make the host be as the definition says.

        For a running network the host itself is asked: what somebody else removed is a step.
        """
        record = self._registry.network(ref)
        target = network or record.stored or record.live
        assert target is not None
        if network is not None:
            _, target = await self._definitions.complete(network)
        wanted, _ = await self._plans.prepare(target)
        ports = self._registry.ports_of(record.uuid) if record.active else []
        await self._host.settle()
        links = self._host.links()
        altered = {port.uuid for port in ports if has_other_mtu(port, links)}
        # By one of these its bridge may have another MTU, which is not to be all ports'.
        fitting = {} if altered else links
        later = [self._later(record, target, port, fitting) for port in ports]
        upkeep = await upkeep_of_ports(target, later)
        changed, dropped = _differences(record.current, target, ports, later, altered)
        # Whose namespace is gone as well has nowhere to be made again.
        again = filter(has_where_to_be, self._registry.lost_ports_of(record.uuid))
        states = [state_of_port(target, port) for port in again]
        lost = [item for state in states for item in state.values() if isinstance(item, AnyLink)]
        guarded, guards = self._mending.guards(target, ports)
        present = record.present

        def look(tools: Workplace) -> tuple[Change, list[str]]:
            def is_there(item: Upkeep | PortGuard | Device) -> bool:
                link = item.name if isinstance(item, AnyLink) else item.link
                return link is not None and tools.kernel.route.index(link) is not None

            plugged = [item for item in (*guards, *upkeep.here(tools)) if is_there(item)]
            fitted = [item for item in changed if is_there(item)]
            former = filter(is_there, [*guarded, *dropped])
            # What a device is to have that it had not may seem to be so while it is as it was.
            devices = [item for item in fitted if isinstance(item, AnyLink)]
            found = tools.applier.observe([*present.values(), *former, *plugged, *devices, *lost])
            actual = [seen.resource for seen in found.values() if seen.resource is not None]
            # Ports share some of it with each other, and with their network.
            whole = {item.key: item for item in (*wanted.values(), *plugged, *fitted, *lost)}
            asleep = sleeping_tables(tools.kernel.nft) if record.active else []
            return difference(HostState(whole.values()), HostState(actual)), asleep

        async with record.lock:
            change, asleep = await self._thread.run(look)
            keeping = await kept(record.live, target, ports)
            return [*describe_waking(asleep), *describe(change), *keeping]

    def _later(
        self,
        record: NetworkRecord,
        target: Network,
        port: PortRecord,
        links: Mapping[str, LinkFact],
    ) -> PortRecord:
        """Return a port as it will be when ``target`` runs."""
        # What it cannot be is told of when that is tried.
        with contextlib.suppress(JackfieldError):
            port = followed(target, port)
        for _, device in unfit_ports(target, [port], links, former=record.live):
            port = dataclasses.replace(port, device=device)
        return port


def _differences(
    network: Network,
    target: Network,
    ports: Sequence[PortRecord],
    later: Sequence[PortRecord],
    altered: Container[UUID],
) -> tuple[list[Device], list[Upkeep]]:
    """Return the devices that will be otherwise, and what of ports there will not be.

    Those that somebody has ``altered`` will be as they were.
    """
    changed: list[Device] = []
    dropped: list[Upkeep] = []
    for port, new in zip(ports, later, strict=True):
        if new is port and port.uuid not in altered:
            continue
        former, state = state_of_port(network, port), state_of_port(target, new)
        devices = (item for item in state.values() if isinstance(item, Device))
        changed += [
            item
            for item in devices
            if former.get(item.key) != item or (port.uuid in altered and isinstance(item, AnyLink))
        ]
        dropped += [item for item in upkeep_of_port(network, port) if item.key not in state]
    return changed, dropped
