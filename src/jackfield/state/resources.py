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
from typing import ClassVar
from uuid import UUID

from jackfield.model.address import Address, IpInterface, IpNetwork
from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.rules import Chain

__all__ = [
    "KINDS",
    "BridgeLink",
    "BridgePort",
    "Dnsmasq",
    "InterfaceAddress",
    "LinkUp",
    "NetworkRules",
    "OwnerKind",
    "Resource",
    "Route",
    "Setting",
    "Shaping",
    "TapLink",
    "VethLink",
    "alias_of",
]


class OwnerKind(enum.Enum):
    """Whose a resource is; part of a link's alias."""

    NETWORK = "network"
    PORT = "port"


def alias_of(kind: OwnerKind, uuid: UUID) -> str:
    """Return the alias that marks a link as ours: ``jackfield:<network|port>:<uuid>``."""
    return f"jackfield:{kind.value}:{uuid}"


class _Standing:
    """What stands on no link."""

    @property
    def carrier(self) -> str | None:
        """The key of the link that this goes away with: none."""
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _OnLink:
    """What is on ``link`` and goes away with it."""

    link: InterfaceName

    @property
    def carrier(self) -> str | None:
        """The key of the link that this goes away with."""
        return f"link:{self.link}"


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class BridgeLink(_Standing):
    """A bridge of ours, made down and without addresses.

    ``forward_delay`` is in seconds; ``mtu`` ``None`` is the kernel's choice.
    """

    kind: ClassVar[str] = "bridge"
    name: InterfaceName
    alias: str
    mac: MacAddress | None
    mtu: int | None = None
    stp: bool = False
    forward_delay: int = 0

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link:{self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapLink(_Standing):
    """A persistent tap of ours; ``owner`` is a numeric user id, ``queues`` above 1 multiqueue."""

    kind: ClassVar[str] = "tap"
    name: InterfaceName
    alias: str
    mac: MacAddress | None
    mtu: int | None = None
    owner: int | None = None
    queues: int = 1

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link:{self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class VethLink(_Standing):
    """A veth pair: ``name`` stays here, ``peer_name`` is made inside the namespace ``peer_netns``.

    ``peer_netns`` is the path of a namespace file; the peer comes up with ``peer_mac``.
    """

    kind: ClassVar[str] = "veth"
    name: InterfaceName
    alias: str
    mac: MacAddress | None
    peer_name: InterfaceName
    peer_netns: str
    peer_mac: MacAddress
    mtu: int | None = None

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link:{self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BridgePort(_OnLink):
    """``link`` is a port of ``bridge``, with the port's flags (``IFLA_BRPORT_*``) and is up.

    ``up`` is false only on what was observed.
    """

    kind: ClassVar[str] = "bridge-port"
    bridge: InterfaceName
    isolated: bool = False
    learning: bool = True
    unicast_flood: bool = True
    up: bool = True

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"bridge-port:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterfaceAddress(_OnLink):
    """An address on a link of ours, marked with our protocol number (``IFA_PROTO``)."""

    kind: ClassVar[str] = "address"
    interface: IpInterface

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"address:{self.link}:{self.interface}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinkUp(_OnLink):
    """``link`` is administratively up."""

    kind: ClassVar[str] = "up"

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"up:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route(_OnLink):
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
class NetworkRules(_Standing):
    """A network's chains in ``inet jackfield``, reached by its bridge's name and addresses."""

    kind: ClassVar[str] = "rules"
    bridge: InterfaceName
    chains: tuple[Chain, ...]

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"rules:{self.bridge}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shaping(_OnLink):
    """Traffic that leaves ``link`` is shaped to ``rate`` (htb); rates in KiB as in ``Rate``.

    ``checksum_dhcp`` asks for filled UDP checksums of DHCP replies where the kernel can
    (``act_csum``), for guests that drop packets with partial ones.
    """

    kind: ClassVar[str] = "shaping"
    rate: Rate | None = None
    checksum_dhcp: bool = False

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"shaping:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dnsmasq(_Standing):
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


Resource = (
    Setting
    | BridgeLink
    | TapLink
    | VethLink
    | InterfaceAddress
    | LinkUp
    | BridgePort
    | Route
    | NetworkRules
    | Shaping
    | Dnsmasq
)

KINDS: dict[str, type[Resource]] = {
    resource.kind: resource
    for resource in (
        BridgeLink,
        TapLink,
        VethLink,
        Setting,
        InterfaceAddress,
        # Before anybody is on the network, or served by it.
        NetworkRules,
        LinkUp,
        Dnsmasq,
        BridgePort,
        Route,
        Shaping,
    )
}
"""Every kind of resource, in the order in which they are made."""
