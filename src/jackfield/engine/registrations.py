"""Domains of networks that the host's own resolver asks their dnsmasq for (``register='yes'``).

It is systemd-resolved that is told, as libvirt does it.  A network starts also where that does not
run, since its guests need nothing of it, and says so; it is told when it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import NamedTuple
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import HostError
from jackfield.host.resolved import Resolved
from jackfield.model.address import Address
from jackfield.model.network import Network

__all__ = ["Registrations"]

_PROBLEM = "the host itself does not resolve its names: "


class _Registration(NamedTuple):
    link: int
    domain: str
    servers: tuple[Address, ...]


class Registrations:
    """Has domains be registered with the host's resolver, and no longer."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Look after the networks of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._host = host
        self._tidings = tidings
        self._resolved = Resolved(lambda: later(self._refresh()))
        self._known: dict[UUID, _Registration] = {}

    async def open(self) -> None:
        """See to the networks that run."""
        await self._refresh()

    def close(self) -> None:
        """Look after nothing any more."""
        self._resolved.close()

    def forget(self, network: UUID) -> None:
        """Forget a network whose bridge has gone: so has the resolver."""
        self._known.pop(network, None)

    async def note(self, record: NetworkRecord) -> None:
        """Have the domain of a running network be registered as it says; its lock is held."""
        wanted, known = self._wanted(record.current), self._known.get(record.uuid)
        if wanted is None and known is None:
            return
        problem = None
        try:
            if not await self._resolved.runs():
                problem = "systemd-resolved does not run"
            elif wanted is None and known is not None:
                await self._resolved.revert(known.link)
            elif wanted is not None:
                await self._resolved.register(*wanted)
        except HostError as error:
            problem = str(error)
        if wanted is None or problem is not None:
            self._known.pop(record.uuid, None)
        else:
            self._known[record.uuid] = wanted
        ours = (record.problem or "").startswith(_PROBLEM)
        if wanted is not None and problem is not None:
            if record.problem is None:
                await self._tidings.problem(record, _PROBLEM + problem)
        elif ours:
            record.problem = None

    def _wanted(self, network: Network) -> _Registration | None:
        domain = network.domain
        if domain is None or not domain.register or network.bridge is None:
            return None
        if network.dns is not None and network.dns.enable is False:
            return None
        link = self._host.links().get(network.bridge.name or "")
        servers = tuple(item.interface.ip for item in network.subnets if item.interface is not None)
        if link is None or not servers:
            return None
        return _Registration(link.index, domain.name, servers)

    async def _refresh(self) -> None:
        for record in list(self._registry.networks.values()):
            if record.current.domain is None:
                continue
            async with record.lock:
                if record.active and not record.halted:
                    await self.note(record)
