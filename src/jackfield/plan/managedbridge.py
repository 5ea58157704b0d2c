"""Bridges that we make over uplinks, one for each.

What an uplink has, its bridge gets when it takes over: that is found on the host then, and never
part of a plan.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

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
from jackfield.model.port import BridgePlug, Port
from jackfield.model.uplink import DeviceUplink, describe
from jackfield.model.values import InterfaceName
from jackfield.model.vlan import Vlan
from jackfield.plan.openvswitch import uses_openvswitch
from jackfield.state.facts import Facts, LinkFact, UplinkFact
from jackfield.state.links import BridgeLink, OwnerKind, alias_of
from jackfield.state.resources import BpduGuard, LinkUp, ManagedUplink, Resource
from jackfield.state.vlans import UplinkVlan, VlanFiltering

__all__ = [
    "check_bridges_kept",
    "check_uplinks",
    "check_vlan",
    "is_managed",
    "managed_uplinks",
    "plan_managed_bridges",
    "plan_port_vlans",
]

_VLAN_IDS = range(1, 4095)
"""What a Linux bridge takes: 0 and 4095 are reserved (IEEE 802.1Q, table 9-2)."""

_DEFAULT_VLAN = 1
"""Where untagged frames are, those of the host among them (``IFLA_BR_VLAN_DEFAULT_PVID``)."""

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
                name=bridge,
                alias=alias_of(OwnerKind.NETWORK, network.uuid),
                mac=None,
                mtu=mtu,
                # A port may need it that no document knows of: ``VlanFiltering``.
                vlan_filtering=None,
            ),
            LinkUp(link=bridge),
            BpduGuard(link=uplink),
            ManagedUplink(link=uplink, bridge=bridge, mtu=mtu),
        )
        if _documented(network):
            resources += _vlans(bridge, uplink, _documented(network, uplink))
    return resources


def plan_port_vlans(network: Network, port: Port) -> list[Resource]:
    """Return what a port in VLANs needs besides its own place: a bridge and an uplink in them.

    Nothing where the bridge is somebody else's, or has no uplink.  Raises what
    ``check_vlan`` does.
    """
    if port.vlan is None:
        return []
    uplinks = {bridge: uplink for uplink, bridge in managed_uplinks(network).items()}
    if not uplinks or not isinstance(port.plug, BridgePlug):
        return []
    check_vlan(network, port.vlan)
    bridge = port.plug.bridge if port.plug.bridge in uplinks else next(iter(uplinks))
    return _vlans(bridge, uplinks[bridge], [port.vlan])


def _documented(network: Network, uplink: InterfaceName | None = None) -> list[Vlan]:
    """Return what the document says of VLANs, all of it or what ports over ``uplink`` may have."""
    found = [] if network.vlan is None else [network.vlan]
    for group in network.portgroups:
        devices = {item.dev for item in group.uplinks if isinstance(item, DeviceUplink)}
        if group.vlan is not None and (uplink is None or not devices or uplink in devices):
            found.append(group.vlan)
    for vlan in found:
        check_vlan(network, vlan)
    return found


def _vlans(bridge: InterfaceName, uplink: InterfaceName, vlans: Iterable[Vlan]) -> list[Resource]:
    """Return a bridge that filters, and an uplink that carries ``vlans``, tagged.

    Exactly these: a card that filters VLANs itself may have room for few.
    """
    ids = {tag.id for vlan in vlans for tag in vlan.tags} - {_DEFAULT_VLAN}
    return [
        VlanFiltering(link=bridge),
        *(UplinkVlan(link=uplink, vlan=number) for number in sorted(ids)),
    ]


def check_vlan(network: Network, vlan: Vlan) -> None:
    """Raise ``UnsupportedConfiguration`` for VLANs that a Linux bridge does not have."""
    for tag in vlan.tags:
        if tag.id not in _VLAN_IDS:
            raise UnsupportedConfiguration(
                f"network {network.name!r}: a port of a Linux bridge cannot be in VLAN {tag.id}",
                hint=f"it has VLANs {_VLAN_IDS.start} to {_VLAN_IDS.stop - 1}",
            )


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
            f"{whose} is not an Ethernet interface ({link.kind or 'loopback'})",
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
