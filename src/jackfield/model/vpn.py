"""A virtual private network as uplink (Jackfield's ``<vpn>``)."""

from __future__ import annotations

import enum

from jackfield.model.address import IpInterface, IpNetwork
from jackfield.model.value import Value
from jackfield.model.values import InterfaceName, Text

__all__ = ["Vpn", "VpnPeer", "VpnType"]


class VpnType(enum.Enum):
    """What makes a tunnel."""

    WIREGUARD = "wireguard"


class VpnPeer(Value, frozen=True, kw_only=True):
    """The other end: ``endpoint`` is ``ADDRESS:PORT``, ``keepalive`` in seconds."""

    public_key: Text
    name: Text | None = None
    endpoint: Text | None = None
    keepalive: int | None = None
    allowed: tuple[IpNetwork, ...] = ()


class Vpn(Value, frozen=True, kw_only=True):
    """A WireGuard tunnel; ``vni`` (24 bit) makes it carry Ethernet in VXLAN.

    ``public_key`` is this host's own and appears in live documents only.
    """

    type: VpnType = VpnType.WIREGUARD
    dev: InterfaceName | None = None
    listen_port: int | None = None
    vni: int | None = None
    public_key: Text | None = None
    addresses: tuple[IpInterface, ...] = ()
    peers: tuple[VpnPeer, ...] = ()
