"""Ports that have lost their devices: told of, and given devices again when that can be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending import lostdevices
from jackfield.engine.mending.lostdevices import (
    Device,
    are_back,
    gone_alone,
    has_where_to_be,
    is_inside,
    look_at,
    made_again,
    problem_of,
    without_namespace,
)
from jackfield.engine.records import NetworkRecord, nic_of, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.engine.workplace import Workplace
from jackfield.host.thread import KernelThread
from jackfield.model.values import InterfaceName
from jackfield.state.hoststate import Change
from jackfield.state.links import port_of

__all__ = ["LostPorts"]

_AT_ONCE = 20
"""How many namespaces are looked into before other jobs have their turn."""

log = logging.getLogger(__name__)


class LostPorts:
    """Keeps the registry true about which ports have their devices."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        host: HostWatch,
        tidings: Tidings,
    ) -> None:
        """Look after the ports of ``registry``; ``host`` says what is there."""
        self._registry = registry
        self._thread = thread
        self._host = host
        self._tidings = tidings

    async def look_at_nic(self, uuid: UUID, nic: InterfaceName) -> None:
        """Tell of the devices that a network's ports have lost with a NIC, or with its name.

        Those that are lost are made again if the NIC is there.
        """
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            ports = [port for port in self._registry.ports_of(uuid) if nic_of(port) == nic]
            states = [state_of_port(record.current, port) for port in ports]
            strayed = False
            found = await self._thread.run(look_at, ports, states)
            gone = [
                port for port, device in zip(ports, found, strict=True) if device is Device.GONE
            ]
            alone = await self._thread.run(without_namespace, filter(is_inside, gone))
            for port, device in zip(ports, found, strict=True):
                if device is Device.GONE:
                    problem = f"its device went with NIC {nic}, which is not there"
                    if port.uuid in self._registry.lost:
                        continue
                    if port in alone:
                        self._registry.set_lost(port, gone_alone(port, record.name))
                    else:
                        self._registry.set_lost(port, problem, nic=nic)
                elif device is Device.ASTRAY:
                    strayed = strayed or port.uuid not in self._registry.astray
                    problem = f"its device goes on, on a NIC that is not called {nic} here any more"
                    self._registry.set_astray(port, problem)
                elif port.uuid in self._registry.astray:
                    self._registry.set_found(port)
            await self.make_again(record)
            if strayed and not self._registry.lost_ports_of(uuid):
                await self._tell_lost(record)

    async def devices_changed(self, uuid: UUID, ports: Collection[UUID]) -> None:
        """Tell of those ports of a network whose device is gone, or back, and nothing below it.

        A device that has another name is there.
        """
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            await self._host.settle()
            links = self._host.links()
            present = {port_of(link.alias) for link in links.values()}
            gone, back = [], []
            # Who has detached one meanwhile has taken its device away himself.
            for port in (one for one in self._registry.ports_of(uuid) if one.uuid in ports):
                nic, lost = nic_of(port), port.uuid in self._registry.lost
                if port.uuid in present and lost:
                    self._registry.set_found(port)
                    back.append(port)
                elif port.uuid not in present and not lost and (nic is None or nic in links):
                    self._registry.set_lost(port, gone_alone(port, record.name))
                    log.error("port %s of network %s: %s", port.uuid, record.name, port.problem)
                    gone.append(port)
                    # There may be many, and others have their turn.
                    await asyncio.sleep(0)
            if back:
                await self._tidings.repaired(record, are_back(back))
            if gone:
                await self._tell_lost(record)

    async def look_inside(self, uuid: UUID, nics: Collection[str]) -> None:
        """Tell of the devices on ``nics`` that guests have deleted in their own namespaces."""
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            ports = [
                port
                for port in self._registry.ports_of(uuid)
                if nic_of(port) in nics and is_inside(port) and port.uuid not in self._registry.lost
            ]
            gone = []
            for start in range(0, len(ports), _AT_ONCE):
                some = ports[start : start + _AT_ONCE]
                states = [state_of_port(record.current, port) for port in some]
                found = await self._thread.run(look_at, some, states)
                pairs = zip(some, found, strict=True)
                gone += [port for port, device in pairs if device is Device.GONE]
            links = self._host.links()
            # With its NIC it is told of as gone with that.
            gone = [port for port in gone if nic_of(port) in links]
            for port in gone:
                self._registry.set_lost(port, gone_alone(port, record.name))
                log.error("port %s of network %s: %s", port.uuid, record.name, port.problem)
            if gone:
                await self._tell_lost(record)

    async def namespace_gone(self, uuid: UUID) -> None:
        """Tell of the devices that a network's ports have lost with their guests' namespaces."""
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            lost = self._registry.lost
            inside = [
                port
                for port in self._registry.ports_of(uuid)
                if is_inside(port) and port.uuid not in lost
            ]
            gone = await self._thread.run(without_namespace, inside)
            for port in gone:
                self._registry.set_lost(port, gone_alone(port, record.name))
                log.error("port %s of network %s: %s", port.uuid, record.name, port.problem)
            if gone:
                await self._tell_lost(record)

    async def _tell_lost(self, record: NetworkRecord) -> None:
        """Tell of the devices that a running network's ports lack."""
        problem = self._registry.lost_devices(record)
        if problem is not None:
            log.error("network %s: %s", record.name, problem)
            await self._tidings.tell(record, "network-problem", {"problem": problem})

    async def make_again(self, record: NetworkRecord) -> Change:
        """Make lost devices again that have where to be, and tell of the others.

        A network's ports are on their NICs whether it runs or not, and on its bridge while it does.
        Returns what that took.
        """
        change = Change()
        lost = self._registry.lost_ports_of(record.uuid)
        if not lost:
            return change
        await self._host.settle()
        links = self._host.links()
        made, nics = [], []
        for port in lost:
            under = nic_of(port)
            if under not in links if under is not None else not record.active:
                continue
            if not has_where_to_be(port):
                continue
            nic = self._registry.lost[port.uuid]
            state = state_of_port(record.current, port)
            # One by one: others have their turn.
            again, failure = await self._thread.run(lostdevices.make_again, port, state)
            change += again
            problem = problem_of(port, nic, failure)
            if failure is not None:
                self._registry.set_lost(port, problem, nic=nic)
                continue
            self._registry.set_found(port, problem)
            if port.device is not None:
                made.append(port)
                nics.append(nic)
        if made:
            await self._tidings.repaired(record, made_again(made, nics))
        await self._tell_lost(record)
        return change
