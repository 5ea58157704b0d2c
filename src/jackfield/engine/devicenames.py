"""Which names of devices networks claim: what they make, and which bridges they use."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from jackfield.document.rules import makes_bridge
from jackfield.engine.records import NetworkRecord, bridges_of
from jackfield.model.uplink import DeviceUplink
from jackfield.plan.openvswitch import uses_openvswitch

__all__ = ["DeviceNames"]


class DeviceNames:
    """The names that networks claim, stored or live; found at once, however many there are.

    ``switches`` are the names that bridges of Open vSwitch have, or had, in definitions, and
    ``switched`` those of their uplinks.
    """

    def __init__(self, networks: Mapping[UUID, NetworkRecord]) -> None:
        """Tell of ``networks``, as they are whenever that is asked."""
        self._networks = networks
        self._claimants: dict[str, set[UUID]] = {}
        self.switches: set[str] = set()
        self.switched: set[str] = set()

    def claim(self, record: NetworkRecord) -> None:
        """Remember what a network claims; what it does not any more is found out when asked."""
        for name in _devices_of(record, used=True):
            self._claimants.setdefault(name, set()).add(record.uuid)
        for network in filter(None, (record.stored, record.live)):
            if uses_openvswitch(network):
                self.switches |= bridges_of(network)
                uplinks = (item for item in network.uplinks if isinstance(item, DeviceUplink))
                self.switched |= {item.dev for item in uplinks}

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
