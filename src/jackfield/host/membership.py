"""A link's place: port of a bridge, and administratively up."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.bridge import bridge_options, change_port, port_flags
from jackfield.host.netlink.bridgeport import (
    PortVlan,
    add_entry,
    add_vlans,
    decode_entry,
    delete_entry,
    delete_vlans,
    get_entry,
    vlans_of,
    vlans_to_model,
)
from jackfield.host.netlink.link import Link, set_link
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.socket import Refusal
from jackfield.host.ownership import is_marked
from jackfield.host.removal import send_removals
from jackfield.model.values import MacAddress
from jackfield.state.resources import BridgePort, LinkUp

__all__ = ["BridgePortDriver", "LinkUpDriver"]


class BridgePortDriver:
    """Makes links ports of bridges, sets their flags and brings them up."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[BridgePort],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return whose port each link is: no bridge's is absent, another's is foreign."""
        links = kernel.route.links([port.link for port in resources])
        bridges = {port.bridge for port in resources}
        indexes = {bridge: kernel.route.index(bridge) for bridge in bridges}
        vlans = kernel.route.vlans() if any(port.vlan is not None for port in resources) else {}
        found: dict[str, Observed] = {}
        for port in resources:
            link = links.get(port.link)
            if link is None or link.master is None:
                found[port.key] = ABSENT
            elif link.master != indexes[port.bridge]:
                other = kernel.route.link_at(link.master)
                where = f"link {link.master}" if other is None else f"{other.kind} {other.name}"
                what = f"{where} ({link.name} is on it)"
                found[port.key] = Observed(presence=Presence.FOREIGN, description=what)
            else:
                addresses = _found_addresses(kernel, port, link)
                seen = _as_found(port, link, addresses, vlans.get(link.index, frozenset()))
                found[port.key] = Observed(presence=Presence.OURS, resource=seen)
        return found

    def refuse_impossible(self, kernel: Kernel, resources: Sequence[BridgePort]) -> None:
        """Raise ``MissingFeature`` where a port is to have VLANs and its bridge cannot."""
        for port in resources:
            bridge = None if port.vlan is None else kernel.route.link(port.bridge)
            if bridge is None or bridge_options(bridge.data).vlan_filtering:
                continue
            what = f"cannot put {port.link} into VLANs on bridge {port.bridge}"
            if bridge_options(bridge.data).vlan_filtering is None:
                raise MissingFeature(
                    f"{what}: the kernel cannot filter VLANs on bridges",
                    hint="it needs CONFIG_BRIDGE_VLAN_FILTERING",
                )
            raise MissingFeature(
                f"{what}: that bridge does not filter VLANs",
                hint=f"ip link set {port.bridge} type bridge vlan_filtering 1, if it is yours",
            )

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[BridgePort],
        replaced: Mapping[str, BridgePort],
    ) -> None:
        """Put the links on their bridges, with all that is set before they come up."""
        indexes: dict[str, int] = {}
        messages: list[Message] = []
        for port in resources:
            what = _what(port)
            if port.bridge not in indexes:
                indexes[port.bridge] = kernel.route.require_index(port.bridge, what)
            if port.key not in replaced:
                messages.append(set_link(port.link, what, master=indexes[port.bridge]))
        if any(port.vlan is not None for port in resources):
            kernel.route.send(messages)
            messages = _vlan_messages(kernel, resources)
        for port in resources:
            messages += _entry_messages(kernel, port, replaced.get(port.key))
            messages.append(
                change_port(
                    port.link,
                    _what(port),
                    isolated=port.isolated,
                    learning=port.learning,
                    unicast_flood=port.unicast_flood,
                )
            )
        kernel.route.send(messages)

    def remove(self, kernel: Kernel, resources: Sequence[BridgePort]) -> None:
        """Take the links off, each only if it is a port of the bridge that is named."""
        links = kernel.route.links([port.link for port in resources])
        messages = []
        for port in resources:
            link = links.get(port.link)
            if link is None or link.master is None:
                continue
            if link.master == kernel.route.index(port.bridge):
                what = f"take {port.link} off {port.bridge}"
                messages.append(set_link(link.index, what, master=0))
        send_removals(kernel, messages, "could not take every link off its bridge")


def _what(port: BridgePort) -> str:
    return f"make {port.link} a port of {port.bridge}"


def _as_found(
    wanted: BridgePort,
    link: Link,
    addresses: tuple[MacAddress, ...],
    vlans: frozenset[PortVlan],
) -> BridgePort:
    isolated, learning, unicast_flood = port_flags(link.port_data)
    vlan = wanted.vlan
    if vlan is not None and vlans != vlans_of(vlan):
        vlan = vlans_to_model(vlans)
    return BridgePort(
        link=wanted.link,
        bridge=wanted.bridge,
        isolated=isolated,
        learning=learning,
        unicast_flood=unicast_flood,
        addresses=addresses,
        vlan=vlan,
        up=link.up,
    )


def _found_addresses(kernel: Kernel, port: BridgePort, link: Link) -> tuple[MacAddress, ...]:
    """Return those of the wanted addresses that lead to the port for good."""
    found = []
    for mac in port.addresses:
        try:
            (reply, *_) = kernel.route.request(get_entry(link.index, mac.packed))
        except Refusal as refusal:
            if refusal.errno != errno.ENOENT:
                raise
            continue
        entry = decode_entry(reply.body)
        if entry is not None and entry.index == link.index and entry.static:
            found.append(mac)
    return tuple(found)


def _entry_messages(kernel: Kernel, port: BridgePort, former: BridgePort | None) -> list[Message]:
    """Return what makes the port's entries in the forwarding table, and removes former ones."""
    gone = [] if former is None else [mac for mac in former.addresses if mac not in port.addresses]
    if not gone and not port.addresses:
        return []
    what = f"lead frames to {port.link}"
    index = kernel.route.require_index(port.link, what)
    return [
        *(delete_entry(index, mac.packed, what) for mac in gone),
        *(add_entry(index, mac.packed, what) for mac in port.addresses),
    ]


def _vlan_messages(kernel: Kernel, resources: Sequence[BridgePort]) -> list[Message]:
    """Return what puts ports that are on their bridges into their VLANs, and out of all others."""
    found = kernel.route.vlans()
    messages: list[Message] = []
    for port in resources:
        if port.vlan is None:
            continue
        what = f"put {port.link} into its VLANs"
        index = kernel.route.require_index(port.link, what)
        wanted, present = vlans_of(port.vlan), found.get(index, frozenset())
        gone = {item.id for item in present} - {item.id for item in wanted}
        messages += delete_vlans(index, sorted(gone), what)
        messages += add_vlans(index, sorted(wanted - present), what)
    return messages


class LinkUpDriver:
    """Brings links up and down."""

    def observe(
        self, kernel: Kernel, resources: Sequence[LinkUp], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return which links are up; one that is down is absent."""
        links = kernel.route.links([item.link for item in resources])
        return {
            item.key: Observed(presence=Presence.OURS, resource=item)
            if item.link in links and links[item.link].up
            else ABSENT
            for item in resources
        }

    def ensure(
        self, kernel: Kernel, resources: Sequence[LinkUp], replaced: Mapping[str, LinkUp]
    ) -> None:
        """Bring the links up."""
        kernel.route.send(
            [set_link(item.link, f"bring {item.link} up", up=True) for item in resources]
        )

    def remove(self, kernel: Kernel, resources: Sequence[LinkUp]) -> None:
        """Bring the links down that are marked as ours."""
        links = kernel.route.links([item.link for item in resources])
        messages = [
            set_link(links[item.link].index, f"bring {item.link} down", up=False)
            for item in resources
            if item.link in links and is_marked(links[item.link].alias)
        ]
        send_removals(kernel, messages, "could not bring every link down")
