"""NICs that ports are right on: with one that vanishes go the macvtaps and macvlans over it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending import Mending
from jackfield.engine.records import Registry, nic_of
from jackfield.model.values import InterfaceName
from jackfield.state.facts import LinkFact

__all__ = ["NicWatch"]


class NicWatch:
    """Has networks told of, and mended, whose ports are on a NIC that goes or comes."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        mending: Mending,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch the ports of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._host = host
        self._mending = mending
        self._later = later

    async def expect(self) -> None:
        """Tell of the NICs that are not there from the start."""
        links = self._host.links()
        ports = self._registry.ports.values()
        nics = {(port.network, nic_of(port)) for port in ports}
        for uuid, nic in nics:
            if nic is not None and nic not in links:
                await self._mending.nic_gone(uuid, nic)

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that is gone (``new`` is ``None``), has come, or has another name."""
        link = new or old
        if link is None or link.name not in self._registry.usage.uplinks:
            return
        if old is not None and new is None:
            # By the time that its network is looked at it may be back; its devices are not.
            ports = self._registry.ports.values()
            for uuid in {port.network for port in ports if nic_of(port) == old.name}:
                self._later(self._mending.nic_gone(uuid, InterfaceName(old.name)))
        elif new is not None and (old is None or old.name != new.name):
            lost = (self._registry.ports[uuid] for uuid in self._registry.lost)
            for uuid in {port.network for port in lost if nic_of(port) == new.name}:
                self._later(self._mending.nic_back(uuid))
