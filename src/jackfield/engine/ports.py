"""The life of ports: attach and detach."""

from __future__ import annotations

import logging
import secrets
import uuid as uuids
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from jackfield import openfiles
from jackfield.allocation.allocate import allocate
from jackfield.allocation.request import Request
from jackfield.engine import portjobs
from jackfield.engine.associations import Associations
from jackfield.engine.events import EventLog
from jackfield.engine.holders import Holders, holder_of
from jackfield.engine.hooks import Hooks, Operation
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.namesakes import unshared_states
from jackfield.engine.portbook import PortBook
from jackfield.engine.portdevice import choose_device, same_end
from jackfield.engine.portrows import port_detail, port_row
from jackfield.engine.records import NetworkRecord, PortRecord, state_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.strays import device_indexes, devices_left, renamed_devices
from jackfield.engine.views import AttachRequest, Event, PortView
from jackfield.engine.workplace import Workplace
from jackfield.errors import (
    AlreadyExists,
    ForeignObject,
    InvalidRequest,
    JackfieldError,
    PortNotFound,
    UnsupportedConfiguration,
    WrongState,
    shell_word,
)
from jackfield.host.openvswitch.datapath import is_in_user_space
from jackfield.host.renamed import remove_renamed
from jackfield.host.tap import open_macvtap, open_tap
from jackfield.host.thread import KernelThread
from jackfield.host.vde.files import control_socket, has_control_socket, socket_directory
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, Owner, Port, VdePlug
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.virtualport import is_openvswitch
from jackfield.plan.macvtap import plan_association
from jackfield.plan.managedbridge import is_managed
from jackfield.plan.network import bridge_of, check_bridge
from jackfield.plan.openvswitch import uses_openvswitch
from jackfield.plan.virtualfunction import carrier_of, check_function, place_of
from jackfield.state.association import SwitchAssociation
from jackfield.state.facts import LinkFact
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
                    self._refuse_same_end(port)
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
            return await self._thread.run(portjobs.create_port, row, record.name, made, detail)
        await self._associations.check()
        await self._thread.run(portjobs.begin_port, row, made)
        try:
            for item in associations:
                await self._associations.associate(item)
            event = await self._thread.run(portjobs.settle_port, row, record.name, detail)
        except BaseException as error:
            with Undoing(error, "what is left goes when jackfieldd starts next"):
                await self._associations.dissociate(associations)
                await self._thread.run(portjobs.undo_port, row.uuid, made)
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
        raise WrongState(f"port {ref!r} is no tap or macvtap of ours: there is nothing to open")

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
            leaving.append(
                portjobs.Leaving(uuid=port.uuid, present=present, detail=port_detail(port))
            )
        links = self._host.links() if any(port.device is not None for port in ports) else {}
        renamed = renamed_devices(ports, states, links) if links else []
        indexes = device_indexes(ports, links)
        if associations:
            # The switch is told while the uplink is up, which the last port may take down.
            await self._thread.run(portjobs.begin_leaving, [port.uuid for port in leaving])
            await self._associations.dissociate(associations)
        if not any(port.present for port in leaving):
            events = [
                self._book.strike("port-detached", port, record.name, gone.detail)
                for port, gone in zip(ports, leaving, strict=True)
            ]
        else:
            events = await self._thread.run(
                portjobs.delete_ports, record.uuid, record.name, leaving
            )
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
            self._check_switch(network)
        links = self._host.links()
        mtu = _check_place(network, links)
        uuid = uuids.uuid4()
        mac = request.mac or _random_mac()
        if mac.is_multicast:
            raise InvalidRequest(f"{mac} is a multicast address: no interface can have it")
        self._refuse_same_mac(record, mac)
        self._refuse_same_tap(request.tap)
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
        self._refuse_same_instance(allocation.port)
        plug = allocation.port.plug
        function = place_of(plug, facts)
        if function is None:
            _refuse_unrealised(network, allocation.port)
            function = carrier_of(plug, facts)
        else:
            check_function(allocation.port)
        if is_managed(network) and isinstance(plug, BridgePlug) and plug.bridge in links:
            # Of several bridges each has the MTU of its uplink.
            mtu = links[plug.bridge].mtu
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

    def _check_switch(self, network: Network) -> None:
        """Refuse a port at a VDE switch that there is not, or that nobody can plug into."""
        if network.vde is None:
            raise UnsupportedConfiguration(
                f"network {network.name!r} has no VDE switch",
                hint="add <vde group='GROUP'/> to its document, and apply it",
            )
        assert network.uuid is not None
        directory = socket_directory(self._run_dir, network.uuid)
        if not has_control_socket(directory):
            raise WrongState(
                f"nobody can plug into the VDE switch of network {network.name!r}: its socket "
                f"{control_socket(directory)} is not there",
                hint=f"`jackfield apply {shell_word(network.name)}` starts the switch anew; what "
                "is plugged in has to plug in again",
            )

    def _refuse_same_mac(self, record: NetworkRecord, mac: MacAddress) -> None:
        for other in self._registry.ports_of(record.uuid):
            if other.port.mac == mac:
                raise AlreadyExists(
                    f"port {other.uuid} of network {record.name!r} has the address {mac} already",
                    hint="leave --mac out to get a free one",
                )

    def _refuse_same_tap(self, tap: InterfaceName | None) -> None:
        for other in self._registry.ports.values() if tap is not None else ():
            if other.device is not None and other.device.name == tap:
                network = self._registry.networks[other.network].name
                raise AlreadyExists(
                    f"port {other.uuid} of network {network!r} has the tap {tap} already",
                    hint=f"choose another name, or free it with: jackfield detach {tap}",
                )

    def _refuse_same_end(self, port: PortRecord) -> None:
        """Name the port that has the interface which was in the way of another's, if it is one."""
        other = same_end(port.device, self._registry.ports.values())
        if other is not None and port.device is not None:
            network = self._registry.networks[other.network].name
            raise AlreadyExists(
                f"port {other.uuid} of network {network!r} has the interface {port.device.ifname} "
                f"in network namespace {port.device.netns} already",
                hint="choose another name in there (--ifname NAME), or free it with: "
                f"jackfield detach {other.uuid}",
            )

    def _refuse_same_instance(self, port: Port) -> None:
        """Refuse what a switch would take for another guest's interface."""
        instance = None if port.virtualport is None else port.virtualport.instance_id
        if instance is None:
            return
        for other in self._registry.ports.values():
            theirs = other.port.virtualport
            if theirs is not None and theirs.instance_id == instance:
                raise AlreadyExists(
                    f"port {other.uuid} is VSI instance {instance} already, and no two can be one",
                    hint="leave instanceid out of the virtualport: then each port has its own",
                )


def _split(state: HostState) -> tuple[HostState, list[SwitchAssociation]]:
    """Return what we make of a port ourselves, and what a switch has to do for it."""
    associations = [item for item in state.values() if isinstance(item, SwitchAssociation)]
    made = HostState(item for item in state.values() if not isinstance(item, SwitchAssociation))
    return made, associations


def _check_place(network: Network, links: Mapping[str, LinkFact]) -> int | None:
    """Return the MTU of devices on the network, ``None`` for their uplink's own.

    Raises an error when the network cannot have devices of ours, or not now.
    """
    if network.mode.is_macvtap or network.mode is Mode.HOSTDEV:
        return None
    if not network.mode.is_routed and network.mode is not Mode.BRIDGE:
        raise UnsupportedConfiguration(
            f"network {network.name!r} has mode {network.mode.value}, whose devices this "
            "version does not make"
        )
    if uses_openvswitch(network):
        # Its device here is of any kind, and there need not be one.
        bridge = links.get(bridge_of(network))
        return None if bridge is None else bridge.mtu
    bridge = check_bridge(network, links)
    return network.mtu or bridge.mtu


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


def _refuse_unrealised(network: Network, port: Port) -> None:
    """Refuse what the port was allocated and this version cannot give it."""
    if is_openvswitch(port.virtualport):
        return
    on_switch = isinstance(port.plug, VdePlug)
    given = port.virtualport
    switch = (
        "virtualport"
        if given is None or given.type is None
        else (f"virtualport of type {given.type.value!r}")
    )
    what = {
        # A switch of VDE's forwards among all of its guests, as fast as it can.
        "port isolation": bool(port.isolated) and on_switch,
        "bandwidth": port.bandwidth is not None and on_switch,
        "vlan": port.vlan is not None and on_switch,
        switch: given is not None and not plan_association(port),
    }
    missing = [name for name, wanted in what.items() if wanted]
    if missing:
        group = "" if port.group is None else f", portgroup {port.group!r}"
        raise UnsupportedConfiguration(
            f"network {network.name!r}{group} gives its ports a {missing[0]}, which this version "
            "cannot set on what it makes",
            hint="attach to a portgroup without it",
        )


def _random_mac() -> MacAddress:
    return MacAddress("52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3)))
