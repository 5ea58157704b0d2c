"""A plan in words: one line for each thing that would be made, changed or removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from jackfield.errors import counted
from jackfield.model.bandwidth import Rate
from jackfield.model.vlan import Vlan
from jackfield.state.association import SwitchAssociation
from jackfield.state.functions import EchoGuard, FunctionCount, FunctionSetting, OwnAddress
from jackfield.state.hoststate import Change
from jackfield.state.links import BridgeLink, MacvlanLink, MacvtapLink, TapLink, VethLink
from jackfield.state.openvswitch import OvsBridge, OvsPort
from jackfield.state.plan import PlanStep
from jackfield.state.private import PrivateGuard
from jackfield.state.resources import (
    BpduGuard,
    BridgePort,
    InterfaceAddress,
    LinkUp,
    ManagedUplink,
    NetworkRules,
    PortGuard,
    Resource,
    Route,
    TapNode,
)
from jackfield.state.services import Dnsmasq, VdeSwitch
from jackfield.state.settings import LinkSetting, Setting
from jackfield.state.traffic import Guarantee, Policing, Shaping
from jackfield.state.vlans import UplinkVlan, VlanFiltering

__all__ = ["describe", "describe_resource", "describe_waking"]


def describe(change: Change) -> list[PlanStep]:
    """Return the steps of ``change`` in the order in which they are done."""
    return [*_steps("remove", change.remove), *_ensured(change)]


def describe_waking(tables: Iterable[str]) -> list[PlanStep]:
    """Return the steps that have ``tables`` work again which somebody has put to sleep."""
    return [
        PlanStep(
            action="change",
            kind="table",
            key=words,
            text=f"{words}: its rules are in force (it is dormant)",
        )
        for words in tables
    ]


def describe_resource(resource: Resource) -> str:
    """Return one line about a resource."""
    return _TEXTS[type(resource)](resource)


def _steps(action: str, resources: Iterable[Resource]) -> list[PlanStep]:
    return [
        PlanStep(action=action, kind=item.kind, key=item.key, text=describe_resource(item))
        for item in resources
    ]


def _ensured(change: Change) -> list[PlanStep]:
    steps = []
    for resource in change.ensure:
        before = change.replaced.get(resource.key)
        text = describe_resource(resource)
        if before is not None:
            text += _difference(before, resource)
        steps.append(
            PlanStep(
                action="create" if before is None else "change",
                kind=resource.kind,
                key=resource.key,
                text=text,
            )
        )
    return steps


def _difference(before: Resource, after: Resource) -> str:
    """Return in parentheses what is new about a resource, as far as words can say it."""
    if isinstance(before, NetworkRules) and isinstance(after, NetworkRules):
        return _other_rules(before, after)
    former = describe_resource(before)
    if former != describe_resource(after):
        return f" (was: {former})"
    words = _DNSMASQ_PARTS if isinstance(after, Dnsmasq) else {}
    others = [
        words.get(field.name, f"other {field.name.replace('_', ' ')}")
        for field in dataclasses.fields(after)
        if getattr(before, field.name) != getattr(after, field.name)
    ]
    return f" ({', '.join(others)})"


def _other_rules(before: NetworkRules, after: NetworkRules) -> str:
    """Return in parentheses what comes to a network's rules and what goes."""
    elements, chains = set(before.elements), {chain.name: chain for chain in before.chains}
    parts = [
        f"{words} {counted(len(some), 'element')}"
        for words, some in (
            ("with", set(after.elements) - elements),
            ("without", elements - set(after.elements)),
        )
        if some
    ]
    for chain in after.chains:
        former = chains.pop(chain.name, None)
        if former != chain:
            parts.append(f"{'with' if former is None else 'other rules in'} chain {chain.name}")
    parts += [f"without chain {name}" for name in chains]
    return f" ({', '.join(parts)})"


def _bridge(link: BridgeLink) -> str:
    parts = [f"bridge {link.name}"]
    if link.mac is not None:
        parts.append(f"address {link.mac}")
    if link.mtu is not None:
        parts.append(f"mtu {link.mtu}")
    parts.append("stp on" if link.stp else "stp off")
    if link.stp or link.forward_delay:
        parts.append(f"forward delay {link.forward_delay} s")
    if link.vlan_filtering:
        parts.append("VLANs kept apart where the kernel can")
    return ", ".join(parts)


def _tap(link: TapLink) -> str:
    owner = "" if link.owner is None else f" for user {link.owner}"
    queues = f", {link.queues} queues" if link.queues > 1 else ""
    return f"tap {link.name}{owner}{queues}{_mtu(link.mtu)}"


def _veth(link: VethLink) -> str:
    peer = f"{link.peer_name} ({link.peer_mac}) in {link.peer_netns}"
    return f"veth {link.name} to {peer}{_mtu(link.mtu)}"


def _mtu(mtu: int | None) -> str:
    return "" if mtu is None else f", mtu {mtu}"


def _macvtap(link: MacvtapLink) -> str:
    groups = ", all multicast" if link.all_multicast else ""
    return f"macvtap {link.name} over {link.lower}, mode {link.mode}{groups}"


def _macvlan(link: MacvlanLink) -> str:
    return f"macvlan {link.ifname} over {link.lower}, mode {link.mode}, in {link.netns}"


def _node(node: TapNode) -> str:
    owner = "" if node.owner is None else f", for user {node.owner}"
    return f"device node {node.path} of {node.link}{owner}"


def _port(port: BridgePort) -> str:
    parts = [f"{port.link} on bridge {port.bridge}"]
    if port.isolated:
        parts.append("isolated")
    if not port.learning:
        parts.append("addresses not learned")
    if not port.unicast_flood:
        parts.append("not flooded")
    if port.addresses:
        parts.append(f"for {' '.join(port.addresses)}")
    if port.vlan is not None:
        parts.append(_vlan(port.vlan))
    return ", ".join(parts)


def _vlan(vlan: Vlan) -> str:
    tags = " ".join(
        str(tag.id) if tag.native_mode is None else f"{tag.id} (native, {tag.native_mode.value})"
        for tag in vlan.tags
    )
    return f"trunk of VLANs {tags}" if vlan.trunk else f"VLAN {tags}"


def _ovs_port(port: OvsPort) -> str:
    parts = [f"{port.link} on Open vSwitch bridge {port.bridge}"]
    vlan = port.vlan
    if vlan is not None:
        tags = [] if vlan.tag is None else [str(vlan.tag)]
        if vlan.trunks:
            tags.append(f"of {', '.join(map(str, vlan.trunks))}")
        parts.append(" ".join(filter(None, ("VLAN", vlan.mode, *tags))))
    for rate, way in ((port.inbound, "to"), (port.outbound, "from")):
        if rate is not None:
            parts.append(f"{rate.average} KiB/s {way} the guest")
    return ", ".join(parts)


def _uplink(uplink: ManagedUplink) -> str:
    return (
        f"uplink {uplink.link} on bridge {uplink.bridge}, which has its "
        f"address{_mtu(uplink.mtu)}, "
        "and its IP addresses, routes and neighbours while the network runs"
    )


def _route(route: Route) -> str:
    metric = "" if route.metric is None else f" metric {route.metric}"
    return f"route to {route.destination} via {route.gateway} dev {route.link}{metric}"


def _rules(rules: NetworkRules) -> str:
    sets = len({element.place for element in rules.elements})
    chains = "".join(f", chain {chain.name}" for chain in rules.chains)
    return (
        f"firewall: {counted(len(rules.elements), 'element')} in {counted(sets, 'set')} "
        f"of table inet jackfield{chains}"
    )


def _guard(guard: PortGuard) -> str:
    used = [str(address) for address in guard.addresses]
    used += [str(prefix) for prefix in guard.prefixes]
    used += ["any IPv4 address"] if guard.open4 else []
    used += ["any IPv6 address"] if guard.open6 else []
    used += ["what DHCP gives it"] if guard.learns else []
    return f"{guard.link} sends only from {guard.mac}, as {', '.join(used) or 'nobody'}"


def _shaping(shaping: Shaping) -> str:
    parts = []
    if shaping.rate is not None and shaping.rate.average is not None:
        # Where parts are promised, it is a network's.
        whom = " to the guests" if shaping.divided else " out"
        parts.append(f"{_rate(shaping.rate)}{whom}")
    if shaping.checksum_dhcp:
        parts.append("UDP checksums of DHCP replies filled, where the kernel can")
    return f"traffic control on {shaping.link}: {'; '.join(parts)}"


def _rate(rate: Rate) -> str:
    words = f"{rate.average} KiB/s"
    if rate.peak is not None:
        words += f", up to {rate.peak}"
    return words if rate.burst is None else f"{words}, {rate.burst} KiB at once"


def _guarantee(item: Guarantee) -> str:
    return f"{item.floor} KiB/s of {item.link} for {item.mac}, up to {item.ceiling}"


def _function_setting(setting: FunctionSetting) -> str:
    value = setting.value or "none"
    return f"{setting.aspect.value} of virtual function {setting.address} = {value}"


def _association(item: SwitchAssociation) -> str:
    return (
        f"VSI instance {item.instance} ({item.mac}) of type {item.type_id}, version "
        f"{item.type_version}, manager {item.manager}, associated with the switch at {item.link}"
    )


def _dnsmasq(service: Dnsmasq) -> str:
    offers = ["DNS"] if "\nport=0\n" not in f"\n{service.config}\n" else []
    if service.serves_dhcp4:
        offers.append("DHCP")
    if service.serves_dhcp6:
        offers.append("DHCPv6")
    return f"dnsmasq on {service.bridge}" + (f": {', '.join(offers)}" if offers else "")


def _switch(switch: VdeSwitch) -> str:
    whose = "root" if switch.group is None else f"group {switch.group}"
    socket = "" if switch.reachable else ", without its socket"
    return f"VDE switch on {switch.tap}, open to {whose}{socket}"


_DNSMASQ_PARTS = {
    "config": "started anew with other settings",
    "hosts": "other reservations",
    "names": "other names",
    "options": "other DHCP options",
    "servers": "other upstream servers",
    "follow_resolver": "the host's own servers, or not",
}

_TEXTS: dict[type[Resource], Callable[[Any], str]] = {
    Setting: lambda item: f"sysctl {item.name.replace('/', '.')} = {item.value}",
    BridgeLink: _bridge,
    TapLink: _tap,
    VethLink: _veth,
    MacvtapLink: _macvtap,
    MacvlanLink: _macvlan,
    LinkSetting: lambda item: f"{item.attribute.value} of {item.link} = {item.value}",
    FunctionCount: lambda item: f"{counted(int(item.value), 'virtual function')} of {item.link}",
    FunctionSetting: _function_setting,
    OwnAddress: lambda item: f"frames to {item.mac} received by {item.link} = {item.value}",
    TapNode: _node,
    InterfaceAddress: lambda item: f"address {item.interface} on {item.link}",
    LinkUp: lambda item: f"{item.link} up",
    BridgePort: _port,
    OvsBridge: lambda item: f"Open vSwitch bridge {item.name}",
    OvsPort: _ovs_port,
    ManagedUplink: _uplink,
    VlanFiltering: lambda item: f"VLANs on bridge {item.link} kept apart: {item.value}",
    UplinkVlan: lambda item: f"VLAN {item.vlan} on uplink {item.link}: {item.value}",
    BpduGuard: lambda item: f"spanning tree frames of guests kept from {item.link}",
    EchoGuard: lambda item: f"frames from {item.mac} that come back by {item.link} dropped",
    PrivateGuard: lambda item: f"{item.mac} over {item.link} kept from its network's guests",
    Route: _route,
    NetworkRules: _rules,
    PortGuard: _guard,
    Shaping: _shaping,
    Guarantee: _guarantee,
    Policing: lambda item: f"at most {_rate(item.rate)} in by {item.link}",
    Dnsmasq: _dnsmasq,
    VdeSwitch: _switch,
    SwitchAssociation: _association,
}
