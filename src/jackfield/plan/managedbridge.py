"""Bridges that we make over uplinks, one for each.

What an uplink has, its bridge gets when it takes over: that is found on the host then, and never
part of a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jackfield.errors import (
    Conflict,
    ForeignObject,
    InternalError,
    NotFound,
    UnsupportedConfiguration,
    WrongState,
)
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink, describe
from jackfield.model.values import InterfaceName
from jackfield.plan.openvswitch import uses_openvswitch
from jackfield.state.facts import Facts, LinkFact, UplinkFact
from jackfield.state.links import BridgeLink, OwnerKind, alias_of
from jackfield.state.resources import BpduGuard, LinkUp, ManagedUplink, Resource

__all__ = [
    "check_bridges_kept",
    "check_uplinks",
    "is_managed",
    "managed_uplinks",
    "plan_managed_bridges",
]

_RIDERS = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap"})
_RTPROT_DHCP = 16  # linux/rtnetlink.h
_BRIDGES = frozenset({"bridge", "openvswitch"})


def is_managed(network: Network) -> bool:
    """Whether the network's bridges are made over its uplinks, and are not of Open vSwitch."""
    return (
        network.mode is Mode.BRIDGE
        and bool(network.uplinks)
        and network.bridge is not None
        and not uses_openvswitch(network)
    )


def managed_uplinks(network: Network) -> dict[InterfaceName, InterfaceName]:
    """Return the bridge of each uplink, in document order; none for another kind of network.

    Raises ``UnsupportedConfiguration`` for an uplink that is not named by its device.
    """
    if not is_managed(network):
        return {}
    found = {}
    for uplink, bridge in zip(network.uplinks, network.managed_bridges, strict=True):
        if not isinstance(uplink, DeviceUplink):
            raise UnsupportedConfiguration(
                f"network {network.name!r}: a bridge cannot be made over {describe(uplink)}",
                hint="name the function's interface: <interface dev='…'/>",
            )
        found[uplink.dev] = bridge
    return found


def plan_managed_bridges(network: Network) -> list[Resource]:
    """Return what a network of managed bridges wants of the host.

    Without spanning tree: the bridge has one way out, and must not be seen as a switch.
    """
    if network.uuid is None:
        raise InternalError(f"network {network.name!r} has no uuid yet")
    mtu = None if network.bridge is None else network.bridge.uplinks_mtu
    resources: list[Resource] = []
    for uplink, bridge in managed_uplinks(network).items():
        resources += (
            # Its address is its uplink's, so that leases, port security and SLAAC stay.
            BridgeLink(
                name=bridge, alias=alias_of(OwnerKind.NETWORK, network.uuid), mac=None, mtu=mtu
            ),
            LinkUp(link=bridge),
            BpduGuard(link=uplink),
            ManagedUplink(link=uplink, bridge=bridge, mtu=mtu),
        )
    return resources


def check_uplinks(
    network: Network,
    facts: Facts,
    found: Mapping[str, UplinkFact],
    *,
    take_managed: bool,
    held: Collection[str] = (),
) -> None:
    """Raise what forbids to take over the uplinks of ``network``; say nothing otherwise.

    ``found`` says more of each uplink; with ``take_managed`` those that a program manages are
    taken as well.  Those that the running network ``held`` before, and those that are ports of its
    own bridges, are as they should be.
    """
    for uplink, bridge in managed_uplinks(network).items():
        if uplink in held:
            continue
        link = facts.links.get(uplink)
        whose = f"network {network.name!r}: its uplink {uplink}"
        if link is None:
            raise NotFound(
                f"{whose} does not exist on this host", hint="`ip link` shows those that do"
            )
        master = _master(link, facts)
        if master is not None and master.name == bridge and _is_ours(master, network):
            continue
        if master is not None:
            raise ForeignObject(
                f"{whose} is a port of {master.kind or 'link'} {master.name} already",
                hint=f"ip link set {uplink} nomaster, or use {master.name} as the network's bridge",
            )
        _check_kind(whose, link, facts)
        extra = found.get(uplink, UplinkFact())
        manager = extra.manager or _leaseholder(uplink, facts)
        if extra.wireless:
            raise UnsupportedConfiguration(
                f"{whose} is a wireless interface, which can carry its own address only",
                hint="a routed network (mode nat, route or subnet) can use it",
            )
        if manager is not None and not take_managed:
            raise Conflict(
                f"{whose} is managed by {manager}, which would not let go of it",
                hint=(
                    "have it leave the interface alone and configure it statically, or allow this "
                    "with take_managed_uplinks = true in the daemon's configuration"
                ),
            )


def check_bridges_kept(former: Network, network: Network) -> None:
    """Raise ``WrongState`` if an uplink of a running network would get another bridge."""
    bridges = managed_uplinks(network)
    for uplink, bridge in managed_uplinks(former).items():
        if bridges.get(uplink, bridge) != bridge:
            raise WrongState(
                f"network {network.name!r}: its uplink {uplink} cannot move from bridge {bridge} "
                f"to {bridges[uplink]} while it runs",
                hint="list new uplinks last; or define it, then stop and start it",
            )


def _check_kind(whose: str, link: LinkFact, facts: Facts) -> None:
    if link.kind in _BRIDGES:
        raise UnsupportedConfiguration(
            f"{whose} is a bridge itself", hint=f"use it: <bridge name='{link.name}'/> alone"
        )
    if link.mac is None or set(link.mac) <= set("0:"):
        raise UnsupportedConfiguration(
            f"{whose} is no Ethernet interface ({link.kind or 'loopback'})",
            hint="frames of guests need an Ethernet interface to leave by",
        )
    if link.alias.startswith("jackfield:"):
        raise ForeignObject(f"{whose} is a device that Jackfield made for something else")
    riders = sorted(
        item.name
        for item in facts.links.values()
        if item.lower == link.index and item.kind in _RIDERS
    )
    if riders:
        raise ForeignObject(
            f"{whose} has {', '.join(riders)} on it, and cannot be a bridge's port as well",
            hint="move the guests that use them to this network, and delete them",
        )


def _leaseholder(uplink: InterfaceName, facts: Facts) -> str | None:
    """Return that a DHCP client manages the uplink, if a route says so."""
    for route in facts.routes:
        if route.link == uplink and route.protocol == _RTPROT_DHCP:
            return f"a DHCP client (it made the route to {route.destination})"
    return None


def _master(link: LinkFact, facts: Facts) -> LinkFact | None:
    if link.master is None:
        return None
    return next((item for item in facts.links.values() if item.index == link.master), None)


def _is_ours(master: LinkFact, network: Network) -> bool:
    return network.uuid is not None and master.alias == alias_of(OwnerKind.NETWORK, network.uuid)
