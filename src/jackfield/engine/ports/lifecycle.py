"""The life of ports: attach and detach."""

from __future__ import annotations

import logging
import secrets
import uuid as uuids
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from jackfield import openfiles
from jackfield.allocation.allocate import allocate
from jackfield.allocation.request import Request
from jackfield.engine.events import EventLog
from jackfield.engine.hooks import Hooks, Operation
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.strays import device_indexes, devices_left, renamed_devices
from jackfield.engine.ports import jobs
from jackfield.engine.ports.admission import (
    check_place,
    check_switch,
    refuse_same_end,
    refuse_same_instance,
    refuse_same_mac,
    refuse_same_tap,
    refuse_unrealised,
)
from jackfield.engine.ports.associations import Associations
from jackfield.engine.ports.book import PortBook
from jackfield.engine.ports.device import choose_device
from jackfield.engine.ports.holders import Holders, holder_of
from jackfield.engine.ports.mtus import mtu_of_bridge
from jackfield.engine.ports.namesakes import unshared_states
from jackfield.engine.ports.rows import port_detail, port_row
from jackfield.engine.records import NetworkRecord, PortRecord, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.views import AttachRequest, Event, PortView
from jackfield.engine.workplace import Workplace
from jackfield.errors import (
    ForeignObject,
    InvalidRequest,
    JackfieldError,
    PortNotFound,
    WrongState,
    shell_word,
)
from jackfield.host.openvswitch.datapath import is_in_user_space
from jackfield.host.renamed import remove_renamed
from jackfield.host.tap import open_macvtap, open_tap
from jackfield.host.thread import KernelThread
from jackfield.host.vde.files import socket_directory
from jackfield.model.port import BridgePlug, Owner
from jackfield.model.values import MacAddress, Text
from jackfield.plan.managedbridge import is_managed
from jackfield.plan.virtualfunction import carrier_of, check_function, place_of
from jackfield.state.association import SwitchAssociation
from jackfield.state.hoststate import HostState
from jackfield.state.links import TapLink
from jackfield.state.openvswitch import OvsPort
from jackfield.state.resources import TapNode
from jackfield.undoing import Undoing

__all__ = ["Ports"]

log = logging.getLogger(__name__)


class Ports:
    """Every change of a port goes through here."""

    def __init__(
        self,
        registry: Registry,
        events: EventLog,
        thread: KernelThread[Workplace],
        host: HostWatch,
        book: PortBook,
        hooks: Hooks,
        holders: Holders,
        associations: Associations,
        run_dir: Path,
    ) -> None:
        """Work on ``registry`` through ``thread`` and ``book``; ``run_dir`` holds device nodes."""
        self._registry = registry
        self._events = events
        self._thread = thread
        self._host = host
        self._book = book
        self._hooks = hooks
        self._holders = holders
        self._associations = associations
        self._run_dir = run_dir

    async def attach(self, ref: str, request: AttachRequest) -> PortView:
        """Plug a namespace, a new tap or a program into a running network."""
        async with self._registry.held(ref) as record:
            await self._host.settle()
            port = self._new_port(record, request)
            self._registry.add_port(port)
            created = False
            try:
                # By now it knows the leases that its guest has from before.
                wanted = state_of_port(record.current, port)
                await self._hooks.run(Operation.PORT_CREATED, record.current, port.port)
                created = True
                event = await self._create(record, port, wanted)
            except BaseException as error:
                self._registry.discard_port(port)
                if created:
                    await self._hooks.tell(Operation.PORT_DELETED, record.current, port.port)
                if isinstance(error, ForeignObject):
                    refuse_same_end(self._registry, port)
                if isinstance(error, JackfieldError):
                    raise error.with_context(f"cannot attach to network {record.name!r}") from error
                raise
            self._events.add(event)
            if port.holder is not None:
                self._holders.watch(port.uuid, port.holder)
            return self._registry.port_view(port)

    async def _create(self, record: NetworkRecord, port: PortRecord, wanted: HostState) -> Event:
        """Make a port's device, have the switch let it in, and record the port."""
        openfiles.require()
        made, associations = _split(wanted)
        row, detail = port_row(port), port_detail(port)
        if not associations:
            return await self._thread.run(jobs.create_port, row, record.name, made, detail)
        await self._associations.check()
        await self._thread.run(jobs.begin_port, row, made)
        try:
            for item in associations:
                await self._associations.associate(item)
            event = await self._thread.run(jobs.settle_port, row, record.name, detail)
        except BaseException as error:
            with Undoing(error, "what is left goes when jackfieldd starts next"):
                await self._associations.dissociate(associations)
                await self._thread.run(jobs.undo_port, row.uuid, made)
            raise
        self._associations.watch(port, associations)
        return event

    async def open(self, ref: str) -> list[int]:
        """Open the device of a port, for who runs the guest to be given.

        Returns a descriptor for each queue, which the caller closes.
        """
        port = self._registry.port(ref)
        record = self._registry.networks[port.network]
        async with record.lock:
            if port.uuid not in self._registry.ports:
                raise PortNotFound(f"port {ref!r} has just been detached by somebody else")
            wanted = state_of_port(record.current, port).values()
            taps = [item for item in wanted if isinstance(item, TapLink)]
            nodes = [item for item in wanted if isinstance(item, TapNode)]
            if taps:
                rows = [item for item in wanted if isinstance(item, OvsPort)]
                return await self._thread.run(_open_tap, taps[0], rows)
            if nodes and port.device is not None:
                queues = port.device.queues
                opened = await self._thread.run(lambda _: open_macvtap(nodes[0].path, queues))
                port.problem = None
                return opened
        raise WrongState(f"port {ref!r} is not a tap or macvtap of ours: there is nothing to open")

    async def release(self, uuid: UUID) -> None:
        """Remove a port whose holder has ended; one that is gone already is left alone."""
        try:
            await self.detach(uuid)
        except PortNotFound:
            pass
        except (JackfieldError, ExceptionGroup) as error:
            log.error("port %s: cannot be freed: %s", uuid, error)

    async def detach(self, ref: str | UUID) -> None:
        """Remove a port and its device."""
        port = self._registry.port(ref)
        record = self._registry.networks[port.network]
        async with record.lock:
            if port.uuid not in self._registry.ports:
                raise PortNotFound(f"port {str(ref)!r} has just been detached by somebody else")
            await self._detach(record, [port])

    async def detach_all(self, ref: str) -> int:
        """Remove every port of a network that we made; return how many there were."""
        async with self._registry.held(ref) as record:
            ports = [
                port
                for port in self._registry.ports_of(record.uuid)
                if port.realiser == "jackfield"
            ]
            await self._detach(record, ports)
            return len(ports)

    async def _detach(self, record: NetworkRecord, ports: Sequence[PortRecord]) -> None:
        """Remove ports of one network, whose lock is held."""
        leaving, associations = [], []
        states = unshared_states(self._registry, record, ports)
        for port, state in zip(ports, states, strict=True):
            present, items = _split(state)
            associations += items
            leaving.append(jobs.Leaving(uuid=port.uuid, present=present, detail=port_detail(port)))
        links = self._host.links() if any(port.device is not None for port in ports) else {}
        renamed = renamed_devices(ports, states, links) if links else []
        indexes = device_indexes(ports, links)
        if associations:
            # The switch is told while the uplink is up, which the last port may take down.
            await self._thread.run(jobs.begin_leaving, [port.uuid for port in leaving])
            await self._associations.dissociate(associations)
        if not any(port.present for port in leaving):
            events = [
                self._book.strike("port-detached", port, record.name, gone.detail)
                for port, gone in zip(ports, leaving, strict=True)
            ]
        else:
            events = await self._thread.run(jobs.delete_ports, record.uuid, record.name, leaving)
            if indexes:
                await self._host.settle()
                renamed += devices_left(ports, states, indexes, self._host.link)
        if renamed:
            await self._thread.run(lambda tools: remove_renamed(tools.kernel, renamed))
        for port, event in zip(ports, events, strict=True):
            self._registry.discard_port(port)
            self._holders.forget(port.uuid)
            self._events.add(event)
            await self._hooks.tell(Operation.PORT_DELETED, record.current, port.port)

    def _new_port(self, record: NetworkRecord, request: AttachRequest) -> PortRecord:
        network = record.live
        if network is None or not record.settled:
            raise WrongState(
                f"network {record.name!r} is not active",
                hint=f"jackfield start {shell_word(record.name)}",
            )
        if request.vde:
            check_switch(network, self._run_dir)
        links = self._host.links()
        bridge = check_place(network, links)
        uuid = uuids.uuid4()
        mac = request.mac or _random_mac()
        if mac.is_multicast:
            raise InvalidRequest(f"{mac} is a multicast address: no interface can have it")
        refuse_same_mac(self._registry, record, mac)
        refuse_same_tap(self._registry, request.tap)
        facts = self._host.facts(network)
        allocation = allocate(
            network,
            facts,
            self._registry.usage,
            Request(
                uuid=uuid,
                owner=Owner(name=_owner_name(request, uuid), uuid=request.guest or uuids.uuid4()),
                mac=mac,
                portgroup=request.portgroup,
                vde=Text(str(socket_directory(self._run_dir, record.uuid)))
                if request.vde
                else None,
            ),
        )
        for note in allocation.notes:
            log.info("port %s of network %s: %s", uuid, network.name, note)
        refuse_same_instance(self._registry, allocation.port)
        plug = allocation.port.plug
        function = place_of(plug, facts)
        if function is None:
            refuse_unrealised(network, allocation.port)
            function = carrier_of(plug, facts)
        else:
            check_function(allocation.port)
        if is_managed(network) and isinstance(plug, BridgePlug) and plug.bridge in links:
            # Of several bridges each has the MTU of its uplink.
            bridge = links[plug.bridge]
        mtu = network.mtu
        if mtu is None and bridge is not None:
            mtu = mtu_of_bridge(network, bridge, self._registry.ports_of(record.uuid), links)
        return PortRecord(
            uuid=uuid,
            network=record.uuid,
            port=allocation.port,
            realiser="jackfield",
            device=choose_device(
                request,
                uuid,
                allocation.port.plug,
                mtu=mtu,
                run_dir=self._run_dir,
                function=function,
            ),
            holder=None if request.holder is None else holder_of(request.holder),
        )


def _split(state: HostState) -> tuple[HostState, list[SwitchAssociation]]:
    """Return what we make of a port ourselves, and what a switch has to do for it."""
    associations = [item for item in state.values() if isinstance(item, SwitchAssociation)]
    made = HostState(item for item in state.values() if not isinstance(item, SwitchAssociation))
    return made, associations


def _open_tap(tools: Workplace, tap: TapLink, rows: Sequence[OvsPort]) -> list[int]:
    """Open a tap; what is switched in user space must not have checksums left to be filled in."""
    whole = any(is_in_user_space(tools.openvswitch, row.bridge) for row in rows)
    return open_tap(tap, offload=not whole)


def _owner_name(request: AttachRequest, uuid: UUID) -> Text:
    """Return the name that a port is listed under: as asked, else what is plugged in."""
    if request.name is not None:
        return request.name
    plugged = request.tap or Path(request.netns or str(uuid)).name
    try:
        return Text(plugged)
    except ValueError as error:
        raise InvalidRequest(f"{plugged!r} cannot be plugged in: {error}") from error


def _random_mac() -> MacAddress:
    return MacAddress("52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3)))
