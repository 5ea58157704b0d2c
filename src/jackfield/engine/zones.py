"""Bridges of networks in zones of firewalld, where that runs.

It refuses what comes from a link that is in no zone of its own, guests' DHCP and what is to be
forwarded among it, whatever our rules say: an accept is not final while another table drops.  So a
bridge goes into a zone when its network starts, as libvirt does it: the one that the document
names, or ``libvirt``, for routed networks ``libvirt-routed``, or ours of those names where there is
no libvirt (``packaging/firewalld``).

What is in a zone is written down before it is put there, and taken out of it when the network
stops: firewalld remembers the names of links that are gone.  A bridge that an administrator has
put into another zone is left there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable

from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.engine.workplace import Workplace
from jackfield.errors import HostError, JackfieldError, UnsupportedConfiguration
from jackfield.host.firewalld import Firewalld
from jackfield.host.thread import KernelThread
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName

__all__ = ["Zones", "bridge_name"]

log = logging.getLogger(__name__)

_RECORD = "zone:"
_ZONES = ("libvirt", "jackfield")
_ROUTED_ZONES = {"libvirt-routed": "libvirt-routed-out", "jackfield-routed": "jackfield-out"}
"""Zones of routed networks, each with a policy without which nothing is forwarded there."""

_ROUTED_MODES = frozenset({Mode.ROUTE, Mode.SUBNET})
_PROBLEM = "firewalld may refuse its guests: "


class Zones:
    """Puts bridges into zones, and takes them out."""

    def __init__(
        self,
        registry: Registry,
        thread: KernelThread[Workplace],
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Look after the networks of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._thread = thread
        self._tidings = tidings
        self._firewalld = Firewalld(lambda: later(self._refresh()))
        self._later = later
        # The zone that each bridge is in by us.
        self._put: dict[str, str] = {}

    async def open(self) -> None:
        """Learn what a former daemon has put into zones, and see to those networks that run."""
        self._put = await self._thread.run(lambda tools: tools.store.records(_RECORD))
        if self._put or await self._firewalld.runs():
            self._later(self._refresh())

    def close(self) -> None:
        """Look after nothing any more."""
        self._firewalld.close()

    async def concern(self, network: Network) -> bool:
        """Tell whether a network that starts is to be put into a zone."""
        if not network.mode.is_routed or network.bridge is None:
            return False
        if network.bridge.zone is not None:
            return True
        return network.mode is not Mode.OPEN and await self._firewalld.runs()

    async def join(self, network: Network, *, begun: bool = False) -> None:
        """Have a network's bridge be in its zone, if firewalld runs.

        Where it has ``begun`` by itself, a bridge is left in the zone that somebody has put it in.
        Raises ``UnsupportedConfiguration`` if there is no such zone, and ``HostError``.
        """
        bridge = bridge_name(network)
        if bridge is None or not await self.concern(network):
            return
        assert network.bridge is not None
        wanted = network.bridge.zone
        if not await self._firewalld.runs():
            raise UnsupportedConfiguration(
                f"its bridge is to be in firewalld's zone {wanted!r}, and firewalld does not run",
                hint="start firewalld, or take zone out of <bridge>",
            ).in_libvirt(
                f"zone {wanted} requested for network {network.name} but firewalld is not active",
                code=1,
            )
        present = await self._firewalld.zone_of(bridge)
        ours = self._put.get(bridge)
        if present not in {"", ours} and (begun or wanted is None):
            log.info(
                "network %s: %s is in firewalld's zone %s already", network.name, bridge, present
            )
            return
        zone = wanted or await self._zone_for(network)
        if ours != zone:
            await self._note(bridge, zone)
        if present == zone:
            return
        try:
            await self._firewalld.put(zone, bridge)
        except HostError as error:
            await self._note(bridge, ours)
            raise HostError(
                f"firewalld refuses to put bridge {bridge} into zone {zone!r}: {error}",
                hint=error.hint or "firewall-cmd --get-zones lists its zones",
            ) from error
        log.info("network %s: %s is in firewalld's zone %s", network.name, bridge, zone)

    async def leave(self, bridge: InterfaceName | None) -> None:
        """Take a bridge that has gone out of the zone that we have put it in.

        What cannot be done is told of in the log: firewalld forgets it when it ends.
        """
        zone = None if bridge is None else self._put.get(bridge)
        if bridge is None or zone is None:
            return
        try:
            if await self._firewalld.runs() and await self._firewalld.zone_of(bridge) == zone:
                await self._firewalld.take_out(zone, bridge)
        except HostError as error:
            log.warning("%s stays in firewalld's zone %s: %s", bridge, zone, error)
        await self._note(bridge, None)

    async def _note(self, bridge: InterfaceName, zone: str | None) -> None:
        """Write down which zone a bridge is in by us, or that it is in none."""
        key = _RECORD + bridge
        if zone is None:
            await self._thread.run(lambda tools: tools.store.delete_record(key))
            self._put.pop(bridge, None)
        else:
            await self._thread.run(lambda tools: tools.store.put_record(key, zone))
            self._put[bridge] = zone

    async def _zone_for(self, network: Network) -> str:
        """Return the zone for a network whose document names none."""
        zones = await self._firewalld.zones()
        if network.mode in _ROUTED_MODES:
            policies = await self._firewalld.policies()
            for name, policy in _ROUTED_ZONES.items():
                if name in zones and policy in policies:
                    return name
        for name in _ZONES:
            if name in zones:
                return name
        raise UnsupportedConfiguration(
            "firewalld runs, and has no zone for networks: it would refuse what guests send",
            hint="install those of packaging/firewalld or libvirt's and firewall-cmd --reload, "
            "or name another with <bridge zone='…'/>",
        )

    async def _refresh(self) -> None:
        """See to all networks that run, and to what a daemon that died has left."""
        for record in list(self._registry.networks.values()):
            async with record.lock:
                if record.active and not record.halted:
                    await self._refresh_one(record)
        in_use = {bridge_name(record.current) for record in self._running()}
        for bridge in [item for item in self._put if item not in in_use]:
            await self.leave(InterfaceName(bridge))

    def _running(self) -> Iterable[NetworkRecord]:
        return (one for one in self._registry.networks.values() if one.live is not None)

    async def _refresh_one(self, record: NetworkRecord) -> None:
        try:
            await self.join(record.current, begun=True)
        except JackfieldError as error:
            if not (record.problem or "").startswith(_PROBLEM):
                await self._tidings.problem(record, f"{_PROBLEM}{error}")
            return
        if (record.problem or "").startswith(_PROBLEM):
            record.problem = None


def bridge_name(network: Network) -> InterfaceName | None:
    """Return the bridge that a network makes for itself and may have in a zone."""
    return network.bridge.name if network.bridge is not None and network.mode.is_routed else None
