"""The engine: networks and ports of this host, behind whatever door."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path
from uuid import UUID

import msgspec

from jackfield.allocation.check import Verdict, check_guest
from jackfield.diagnosis.finding import Examination
from jackfield.document.update.network import update_network
from jackfield.document.update.request import Command, Section
from jackfield.engine.impact import Impact
from jackfield.engine.metadata import MetadataType
from jackfield.engine.parts import Parts
from jackfield.engine.ports.taps import recognised
from jackfield.engine.records import former_problem
from jackfield.engine.views import (
    AttachRequest,
    LeaseView,
    MigrationStep,
    NetworkView,
    PortView,
)
from jackfield.errors import WrongState, shell_word
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.guest import Guest
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.uplink import Uplink
from jackfield.model.values import NetworkName
from jackfield.state.plan import PlanStep

__all__ = ["Engine"]

_SLICE = 1000


class Engine:
    """What the doors call; every coroutine is one complete operation.

    ``ref`` is a network's name or the text of its uuid.
    """

    def __init__(self, parts: Parts) -> None:
        """Answer by ``parts``, which whoever made them opens before and closes after."""
        self.events = parts.events
        self._registry = parts.registry
        self._definitions = parts.definitions
        self._networks = parts.networks
        self._metadata = parts.metadata
        self._foresight = parts.foresight
        self._doctor = parts.doctor
        self._host = parts.host
        self._ports = parts.ports
        self._client_ports = parts.client_ports
        self._guards = parts.guards
        self._leases = parts.leases
        self._takeover = parts.takeover
        self._giveback = parts.giveback

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
            some = [
                record
                for record in records[start : start + _SLICE]
                if record.uuid in self._registry.ports
            ]
            views = [self._registry.port_view(record) for record in some]
            found += [
                msgspec.structs.replace(view, problem=view.problem or former_problem(record))
                if record.former
                else view
                for record, view in zip(some, recognised(views, self._host.links()), strict=True)
            ]
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
        self, ref: str | None, *, as_bridge: bool, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        """Give the stored network ``ref``, or all, to libvirt; say what was done, or would be.

        With ``as_bridge`` libvirt gets networks of these names on our bridges.
        """
        return await self._giveback.run(
            ref, as_bridge=as_bridge, dry_run=dry_run, own_sockets=own_sockets
        )


def _not_active(name: str) -> WrongState:
    return WrongState(f"network {name!r} is not active", hint=f"jackfield start {shell_word(name)}")
