"""Resources: one frozen value per thing wanted of, or observed on, a host.

Every resource has a ``key`` that names the thing it is about: two resources with one key
describe the same thing, wanted or observed.  The order in which kinds are made is the order of
``KINDS``; they are removed in the reverse.  Kinds that belong together are described in modules
beside this one (``links``, ``settings``, ``services``, ``traffic``, …).

Ownership is not part of a resource: a driver knows a link of ours by its alias, an address or a
route by its protocol number, rules by their table, a process by pid and start time.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jackfield.model.address import Address, IpInterface, IpNetwork
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.model.vlan import Vlan
from jackfield.state.association import SwitchAssociation
from jackfield.state.functions import (
    EchoGuard,
    FunctionCount,
    FunctionSetting,
    OwnAddress,
)
from jackfield.state.links import (
    AnyLink,
    BridgeLink,
    MacvlanLink,
    MacvtapLink,
    OnLink,
    Standing,
    TapLink,
    VethLink,
)
from jackfield.state.openvswitch import AnyRow, OvsBridge, OvsPort
from jackfield.state.private import PrivateGuard
from jackfield.state.rules import Chain, Element
from jackfield.state.services import Dnsmasq, VdeSwitch
from jackfield.state.settings import (
    LinkSetting,
    Setting,
)
from jackfield.state.traffic import Guarantee, Policing, Shaping
from jackfield.state.vlans import UplinkVlan, VlanFiltering

__all__ = [
    "KINDS",
    "BpduGuard",
    "BridgePort",
    "InterfaceAddress",
    "LinkUp",
    "ManagedUplink",
    "NetworkRules",
    "PortGuard",
    "Resource",
    "Route",
    "TapNode",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapNode(Standing):
    """The device node at ``path`` through which the macvtap ``link`` is opened.

    For its ``owner`` alone, a numeric user id; ``None`` is root.
    """

    kind: ClassVar[str] = "tap-node"
    link: InterfaceName
    path: str
    owner: int | None = None

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"tap-node:{self.path}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BridgePort(OnLink):
    """``link`` is a port of ``bridge``, with the port's flags (``IFLA_BRPORT_*``) and is up.

    ``addresses`` are those that the bridge's forwarding table leads here whether they are heard
    or not.  ``vlan`` ``None`` leaves the port in whatever VLANs the bridge gave it.  ``up`` is
    false only on what was observed.
    """

    kind: ClassVar[str] = "bridge-port"
    bridge: InterfaceName
    isolated: bool = False
    learning: bool = True
    unicast_flood: bool = True
    addresses: tuple[MacAddress, ...] = ()
    vlan: Vlan | None = None
    up: bool = True

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"bridge-port:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ManagedUplink(Standing):
    """``link``, which is not ours, is a port of our ``bridge``, which has all that it had.

    Its MAC, MTU, addresses, routes, neighbours and sysctls; what it had before is recorded, and
    all of it goes back when this is removed.  ``mtu`` ``None`` leaves the MTU as it was.
    ``whole`` is false only on what was observed: something is still, or again, at the link.

    On no link by ``carrier``: it has to be removed before its bridge, not to go away with it.
    """

    kind: ClassVar[str] = "uplink"
    link: InterfaceName
    bridge: InterfaceName
    mtu: int | None = None
    whole: bool = True

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"uplink:{self.link}"

    @property
    def shelter(self) -> str:
        """The key of the link that must stay as long as this could not be removed."""
        return f"link:{self.bridge}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BpduGuard(Standing):
    """What guests say of spanning trees does not leave by the uplink ``link``."""

    kind: ClassVar[str] = "bpdu-guard"
    link: InterfaceName

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"bpdu-guard:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterfaceAddress(OnLink):
    """An address on a link of ours, marked with our protocol number (``IFA_PROTO``)."""

    kind: ClassVar[str] = "address"
    interface: IpInterface

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"address:{self.link}:{self.interface}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkUp(OnLink):
    """``link`` is administratively up."""

    kind: ClassVar[str] = "up"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"up:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route(OnLink):
    """A route of ours in the main table, marked with our protocol number (``RTA_PROTO``)."""

    kind: ClassVar[str] = "route"
    destination: IpNetwork
    gateway: Address
    metric: int | None = None

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"route:{self.destination}:{self.metric or 0}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkRules(Standing):
    """What ``inet jackfield`` says of a network: elements of its sets, and chains of its own."""

    kind: ClassVar[str] = "rules"
    bridge: InterfaceName
    elements: tuple[Element, ...]
    chains: tuple[Chain, ...] = ()

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"rules:{self.bridge}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PortGuard(Standing):
    """What a port lets its guest send: elements of the sets of ``bridge jackfield``.

    By the name of ``link``, so that it is there before the link is and goes after it.  The guest
    sends from ``mac`` and the ``addresses``; of these, ``owned`` are IPv6 addresses that are no
    other guest's on this host.  With ``learns`` a DHCP server of ours gives it more.  ``open4``
    and ``open6`` let it use any address of that family, ``prefixes`` (IPv6, at least /64) any
    there, but none that is ``denied`` or another guest's.
    """

    kind: ClassVar[str] = "port-guard"
    link: InterfaceName
    mac: MacAddress
    addresses: tuple[Address, ...] = ()
    owned: tuple[Address, ...] = ()
    denied: tuple[Address, ...] = ()
    prefixes: tuple[IpNetwork, ...] = ()
    learns: bool = False
    open4: bool = False
    open6: bool = False

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"port-guard:{self.link}"


Resource = (
    AnyLink
    | AnyRow
    | Setting
    | LinkSetting
    | FunctionCount
    | FunctionSetting
    | OwnAddress
    | TapNode
    | InterfaceAddress
    | LinkUp
    | BridgePort
    | ManagedUplink
    | VlanFiltering
    | UplinkVlan
    | BpduGuard
    | EchoGuard
    | PrivateGuard
    | Route
    | NetworkRules
    | PortGuard
    | Shaping
    | Guarantee
    | Policing
    | Dnsmasq
    | VdeSwitch
    | SwitchAssociation
)

KINDS: dict[str, type[Resource]] = {
    resource.kind: resource
    for resource in (
        LinkSetting,
        FunctionCount,
        FunctionSetting,
        # Before a guest's device, and until it is gone.
        PrivateGuard,
        BridgeLink,
        OvsBridge,
        TapLink,
        VethLink,
        MacvtapLink,
        MacvlanLink,
        TapNode,
        Setting,
        InterfaceAddress,
        # Before anybody is on the network, or served by it.
        NetworkRules,
        PortGuard,
        # Before a guest can send anything.
        Policing,
        BpduGuard,
        EchoGuard,
        # A bridge gets its uplink's address before it comes up and makes another of its own.
        ManagedUplink,
        # Before a port is on the bridge, which would be with all others until then.
        VlanFiltering,
        UplinkVlan,
        LinkUp,
        Dnsmasq,
        VdeSwitch,
        # Once the function is trusted with it.
        OwnAddress,
        BridgePort,
        OvsPort,
        Route,
        Shaping,
        Guarantee,
        # The switch lets the guest in when all else of it is there.
        SwitchAssociation,
    )
}
"""Every kind of resource, in the order in which they are made."""
