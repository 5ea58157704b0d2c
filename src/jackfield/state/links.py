"""Links of ours: what the kernel makes for a network or a port, marked by an alias."""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar
from uuid import UUID

from jackfield.model.values import InterfaceName, MacAddress

__all__ = [
    "LEAST_IPV6_MTU",
    "AnyLink",
    "BridgeLink",
    "MacvlanLink",
    "MacvtapLink",
    "OnLink",
    "OwnerKind",
    "Standing",
    "TapLink",
    "VethLink",
    "alias_of",
    "network_of",
    "port_of",
]


LEAST_IPV6_MTU = 1280
"""In bytes: the kernel has no IPv6, and no sysctls of it, on a link of less (``IPV6_MIN_MTU``)."""


class OwnerKind(enum.Enum):
    """Whose a resource is; part of a link's alias."""

    NETWORK = "network"
    PORT = "port"


def alias_of(kind: OwnerKind, uuid: UUID) -> str:
    """Return the alias that marks a link as ours: ``jackfield:<network|port>:<uuid>``."""
    return f"jackfield:{kind.value}:{uuid}"


def network_of(alias: str) -> UUID | None:
    """Return the network that a link with this alias is of, if it is one of ours."""
    return _owner_of(OwnerKind.NETWORK, alias)


def port_of(alias: str) -> UUID | None:
    """Return the port that a link with this alias is of, if it is one of ours."""
    return _owner_of(OwnerKind.PORT, alias)


def _owner_of(kind: OwnerKind, alias: str) -> UUID | None:
    mark = f"jackfield:{kind.value}:"
    if not alias.startswith(mark):
        return None
    try:
        return UUID(alias.removeprefix(mark))
    except ValueError:
        return None


class Standing:
    """What stands on no link."""

    @property
    def carrier(self) -> str | None:
        """The key of the link that this goes away with: none."""
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnLink:
    """What is on ``link`` and goes away with it."""

    link: InterfaceName

    @property
    def carrier(self) -> str | None:
        """The key of the link that this goes away with."""
        return f"link:{self.link}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class BridgeLink(Standing):
    """A bridge of ours, made down and without addresses.

    ``forward_delay`` is in seconds; ``mtu`` ``None`` is the kernel's choice.  ``vlan_filtering``
    keeps its ports' VLANs apart, where the kernel can; ``None`` leaves that as it is.
    """

    kind: ClassVar[str] = "bridge"
    name: InterfaceName
    alias: str
    mac: MacAddress | None
    mtu: int | None = None
    stp: bool = False
    forward_delay: int = 0
    vlan_filtering: bool | None = False

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link:{self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TapLink(Standing):
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
class VethLink(Standing):
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
class MacvtapLink(Standing):
    """A macvtap of ours over ``lower``, made down; whoever runs the guest opens its device node.

    ``mode`` is bridge, vepa, private or passthrough (``IFLA_MACVLAN_MODE``).  It gets the
    multicast that the host asks for through it, which is next to none, or with ``all_multicast``
    whatever there is.

    What it is over, it is over for life.  So one that is found over another link is as it was made:
    ``lower`` is what that link was called then.
    """

    kind: ClassVar[str] = "macvtap"
    name: InterfaceName
    alias: str
    mac: MacAddress | None
    lower: InterfaceName = dataclasses.field(compare=False)
    mode: str
    mtu: int | None = None
    all_multicast: bool = False

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link:{self.name}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class MacvlanLink(Standing):
    """A macvlan over ``lower``, moved into the namespace ``netns`` as ``ifname`` and brought up.

    ``name`` is what it is called here, before it moves; ``netns`` the path of a namespace file.
    It is over ``lower`` for life, as a macvtap is.
    """

    kind: ClassVar[str] = "macvlan"
    name: InterfaceName
    alias: str
    mac: MacAddress | None
    lower: InterfaceName = dataclasses.field(compare=False)
    mode: str
    netns: str
    ifname: InterfaceName
    mtu: int | None = None

    @property
    def key(self) -> str:
        """The thing this is about."""
        return f"link:{self.name}"


AnyLink = BridgeLink | TapLink | VethLink | MacvtapLink | MacvlanLink
"""What is found by a name and known as ours by its alias."""
