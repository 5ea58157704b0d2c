"""Resources: one frozen value per thing wanted of, or observed on, a host.

Every resource has a ``key`` that names the thing it is about: two resources with one key
describe the same thing, wanted or observed.  The order in which kinds are made is the order of
``KINDS``; they are removed in the reverse.

Ownership is not part of a resource: a driver knows a link of ours by its alias, an address or a
route by its protocol number, rules by their table, a process by pid and start time.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar, TypeAlias
from uuid import UUID

from jackfield.model.address import Address, IpInterface, IpNetwork
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.vlan import Vlan
from jackfield.state.association import SwitchAssociation
from jackfield.state.functions import (
    EchoGuard,
    FunctionAspect,
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
from jackfield.state.traffic import Guarantee, Policing, Shaping
from jackfield.state.vlans import UplinkVlan, VlanFiltering, vlan_setting

__all__ = [
    "KINDS",
    "BpduGuard",
    "BridgePort",
    "Dnsmasq",
    "Guarantee",
    "InterfaceAddress",
    "LinkAttribute",
    "LinkSetting",
    "LinkUp",
    "ManagedUplink",
    "NetworkRules",
    "Policing",
    "PortGuard",
    "Resource",
    "Route",
    "Service",
    "Setting",
    "Shaping",
    "SharedSetting",
    "SwitchAssociation",
    "TapNode",
    "UplinkVlan",
    "VdeSwitch",
    "VlanFiltering",
    "shared_setting",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """A sysctl, ``name`` as a path below ``/proc/sys`` (``net/ipv4/ip_forward``).

    With ``shared`` the host lived before us and has other users: the previous value is recorded
    and put back when the last of our users goes, unless somebody else changed it meanwhile.
    Otherwise the setting belongs to ``link``, which is ours, and goes with it.
    """

    kind: ClassVar[str] = "setting"
    name: str
    value: str
    shared: bool = False
    link: InterfaceName | None = None

    @property
    def carrier(self) -> str | None:
        """The key of the link that this goes away with, if there is one."""
        return None if self.link is None else f"link:{self.link}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"setting:{self.name}"


class LinkAttribute(enum.Enum):
    """What of somebody else's link we may have to set."""

    STATE = "state"
    ADDRESS = "address"
    MTU = "mtu"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkSetting(Standing):
    """An attribute of ``link``, which is not ours.

    Its ``STATE`` (up or down), its ``ADDRESS``, or its ``MTU`` in bytes.

    Always shared, as a ``Setting`` may be: recorded before it is set, and put back.  With an
    ``index`` it is of the link that has that, whatever its name is now.
    """

    kind: ClassVar[str] = "link-setting"
    shared: ClassVar[bool] = True
    link: InterfaceName
    attribute: LinkAttribute
    value: str
    index: int | None = dataclasses.field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What it is called in the record of shared settings; no path of a sysctl is like it."""
        return f"{self.link} {self.attribute.value}"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link-setting:{self.name}"


SharedSetting = (
    Setting
    | LinkSetting
    | FunctionSetting
    | FunctionCount
    | OwnAddress
    | VlanFiltering
    | UplinkVlan
)
"""What has users besides us, and a value that it had before us."""


def shared_setting(name: str, value: str) -> SharedSetting:
    """Return the shared setting of that ``name`` with this ``value``."""
    owner, space, what = name.partition(" ")
    if ":" in owner:
        # No link has a colon in its name.
        address = PciAddress(owner)
        return FunctionSetting(address=address, aspect=FunctionAspect(what), value=value)
    if what == "functions":
        return FunctionCount(link=InterfaceName(owner), value=value)
    vlans = vlan_setting(owner, what, value)
    if vlans is not None:
        return vlans
    if what.startswith("own "):
        mac = MacAddress(what.removeprefix("own "))
        return OwnAddress(link=InterfaceName(owner), mac=mac, value=value)
    if space:
        return LinkSetting(link=InterfaceName(owner), attribute=LinkAttribute(what), value=value)
    return Setting(name=name, value=value, shared=True)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dnsmasq(Standing):
    """A dnsmasq process of ours and the files it reads.

    ``config`` is read at its start only; ``hosts`` (``dhcp-hostsfile``), ``names``
    (``addn-hosts``) and ``options`` (``dhcp-optsfile``) are read again on SIGHUP, and so is the
    servers file, which the host side writes from ``servers`` and, when ``follow_resolver``, the
    host's own resolver configuration.  In ``config`` a value that begins with ``@DIR@/`` lies in
    the directory of the network's files, one with ``@STATE@/`` in that of all lease files.
    """

    kind: ClassVar[str] = "dnsmasq"
    network: UUID
    bridge: InterfaceName
    config: str
    hosts: str = ""
    names: str = ""
    options: str = ""
    servers: tuple[str, ...] = ()
    follow_resolver: bool = True
    serves_dhcp4: bool = False
    serves_dhcp6: bool = False

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"dnsmasq:{self.network}"

    @property
    def serves_on(self) -> str:
        """The key of the link that the process is bound to."""
        return f"link:{self.bridge}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VdeSwitch(Standing):
    """A vde_switch process of ours on ``tap``, open to ``group`` or, without one, to root.

    ``user`` is the numeric id that it runs as, ``None`` only where nothing is to be done.
    ``running``, and ``reachable`` (its socket is there), are false only on what was observed.
    """

    kind: ClassVar[str] = "vde-switch"
    network: UUID
    tap: InterfaceName
    group: Text | None = None
    user: int | None = None
    running: bool = True
    reachable: bool = True

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"vde-switch:{self.network}"

    @property
    def serves_on(self) -> str:
        """The key of the link that the process is bound to."""
        return f"link:{self.tap}"


Service: TypeAlias = Dnsmasq | VdeSwitch
"""What is a process that serves a network: it takes a while until it does, and may die."""

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
