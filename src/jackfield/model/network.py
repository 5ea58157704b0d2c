"""The network: what a host offers under a name."""

from __future__ import annotations

import enum
from uuid import UUID

from jackfield.model.address import Address, IpInterface, StaticRoute, Subnet
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.dns import Dns, Domain
from jackfield.model.mode import Mode
from jackfield.model.uplink import Uplink
from jackfield.model.value import Value
from jackfield.model.values import InterfaceName, MacAddress, NameTemplate, NetworkName, Text
from jackfield.model.virtualport import VirtualPort
from jackfield.model.vlan import Vlan
from jackfield.model.vpn import Vpn

__all__ = [
    "Bridge",
    "ForwardTarget",
    "MacTableManager",
    "Nat",
    "Network",
    "PciDriver",
    "PortForward",
    "Portgroup",
    "Vde",
]


class MacTableManager(enum.Enum):
    """Who fills the bridge's forwarding table (``kernel`` learns, ``libvirt`` enters it)."""

    KERNEL = "kernel"
    LIBVIRT = "libvirt"


class Bridge(Value, frozen=True, kw_only=True):
    """The network's bridge.

    ``template`` is what a name is made of, once, where there is none yet; without either it is
    ``virbr%d``.  ``delay`` is the STP forward delay in seconds.  ``uplinks_mtu`` and the uplinks
    of the network make it a managed bridge (Jackfield's ``<uplinks>``).
    """

    name: InterfaceName | None = None
    template: NameTemplate | None = None
    stp: bool = True
    delay: int = 0
    zone: Text | None = None
    mac_table_manager: MacTableManager | None = None
    uplinks_mtu: int | None = None


class Nat(Value, frozen=True, kw_only=True):
    """How sources are translated: addresses and ports, both ends included (libvirt's ``<nat>``)."""

    ipv6: bool | None = None
    address_start: Address | None = None
    address_end: Address | None = None
    port_start: int | None = None
    port_end: int | None = None


class ForwardTarget(Value, frozen=True, kw_only=True):
    """The guest a forwarded port leads to: exactly one of ``mac``, ``name``, ``ip``."""

    mac: MacAddress | None = None
    name: Text | None = None
    ip: Address | None = None


class PortForward(Value, frozen=True, kw_only=True):
    """Ports of the host that lead to a guest (Jackfield's ``<portForward>``)."""

    protocol: str
    start: int
    end: int
    to: int
    target: ForwardTarget
    address: Address | None = None
    dev: InterfaceName | None = None


class PciDriver(Value, frozen=True, kw_only=True):
    """How a PCI function is bound for a guest (libvirt's ``<driver>`` under ``<forward>``)."""

    name: str | None = None
    model: Text | None = None


class Portgroup(Value, frozen=True, kw_only=True):
    """A class of connection; ``count`` is how many ports it admits (``None``: no limit).

    ``anti_spoofing`` and ``guest_addresses`` are as those of the network, which they replace.
    """

    name: Text
    default: bool = False
    count: int | None = None
    uplinks: tuple[Uplink, ...] = ()
    virtualport: VirtualPort | None = None
    vlan: Vlan | None = None
    bandwidth: Bandwidth | None = None
    trust_guest_rx_filters: bool | None = None
    isolated: bool | None = None
    anti_spoofing: bool | None = None
    guest_addresses: tuple[Address, ...] = ()


class Vde(Value, frozen=True, kw_only=True):
    """A VDE switch on the network's bridge, open to the members of ``group``."""

    group: Text | None = None


class Network(Value, frozen=True, kw_only=True):
    """What a host offers under a name; one value whatever the dialect it was read from.

    ``uuid`` is ``None`` only before the definition is completed.  ``metadata`` is the text of
    the ``<metadata>`` element, kept as it came.  ``ipv6`` is libvirt's ``ipv6='yes'``: IPv6 is
    on for guests although the host has no IPv6 address there.  ``connections`` is filled in
    live documents only.  ``anti_spoofing`` is libvirt's filter ``clean-traffic`` for every port,
    and ``guest_addresses`` are those that guests may use besides what the network gives them.
    """

    name: NetworkName
    uuid: UUID | None = None
    mode: Mode = Mode.ISOLATED
    title: str | None = None
    description: str | None = None
    metadata: str | None = None
    ipv6: bool = False
    trust_guest_rx_filters: bool | None = None
    connections: int | None = None
    uplinks: tuple[Uplink, ...] = ()
    managed: bool | None = None
    driver: PciDriver | None = None
    nat: Nat | None = None
    port_forwards: tuple[PortForward, ...] = ()
    proxy_arp: bool = False
    proxy_ndp: bool = False
    bridge: Bridge | None = None
    mac: MacAddress | None = None
    mtu: int | None = None
    domain: Domain | None = None
    dns: Dns | None = None
    subnets: tuple[Subnet, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    bandwidth: Bandwidth | None = None
    vlan: Vlan | None = None
    virtualport: VirtualPort | None = None
    portgroups: tuple[Portgroup, ...] = ()
    isolated: bool | None = None
    anti_spoofing: bool | None = None
    guest_addresses: tuple[Address, ...] = ()
    vpn: Vpn | None = None
    vde: Vde | None = None
    dnsmasq_options: tuple[Text, ...] = ()

    @property
    def interfaces(self) -> list[IpInterface]:
        """The addresses of the bridge, each with the prefix of its subnet."""
        return [subnet.interface for subnet in self.subnets if subnet.interface is not None]

    @property
    def managed_bridges(self) -> tuple[InterfaceName, ...]:
        """The bridges that are made over uplinks, one for each of them and in their order.

        The first has the name of ``bridge``, the others that name with ``-1``, ``-2``, ….  Empty
        without uplinks, without a name, and in other modes than BRIDGE.  Raises ``ValueError``
        when a name would be too long.
        """
        if self.mode is not Mode.BRIDGE or self.bridge is None or self.bridge.name is None:
            return ()
        name = self.bridge.name
        further = range(1, len(self.uplinks))
        first = (name,) if self.uplinks else ()
        return (*first, *(InterfaceName(f"{name}-{number}") for number in further))
