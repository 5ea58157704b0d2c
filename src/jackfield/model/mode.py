"""How a network is connected: layers and modes."""

from __future__ import annotations

import enum

__all__ = ["Layer", "Mode"]


class Layer(enum.Enum):
    """On which layer of the protocol stack a network is joined to the outside."""

    NETWORK = "network"
    LINK = "link"


class Mode(enum.Enum):
    """How a network is connected; flat and unambiguous, whatever the dialect spells."""

    ISOLATED = "isolated"
    NAT = "nat"
    ROUTE = "route"
    OPEN = "open"
    SUBNET = "subnet"
    BRIDGE = "bridge"
    MACVTAP_BRIDGE = "macvtap-bridge"
    VEPA = "vepa"
    PRIVATE = "private"
    PASSTHROUGH = "passthrough"
    HOSTDEV = "hostdev"

    @property
    def layer(self) -> Layer:
        """The layer of the mode; an isolated network counts as ``NETWORK``."""
        return Layer.NETWORK if self._value_ in _ROUTED else Layer.LINK

    @property
    def is_routed(self) -> bool:
        """Whether the network has a bridge and a subnet of its own on this host."""
        return self._value_ in _ROUTED

    @property
    def is_macvtap(self) -> bool:
        """Whether ports are macvtap devices over an uplink."""
        return self._value_ in _MACVTAP


# Values, not members: a member's hash is worked out in Python each time it is looked up.
_ROUTED = frozenset(
    mode.value for mode in (Mode.ISOLATED, Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.SUBNET)
)
_MACVTAP = frozenset(
    mode.value for mode in (Mode.MACVTAP_BRIDGE, Mode.VEPA, Mode.PRIVATE, Mode.PASSTHROUGH)
)
