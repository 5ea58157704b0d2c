"""The parts of the engine: what each is built with, how they open and recover, how they close."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from jackfield.document.json import network_from_json
from jackfield.engine.autostart import Autostart
from jackfield.engine.background import Background
from jackfield.engine.claims import Claims
from jackfield.engine.definitions import Definitions
from jackfield.engine.doctor import Doctor
from jackfield.engine.events import EventLog
from jackfield.engine.foresight import Foresight
from jackfield.engine.hooks import Hooks
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.leases.book import LeaseBook
from jackfield.engine.libvirt.files import Places
from jackfield.engine.libvirt.giveback import Giveback
from jackfield.engine.libvirt.takeover import Takeover
from jackfield.engine.mending.lostports import LostPorts
from jackfield.engine.mending.mending import Mending
from jackfield.engine.mending.orphans import sweep_rules, tell_orphans
from jackfield.engine.mending.rules import RuleMending
from jackfield.engine.metadata import Metadata
from jackfield.engine.networks import Networks
from jackfield.engine.plans import Plans
from jackfield.engine.ports.associations import Associations
from jackfield.engine.ports.book import PortBook
from jackfield.engine.ports.clients import ClientPorts
from jackfield.engine.ports.guards import Guards
from jackfield.engine.ports.holders import Holders
from jackfield.engine.ports.journal import PortJournal
from jackfield.engine.ports.lifecycle import Ports
from jackfield.engine.ports.settings import kept_settings
from jackfield.engine.records import NetworkRecord
from jackfield.engine.recovery import Planner, Recovered, recover
from jackfield.engine.registrations import Registrations
from jackfield.engine.registry import Registry
from jackfield.engine.services import Services
from jackfield.engine.store.tables import Store
from jackfield.engine.tidings import Tidings
from jackfield.engine.transitions import Transitions
from jackfield.engine.uplinks import Uplinks
from jackfield.engine.watch.shortage import Shortage
from jackfield.engine.watch.watches import Watches
from jackfield.engine.ways import Ways
from jackfield.engine.workplace import Workplace
from jackfield.engine.zones import Zones
from jackfield.errors import counted
from jackfield.host.applier import Applier
from jackfield.host.dnsmasq.driver import DnsmasqDriver
from jackfield.host.drivers import make_drivers, make_service_drivers
from jackfield.host.inotify import Inotify
from jackfield.host.kernel import Kernel
from jackfield.host.nft.monitor import NftMonitor
from jackfield.host.openvswitch.database import Database
from jackfield.host.resolver import ResolverWatch
from jackfield.host.thread import KernelThread
from jackfield.plan.macvtap import plan_association
from jackfield.state.services import Dnsmasq

__all__ = ["Parts"]

log = logging.getLogger(__name__)

_DATABASE = "jackfield.db"
_SLICE = 1000


class Parts:
    """What the engine works with: ``open`` comes before any of its work, ``close`` after all."""

    def __init__(
        self,
        *,
        run_dir: Path,
        state_dir: Path,
        dnsmasq_user: str | None,
        vde_user: int | None,
        autostart: bool,
        hooks_dir: Path,
        hook_timeout: float,
        openvswitch_socket: Path | None = None,
        virtual_functions: Mapping[str, int] | None = None,
        take_managed_uplinks: bool = False,
        gateway_timeout: float = 10,
        switch_timeout: float = 10,
    ) -> None:
        """Prepare; nothing is opened before ``open``."""
        self.events = EventLog()
        self._background = Background()
        later = self._background.later
        self._autostart = autostart
        journal = PortJournal(state_dir)
        self.registry = Registry()
        self._thread: KernelThread[Workplace] = KernelThread(
            lambda: _open_workplace(run_dir, state_dir, journal, openvswitch_socket),
            Workplace.settle,
        )
        self.host = HostWatch(self._thread)
        self._services = Services(self._service_died, self._service_waits)
        self._plans = plans = Plans(dnsmasq_user, vde_user, virtual_functions or {})
        self.definitions = Definitions(self.registry, plans, self.events, self._thread, self.host)
        self.leases = LeaseBook(state_dir, self.registry, self.events, self._thread)
        self.guards = Guards(self.registry, self._thread, self.host, self.leases.known, later)
        self.leases.on_change(self.guards.leases_changed)
        tidings = Tidings(self.events, self._thread)
        self._shortage = Shortage(self.registry, run_dir, tidings, later)
        self.leases.on_reading(self._shortage.leases_read)
        lost = LostPorts(self.registry, self._thread, self.host, tidings)
        self._mending = Mending(
            self.registry, self._thread, self.host, self._services, self.guards, lost, tidings
        )
        self._rules = RuleMending(self.registry, self._thread, self.guards, tidings)
        hooks = Hooks(hooks_dir, hook_timeout, self.registry)
        uplinks = Uplinks(
            self._thread,
            self.host,
            take_managed=take_managed_uplinks,
            gateway_timeout=gateway_timeout,
        )
        self._zones = Zones(self.registry, self._thread, tidings, later)
        self._registrations = Registrations(self.registry, self.host, tidings, later)
        self._ways = Ways(self.registry, self._thread, self.host, tidings)
        self._claims = Claims(self.registry)
        transitions = Transitions(
            self.registry,
            self._claims,
            self.events,
            self._thread,
            self.host,
            self._services,
            self._mending,
            self._ways,
            plans,
            hooks,
            uplinks,
            self._zones,
            self._registrations,
        )
        self.networks = Networks(
            self.registry, self.definitions, self.events, self._thread, plans, hooks, transitions
        )
        self._marked = Autostart(
            self.registry, self.events, self._thread, self.networks.start, later
        )
        self.foresight = Foresight(
            self.registry, self.definitions, plans, self._mending, self._thread, self.host
        )
        self.doctor = Doctor(self.registry, self.foresight, self.leases, self.host)
        self._watches = Watches(
            self.registry,
            self._thread,
            self.host,
            self.guards,
            self._mending,
            lost,
            tidings,
            self._ways.judge,
            later,
        )
        self._book = PortBook(self._thread, journal)
        self._holders = Holders(self._holder_ended)
        self._associations = Associations(self.registry, tidings, later, switch_timeout)
        self.ports = Ports(
            self.registry,
            self.events,
            self._thread,
            self.host,
            self._book,
            hooks,
            self._holders,
            self._associations,
            run_dir,
        )
        self.client_ports = ClientPorts(
            self.registry, self.events, self._thread, self.host, self._book, hooks
        )
        places = Places()
        self.takeover = Takeover(
            self.registry,
            self.definitions,
            self.networks,
            self.client_ports,
            plans,
            self._thread,
            self.host,
            places,
        )
        self.giveback = Giveback(self.registry, self._thread, self.ports, places)
        self.metadata = Metadata(self.registry, self.events, self._thread)
        self._monitor: NftMonitor | None = None

    async def open(self, ending: asyncio.Event) -> None:
        """Open what is needed, recover what was left, and start what is to be started.

        Once ``ending`` is set nothing more is begun: the next daemon starts the rest.
        """
        await self._thread.open()
        loop = asyncio.get_running_loop()
        await self.host.open()
        nft_portid = await self._thread.run(lambda tools: tools.kernel.nft.portid)
        # It listens from here on, and is read when there are networks to mend.
        self._monitor = NftMonitor(self._rules_changed, own_portids=(nft_portid,))
        recovered = await self._thread.run(
            recover,
            Planner(network_from_json, self._plans.plan, self.guards.plan_port),
        )
        self._book.open(await self._thread.run(lambda tools: tools.store.numbers))
        await self._take_over(recovered)
        await self.guards.open()
        loop.add_reader(self._monitor.fileno(), self._monitor.read)
        self._watches.open()
        self.host.on_link(self._marked.link_changed)
        self._inotify = Inotify()
        self._services.open(self._inotify)
        self._shortage.open(self._inotify)
        await self.leases.open(self._inotify)
        self._resolver = ResolverWatch(self._inotify, self._resolver_changed)
        running = [record for record in self.registry.networks.values() if record.active]
        await self._watches.expect(running)
        await self._mending.tell_unmended(recovered.unmended)
        await self._mending.watch_services(running)
        await self._ways.judge()
        await self._zones.open()
        await self._registrations.open()
        if not recovered.unread:
            # What is stored of those names devices as well, which a later version knows.
            links, networks = self.host.links(), self.registry.networks
            tell_orphans(links.values(), networks, self.registry.ports)
            await self._mending.sweep_surplus(links)
            await self._thread.run(sweep_rules, list(networks.values()), links)
        # They may have changed, or not have been handed on, while there was no daemon.
        self._resolver_changed()
        if self._autostart:
            await self._marked.run(ending, recovered.waiting)

    async def close(self) -> None:
        """Finish what is being done and let go; networks go on running."""
        # What is noticed from here on, while others finish, is left to the next daemon.
        await self._background.close()
        for record in list(self.registry.networks.values()):
            async with record.lock:
                pass
        self._watches.close()
        self._zones.close()
        self._registrations.close()
        self._holders.close()
        monitor = self._monitor
        if monitor is not None:
            asyncio.get_running_loop().remove_reader(monitor.fileno())
            # To close it the kernel waits for a change of rules that is under way, anybody's.
            await self._thread.run(lambda _: monitor.close())
        self._resolver.close()
        self.leases.close()
        self._shortage.close()
        self._services.close()
        self._inotify.stop()
        self.host.close()
        self._associations.close()
        await self._book.close()
        await self._thread.close(self._close_workplace)

    def _close_workplace(self, tools: Workplace) -> None:
        """Close what may wait for the kernel, on its thread."""
        tools.close()
        self._inotify.close()

    async def _take_over(self, recovered: Recovered) -> None:
        self.events.load(recovered.events)
        for row, network in recovered.definitions:
            record = NetworkRecord(
                uuid=row.uuid, name=network.name, stored=network, autostart=row.autostart
            )
            self.registry.add(record)
        for uuid, network in recovered.live.items():
            found = self.registry.networks.get(uuid)
            if found is None:
                found = NetworkRecord(uuid=uuid, name=network.name)
                self.registry.add(found)
            found.live, found.settled = network, True
            found.halted = uuid in recovered.halted
            found.present = recovered.present[uuid]
            self._claims.note(found)
            found.problem = recovered.problems.get(uuid)
            found.followed = network
        for number, port in enumerate(recovered.ports):
            if number % _SLICE == _SLICE - 1:
                # There may be thousands, and systemd wants to hear of us.
                await asyncio.sleep(0)
            if (live := recovered.live.get(port.network)) is not None:
                # A daemon that died after it changed the network did not write down what that
                # means for its ports.
                port.former = kept_settings(live, live, port)
            self.registry.add_port(port)
            if port.holder is not None:
                self._holders.watch(port.uuid, port.holder)
            if port.device is not None:
                self._associations.watch(port, plan_association(port.port))

    def _service_died(self, network: UUID, reason: str) -> None:
        self._background.later(self._mending.mend(network, reason))

    def _service_waits(self, network: UUID, problem: str) -> None:
        self._background.later(self._mending.tell_waiting(network, problem))

    def _holder_ended(self, port: UUID) -> None:
        self._background.later(self.ports.release(port))

    def _resolver_changed(self) -> None:
        self._background.later(self._refresh_servers())

    async def _refresh_servers(self) -> None:
        """Hand the host's new name servers to the dnsmasqs that follow them."""
        services = [
            item
            for record in self.registry.networks.values()
            if record.active
            for item in record.present.values()
            if isinstance(item, Dnsmasq)
        ]

        def refresh(tools: Workplace) -> int:
            return len(tools.dnsmasq.refresh_servers(tools.kernel, services))

        count = await self._thread.run(refresh)
        if count:
            log.info("the host's name servers changed: handed to %s", counted(count, "network"))

    def _rules_changed(self, reason: str) -> None:
        self._background.later(self._rules.mend(reason))


def _open_workplace(
    run_dir: Path, state_dir: Path, journal: PortJournal, openvswitch_socket: Path | None
) -> Workplace:
    kernel = Kernel.open(run_dir, state_dir)
    store = Store(state_dir / _DATABASE)
    dnsmasq = DnsmasqDriver()
    services = make_service_drivers(dnsmasq)
    openvswitch = Database(openvswitch_socket, state=store.identity())
    applier = Applier(kernel, make_drivers(services, openvswitch, store))
    return Workplace(kernel, applier, store, journal, dnsmasq, services, openvswitch)
