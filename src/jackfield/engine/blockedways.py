"""Uplinks of routed networks that are ports of a bridge: nothing passes through them.

What a bridge's port gets is the bridge's, so a network that may go through ``eth0`` and nowhere
else is cut off when another network, or an administrator, makes ``eth0`` a port of ``br0``.  That
may be meant, and is no reason not to start; the network says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.state.facts import LinkFact

__all__ = ["blocked_way", "is_blocked_way"]

_SWITCHES = frozenset({"bridge", "openvswitch"})
_END = "nothing passes between it and this network"


def blocked_way(network: Network, links: Mapping[str, LinkFact]) -> str | None:
    """Return what is wrong with an uplink of a routed network, ``None`` where nothing is."""
    if not network.mode.is_routed:
        return None
    for uplink in network.uplinks:
        link = links.get(uplink.dev) if isinstance(uplink, DeviceUplink) else None
        if link is None or link.master is None:
            continue
        master = next((item for item in links.values() if item.index == link.master), None)
        if master is not None and master.kind in _SWITCHES:
            return (
                f"uplink {link.name} is a port of {master.name}: {_END}, which would have to name "
                f"{master.name} as its uplink"
            )
    return None


def is_blocked_way(problem: str | None) -> bool:
    """Tell whether a problem is one that ``blocked_way`` found."""
    return problem is not None and _END in problem
