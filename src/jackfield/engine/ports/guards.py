"""What ports' guests may send, while leases come and go and clients make devices.

The guard of a port that we make is planned with its device and goes with it.  That of a port
whose device libvirt's QEMU driver makes is put in place when the device is recognised on the
bridge, and taken away when it goes.  Both learn of leases here: the kernel knows an address of
our DHCP as soon as the guest does, and this makes it last as long as the lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.ports.clientdevices import TAP, Away, ClientDevices, is_there
from jackfield.engine.records import Leases, NetworkRecord, PortRecord, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.views import LeaseView
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.nft.guardobserve import guarded_links
from jackfield.host.thread import KernelThread
from jackfield.model.address import Address
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.plan.guard import guards_any, is_guarded, plan_guard
from jackfield.state.facts import LinkFact
from jackfield.state.hoststate import Change, HostState
from jackfield.state.resources import PortGuard

__all__ = ["Guards", "leases_by_mac"]

log = logging.getLogger(__name__)

_SLICE = 200
"""How many guards are planned in one go."""

_NOBODY = InterfaceName("lo")
"""A link that is never a port."""

_NONE: Away = {}


def leases_by_mac(leases: Iterable[LeaseView]) -> Leases:
    """Return which addresses each MAC has."""
    found: dict[MacAddress, tuple[Address, ...]] = {}
    for lease in leases:
        if lease.mac is not None:
            found[lease.mac] = (*found.get(lease.mac, ()), lease.address)
    return found


class Guards:
    """Keeps the guards of all ports as their networks, leases and devices are."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        host: HostWatch,
        read_leases: Callable[[UUID, Network], Iterable[LeaseView]],
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Guard the ports of ``registry``; ``later`` runs a coroutine as a task.

        ``read_leases`` reads the leases of a network from their file.
        """
        self._registry = registry
        self._thread = thread
        self._host = host
        self._read_leases = read_leases
        self._later = later
        self._clients = ClientDevices(registry)
        registry.port_forgotten = self._forgotten

    def plan_port(self, network: Network, port: PortRecord) -> HostState:
        """Return the host state of a port as it was when the last daemon ended.

        For recovery, on the kernel thread: the leases are read now, since a guard without them
        would take the guests' addresses away.
        """
        if network.uuid is not None and port.port.mac and is_guarded(network, port.port):
            known = self._registry.leases.get(network.uuid)
            if known is None:
                known = leases_by_mac(self._read_leases(network.uuid, network))
                self._registry.leases[network.uuid] = known
            port.leases = known.get(port.port.mac, ())
        return state_of_port(network, port)

    async def open(self) -> None:
        """Guard the ports of clients, and take away what guards nobody any more.

        Ports that we made and whose network runs are guarded by recovery already.
        """
        records = self._registry.networks
        for record in records.values():
            record.guarded_by = record.current
        await self._read_clients_leases()
        links = self._host.links()
        ports = self._candidates()
        for port in ports:
            self._clients.recognise(port, links, _NONE)
        rest = [
            guard
            for port in ports
            if (port.device is None or not records[port.network].active)
            and (guard := self.of(port)) is not None
        ]
        names = {guard.link for guard in await self.wanted()}
        await self._thread.run(_tidy, rest, names)

    async def _read_clients_leases(self) -> None:
        """Read what guests of clients have, before their guards are looked at."""
        asked = {
            port.network: self._registry.networks[port.network].current
            for port in self._candidates()
            if self._clients.is_awaited(port) and port.network not in self._registry.leases
        }

        def read(_tools: Workplace) -> dict[UUID, Leases]:
            return {
                uuid: leases_by_mac(self._read_leases(uuid, network))
                for uuid, network in asked.items()
            }

        if not asked:
            return
        self._registry.leases |= await self._thread.run(read)
        for port in self._candidates():
            if port.network in asked and port.port.mac is not None:
                port.leases = self._registry.leases[port.network].get(port.port.mac, ())

    def _candidates(self) -> list[PortRecord]:
        """Return the ports that may be guarded; of other networks there may be thousands."""
        guarding = {
            uuid
            for uuid, record in self._registry.networks.items()
            if guards_any(record.current) or guards_any(record.guarded_by or record.current)
        }
        return [port for port in self._registry.ports.values() if port.network in guarding]

    async def wanted(self) -> list[PortGuard]:
        """Return the guards of all ports that have a device."""
        found = await self._guards_of(self._candidates())
        return [guard for guard in found if guard is not None]

    async def _guards_of(self, ports: Sequence[PortRecord]) -> list[PortGuard | None]:
        """Return the guard of each port; others have their turn meanwhile."""
        found: list[PortGuard | None] = []
        for number, port in enumerate(ports):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            found.append(self.of(port))
        return found

    async def take_back(self, guards: Iterable[PortGuard]) -> None:
        """Remove those of ``guards`` whose port has gone while they were made again.

        Another port may have its device's name by now, with a guard of its own.
        """
        present = {guard.link: guard for guard in await self.wanted()}
        former = [guard for guard in guards if present.get(guard.link) != guard]
        kept = {guard.key: guard for guard in former if guard.link in present}
        change = Change(
            remove=tuple(guard for guard in former if guard.link not in present),
            ensure=tuple(present[guard.link] for guard in kept.values()),
            replaced=kept,
        )
        if change:
            await self._thread.run(_perform, change)

    async def prepare(self, record: NetworkRecord) -> None:
        """Guard what comes back onto the bridges of a network that starts; its lock is held.

        A client's device is known by its bridge, and without one by what it was when that went.
        """
        away: Away = {}
        if any(self._clients.is_awaited(port) for port in self._registry.ports_of(record.uuid)):
            rows = await self._thread.run(lambda tools: tools.store.members(record.uuid))
            links = self._host.links()
            found = ((row, links.get(row.name)) for row in rows)
            away = {
                str(link.mac): InterfaceName(link.name)
                for row, link in found
                if link is not None and link.index == row.link and link.master is None
            }
        await self.refresh(record, away)

    async def refresh(self, record: NetworkRecord, away: Away = _NONE) -> Change:
        """Make the guards of a network's ports as its definition is now; its lock is held.

        ``away`` are clients' devices that are on no bridge yet.  Returns what became of the
        guards that there were by another definition.
        """
        ports = self._registry.ports_of(record.uuid)
        made_by = record.guarded_by
        change = Change()
        if made_by is not record.current and made_by != record.current:
            change = await self._make_anew(record, ports)
        for port in ports if guards_any(record.current) else ():
            if self._clients.is_awaited(port):
                await self._join(port, away)
        return change

    async def _make_anew(self, record: NetworkRecord, ports: Sequence[PortRecord]) -> Change:
        former = await self._guards_of(ports)
        record.guarded_by = record.current
        wanted = await self._guards_of(ports)
        pairs = [pair for pair in zip(former, wanted, strict=True) if pair[0] != pair[1]]
        change = Change(
            remove=tuple(old for old, new in pairs if old is not None and new is None),
            ensure=tuple(new for _, new in pairs if new is not None),
            replaced={old.key: old for old, new in pairs if old is not None and new is not None},
        )
        for port, guard in zip(ports, wanted, strict=True):
            self._clients.change(port.uuid, guard)
        if change:
            await self._thread.run(_perform, change)
        return change

    # Leases

    def leases_changed(self, network: UUID, known: Leases) -> None:
        """Take note of the leases that a network has now."""
        self._registry.leases[network] = known
        record = self._registry.networks.get(network)
        if record is not None and self._changed(record, known):
            self._soon(self._give(record))

    def _changed(self, record: NetworkRecord, leases: Leases) -> list[PortRecord]:
        return [
            port
            for port in self._registry.ports_of(record.uuid)
            if port.port.mac is not None and port.leases != leases.get(port.port.mac, ())
        ]

    async def _give(self, record: NetworkRecord) -> None:
        """Let guests use what DHCP has given them, and nothing else any more."""
        async with record.lock:
            leases = self._registry.leases.get(record.uuid, {})
            ensure, replaced = [], {}
            for port in self._changed(record, leases):
                assert port.port.mac is not None
                former = self.of(port)
                port.leases = leases.get(port.port.mac, ())
                guard = self.of(port)
                if guard is None or former is None or guard == former:
                    continue
                ensure.append(guard)
                replaced[guard.key] = former
                self._clients.change(port.uuid, guard)
            if ensure:
                await self._thread.run(_perform, Change(ensure=tuple(ensure), replaced=replaced))

    # Devices that clients make

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that came, went, or is on another bridge now."""
        port = None if old is None else self._clients.port_at(old.name)
        if old is not None and port is not None:
            same = new is not None and (new.name, new.master) == (old.name, old.master)
            if not same:
                self._soon(self._leave(port, old.name))
        if new is None or new.master is None or new.mac is None or not new.mac.startswith(TAP):
            return
        for uuid in self._registry.clients_of(new.mac[3:]):
            if self._clients.is_awaited(self._registry.ports[uuid]):
                self._soon(self.look(uuid))

    async def look(self, uuid: UUID) -> None:
        """Guard a client's port if its device is there."""
        port = self._registry.ports.get(uuid)
        if port is None or not self._clients.is_awaited(port):
            return
        async with self._registry.networks[port.network].lock:
            if uuid in self._registry.ports and self._clients.is_awaited(port):
                await self._join(port)

    async def look_at_all(self) -> None:
        """Guard the clients' ports whose device is there."""
        for port in self._candidates():
            if self._clients.is_awaited(port):
                await self.look(port.uuid)

    async def _join(self, port: PortRecord, away: Away = _NONE) -> None:
        """Guard a client's port by the name of its device; its network's lock is held."""
        guard = self._clients.recognise(port, self._host.links(), away)
        if guard is None:
            return
        try:
            await self._thread.run(_perform, Change(ensure=(guard,)))
        except BaseException:
            self._clients.forget(port.uuid)
            raise
        log.info("port %s is guarded on its device %s", port.uuid, guard.link)

    async def _leave(self, uuid: UUID, device: str) -> None:
        """Take the guard of a device away that has gone, or is not a port of ours any more."""
        guard = self._clients.guards.get(uuid)
        if guard is None or guard.link != device:
            return
        port = self._registry.ports.get(uuid)
        record = None if port is None else self._registry.networks.get(port.network)
        if port is not None and record is not None:
            async with record.lock:
                await self._forget(port, guard)
        else:
            await self._forget(None, guard)

    async def _forget(self, port: PortRecord | None, guard: PortGuard) -> None:
        uuid = self._clients.port_at(guard.link)
        present = None if uuid is None else self._clients.guards.get(uuid)
        if uuid is None or present is None:
            return
        kept = port is not None and port.uuid in self._registry.ports
        if port is not None and kept and is_there(port, guard, self._host.links()):
            return
        self._clients.forget(uuid)
        await self._thread.run(_perform, Change(remove=(present,)))

    def _forgotten(self, port: PortRecord) -> None:
        guard = self._clients.guards.get(port.uuid)
        if guard is not None:
            self._soon(self._leave(port.uuid, guard.link))
        if port.device is None:
            return
        record = self._registry.networks.get(port.network)
        present = self.of(port)
        if present is None or record is None:
            return
        if record.guarded_by != record.current:
            # It was detached by a definition that says otherwise.
            self._soon(self._drop(present))

    async def _drop(self, guard: PortGuard) -> None:
        await self._thread.run(_perform, Change(remove=(guard,)))

    def _soon(self, change: Coroutine[None, None, None]) -> None:
        """Make a change later; what fails is told."""

        async def make() -> None:
            try:
                await change
            except (JackfieldError, ExceptionGroup) as error:
                log.error("what a port may send could not be changed: %s", error)

        self._later(make())

    def of(self, port: PortRecord) -> PortGuard | None:
        """Return the guard of a port, as it was made; ``None`` where there is none.

        What is defined anew while a network is stopped changes guards when the network starts.
        """
        record = self._registry.networks.get(port.network)
        if record is None:
            return None
        return self.by(record.guarded_by or record.current, port)

    def by(self, network: Network, port: PortRecord) -> PortGuard | None:
        """Return the guard that a port of ``network`` has if that is defined so."""
        joined = self._clients.guards.get(port.uuid)
        link = joined.link if port.device is None and joined else None
        if port.device is not None:
            link = port.device.name
        return None if link is None else plan_guard(network, port.port, link, port.leases)


def _perform(tools: Workplace, change: Change) -> None:
    tools.applier.perform(change)


def _probe(link: InterfaceName) -> PortGuard:
    """Return what asks for whatever guard a link has."""
    return PortGuard(link=link, mac=MacAddress("00:00:00:00:00:00"))


def _tidy(tools: Workplace, guards: list[PortGuard], names: Collection[InterfaceName]) -> None:
    """Make these guards so, and take away those of links whose name is none of ``names``."""
    try:
        _, foreign = tools.applier.mend(guards)
    except JackfieldError as error:
        log.error("what ports may send could not be made right: %s", error)
        return
    for what in dict.fromkeys(foreign):
        log.error("ports are not guarded: %s is in the way", what)
    stale = [link for link in guarded_links(tools.kernel.nft) if link not in names]
    for link in stale:
        log.warning("mended: %s is not a port of ours any more", link)
    if not stale and not names:
        # A daemon that died may have left the table without the last guard.
        stale = [_NOBODY]
    probes = [_probe(link) for link in stale]
    found = tools.applier.observe(probes)
    tools.applier.perform(Change(remove=tuple(found[item.key].resource or item for item in probes)))
