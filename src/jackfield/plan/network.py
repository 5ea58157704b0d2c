"""What a network needs of the host.

The wanted state of a routed network: a bridge with its addresses, the sysctls that make it a
router and nothing more, its rules, and a dnsmasq.  A network on an existing bridge or right
on uplinks needs nothing: they are somebody else's.  On a bridge of either kind a VDE switch may
hang.  Bridges over uplinks: ``managedbridge``.
"""

from __future__ import annotations

from collections.abc import Mapping

from jackfield.errors import (
    Conflict,
    ForeignObject,
    InternalError,
    InvalidRequest,
    MissingFeature,
    UnsupportedConfiguration,
    WrongState,
    shell_word,
)
from jackfield.model.address import IpInterface, StaticRoute, why_no_host
from jackfield.model.mode import Mode
from jackfield.model.network import MacTableManager, Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName
from jackfield.model.virtualport import is_openvswitch
from jackfield.plan.collision import check_route, check_subnet
from jackfield.plan.dnsmasq import dnsmasq_service, may_be_refused
from jackfield.plan.managedbridge import is_managed, plan_managed_bridges
from jackfield.plan.openvswitch import (
    check_kind_of_bridge,
    check_uplinks,
    plan_ovs_bridges,
    uses_openvswitch,
)
from jackfield.plan.rules import network_rules
from jackfield.plan.vde import check_switch, switch_resources
from jackfield.plan.virtualfunction import plan_pools
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.hoststate import HostState
from jackfield.state.links import LEAST_IPV6_MTU, BridgeLink, OwnerKind, alias_of, network_of
from jackfield.state.resources import InterfaceAddress, LinkUp, Resource, Route
from jackfield.state.settings import Setting
from jackfield.state.traffic import Shaping

__all__ = [
    "bridge_of",
    "check_bridge",
    "check_host",
    "check_network",
    "metric_of",
    "plan_network",
]

_PLANNED = frozenset(
    {
        Mode.ISOLATED,
        Mode.NAT,
        Mode.ROUTE,
        Mode.OPEN,
        Mode.BRIDGE,
        Mode.MACVTAP_BRIDGE,
        Mode.VEPA,
        Mode.PRIVATE,
        Mode.PASSTHROUGH,
        Mode.HOSTDEV,
    }
)
_FORWARDING = frozenset({Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.SUBNET})


def bridge_of(network: Network) -> InterfaceName:
    """Return the name of the network's bridge; ``InternalError`` before it has one."""
    if network.bridge is None or network.bridge.name is None:
        raise InternalError(f"network {network.name!r} has no bridge name yet")
    return network.bridge.name


def plan_network(
    network: Network,
    *,
    dnsmasq_user: str | None = None,
    vde_user: int | None = None,
    virtual_functions: Mapping[str, int] | None = None,
) -> HostState:
    """Return the host state that a complete ``network`` wants.

    ``dnsmasq_user`` is the user that dnsmasq runs as, ``vde_user`` the numeric id of that of
    vde_switch; ``virtual_functions`` is how many of them physical functions are to have.  Raises
    ``UnsupportedConfiguration`` for a mode or an addition that this version does not realise.
    """
    _check_realised(network)
    _check_addresses(network)
    if network.mode is Mode.BRIDGE and network.uplinks and uses_openvswitch(network):
        return HostState(plan_ovs_bridges(network))
    if network.uuid is None:
        raise InternalError(f"network {network.name!r} has no uuid yet")
    if not network.mode.is_routed:
        made: list[Resource] = [
            *plan_pools(network, virtual_functions or {}),
            *(plan_managed_bridges(network) if is_managed(network) else []),
        ]
        return HostState([*made, *switch_resources(network, network.uuid, user=vde_user)])
    bridge = bridge_of(network)
    assert network.bridge is not None
    interfaces = network.interfaces
    resources: list[Resource] = [
        BridgeLink(
            name=bridge,
            alias=alias_of(OwnerKind.NETWORK, network.uuid),
            mac=network.mac,
            mtu=network.mtu,
            stp=network.bridge.stp,
            forward_delay=network.bridge.delay,
            vlan_filtering=_filters_vlans(network),
        ),
        *_bridge_settings(bridge, network, interfaces),
        *_forwarding_settings(network, interfaces),
        *(InterfaceAddress(link=bridge, interface=interface) for interface in interfaces),
        LinkUp(link=bridge),
        *switch_resources(network, network.uuid, user=vde_user),
    ]
    resources += [
        Route(
            destination=route.destination,
            gateway=route.gateway,
            link=bridge,
            metric=metric_of(route),
        )
        for route in network.routes
    ]
    rules = network_rules(network, bridge)
    if rules is not None:
        resources.append(rules)
    inbound = network.bandwidth.inbound if network.bandwidth is not None else None
    service = dnsmasq_service(network, bridge, user=dnsmasq_user)
    serves_dhcp = service is not None and service.serves_dhcp4
    if inbound is not None or serves_dhcp:
        resources.append(
            Shaping(
                link=bridge, rate=inbound, divided=inbound is not None, checksum_dhcp=serves_dhcp
            )
        )
    if service is not None:
        resources.append(service)
    return HostState(resources)


def check_network(network: Network) -> None:
    """Raise what ``plan_network`` would raise for ``network``, for less than half its work."""
    if network.mode.is_routed and network.vde is None:
        _check_realised(network)
        _check_addresses(network)
        if may_be_refused(network):
            dnsmasq_service(network, bridge_of(network), user=None)
    else:
        plan_network(network)


def check_host(network: Network, facts: Facts) -> None:
    """Raise what forbids ``network`` on a host of these ``facts``; say nothing otherwise.

    ``ForeignObject`` for a subnet that is routed elsewhere already, ``Conflict`` where turning
    on IPv6 forwarding would cost the host its own routes, ``MissingFeature`` without IPv6, and
    what ``check_switch`` says.  A missing uplink is no error: it may come later, and nothing gets
    out until then.
    """
    if network.vde is not None:
        check_switch(network, facts.links.get(bridge_of(network)))
    if network.mode is Mode.BRIDGE:
        if uses_openvswitch(network):
            check_uplinks(network, facts)
        if not (network.uplinks or network.vpn):
            check_kind_of_bridge(network, facts.links.get(bridge_of(network)))
    if not network.mode.is_routed:
        return
    interfaces = network.interfaces
    bridge = bridge_of(network)
    for interface in interfaces:
        check_subnet(network, interface.network, bridge, facts)
    for route in network.routes:
        check_route(network, route, bridge, facts)
    if any(interface.version == 6 for interface in interfaces):
        if not facts.ipv6:
            raise MissingFeature(
                f"network {network.name!r} has an IPv6 address, but this kernel has no IPv6",
                hint="boot without ipv6.disable=1, or take the IPv6 <ip> elements out",
            )
        if network.mode in _FORWARDING and facts.ra_interfaces and not facts.ipv6_forwarding:
            device = facts.ra_interfaces[0]
            raise Conflict(
                f"network {network.name!r} needs IPv6 forwarding, which would make {device} "
                f"drop the routes it learned from router advertisements "
                f"(net.ipv6.conf.{device}.accept_ra is 1)",
                hint=f"sysctl net.ipv6.conf.{device}.accept_ra=2 keeps them",
            )


def check_bridge(network: Network, links: Mapping[str, LinkFact]) -> LinkFact:
    """Return the network's bridge as it is on the host.

    Raises ``WrongState`` when there is none, or another kind of device has its name, and
    ``ForeignObject`` when it should be of our making and is not.
    """
    bridge = bridge_of(network)
    is_made = network.mode.is_routed or bool(network.uplinks)
    link = links.get(bridge)
    if link is None:
        raise WrongState(
            f"network {network.name!r}: its bridge {bridge} does not exist on this host",
            hint=(
                f"jackfield stop and start {shell_word(network.name)} make it again"
                if is_made
                else f"make {bridge} first: this network uses it but does not make it"
            ),
        )
    if link.kind != "bridge":
        raise WrongState(
            f"network {network.name!r}: {bridge} is not a bridge but {link.kind or 'a NIC'}"
        )
    if is_made and network_of(link.alias) != network.uuid:
        raise ForeignObject(
            f"network {network.name!r}: the bridge {bridge} is not ours",
            hint="rename or remove it, and "
            f"jackfield apply {shell_word(network.name)} makes ours again",
        )
    return link


def _check_realised(network: Network) -> None:
    """Refuse, before anything is made, what this version reads but does not realise."""
    missing = None
    if network.mode not in _PLANNED:
        missing = f"mode {network.mode.value}"
    elif network.vpn is not None:
        missing = "<vpn>"
    elif network.port_forwards:
        missing = "<portForward>"
    elif network.mode is Mode.BRIDGE and not _knows_virtualports(network):
        missing = "<virtualport>"
    elif network.vde is not None and uses_openvswitch(network):
        missing = "<vde> on a bridge of Open vSwitch"
    elif uses_openvswitch(network) and (
        network.anti_spoofing or any(group.anti_spoofing for group in network.portgroups)
    ):
        # The rules for it are those of a Linux bridge, which sees none of these frames.
        missing = "antiSpoofing on a bridge of Open vSwitch"
    if missing is not None:
        raise UnsupportedConfiguration(
            f"network {network.name!r} asks for {missing}, which this version defines but "
            "cannot start"
        )
    if network.mode.is_routed and any(
        not isinstance(uplink, DeviceUplink) for uplink in network.uplinks
    ):
        raise InvalidRequest(
            f"network {network.name!r}: an uplink of mode {network.mode.value} must be a device"
        )
    if (
        network.mtu is not None
        and network.mtu < LEAST_IPV6_MTU
        and any(interface.version == 6 for interface in network.interfaces)
    ):
        raise InvalidRequest(
            f"network {network.name!r} has an IPv6 address, which needs an MTU of {LEAST_IPV6_MTU} "
            f"bytes at least (RFC 8200), not {network.mtu}",
            hint="raise the <mtu>, or take the IPv6 <ip> elements out",
        )


def _check_addresses(network: Network) -> None:
    """Refuse addresses that guests could not speak to, and what the host would have twice."""
    for interface in network.interfaces:
        reason = why_no_host(interface)
        if reason is not None:
            raise UnsupportedConfiguration(
                f"network {network.name!r}: {interface.ip} is {reason}, which no host can have",
                hint="choose another address for its <ip> element",
            )
    # The kernel has an IPv4 address once for each prefix, and an IPv6 address once.
    addresses = (str(one if one.version == 4 else one.ip) for one in network.interfaces)
    routes = (f"{route.destination} metric {metric_of(route)}" for route in network.routes)
    for what, where, found in (("address", "<ip>", addresses), ("route", "<route>", routes)):
        seen: set[str] = set()
        for one in found:
            if one in seen:
                raise UnsupportedConfiguration(
                    f"network {network.name!r} has the {what} {one} twice",
                    hint=f"leave one of the {where} elements out",
                )
            seen.add(one)


def metric_of(route: StaticRoute) -> int:
    """Return the metric of a route: libvirt's, which is 1, where it names none."""
    return 1 if route.metric is None else route.metric


def _knows_virtualports(network: Network) -> bool:
    """Whether every virtualport of a bridge is for a switch that we can speak to."""
    own = (network.virtualport, *(group.virtualport for group in network.portgroups))
    return all(one is None or one.type is None or is_openvswitch(one) for one in own)


def _filters_vlans(network: Network) -> bool:
    """Whether some ports are to be in VLANs of their own.

    So it is with ``macTableManager='libvirt'``, because only a bridge that filters VLANs lets its
    ports out of promiscuous mode (``br_manage_promisc`` in the kernel).
    """
    assert network.bridge is not None
    if network.bridge.mac_table_manager is MacTableManager.LIBVIRT:
        return True
    tagged = network.vlan is not None
    return tagged or any(group.vlan is not None for group in network.portgroups)


def _bridge_settings(
    bridge: InterfaceName, network: Network, interfaces: list[IpInterface]
) -> list[Resource]:
    """Return the bridge's own sysctls: a router, not a host that configures itself.

    ``accept_dad`` is off because a bridge without ports never finishes duplicate address
    detection, and dnsmasq could not bind to its addresses.
    """
    if network.mtu is not None and network.mtu < LEAST_IPV6_MTU:
        return []
    has_ipv6 = any(interface.version == 6 for interface in interfaces)
    values = (
        {"disable_ipv6": "0", "accept_ra": "0", "autoconf": "0", "accept_dad": "0"}
        if has_ipv6
        else {"accept_ra": "0", "autoconf": "0"}
        if network.ipv6
        else {"disable_ipv6": "1"}
    )
    return [
        Setting(name=f"net/ipv6/conf/{bridge}/{name}", value=value, link=bridge)
        for name, value in values.items()
    ]


def _forwarding_settings(network: Network, interfaces: list[IpInterface]) -> list[Resource]:
    if network.mode not in _FORWARDING:
        return []
    versions = {interface.version for interface in interfaces}
    names = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}
    return [Setting(name=names[version], value="1", shared=True) for version in sorted(versions)]
