"""Devices of our ports that somebody deletes by hand, or with the namespace that they lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.lostdevices import is_inside
from jackfield.engine.mending.lostports import LostPorts
from jackfield.engine.records import PortRecord, nic_of
from jackfield.engine.registry import Registry
from jackfield.state.facts import LinkFact
from jackfield.state.links import port_of

__all__ = ["DeviceWatch"]

_SETTLE = 0.2
"""Seconds before a device that is gone is told of: others may go with it, or its port may."""

_QUIET = 1.0
"""Seconds without news of a NIC before namespaces are looked into: each takes a while, and we make
and remove many ourselves."""


class DeviceWatch:
    """Has networks told of whose ports' devices are gone, or back."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        lost: LostPorts,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch the ports of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._host = host
        self._lost = lost
        self._later = later
        self._changed: set[UUID] = set()
        self._inside = self._missed = False
        self._timer: asyncio.TimerHandle | None = None
        # NICs from which something may have gone that only a guest's namespace shows.
        self._nics: set[str] = set()
        self._quiet: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Tell nothing any more."""
        for timer in (self._timer, self._quiet):
            if timer is not None:
                timer.cancel()

    async def expect(self) -> None:
        """Tell of the devices that are not there from the start."""
        self._change_absent()
        for network, ports in self._take_changed().items():
            await self._lost.devices_changed(network, ports)
        for network in self._networks_inside():
            await self._lost.namespace_gone(network)

    def namespace_gone(self) -> None:
        """Take note that a namespace is gone, and what was in it."""
        self._inside = True
        self._soon()

    def missed(self) -> None:
        """Take note that a device may be gone that was never seen, or from a guest's namespace."""
        self._missed = self._inside = True
        self._soon()
        self._nics |= self._registry.usage.uplinks.keys()
        self._look_soon()

    def nic_told_again(self, link: LinkFact) -> None:
        """Take note that a macvlan may be gone from a NIC, or have come."""
        if link.name not in self._registry.usage.uplinks:
            return
        self._nics.add(link.name)
        self._look_soon()

    def _look_soon(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = asyncio.get_running_loop().call_later(_QUIET, self._judge_nics)

    def _judge_nics(self) -> None:
        self._quiet = None
        nics, self._nics = self._nics, set()
        for uuid in {
            port.network
            for port in self._registry.ports.values()
            if nic_of(port) in nics and is_inside(port)
        }:
            self._later(self._lost.look_inside(uuid, nics))

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that is gone (``new`` is ``None``), or may be a lost one."""
        link = new or old
        uuid = None if link is None else port_of(link.alias)
        if uuid is None or (new is not None and uuid not in self._registry.lost):
            return
        self._changed.add(uuid)
        self._soon()

    def _soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE, self._judge)

    def _judge(self) -> None:
        self._timer = None
        if self._missed:
            self._missed = False
            self._change_absent()
        for network, ports in self._take_changed().items():
            self._later(self._lost.devices_changed(network, ports))
        if self._inside:
            self._inside = False
            for network in self._networks_inside():
                self._later(self._lost.namespace_gone(network))

    def _change_absent(self) -> None:
        """Take note of the ports whose devices are not seen."""
        present = {port_of(link.alias) for link in self._host.links().values()}
        self._changed |= self._registry.ports.keys() - present

    def _networks_inside(self) -> set[UUID]:
        """Return the networks that have devices of ours which only their guests' namespaces see."""
        return {port.network for port in self._registry.ports.values() if is_inside(port)}

    def _take_changed(self) -> dict[UUID, set[UUID]]:
        """Return the ports that are to be looked at, by network, and forget that they are."""
        changed, self._changed = self._changed, set()
        found: dict[UUID, set[UUID]] = {}
        for port in filter(None, map(self._registry.ports.get, changed)):
            if _is_seen(port):
                found.setdefault(port.network, set()).add(port.uuid)
        return found


def _is_seen(port: PortRecord) -> bool:
    """Tell whether a port's device is ours, and here."""
    return port.device is not None and port.device.link is not None and not is_inside(port)
