"""The VDE switch of a network: a tap of ours on its bridge, and the switch behind it."""

from __future__ import annotations

from uuid import UUID

from jackfield.errors import UnsupportedConfiguration, WrongState
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.facts import LinkFact
from jackfield.state.links import OwnerKind, TapLink, alias_of
from jackfield.state.resources import BridgePort, Resource
from jackfield.state.services import VdeSwitch
from jackfield.state.settings import Setting

__all__ = ["check_switch", "switch_resources", "tap_name"]

_LARGEST_MTU = 1500
"""Bytes: a switch cuts longer frames off (``struct packet`` in vde_switch's ``port.h``)."""


def tap_name(network: UUID) -> InterfaceName:
    """Return the name of the tap behind a network's switch: ``jfv`` and ten digits of its uuid."""
    return InterfaceName(f"jfv{network.hex[:10]}")


def switch_resources(network: Network, uuid: UUID, *, user: int | None) -> list[Resource]:
    """Return what hangs the network's switch on its bridge; ``user`` is the id that it runs as.

    Raises ``UnsupportedConfiguration`` for frames longer than a switch carries.
    """
    if network.vde is None or network.bridge is None or network.bridge.name is None:
        return []
    mtu = network.mtu or network.bridge.uplinks_mtu
    if mtu is not None and mtu > _LARGEST_MTU:
        raise UnsupportedConfiguration(
            f"network {network.name!r} has an MTU of {mtu} and a <vde>, but a VDE switch "
            f"carries {_LARGEST_MTU} bytes at most",
            hint=f"<mtu size='{_LARGEST_MTU}'/>, or leave <vde> out",
        )
    tap = tap_name(uuid)
    return [
        TapLink(
            name=tap,
            alias=alias_of(OwnerKind.NETWORK, uuid),
            mac=_tap_mac(uuid),
            mtu=mtu,
            owner=user,
        ),
        # The host speaks on the bridge, not on one of its ports.
        Setting(name=f"net/ipv6/conf/{tap}/disable_ipv6", value="1", link=tap),
        BridgePort(link=tap, bridge=network.bridge.name),
        VdeSwitch(network=uuid, tap=tap, group=network.vde.group, user=user),
    ]


def check_switch(network: Network, bridge: LinkFact | None) -> None:
    """Raise what forbids the switch of ``network`` on the ``bridge`` that there is.

    One over uplinks is ours.  ``WrongState`` without one where it is somebody else's,
    ``UnsupportedConfiguration`` when its frames may be longer than a switch carries: the tap
    would make all of them shorter.
    """
    if network.vde is None or network.mode is not Mode.BRIDGE or network.uplinks:
        return
    if bridge is None or bridge.kind != "bridge":
        raise WrongState(
            f"network {network.name!r}: there is no bridge for its <vde> on this host",
            hint="make the bridge first: this network uses it but does not make it",
        )
    if bridge.mtu > _LARGEST_MTU:
        raise UnsupportedConfiguration(
            f"network {network.name!r}: bridge {bridge.name} has an MTU of {bridge.mtu}, but a VDE "
            f"switch carries {_LARGEST_MTU} bytes at most",
            hint=f"ip link set {bridge.name} mtu {_LARGEST_MTU}, or leave <vde> out",
        )


def _tap_mac(uuid: UUID) -> MacAddress:
    """Return the tap's address: always the same, and too high to become the bridge's own."""
    return MacAddress("fe:" + ":".join(f"{byte:02x}" for byte in uuid.bytes[:5]))
