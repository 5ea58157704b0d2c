"""How a link of ours differs from what was made: somebody else changed it, or the kernel did."""

from __future__ import annotations

from jackfield.model.address import IpNetwork
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.hoststate import HostState
from jackfield.state.links import BridgeLink
from jackfield.state.resources import InterfaceAddress

__all__ = ["drift"]


def drift(wanted: HostState, name: str, facts: Facts) -> list[str]:
    """Return in words what of the bridge ``name`` is not as ``wanted`` has it; nothing when all is.

    Only what a network says is compared: an MTU that it leaves to the kernel may be any, and
    addresses that somebody added are no business of ours.
    """
    bridge, link = wanted.get(f"link:{name}"), facts.links.get(name)
    if not isinstance(bridge, BridgeLink) or link is None:
        return []
    found = []
    if bridge.mac is not None and link.mac != bridge.mac:
        found.append(f"its address is {link.mac}, not {bridge.mac}")
    if bridge.mtu is not None and link.mtu != bridge.mtu:
        found.append(f"its MTU is {link.mtu}, not {bridge.mtu}")
    if not link.up:
        found.append("it is down")
    found += [
        f"it lacks {item.interface}"
        for item in wanted.values()
        if isinstance(item, InterfaceAddress) and item.interface not in link.addresses
    ]
    found += [
        f"it lacks the route to {item.interface.network}"
        for item in wanted.values()
        if isinstance(item, InterfaceAddress)
        and item.interface in link.addresses
        and not _is_reached(item.interface.network, link, facts)
    ]
    return found


def _is_reached(subnet: IpNetwork, link: LinkFact, facts: Facts) -> bool:
    """Tell whether a subnet has its route, where it should: on a link that is up.

    That of a link in a VRF is in another table.
    """
    if subnet.prefixlen == subnet.max_prefixlen or not link.up or link.master is not None:
        return True
    return any(
        (subnet, link.name) == (route.destination, route.link)
        for route in facts.routes_overlapping(subnet)
    )
