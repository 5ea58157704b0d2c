"""Which names of devices networks claim: what they make, and which bridges they use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from jackfield.document.rules import makes_bridge
from jackfield.engine.records import NetworkRecord, bridges_of
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.plan.openvswitch import uses_openvswitch

__all__ = ["DeviceNames"]


class DeviceNames:
    """The names that networks claim, stored or live; found at once, however many there are.

    ``switches`` are the names that bridges of Open vSwitch have in definitions, and ``switched``
    those of their uplinks.
    """

    def __init__(self, networks: Mapping[UUID, NetworkRecord]) -> None:
        """Tell of ``networks``, as they are whenever that is asked."""
        self._networks = networks
        self._claimants: dict[str, set[UUID]] = {}
        self._names: dict[UUID, set[str]] = {}
        self._on_switches: dict[UUID, tuple[set[str], set[str]]] = {}
        self.switches: set[str] = set()
        self.switched: set[str] = set()

    def claim(self, record: NetworkRecord) -> None:
        """Remember what a network claims; that it has lost a definition is found out when asked."""
        names = _devices_of(record, used=True)
        self._drop(record.uuid, self._names.get(record.uuid, set()) - names)
        self._names[record.uuid] = names
        for name in names:
            self._claimants.setdefault(name, set()).add(record.uuid)
        self._note_switches(record.uuid, [one for one in (record.stored, record.live) if one])

    def forget(self, network: UUID) -> None:
        """Forget what a network that is no more has claimed."""
        self._drop(network, self._names.pop(network, set()))
        self._note_switches(network, [])

    def _drop(self, network: UUID, names: Iterable[str]) -> None:
        for name in names:
            claimants = self._claimants.get(name, set())
            claimants.discard(network)
            if not claimants:
                self._claimants.pop(name, None)

    def _note_switches(self, uuid: UUID, definitions: Iterable[Network]) -> None:
        former = self._on_switches.pop(uuid, None)
        switched = [network for network in definitions if uses_openvswitch(network)]
        if switched:
            self._on_switches[uuid] = (
                {name for network in switched for name in bridges_of(network)},
                {
                    item.dev
                    for network in switched
                    for item in network.uplinks
                    if isinstance(item, DeviceUplink)
                },
            )
        if switched or former:
            self.switches = set().union(*(pair[0] for pair in self._on_switches.values()))
            self.switched = set().union(*(pair[1] for pair in self._on_switches.values()))

    def claimant(
        self, name: str, *, without: NetworkRecord | None = None, used: bool = False
    ) -> str | None:
        """Return a network, but ``without``, that makes, or with ``used`` uses, device ``name``."""
        claimants = self._claimants.get(name, set())
        for uuid in tuple(claimants):
            record = self._networks.get(uuid)
            if record is None or name not in _devices_of(record, used=True):
                claimants.discard(uuid)
            elif record is not without and (used or name in _devices_of(record)):
                return record.name
        if not claimants:
            self._claimants.pop(name, None)
        return None


def _devices_of(record: NetworkRecord, *, used: bool = False) -> set[str]:
    """Return the names of the devices that a network makes, or its bridges ``used``."""
    found: set[str] = set()
    for network in (record.stored, record.live):
        if network is None:
            continue
        if used or makes_bridge(network):
            found |= bridges_of(network)
        if network.vpn is not None and network.vpn.dev is not None:
            found.add(network.vpn.dev)
    return found
