"""NICs that ports are right on: with one that vanishes go the macvtaps and macvlans over it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.lostports import LostPorts
from jackfield.engine.records import PortRecord, nic_of
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import counted, shell_word
from jackfield.model.values import InterfaceName
from jackfield.state.facts import LinkFact

__all__ = ["NicWatch"]

_SETTLE = 0.2
"""Seconds after a change before a NIC's state is judged: one that goes is set down before."""


class NicWatch:
    """Has networks told of, and mended, whose ports are on a NIC that goes or comes."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        lost: LostPorts,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch the ports of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._host = host
        self._lost = lost
        self._tidings = tidings
        self._later = later

    async def expect(self) -> None:
        """Tell of the NICs that are not there from the start."""
        links = self._host.links()
        ports = self._registry.ports.values()
        nics = {(port.network, nic_of(port)) for port in ports}
        # Whose macvtap is on another one than has the NIC's name now, and whose macvlan may be.
        astray = {
            (port.network, nic_of(port))
            for port in ports
            if port.device is not None
            and (nic := links.get(nic_of(port) or "")) is not None
            and (
                port.device.netns is not None
                or (
                    (device := links.get(port.device.name)) is not None
                    and device.lower != nic.index
                )
            )
        }
        for uuid, name in nics:
            if name is not None and (name not in links or (uuid, name) in astray):
                await self._lost.look_at_nic(uuid, name)

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that is gone (``new`` is ``None``), has come, or has another name."""
        was, now = (None if link is None else link.name for link in (old, new))
        if was == now:
            if old is not None and new is not None and old.up is not new.up:
                self._set_up_or_down(InterfaceName(new.name))
            return
        if was is not None and was in self._registry.usage.uplinks:
            # By the time that its network is looked at it may be back; its devices are not.
            self._look(self._registry.ports.values(), InterfaceName(was))
        if now is not None and now in self._registry.usage.uplinks:
            troubled = {*self._registry.lost, *self._registry.astray}
            self._look([self._registry.ports[uuid] for uuid in troubled], InterfaceName(now))

    def _set_up_or_down(self, nic: InterfaceName) -> None:
        """Have the networks of the ports on a NIC say that somebody has set it down, or up."""
        if nic in self._registry.usage.uplinks:
            ports = self._registry.ports.values()
            for uuid in {port.network for port in ports if nic_of(port) == nic}:
                self._later(self._tell_state(uuid, nic))

    async def _tell_state(self, uuid: UUID, nic: InterfaceName) -> None:
        await asyncio.sleep(_SETTLE)
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        # With its last port a NIC goes down that was down before.
        async with record.lock:
            ports = [port for port in self._registry.ports_of(uuid) if nic_of(port) == nic]
            link = self._host.links().get(nic)
            if link is None or not record.active:
                return
            prefix = f"NIC {nic} is not up"
            if not link.up and ports:
                ours = any(port.device is not None for port in ports)
                command = f"jackfield apply {shell_word(record.name)}"
                command = command if ours else f"ip link set {nic} up"
                on_it = counted(len(ports), "port")
                problem = f"{prefix}, with {on_it} on it; set it up with: {command}"
                if problem != record.problem:
                    await self._tidings.problem(record, problem)
            elif link.up and (record.problem or "").startswith(prefix):
                record.problem = None
                await self._tidings.repaired(record, f"NIC {nic} is up")

    def _look(self, ports: Iterable[PortRecord], nic: InterfaceName) -> None:
        """Have the networks of those ``ports`` that are on a NIC looked at."""
        for uuid in {port.network for port in ports if nic_of(port) == nic}:
            self._later(self._lost.look_at_nic(uuid, nic))
