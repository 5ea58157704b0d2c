"""The port: one guest interface's connection to one network (libvirt's ``<networkport>``)."""

from __future__ import annotations

import dataclasses
from uuid import UUID

from jackfield.model.bandwidth import Bandwidth
from jackfield.model.network import MacTableManager
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.virtualport import VirtualPort
from jackfield.model.vlan import Vlan

__all__ = [
    "PASSTHROUGH",
    "BridgePlug",
    "DirectPlug",
    "HostdevPlug",
    "NetworkPlug",
    "Owner",
    "Plug",
    "Port",
    "VdePlug",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whom a port belongs to: a guest's name and uuid."""

    name: Text
    uuid: UUID


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlug:
    """A tap (or veth) on the bridge of a routed network."""

    bridge: InterfaceName
    mac_table_manager: MacTableManager | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BridgePlug:
    """A tap (or veth) on a bridge to the outside."""

    bridge: InterfaceName
    mac_table_manager: MacTableManager | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DirectPlug:
    """A macvtap over ``dev``; ``mode`` is bridge, vepa, private or passthrough."""

    dev: InterfaceName
    mode: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostdevPlug:
    """A PCI function given to the guest."""

    address: PciAddress
    managed: bool | None = None
    driver: str | None = None
    model: Text | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VdePlug:
    """A VDE switch's control socket directory, ``path``."""

    path: Text


PASSTHROUGH = "passthrough"
"""The mode of ``DirectPlug`` in which one guest has the whole uplink."""

Plug = NetworkPlug | BridgePlug | DirectPlug | HostdevPlug | VdePlug


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One connection, as asked for (``plug`` is ``None``) or as allocated."""

    uuid: UUID | None = None
    owner: Owner | None = None
    mac: MacAddress | None = None
    group: Text | None = None
    virtualport: VirtualPort | None = None
    bandwidth: Bandwidth | None = None
    vlan: Vlan | None = None
    isolated: bool | None = None
    trust_guest_rx_filters: bool | None = None
    plug: Plug | None = None
