"""The port: one guest interface's connection to one network (libvirt's ``<networkport>``)."""

from __future__ import annotations

from uuid import UUID

from jackfield.model.bandwidth import Bandwidth
from jackfield.model.network import MacTableManager
from jackfield.model.uplink import PciAddress
from jackfield.model.value import Value
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


class Owner(Value, frozen=True, kw_only=True):
    """Whom a port belongs to: a guest's name and uuid."""

    name: Text
    uuid: UUID


class NetworkPlug(Value, frozen=True, kw_only=True, tag_field="kind", tag="network"):
    """A tap (or veth) on the bridge of a routed network."""

    bridge: InterfaceName
    mac_table_manager: MacTableManager | None = None


class BridgePlug(Value, frozen=True, kw_only=True, tag_field="kind", tag="bridge"):
    """A tap (or veth) on a bridge to the outside."""

    bridge: InterfaceName
    mac_table_manager: MacTableManager | None = None


class DirectPlug(Value, frozen=True, kw_only=True, tag_field="kind", tag="direct"):
    """A macvtap over ``dev``; ``mode`` is bridge, vepa, private or passthrough."""

    dev: InterfaceName
    mode: str


class HostdevPlug(Value, frozen=True, kw_only=True, tag_field="kind", tag="hostdev-pci"):
    """A PCI function given to the guest."""

    address: PciAddress
    managed: bool | None = None
    driver: str | None = None
    model: Text | None = None


class VdePlug(Value, frozen=True, kw_only=True, tag_field="kind", tag="vde"):
    """A VDE switch's control socket directory, ``path``."""

    path: Text


PASSTHROUGH = "passthrough"
"""The mode of ``DirectPlug`` in which one guest has the whole uplink."""

Plug = NetworkPlug | BridgePlug | DirectPlug | HostdevPlug | VdePlug


class Port(Value, frozen=True, kw_only=True):
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
