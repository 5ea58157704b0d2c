"""Ways between a network and the rest that others have taken: nothing passes by them.

What a bridge's port gets is the bridge's, so a network that may go through ``eth0`` and nowhere
else is cut off when another network, or an administrator, makes ``eth0`` a port of ``br0``; so it
is when ``eth0`` goes, gets another name or is set down.  And what the host routes elsewhere, to a
VPN or the subnet that its uplink was given, is not looked for on the network's bridge.

All that may be meant, and but for the subnet it is no reason not to start; the network says so.
"""

from __future__ import annotations

from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.plan.network import bridge_of, other_way
from jackfield.state.facts import Facts

__all__ = ["blocked_way", "is_blocked_way"]

_SWITCHES = frozenset({"bridge", "openvswitch"})
_END = "nothing passes between it and this network"
_BOTH = "of what both have, the host reaches one only"


def blocked_way(network: Network, facts: Facts) -> str | None:
    """Return what is wrong with the ways of a routed network, ``None`` where nothing is."""
    if not network.mode.is_routed:
        return None
    return _blocked_uplink(network, facts) or _taken_subnet(network, facts)


def _blocked_uplink(network: Network, facts: Facts) -> str | None:
    for uplink in network.uplinks:
        if not isinstance(uplink, DeviceUplink):
            continue
        link = facts.links.get(uplink.dev)
        if link is None:
            return f"uplink {uplink.dev} does not exist: {_END}"
        if not link.up:
            return f"uplink {link.name} is not up: {_END}"
        if link.master is None:
            continue
        master = next((item for item in facts.links.values() if item.index == link.master), None)
        if master is not None and master.kind in _SWITCHES:
            return (
                f"uplink {link.name} is a port of {master.name}: {_END}, which would have to name "
                f"{master.name} as its uplink"
            )
    return None


def _taken_subnet(network: Network, facts: Facts) -> str | None:
    for subnet in network.subnets:
        if subnet.interface is None:
            continue
        route = other_way(subnet.interface.network, bridge_of(network), facts, network.uuid)
        if route is not None:
            where = f" through {route.link}" if route.link is not None else ""
            return (
                f"its subnet {subnet.interface.network} overlaps {route.destination}, which this "
                f"host also routes{where}: {_BOTH}"
            )
    return None


def is_blocked_way(problem: str | None) -> bool:
    """Tell whether a problem is one that ``blocked_way`` found."""
    return problem is not None and (_END in problem or _BOTH in problem)
