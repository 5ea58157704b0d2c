"""What goes with what: the rules of a network that concern more than one element.

``check`` holds what libvirt's parser refuses and what would make a document of ours ambiguous;
every network that is read, from XML or JSON, passes it.  ``check_definition`` holds what libvirt's
network driver and Jackfield refuse only when a network is defined
(https://libvirt.org/formatnetwork.html).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol

from jackfield.errors import DocumentError, UnsupportedConfiguration
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.uplink import DeviceUplink, PciUplink, PhysicalFunction, describe
from jackfield.model.virtualport import VirtualPort, VirtualPortType, virtualport_types

__all__ = ["LineOf", "check", "check_definition", "makes_bridge"]

LineOf = Callable[[str, int], int | None]

_FORWARDING = frozenset({Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.SUBNET})
_SWITCHED = frozenset({VirtualPortType.OPENVSWITCH, VirtualPortType.MIDONET})
_VLAN_MODES = frozenset({Mode.BRIDGE, Mode.PASSTHROUGH, Mode.HOSTDEV})


class _Refuse(Protocol):
    def __call__(
        self, reason: str, element: str, index: int = 0, *, hint: str | None = None
    ) -> NoReturn: ...


def _nowhere(_name: str, _index: int) -> int | None:
    return None


def makes_bridge(network: Network) -> bool:
    """Whether the network's bridge is made by us, not only used."""
    return network.mode.is_routed or (
        network.mode is Mode.BRIDGE and bool(network.uplinks or network.vpn)
    )


def check(network: Network, line_of: LineOf = _nowhere) -> None:
    """Refuse what no document may say; ``line_of(element, index)`` finds the line to name."""

    def refuse(reason: str, element: str, index: int = 0, *, hint: str | None = None) -> NoReturn:
        raise DocumentError(
            f"network '{network.name}' {reason}", line=line_of(element, index), hint=hint
        )

    mode = network.mode
    if network.title is not None and "\n" in network.title:
        refuse("has a title of more than one line", "title")
    # Without one an open network is a bridge whose guests are left alone, as in libvirt.
    if mode in _FORWARDING and mode is not Mode.OPEN and not network.subnets:
        refuse(
            f"has mode {mode.value} but no <ip>",
            "forward",
            hint="give the network a subnet, as <ip address='192.168.100.1' prefix='24'/>",
        )
    _check_mode(network, refuse)
    _check_bridge(network, refuse)
    for index, route in enumerate(network.routes):
        if not any(
            subnet.interface is not None and route.gateway in subnet.interface.network
            for subnet in network.subnets
        ):
            refuse(
                f"has a route to {route.destination} by way of {route.gateway}, which is in "
                "none of its subnets",
                "route",
                index,
            )
    _check_portgroups(network, refuse)
    if network.guest_addresses and not network.anti_spoofing:
        refuse("has guest addresses without anti-spoofing", "network")


def _check_mode(network: Network, refuse: _Refuse) -> None:
    """Refuse what the mode has no use for."""
    mode = network.mode
    if mode in (Mode.OPEN, Mode.ISOLATED) and network.uplinks:
        refuse(
            f"has the uplink {describe(network.uplinks[0])}, which mode {mode.value} does not use",
            "forward",
        )
    if mode is Mode.SUBNET:
        if not network.uplinks:
            refuse("has mode subnet without an uplink", "forward", hint="name it, as dev='eth0'")
        if not network.proxy_arp and not network.proxy_ndp:
            refuse("has mode subnet with neither proxy ARP nor proxy NDP", "forward")
    elif network.proxy_arp or network.proxy_ndp:
        refuse(f"has a <proxy>, which mode {mode.value} does not use", "forward")
    if mode.is_routed:
        for uplink in network.uplinks:
            if not isinstance(uplink, DeviceUplink):
                refuse(
                    f"has the uplink {describe(uplink)}, but mode {mode.value} needs a device",
                    "forward",
                    hint="use <interface dev='…'/>",
                )
    if network.nat is not None and mode is not Mode.NAT:
        refuse(f"has a <nat>, which mode {mode.value} does not use", "forward")
    if network.mtu is not None and not mode.is_routed:
        refuse(f"has an <mtu>, which mode {mode.value} does not use", "mtu")
    if network.managed and mode is not Mode.HOSTDEV:
        refuse(f"has managed='yes', which mode {mode.value} does not use", "forward")
    if network.port_forwards and mode not in _FORWARDING:
        refuse(f"has a <portForward>, which mode {mode.value} does not use", "forward")
    for forward in network.port_forwards:
        if (
            forward.dev is not None
            and network.uplinks
            and DeviceUplink(dev=forward.dev) not in network.uplinks
        ):
            refuse(f"forwards ports of {forward.dev}, which is not one of its uplinks", "forward")
    if network.vpn is not None and mode not in (Mode.NAT, Mode.ROUTE, Mode.BRIDGE):
        refuse(
            f"has a <vpn>, which mode {mode.value} does not use",
            "vpn",
            hint="a tunnel is the uplink of mode nat or route, or joins bridges in mode bridge",
        )
    if network.vde is not None and not mode.is_routed and mode is not Mode.BRIDGE:
        refuse(f"has a <vde>, but mode {mode.value} has no bridge to hang it on", "vde")


def _check_bridge(network: Network, refuse: _Refuse) -> None:
    """Refuse a bridge where there is none, and one about which nothing is said."""
    mode, bridge = network.mode, network.bridge
    if mode.is_routed:
        if bridge is not None and bridge.uplinks_mtu is not None:
            refuse(f"has <uplinks> in its <bridge>, which mode {mode.value} does not use", "bridge")
        return
    types = {
        one.type
        for one in (network.virtualport, *(group.virtualport for group in network.portgroups))
        if one is not None
    }
    if mode is not Mode.BRIDGE:
        if bridge is not None:
            refuse(f"has a <bridge>, which mode {mode.value} does not use", "bridge")
        if mode is Mode.MACVTAP_BRIDGE and not network.uplinks and types & _SWITCHED:
            refuse("has a virtualport of a virtual switch but macvtap ports", "virtualport")
        return
    if bridge is None:
        if not network.uplinks and network.vpn is None and not types & _SWITCHED:
            refuse("has mode bridge without <bridge name='…'/> and without uplinks", "forward")
        return
    plain = Bridge(
        name=bridge.name,
        template=bridge.template,
        mac_table_manager=bridge.mac_table_manager,
        uplinks_mtu=bridge.uplinks_mtu,
    )
    if bridge != plain:
        refuse("has stp, delay or zone of its <bridge>, which mode bridge does not use", "bridge")
    if bridge.template is not None and not makes_bridge(network):
        refuse(
            f"has <bridge name='{bridge.template}'>, but mode bridge uses a bridge that is there",
            "bridge",
            hint="name it, or list the uplinks of one that is to be made",
        )
    if bridge.uplinks_mtu is not None and not network.uplinks:
        refuse("has an mtu for uplinks but no uplink", "bridge")


def _check_portgroups(network: Network, refuse: _Refuse) -> None:
    listed = set(network.uplinks)
    expands = any(isinstance(uplink, PhysicalFunction) for uplink in listed)
    for index, group in enumerate(network.portgroups):
        if not group.name:
            refuse("has a <portgroup> without a name", "portgroup", index)
        if group.guest_addresses and not group.anti_spoofing:
            refuse(
                f"has guest addresses of portgroup '{group.name}' without anti-spoofing",
                "portgroup",
                index,
            )
        for uplink in group.uplinks:
            if uplink in listed or (expands and isinstance(uplink, PciUplink)):
                continue
            refuse(
                f"has the portgroup '{group.name}' with the uplink {describe(uplink)}, which is "
                "not one of the network's",
                "portgroup",
                index,
                hint="list it under <forward> as well",
            )


class _RefuseDefinition(Protocol):
    def __call__(self, reason: str, *, hint: str | None = None) -> NoReturn: ...


def check_definition(network: Network) -> None:
    """Refuse a network that cannot work; raises :class:`UnsupportedConfiguration`."""

    def refuse(reason: str, *, hint: str | None = None) -> NoReturn:
        raise UnsupportedConfiguration(f"network '{network.name}' {reason}", hint=hint)

    names: set[str] = set()
    for group in network.portgroups:
        if group.name in names:
            refuse(f"has two portgroups called '{group.name}'")
        names.add(group.name)
    defaults = [group.name for group in network.portgroups if group.default]
    if len(defaults) > 1:
        refuse(f"has more than one default portgroup: {', '.join(map(repr, defaults))}")
    for version in (4, 6):
        serving = [
            subnet.address
            for subnet in network.subnets
            if subnet.dhcp and subnet.address and subnet.address.version == version
        ]
        if len(serving) > 1:
            refuse(
                f"has more than one <ip> of IPv{version} with <dhcp>: "
                f"{', '.join(map(str, serving))}",
                hint="DHCP is served for one subnet of each family",
            )
    if not network.mode.is_routed:
        _refuse_routed_elements(network, refuse)
    _refuse_uplinks(network, refuse)
    try:
        _ = network.managed_bridges
    except ValueError as error:
        refuse(f"has several uplinks, and their bridges cannot be named: {error}")
    _refuse_vlans(network, refuse)
    _refuse_filters(network, refuse)
    _refuse_virtualports(network, refuse)
    _refuse_vpn(network, refuse)


def _refuse_routed_elements(network: Network, refuse: _RefuseDefinition) -> None:
    """Refuse what needs a subnet of the network's own."""
    dns = network.dns
    hint = None
    if network.mode is Mode.MACVTAP_BRIDGE and not network.uplinks:
        # What was meant may be a bridge that its author has not named.
        hint = (
            "mode='bridge' without <bridge name='…'/> gives guests macvtap devices: name the "
            "bridge, or choose a mode with a subnet, as nat"
        )
    for element, there in (
        ("<mac>", network.mac is not None),
        ("<ip>", bool(network.subnets)),
        ("<route>", bool(network.routes)),
        ("<dns>", dns is not None and bool(dns.txts or dns.hosts or dns.srvs)),
        ("<domain>", network.domain is not None),
        ("network-wide <bandwidth>", network.bandwidth is not None),
    ):
        if there:
            refuse(f"has a {element}, which mode {network.mode.value} does not support", hint=hint)
    isolated = network.isolated or any(group.isolated for group in network.portgroups)
    if isolated and network.mode is not Mode.BRIDGE:
        refuse(f"has <port isolated='yes'/>, but mode {network.mode.value} has no bridge ports")


def _refuse_uplinks(network: Network, refuse: _RefuseDefinition) -> None:
    mode = network.mode
    for uplink in network.uplinks:
        if mode is Mode.HOSTDEV and isinstance(uplink, DeviceUplink):
            refuse(
                f"has the uplink {uplink.dev}, but mode hostdev gives PCI functions to guests",
                hint="use <pf dev='…'/> or <address type='pci' …/>",
            )
        if isinstance(uplink, PciUplink) and mode.is_macvtap and mode is not Mode.PASSTHROUGH:
            refuse(
                f"has the uplink {describe(uplink)}, but mode {mode.value} needs a device",
                hint="use <interface dev='…'/>",
            )
        name = None if network.bridge is None else network.bridge.name
        if isinstance(uplink, DeviceUplink) and uplink.dev == name:
            refuse(f"has its own bridge {name} as an uplink")


def _refuse_vlans(network: Network, refuse: _RefuseDefinition) -> None:
    if network.mode.is_routed or network.mode in _VLAN_MODES:
        return
    tagged = ["the network"] if network.vlan is not None else []
    tagged += [f"portgroup '{one.name}'" for one in network.portgroups if one.vlan is not None]
    if tagged:
        refuse(
            f"has a <vlan> for {', '.join(tagged)}, which mode {network.mode.value} does not "
            "support",
            hint="VLAN tags are for bridges, Open vSwitch and SR-IOV functions",
        )


def _refuse_filters(network: Network, refuse: _RefuseDefinition) -> None:
    """Refuse to promise what is kept where frames pass a Linux bridge, and nowhere else."""
    groups = [one for one in network.portgroups if one.anti_spoofing]
    if not network.anti_spoofing and not groups:
        return
    place = "" if network.anti_spoofing else f" of portgroup '{groups[0].name}'"
    said = f"has a <filterref filter='clean-traffic'/>{place}"
    if not network.mode.is_routed and network.mode is not Mode.BRIDGE:
        refuse(
            f"{said}, which mode {network.mode.value} cannot keep: its frames pass no bridge",
            hint="use a bridge; a virtual function has the spoof check of its card",
        )
    if network.vde is not None:
        refuse(
            f"{said} and a <vde>, whose guests are all behind one port of the bridge",
            hint="give the VDE switch a network of its own",
        )
    for virtualport in (network.virtualport, *(one.virtualport for one in network.portgroups)):
        if virtualport is not None and virtualport.type in _SWITCHED:
            refuse(
                f"{said}, which is not kept on ports of type '{virtualport.type.value}'",
                hint="use a Linux bridge, or filter in the switch",
            )


def _refuse_virtualports(network: Network, refuse: _RefuseDefinition) -> None:
    usable = virtualport_types(network.mode)
    own = network.virtualport
    places: list[tuple[str, VirtualPort | None]] = [("", own)]
    places += [(f" of portgroup '{one.name}'", one.virtualport) for one in network.portgroups]
    for place, virtualport in places:
        if virtualport is None:
            continue
        kind = virtualport.type or (None if own is None else own.type)
        shown = "" if kind is None else f" of type '{kind.value}'"
        if kind is not None and own is not None and own.type not in (None, kind):
            assert own.type is not None
            refuse(
                f"has a <virtualport>{place}{shown}, but the network's is of type "
                f"'{own.type.value}'"
            )
        if (kind is None and network.mode in (Mode.BRIDGE, *_ROUTED)) or (
            kind is not None and kind not in usable
        ):
            allowed = ", ".join(sorted(repr(one.value) for one in usable))
            refuse(
                f"has a <virtualport>{place}{shown}, which mode {network.mode.value} has no use "
                "for",
                hint=f"types it can use: {allowed}" if allowed else "remove the virtualport",
            )


_ROUTED = tuple(mode for mode in Mode if mode.is_routed)


def _refuse_vpn(network: Network, refuse: _RefuseDefinition) -> None:
    vpn = network.vpn
    if vpn is None:
        return
    if network.mode is Mode.BRIDGE:
        if vpn.vni is None:
            refuse(
                "has a <vpn> that joins bridges, but no vni for it",
                hint="give it a number from 1 to 16777215 that is the same at all peers",
            )
        return
    if vpn.vni is not None:
        refuse(f"has a <vpn> with a vni, which mode {network.mode.value} does not use")
    if network.uplinks:
        refuse(
            f"has a <vpn> and the uplink {describe(network.uplinks[0])}",
            hint="traffic of a network with a tunnel leaves through the tunnel alone",
        )
