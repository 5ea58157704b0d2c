"""How a link of ours differs from what was made: somebody else changed it, or the kernel did."""

from __future__ import annotations

from jackfield.state.facts import LinkFact
from jackfield.state.hoststate import HostState
from jackfield.state.links import BridgeLink
from jackfield.state.resources import InterfaceAddress

__all__ = ["drift"]


def drift(wanted: HostState, link: LinkFact) -> list[str]:
    """Return in words what of ``link`` is not as ``wanted`` has it; nothing when all is.

    Only what a network says is compared: an MTU that it leaves to the kernel may be any, and
    addresses that somebody added are no business of ours.
    """
    bridge = wanted.get(f"link:{link.name}")
    if not isinstance(bridge, BridgeLink):
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
    return found
