"""The engine: networks and ports of this host, behind whatever door."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine, Mapping
from pathlib import Path
from uuid import UUID

import msgspec

from jackfield.allocation.check import Verdict, check_guest
from jackfield.diagnosis.finding import Examination
from jackfield.document.json import network_from_json
from jackfield.document.update.network import update_network
from jackfield.document.update.request import Command, Section
from jackfield.engine.associations import Associations
from jackfield.engine.clientports import ClientPorts
from jackfield.engine.definitions import Definitions
from jackfield.engine.doctor import Doctor
from jackfield.engine.events import EventLog
from jackfield.engine.foresight import Foresight
from jackfield.engine.giveback import Giveback
from jackfield.engine.guards import Guards
from jackfield.engine.holders import Holders
from jackfield.engine.hooks import Hooks
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.impact import Impact
from jackfield.engine.leasebook import LeaseBook
from jackfield.engine.libvirtfiles import Places
from jackfield.engine.lostports import LostPorts
from jackfield.engine.mending import Mending
from jackfield.engine.metadata import Metadata, MetadataType
from jackfield.engine.networks import Networks
from jackfield.engine.orphans import sweep_rules, tell_orphans
from jackfield.engine.plans import Plans
from jackfield.engine.portbook import PortBook
from jackfield.engine.portjournal import PortJournal
from jackfield.engine.ports import Ports
from jackfield.engine.records import NetworkRecord
from jackfield.engine.recovery import Planner, Recovered, recover
from jackfield.engine.registrations import Registrations
from jackfield.engine.registry import Registry
from jackfield.engine.rulemending import RuleMending
from jackfield.engine.services import Services
from jackfield.engine.shortage import Shortage
from jackfield.engine.store import Store
from jackfield.engine.takeover import Takeover
from jackfield.engine.taps import recognised
from jackfield.engine.tidings import Tidings
from jackfield.engine.uplinks import Uplinks
from jackfield.engine.views import (
    AttachRequest,
    LeaseView,
    MigrationStep,
    NetworkView,
    PortView,
)
from jackfield.engine.watches import Watches
from jackfield.engine.workplace import Workplace
from jackfield.engine.zones import Zones
from jackfield.errors import JackfieldError, WrongState, counted, shell_word
from jackfield.host.applier import Applier
from jackfield.host.dnsmasq.driver import DnsmasqDriver
from jackfield.host.drivers import make_drivers, make_service_drivers
from jackfield.host.inotify import Inotify
from jackfield.host.kernel import Kernel
from jackfield.host.nft.monitor import NftMonitor
from jackfield.host.openvswitch.database import Database
from jackfield.host.resolver import ResolverWatch
from jackfield.host.thread import KernelThread
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.guest import Guest
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.uplink import Uplink
from jackfield.model.values import NetworkName
from jackfield.plan.macvtap import plan_association
from jackfield.state.plan import PlanStep
from jackfield.state.resources import Dnsmasq

__all__ = ["Engine"]

log = logging.getLogger(__name__)

_STARTS_AT_ONCE = 8
_DATABASE = "jackfield.db"
_SLICE = 1000


class Engine:
    """What the doors call; every coroutine is one complete operation.

    ``ref`` is a network's name or the text of its uuid.
    """

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
        self._autostart = autostart
        journal = PortJournal(state_dir)
        self._registry = Registry()
        self._thread: KernelThread[Workplace] = KernelThread(
            lambda: _open_workplace(run_dir, state_dir, journal, openvswitch_socket),
            Workplace.settle,
        )
        self._host = HostWatch(self._thread)
        self._services = Services(self._service_died, self._service_waits)
        self._plans = plans = Plans(dnsmasq_user, vde_user, virtual_functions or {})
        self._definitions = Definitions(
            self._registry, plans, self.events, self._thread, self._host
        )
        self._leases = LeaseBook(state_dir, self._registry, self.events, self._thread)
        self._guards = Guards(
            self._registry, self._thread, self._host, self._leases.known, self._later
        )
        self._leases.on_change(self._guards.leases_changed)
        tidings = Tidings(self.events, self._thread)
        self._shortage = Shortage(self._registry, run_dir, tidings, self._later)
        self._leases.on_reading(self._shortage.leases_read)
        lost = LostPorts(self._registry, self._thread, self._host, tidings)
        self._mending = Mending(
            self._registry, self._thread, self._host, self._services, self._guards, lost, tidings
        )
        self._rules = RuleMending(self._registry, self._thread, self._guards, tidings)
        hooks = Hooks(hooks_dir, hook_timeout, self._registry)
        uplinks = Uplinks(
            self._thread,
            self._host,
            take_managed=take_managed_uplinks,
            gateway_timeout=gateway_timeout,
        )
        self._zones = Zones(self._registry, self._thread, tidings, self._later)
        self._registrations = Registrations(self._registry, self._host, tidings, self._later)
        self._networks = Networks(
            self._registry,
            self._definitions,
            self.events,
            self._thread,
            self._host,
            self._services,
            self._mending,
            tidings,
            plans,
            hooks,
            uplinks,
            self._zones,
            self._registrations,
        )
        self._foresight = Foresight(
            self._registry, self._definitions, plans, self._mending, self._thread, self._host
        )
        self._doctor = Doctor(self._registry, self._foresight, self._leases, self._host)
        self._watches = Watches(
            self._registry,
            self._thread,
            self._host,
            self._guards,
            self._mending,
            lost,
            tidings,
            self._networks.judge_ways,
            self._later,
        )
        self._book = PortBook(self._thread, journal)
        self._holders = Holders(self._holder_ended)
        self._associations = Associations(self._registry, tidings, self._later, switch_timeout)
        self._ports = Ports(
            self._registry,
            self.events,
            self._thread,
            self._host,
            self._book,
            hooks,
            self._holders,
            self._associations,
            run_dir,
        )
        self._client_ports = ClientPorts(
            self._registry, self.events, self._thread, self._host, self._book, hooks
        )
        places = Places()
        self._takeover = Takeover(
            self._registry,
            self._definitions,
            self._networks,
            self._client_ports,
            plans,
            self._thread,
            self._host,
            places,
        )
        self._giveback = Giveback(self._registry, self._thread, places)
        self._metadata = Metadata(self._registry, self.events, self._thread)
        self._monitor: NftMonitor | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self) -> None:
        """Open what is needed, recover what was left, and start what is to be started."""
        await self._thread.open()
        loop = asyncio.get_running_loop()
        await self._host.open()
        nft_portid = await self._thread.run(lambda tools: tools.kernel.nft.portid)
        # It listens from here on, and is read when there are networks to mend.
        self._monitor = NftMonitor(self._rules_changed, own_portids=(nft_portid,))
        recovered = await self._thread.run(
            recover,
            Planner(network_from_json, self._plans.plan, self._guards.plan_port),
        )
        self._book.open(await self._thread.run(lambda tools: tools.store.numbers))
        await self._take_over(recovered)
        await self._guards.open()
        loop.add_reader(self._monitor.fileno(), self._monitor.read)
        self._watches.open()
        self._inotify = Inotify()
        self._services.open(self._inotify)
        self._shortage.open(self._inotify)
        await self._leases.open(self._inotify)
        self._resolver = ResolverWatch(self._inotify, self._resolver_changed)
        running = [record for record in self._registry.networks.values() if record.active]
        await self._watches.expect(running)
        await self._mending.tell_unmended(recovered.unmended)
        await self._mending.watch_services(running)
        await self._networks.judge_ways()
        await self._zones.open()
        await self._registrations.open()
        if not recovered.unread:
            # What is stored of those names devices as well, which a later version knows.
            links, networks = self._host.links(), self._registry.networks
            tell_orphans(links.values(), networks, self._registry.ports)
            await self._thread.run(sweep_rules, list(networks.values()), links)
        # They may have changed, or not have been handed on, while there was no daemon.
        self._resolver_changed()
        if recovered.autostart and self._autostart:
            await self._start_marked()
            await self._thread.run(lambda tools: tools.store.set_autostarted())

    async def close(self) -> None:
        """Finish what is being done and let go; networks go on running."""
        # What is noticed from here on, while others finish, is left to the next daemon.
        self._closing = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for record in list(self._registry.networks.values()):
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
        self._leases.close()
        self._shortage.close()
        self._services.close()
        self._inotify.stop()
        self._host.close()
        self._associations.close()
        await self._book.close()
        await self._thread.close(self._close_workplace)

    # Networks

    def networks(self) -> list[NetworkView]:
        """Return every network, by name."""
        return self._registry.network_views()

    def network(self, ref: str | UUID) -> NetworkView:
        """Return one network, or raise ``NetworkNotFound``."""
        return self._registry.network_view(self._registry.network(ref))

    def network_name(self, ref: str | UUID) -> NetworkName:
        """Return the name of one network, or raise ``NetworkNotFound``."""
        return self._registry.network(ref).name

    async def define(self, network: Network) -> NetworkView:
        """Store a definition; a running network goes on as it is."""
        return await self._definitions.define(network)

    async def hindrance(self, ref: str | UUID) -> str | None:
        """Return why a network that does not run cannot be started now, where a glance tells it."""
        return await self._definitions.hindrance(ref)

    async def apply(
        self, network: Network, *, transient: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make the stored and the running network so, and say what was done."""
        return await self._networks.apply(network, transient=transient)

    async def apply_stored(
        self, ref: str, *, live: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make a network run as it is stored, or as it runs, and say what was done."""
        return await self._networks.apply_stored(ref, live=live)

    async def create(self, network: Network) -> NetworkView:
        """Start a network by a definition that is not stored; what is stored of it stays."""
        return await self._networks.create(network)

    async def update(
        self,
        ref: str | UUID,
        section: Section,
        command: Command,
        parent_index: int,
        text: str,
        *,
        live: bool,
        config: bool,
    ) -> NetworkView:
        """Change one entry of the running network, the stored definition, or both.

        With neither ``live`` nor ``config`` the running network is meant where it runs.
        """

        def change(network: Network) -> Network:
            in_use = self._registry.connections(network)
            return update_network(network, section, command, parent_index, text, in_use=in_use)

        return await self._networks.update(ref, change, live=live, config=config)

    async def set_metadata(
        self,
        ref: str | UUID,
        kind: MetadataType,
        text: str | None,
        *,
        key: str | None,
        uri: str | None,
        live: bool,
        config: bool,
    ) -> NetworkView:
        """Set or remove (``text`` is ``None``) the title, description or one element."""
        return await self._metadata.set(ref, kind, text, key=key, uri=uri, live=live, config=config)

    def affected(self, ref: str | UUID, *, live: bool, config: bool) -> Network:
        """Return the running network or, if ``config`` or it does not run, the stored one."""
        record = self._registry.network(ref)
        impact = Impact.of(record, live=live, config=config)
        network = record.stored if impact.config else record.live
        assert network is not None
        return network

    def connections(self, network: Network) -> dict[Uplink, int]:
        """Return how many ports use each uplink of ``network``."""
        return self._registry.connections(network)

    async def undefine(self, ref: str | UUID, *, with_ports: bool = False) -> NetworkView | None:
        """Forget a definition; a running network becomes transient, and is returned."""
        return await self._definitions.undefine(ref, with_ports=with_ports)

    async def start(self, ref: str | UUID) -> NetworkView:
        """Start a stored network."""
        return await self._networks.start(ref)

    async def stop(self, ref: str | UUID) -> NetworkView:
        """Stop a network; its ports stay, and find it again when it starts."""
        return await self._networks.stop(ref)

    async def set_autostart(self, ref: str | UUID, autostart: bool) -> NetworkView:
        """Mark a network to be started with the host, or not."""
        return await self._definitions.set_autostart(ref, autostart)

    async def plan(self, ref: str, network: Network | None = None) -> list[PlanStep]:
        """Return what starting or applying would do to the host as it is."""
        return await self._foresight.difference(ref, network)

    async def examine(self, refs: Collection[str | UUID] = ()) -> Examination:
        """Return what keeps guests from networks, of those named or of all that run."""
        return await self._doctor.examine(refs)

    def check_guest(self, guest: Guest) -> tuple[Verdict, ...]:
        """Return what each interface of a guest would get here and now; allocates nothing."""
        records = self._registry.networks.values()
        networks: dict[str, Network] = {record.name: record.current for record in records}
        idle = {record.name for record in records if not record.active}
        verdicts = check_guest(guest, networks, self._host.all_facts(), self._registry.usage)
        return tuple(
            msgspec.structs.replace(verdict, allocation=None, error=_not_active(name))
            if verdict.allocation is not None and (name := verdict.interface.network) in idle
            else verdict
            for verdict in verdicts
        )

    # Ports and leases

    async def ports(self, ref: str | UUID | None = None) -> list[PortView]:
        """Return the ports of one network or of all; there may be thousands."""
        networks = self._registry.network_views() if ref is None else [self.network(ref)]
        records = [
            record for network in networks for record in self._registry.ports_in_order(network.uuid)
        ]
        found: list[PortView] = []
        for start in range(0, len(records), _SLICE):
            views = [
                self._registry.port_view(record)
                for record in records[start : start + _SLICE]
                if record.uuid in self._registry.ports
            ]
            found += recognised(views, self._host.links())
            await asyncio.sleep(0)
        return found

    def port_uuids(self, network: UUID) -> list[UUID]:
        """Return the ports of a network, in the order of ``ports``."""
        return [record.uuid for record in self._registry.ports_in_order(network)]

    async def attach(self, ref: str, request: AttachRequest) -> PortView:
        """Plug a namespace or a new tap into a running network."""
        return await self._ports.attach(ref, request)

    async def open_port(self, port: str) -> list[int]:
        """Open the device of a port, named by uuid, device or owner; see ``Ports.open``."""
        return await self._ports.open(port)

    def port(self, uuid: UUID) -> PortView:
        """Return one port, or raise ``PortNotFound``."""
        return self._registry.port_view(self._registry.port_by_uuid(uuid))

    async def create_port(self, ref: str | UUID, port: Port, *, reclaim: bool) -> PortView:
        """Allocate a port whose device its client makes, or take one back with its plug."""
        view = await self._client_ports.create(ref, port, reclaim=reclaim)
        if view.port.uuid is not None:
            # A client that takes a port back has its device already.
            await self._guards.look(view.port.uuid)
        return view

    async def limit_port(self, uuid: UUID, bandwidth: Bandwidth | None) -> PortView:
        """Set the bandwidth of a port."""
        return await self._client_ports.limit(uuid, bandwidth)

    async def detach(self, port: str | UUID) -> None:
        """Remove a port, named by uuid, device or owner."""
        await self._ports.detach(port)

    async def detach_all(self, ref: str) -> int:
        """Remove every port of a network that we made; return how many there were."""
        return await self._ports.detach_all(ref)

    async def leases(self, ref: str | UUID | None = None) -> list[LeaseView]:
        """Return the DHCP leases of one network or of all."""
        record = None if ref is None else self._registry.network(ref)
        return await self._leases.read(record)

    # libvirt's own networks

    async def import_libvirt(
        self, ref: str | None, *, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        """Take over libvirt's network ``ref``, or all; say what was done, or would be.

        ``own_sockets`` are where our own door for libvirt's clients is.
        """
        steps = await self._takeover.run(ref, dry_run=dry_run, own_sockets=own_sockets)
        await self._guards.look_at_all()
        return steps

    async def export_libvirt(
        self, ref: str | None, *, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        """Give the stored network ``ref``, or all, to libvirt; say what was done, or would be."""
        return await self._giveback.run(ref, dry_run=dry_run, own_sockets=own_sockets)

    # What happens to us

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
            self._registry.add(record)
        for uuid, network in recovered.live.items():
            found = self._registry.networks.get(uuid)
            if found is None:
                found = NetworkRecord(uuid=uuid, name=network.name)
                self._registry.add(found)
            found.live, found.settled = network, True
            found.halted = uuid in recovered.halted
            found.present = recovered.present[uuid]
            found.problem = recovered.problems.get(uuid)
        for number, port in enumerate(recovered.ports):
            if number % _SLICE == _SLICE - 1:
                # There may be thousands, and systemd wants to hear of us.
                await asyncio.sleep(0)
            self._registry.add_port(port)
            if port.holder is not None:
                self._holders.watch(port.uuid, port.holder)
            if port.device is not None:
                self._associations.watch(port, plan_association(port.port))

    async def _start_marked(self) -> None:
        """Start the networks marked for it, several at once; one that fails stops no other."""
        gate = asyncio.Semaphore(_STARTS_AT_ONCE)

        async def start(record: NetworkRecord) -> None:
            async with gate:
                try:
                    await self.start(str(record.uuid))
                except JackfieldError as error:
                    record.problem = f"not started with the host: {error}"
                    log.error("network %s: autostart: %s", record.name, error)

        await asyncio.gather(
            *(
                start(record)
                for record in list(self._registry.networks.values())
                if record.autostart and record.live is None
            )
        )

    def _service_died(self, network: UUID, reason: str) -> None:
        self._later(self._mending.mend(network, reason))

    def _service_waits(self, network: UUID, problem: str) -> None:
        self._later(self._mending.tell_waiting(network, problem))

    def _holder_ended(self, port: UUID) -> None:
        self._later(self._ports.release(port))

    def _resolver_changed(self) -> None:
        self._later(self._refresh_servers())

    async def _refresh_servers(self) -> None:
        """Hand the host's new name servers to the dnsmasqs that follow them."""
        services = [
            item
            for record in self._registry.networks.values()
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
        self._later(self._rules.mend(reason))

    def _later(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        if self._closing:
            # It never begins.
            task.cancel()
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, JackfieldError):
            log.error("what was to be done by itself failed: %s", error)
        elif error is not None:
            log.error("a background task failed", exc_info=error)


def _not_active(name: str) -> WrongState:
    return WrongState(f"network {name!r} is not active", hint=f"jackfield start {shell_word(name)}")


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
