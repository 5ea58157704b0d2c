"""All that looks out for what somebody else does to networks and ports."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.lostports import LostPorts
from jackfield.engine.mending.mending import Mending
from jackfield.engine.ports.guards import Guards
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.engine.watch.bridges import BridgeWatch
from jackfield.engine.watch.devices import DeviceWatch
from jackfield.engine.watch.forwarding import ForwardingWatch
from jackfield.engine.watch.nics import NicWatch
from jackfield.engine.watch.places import PlaceWatch
from jackfield.engine.watch.routers import RouterWatch
from jackfield.engine.watch.switches import SwitchWatch
from jackfield.engine.watch.switchpulse import SwitchPulse
from jackfield.engine.watch.uplinks import UplinkWatch
from jackfield.engine.watch.ways import WayWatch
from jackfield.engine.workplace import Workplace
from jackfield.host.thread import KernelThread
from jackfield.model.address import IpNetwork

__all__ = ["Watches"]


class Watches:
    """The watches on the host's links, each of which knows one kind of trouble."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        host: HostWatch,
        guards: Guards,
        mending: Mending,
        lost: LostPorts,
        tidings: Tidings,
        judge_ways: Callable[[Sequence[NetworkRecord]], Coroutine[None, None, None]],
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch what is in ``registry``; ``later`` runs a coroutine as a task."""
        self._host = host
        self._guards = guards
        self._bridges = BridgeWatch(registry, host, mending, tidings, later)
        self._uplinks = UplinkWatch(registry, host, mending, tidings, later)
        self._nics = NicWatch(registry, host, lost, tidings, later)
        self._switches = SwitchWatch(registry, host, mending, tidings, later)
        self._pulse = SwitchPulse(registry, thread, mending, tidings, later)
        self._devices = DeviceWatch(registry, host, lost, later)
        self._places = PlaceWatch(registry, host, tidings, later)
        self._forwarding = ForwardingWatch(registry, tidings, later)
        self._ways = WayWatch(registry, host, judge_ways, later)
        self._routers = RouterWatch(registry, host, tidings, later)

    def open(self) -> None:
        """Listen from here on."""
        for listener in (
            self._bridges.link_changed,
            self._guards.link_changed,
            self._uplinks.link_changed,
            self._nics.link_changed,
            self._switches.link_changed,
            self._devices.link_changed,
            self._places.link_changed,
            self._ways.link_changed,
        ):
            self._host.on_link(listener)
        self._routers.open()
        self._host.on_route(self._route_changed)
        self._host.on_forwarding(self._forwarding.changed)
        self._host.on_namespace_gone(self._devices.namespace_gone)
        self._host.on_missed(self._devices.missed)
        self._host.on_told_again(self._devices.nic_told_again)

    def _route_changed(self, destination: IpNetwork, index: int) -> None:
        self._bridges.route_changed(destination, index)
        self._ways.route_changed(destination, index)

    async def expect(self, running: Iterable[NetworkRecord]) -> None:
        """Tell of what is wrong already, with the ``running`` networks and their ports."""
        self._uplinks.expect(running)
        await self._nics.expect()
        await self._switches.expect()
        await self._devices.expect()
        await self._places.expect()
        await self._bridges.expect()
        await self._pulse.expect()

    def close(self) -> None:
        """Tell nothing any more."""
        self._bridges.close()
        self._pulse.close()
        self._devices.close()
        self._places.close()
        self._forwarding.close()
        self._ways.close()
        self._routers.close()
