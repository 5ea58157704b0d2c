"""Which devices of clients' ports are guarded: they are known once they have been recognised."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from jackfield.engine.ports.taps import recognised
from jackfield.engine.records import PortRecord
from jackfield.engine.registry import Registry
from jackfield.model.port import BridgePlug, NetworkPlug
from jackfield.model.values import InterfaceName
from jackfield.plan.guard import is_guarded, plan_guard
from jackfield.state.facts import LinkFact
from jackfield.state.resources import PortGuard

__all__ = ["TAP", "Away", "ClientDevices", "is_there"]

TAP = "fe:"
"""How the MAC of a libvirt guest's tap begins; the rest is the guest's."""

Away = Mapping[str, InterfaceName]
"""Links that were on a network's bridges and are on none now, by their MAC."""


class ClientDevices:
    """The devices that clients have made for guarded ports; ``guards`` are those on them."""

    def __init__(self, registry: Registry) -> None:
        """Know no device yet of the ports of ``registry``."""
        self._registry = registry
        self.guards: dict[UUID, PortGuard] = {}
        self._ports: dict[str, UUID] = {}

    def port_at(self, device: str) -> UUID | None:
        """Return the port whose device has that name."""
        return self._ports.get(device)

    def is_awaited(self, port: PortRecord) -> bool:
        """Tell whether a port is to be guarded on a device of its client's, not known yet."""
        if port.device is not None:
            return False
        record = self._registry.networks.get(port.network)
        return (
            record is not None
            and is_guarded(record.current, port.port)
            and port.uuid not in self.guards
        )

    def recognise(
        self, port: PortRecord, links: Mapping[str, LinkFact], away: Away
    ) -> PortGuard | None:
        """Find the device of a port that is to be guarded, and take note of it."""
        if not self.is_awaited(port):
            return None
        (view,) = recognised([self._registry.port_view(port)], links)
        device = view.device
        if device is None and port.port.mac is not None:
            device = away.get(f"{TAP}{port.port.mac[3:]}")
        if device is None:
            return None
        network = self._registry.networks[port.network].current
        guard = plan_guard(network, port.port, device, port.leases)
        if guard is not None:
            self.guards[port.uuid] = guard
            self._ports[guard.link] = port.uuid
        return guard

    def change(self, port: UUID, guard: PortGuard | None) -> None:
        """Take note that the guard on a port's device is another, or none any more.

        Nothing is noted of a port whose device is not known.
        """
        if guard is None:
            self.forget(port)
        elif port in self.guards:
            self.guards[port] = guard

    def forget(self, port: UUID) -> None:
        """Take note that a port's device is not known any more."""
        present = self.guards.pop(port, None)
        if present is not None and self._ports.get(present.link) == port:
            del self._ports[present.link]


def is_there(port: PortRecord, guard: PortGuard, links: Mapping[str, LinkFact]) -> bool:
    """Tell whether the guest's device is still there, and on no bridge but its network's.

    One whose bridge is away keeps its guard, and has it when the network starts again.
    """
    link, bridge = links.get(guard.link), links.get(_bridge_of(port))
    if link is None or link.mac != f"{TAP}{guard.mac[3:]}":
        return False
    return link.master is None or (bridge is not None and link.master == bridge.index)


def _bridge_of(port: PortRecord) -> str:
    plug = port.port.plug
    return plug.bridge if isinstance(plug, NetworkPlug | BridgePlug) else ""
