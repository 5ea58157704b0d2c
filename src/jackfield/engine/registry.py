"""The engine's memory: the networks and ports it knows, found by what names them."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Callable, Collection, Iterable
from uuid import UUID

from jackfield.allocation.usage import Usage, is_counted
from jackfield.engine.devicenames import DeviceNames
from jackfield.engine.records import (
    Leases,
    NetworkRecord,
    PortRecord,
    nic_of,
)
from jackfield.engine.views import NetworkView, PortView
from jackfield.errors import InvalidRequest, NetworkNotFound, PortNotFound, WrongState, counted
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink, PciUplink, Uplink
from jackfield.model.values import InterfaceName

__all__ = ["Registry"]


_number = operator.attrgetter("uuid.int")
"""What ports are sorted by: a uuid as text takes longer to make than to compare."""


def _nothing(_port: PortRecord) -> None:
    """Do nothing."""


class Registry:
    """Networks by uuid and name, ports by uuid, and what DHCP has given out by network.

    ``lost`` are ports whose device is gone, and the NIC that it went with, if it was that;
    ``astray`` those whose NIC has another name now; ``behind`` those that keep settings of a former
    definition; ``port_forgotten`` is called with each port that is discarded.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self.networks: dict[UUID, NetworkRecord] = {}
        self.ports: dict[UUID, PortRecord] = {}
        self.lost: dict[UUID, InterfaceName | None] = {}
        self.astray: set[UUID] = set()
        self.behind: set[UUID] = set()
        self.usage = Usage()
        self._by_name: dict[str, UUID] = {}
        self._in_order: list[NetworkRecord] = []
        self.devices = DeviceNames(self.networks)
        self._ports_of: dict[UUID, set[UUID]] = {}
        self._clients: dict[str, set[UUID]] = {}
        self.leases: dict[UUID, Leases] = {}
        self.port_forgotten: Callable[[PortRecord], None] = _nothing

    def add(self, record: NetworkRecord) -> None:
        """Add a network; adding it again does no harm."""
        if self.networks.get(record.uuid) is not record:
            former = self.networks.get(record.uuid)
            if former is not None:
                self._in_order.remove(former)
            self.networks[record.uuid] = record
            bisect.insort(self._in_order, record, key=_name)
        self._by_name[record.name] = record.uuid
        record.redefined = self.devices.claim
        self.devices.claim(record)

    def discard(self, record: NetworkRecord) -> None:
        """Forget a network."""
        if self.networks.pop(record.uuid, None) is not None:
            place = bisect.bisect_left(self._in_order, _name(record), key=_name)
            del self._in_order[self._in_order.index(record, place)]
        self.leases.pop(record.uuid, None)
        if not self._ports_of.get(record.uuid):
            self._ports_of.pop(record.uuid, None)
        record.redefined = None
        self.devices.forget(record.uuid)
        if self._by_name.get(record.name) == record.uuid:
            del self._by_name[record.name]

    def by_name(self, name: str) -> NetworkRecord | None:
        """Return the network of that name, or ``None``."""
        uuid = self._by_name.get(name)
        return None if uuid is None else self.networks[uuid]

    def network(self, ref: str | UUID) -> NetworkRecord:
        """Return the network with that name or uuid; ``NetworkNotFound`` if there is none."""
        found = self.networks.get(ref) if isinstance(ref, UUID) else self._by_ref(ref)
        if found is None:
            kind = "uuid" if isinstance(ref, UUID) else "name"
            raise NetworkNotFound(
                f"no network with matching {kind} {str(ref)!r}",
                hint="`jackfield list` shows the networks of this host",
            )
        return found

    def held(self, ref: str | UUID) -> _Held:
        """Give, to ``async with``, the network with that name or uuid, its lock held.

        ``NetworkNotFound`` if there is none, or none any more when its lock is free.
        """
        return _Held(self, ref)

    def _by_ref(self, ref: str) -> NetworkRecord | None:
        """Return the network of that name or, where there is none, of the uuid it may be."""
        found = self.by_name(ref)
        if found is None and len(ref) >= 32:
            try:
                found = self.networks.get(UUID(ref))
            except ValueError:
                found = None
        return found

    def add_port(self, record: PortRecord) -> None:
        """Add a port."""
        known = self.leases.get(record.network, {})
        record.leases = () if record.port.mac is None else known.get(record.port.mac, ())
        self.ports[record.uuid] = record
        self._ports_of.setdefault(record.network, set()).add(record.uuid)
        if record.device is None and record.port.mac is not None:
            self._clients.setdefault(record.port.mac[3:], set()).add(record.uuid)
        if record.former:
            self.behind.add(record.uuid)
        if is_counted(record.port):
            self.usage = self.usage.with_port(str(record.network), record.port)
        self._ports_changed(record.network)

    def discard_port(self, record: PortRecord) -> None:
        """Forget a port."""
        if self.ports.pop(record.uuid, None) is not None and is_counted(record.port):
            self.usage = self.usage.without_port(str(record.network), record.port)
        if self.lost:
            self.lost.pop(record.uuid, None)
        if self.astray:
            self.astray.discard(record.uuid)
        if self.behind:
            self.behind.discard(record.uuid)
        self._ports_of.get(record.network, set()).discard(record.uuid)
        if record.port.mac is not None:
            namesakes = self._clients.get(record.port.mac[3:], set())
            namesakes.discard(record.uuid)
            if not namesakes:
                self._clients.pop(record.port.mac[3:], None)
        self.port_forgotten(record)
        self._ports_changed(record.network)

    def _ports_changed(self, network: UUID) -> None:
        """Have the view of a network made anew, which tells how many ports it has."""
        record = self.networks.get(network)
        if record is not None and record.view is not None:
            record.view = None

    def ports_of(self, network: UUID) -> list[PortRecord]:
        """Return the ports of a network."""
        return [self.ports[uuid] for uuid in self._ports_of.get(network, ())]

    def ports_in_order(self, network: UUID) -> list[PortRecord]:
        """Return the ports of a network, by uuid."""
        return sorted(self.ports_of(network), key=_number)

    def set_lost(
        self, port: PortRecord, problem: str | None, *, nic: InterfaceName | None = None
    ) -> None:
        """Take note that a port's device is gone, with ``nic`` or alone, and what to say of it."""
        self.astray.discard(port.uuid)
        self.lost[port.uuid] = nic
        port.problem = problem
        self._ports_changed(port.network)

    def set_astray(self, port: PortRecord, problem: str | None) -> None:
        """Take note that the NIC of a port's device has another name, and what to say of it."""
        self.lost.pop(port.uuid, None)
        self.astray.add(port.uuid)
        port.problem = problem
        self._ports_changed(port.network)

    def set_found(self, port: PortRecord, problem: str | None = None) -> None:
        """Take note that a port has its device where it should be, and what is wrong with that."""
        self.lost.pop(port.uuid, None)
        self.astray.discard(port.uuid)
        port.problem = problem
        self._ports_changed(port.network)

    def set_former(self, port: PortRecord, former: frozenset[str]) -> None:
        """Take note which settings of a port are of a former definition."""
        port.former = former
        (self.behind.add if former else self.behind.discard)(port.uuid)
        self._ports_changed(port.network)

    def lost_ports_of(self, network: UUID) -> list[PortRecord]:
        """Return the ports of a network whose devices are gone."""
        return self._ports_among(self.lost, network)

    def lost_devices(self, record: NetworkRecord) -> str | None:
        """Return what is wrong with a running network that has ports lost or astray."""
        if not record.active:
            return None
        lost = self._ports_among(self.lost, record.uuid)
        nics = [nic for port in lost if (nic := self.lost[port.uuid]) is not None]
        astray = self._ports_among(self.astray, record.uuid)
        found = []
        if nics:
            names = ", ".join(sorted(set(nics)))
            found.append(f"lost with NIC {names}: the devices of {counted(len(nics), 'port')}")
        if len(lost) > len(nics):
            found.append(f"gone: the devices of {counted(len(lost) - len(nics), 'port')}")
        if astray:
            names = ", ".join(sorted({str(nic_of(port)) for port in astray}))
            count = counted(len(astray), "port")
            found.append(f"NIC {names} has another name now, or is elsewhere, with {count} on it")
        return f"{'; '.join(found)} (see `jackfield ports`)" if found else None

    def former_settings(self, record: NetworkRecord) -> str | None:
        """Return what is wrong with a running network whose ports keep what they had before."""
        behind = self._ports_among(self.behind, record.uuid)
        if not record.active or not behind:
            return None
        return f"{counted(len(behind), 'port')} with former settings (see `jackfield ports`)"

    def _ports_among(self, uuids: Collection[UUID], network: UUID) -> list[PortRecord]:
        return [port for uuid in uuids if (port := self.ports[uuid]).network == network]

    def clients_of(self, tail: str) -> Iterable[UUID]:
        """Return the ports of clients whose MAC ends in these five octets."""
        return tuple(self._clients.get(tail, ()))

    def port_by_uuid(self, uuid: UUID) -> PortRecord:
        """Return the port with that uuid; ``PortNotFound`` if there is none."""
        found = self.ports.get(uuid)
        if found is None:
            raise PortNotFound(
                f"no port with uuid {uuid}",
                hint="`jackfield ports` shows the ports of this host",
            ).in_libvirt(f"Network port with UUID {uuid} does not exist")
        return found

    def connections(self, network: Network) -> dict[Uplink, int]:
        """Return how many ports use each uplink of ``network``, those of other networks as well."""
        found = {}
        bridges = dict(zip(network.uplinks, network.managed_bridges, strict=False))
        for uplink in network.uplinks:
            key = ""
            if uplink in bridges:
                key = str(bridges[uplink])
            elif isinstance(uplink, DeviceUplink):
                key = str(uplink.dev)
            elif isinstance(uplink, PciUplink):
                key = str(uplink.address)
            count = self.usage.uplinks.get(key, 0)
            if count:
                found[uplink] = count
        return found

    def port_count(self, network: UUID) -> int:
        """Return how many ports a network has."""
        return len(self._ports_of.get(network, ()))

    def refuse_with_ports(
        self, record: NetworkRecord, done: str, *, realiser: str | None = None
    ) -> None:
        """Raise ``WrongState`` if the network has ports, because it cannot be ``done`` then.

        With ``realiser`` only its ports count.
        """
        ports = [
            port
            for port in self.ports_of(record.uuid)
            if realiser is None or port.realiser == realiser
        ]
        if ports:
            names = ", ".join(
                sorted(
                    str(port.port.owner.name if port.port.owner else port.uuid) for port in ports
                )
            )
            raise WrongState(
                f"network {record.name!r} has {counted(len(ports), 'port')} ({names}) and "
                f"cannot be {done}",
                hint="detach them first: jackfield detach PORT",
            )

    def port(self, ref: str | UUID) -> PortRecord:
        """Return the port with that uuid, device or owner's name.

        ``PortNotFound`` if there is none, ``InvalidRequest`` if several owners have the name.
        """
        if isinstance(ref, UUID):
            return self.port_by_uuid(ref)
        try:
            return self.ports[UUID(ref)]
        except (ValueError, KeyError):
            pass
        found = [
            record
            for record in self.ports.values()
            if (record.device is not None and record.device.name == ref)
        ] or [
            record
            for record in self.ports.values()
            if record.port.owner is not None and record.port.owner.name == ref
        ]
        if not found:
            raise PortNotFound(
                f"no port with uuid, device or owner {ref!r}",
                hint="`jackfield ports` shows the ports of this host",
            )
        if len(found) > 1:
            uuids = ", ".join(sorted(str(port.uuid) for port in found))
            raise InvalidRequest(
                f"{ref!r} owns {counted(len(found), 'port')}: {uuids}",
                hint="name one by its uuid",
            )
        return found[0]

    def network_view(self, record: NetworkRecord) -> NetworkView:
        """Return what the doors are told of a network."""
        view = record.view
        if view is None:
            view = record.view = NetworkView(
                name=record.name,
                uuid=record.uuid,
                active=record.active,
                autostart=record.autostart,
                stored=record.stored,
                live=record.live,
                ports=self.port_count(record.uuid),
                problem=record.problem or self.lost_devices(record) or self.former_settings(record),
            )
        return view

    def network_views(self) -> list[NetworkView]:
        """Return what the doors are told of all networks, by name."""
        return [record.view or self.network_view(record) for record in self._in_order]

    def port_view(self, record: PortRecord) -> PortView:
        """Return what the doors are told of a port."""
        device = record.device
        return PortView(
            port=record.port,
            network=self.networks[record.network].name,
            network_uuid=record.network,
            realiser=record.realiser,
            device=None if device is None else device.link,
            netns=None if device is None else device.netns,
            ifname=None if device is None else device.ifname,
            node=None if device is None else device.node,
            holder=None if record.holder is None else record.holder.pid,
            problem=record.problem,
        )


class _Held:
    """A network whose lock is held; a generator would take longer than a port's record."""

    __slots__ = ("_record", "_ref", "_registry")

    def __init__(self, registry: Registry, ref: str | UUID) -> None:
        self._registry = registry
        self._ref = ref
        self._record: NetworkRecord

    async def __aenter__(self) -> NetworkRecord:
        while True:
            record = self._registry.network(self._ref)
            await record.lock.acquire()
            if self._registry.networks.get(record.uuid) is record:
                self._record = record
                return record
            record.lock.release()

    async def __aexit__(self, *_: object) -> None:
        self._record.lock.release()


def _name(record: NetworkRecord) -> str:
    """Return what networks are sorted by; a plain ``str`` is compared several times faster."""
    return str(record.name)
