"""Ways between a network and the rest that others have taken: nothing passes by them.

What a bridge's port gets is the bridge's, so a network that may go through ``eth0`` and nowhere
else is cut off when another network, or an administrator, makes ``eth0`` a port of ``br0``; so it
is when ``eth0`` goes, gets another name or is set down.  And what the host routes elsewhere, to a
VPN or the subnet that its uplink was given, is not looked for on the network's bridge.

The same becomes of a network that may go through ``eth0`` while the host's default route leads
through another link.  Where ``eth0`` has routes of its own, to the LAN that it is in, guests may be
meant to get there alone; but where it has none, or a default route as well that is not taken,
nothing else can be meant.

All that may be meant, and but for the subnet it is no reason not to start; the network says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from jackfield.diagnosis.way import OUTSIDE
from jackfield.engine.workplace import Workplace
from jackfield.host.netlink.policy import has_policies
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink
from jackfield.plan.collision import is_default, other_way
from jackfield.plan.network import bridge_of
from jackfield.state.facts import Facts

__all__ = ["blocked_way", "first_certain", "is_blocked_way", "ways_past"]

_KEPT_TO_UPLINKS = frozenset({Mode.NAT, Mode.ROUTE})
_SWITCHES = frozenset({"bridge", "openvswitch"})
_END = "nothing passes between it and this network"
_PAST = "so guests do not get there"
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


def first_certain(tools: Workplace, past: Mapping[int, str]) -> str | None:
    """Return the first of ``ways_past`` that nothing but the main table has a say in."""
    for version, problem in past.items():
        if not has_policies(tools.kernel.route, version):
            return problem
    return None


def ways_past(network: Network, facts: Facts) -> dict[int, str]:
    """Return, by IP version, what is wrong where routes lead past the uplinks that are allowed.

    As far as the main table says where packets go.
    """
    named = [uplink.dev for uplink in network.uplinks if isinstance(uplink, DeviceUplink)]
    if not named or network.mode not in _KEPT_TO_UPLINKS:
        return {}
    found: dict[int, str] = {}
    for version in {item.interface.version for item in network.subnets if item.interface}:
        routes = facts.routes_to(OUTSIDE[version])
        if not routes or any(
            route.shared or route.link is None or route.link in named for route in routes
        ):
            continue
        own = [
            route.destination
            for route in facts.routes
            if route.link in named
            and route.destination.version == version
            and not route.destination.is_link_local
        ]
        if not own or any(is_default(destination) for destination in own):
            through = ", ".join(sorted({str(route.link) for route in routes}))
            found[version] = (
                f"the host routes what goes outside by IPv{version} through {through}, and this "
                f"network lets it out through {', '.join(sorted(named))} only, {_PAST}"
            )
    return found


def is_blocked_way(problem: str | None) -> bool:
    """Tell whether a problem is one that ``blocked_way`` found."""
    return problem is not None and any(part in problem for part in (_END, _BOTH, _PAST))
