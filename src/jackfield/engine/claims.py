"""What networks claim of the host before the host shows it: uplinks, subnets and routes.

Several networks start at once.  Asked again just before a network is noted as live, with nothing
waited for in between, of two that want the same thing only the first gets it.
"""

from __future__ import annotations

from collections.abc import Iterable

from jackfield.document.rules import makes_bridge
from jackfield.engine.records import NetworkRecord
from jackfield.errors import Conflict, ForeignObject, shell_word
from jackfield.model.address import IpNetwork
from jackfield.model.network import Network
from jackfield.model.uplink import describe
from jackfield.plan.collision import overlap
from jackfield.plan.network import metric_of
from jackfield.state.facts import span_of

__all__ = ["check_free", "takes_uplinks"]


def takes_uplinks(network: Network) -> bool:
    """Whether a network makes uplinks ports of its bridges."""
    return makes_bridge(network) and not network.mode.is_routed


def check_free(network: Network, others: Iterable[NetworkRecord]) -> None:
    """Refuse what one of ``others`` has, or is just getting."""
    takes, spans = takes_uplinks(network), _spans(network)
    for other in others:
        # One that is not so yet asks for itself, and one that has ended is only to be forgotten.
        if other.live is None or not other.present:
            continue
        if takes:
            _check_uplinks(network, other.live)
        if network.routes:
            _check_routes(network, other.live)
        # Whatever the host's routes say: somebody may have taken theirs away.
        if other.spans is None or other.spans[0] is not other.live:
            other.spans = other.live, _spans(other.live)
        # Kept, and without a function for each: hundreds are gone through at each start.
        for version, first, last in other.spans[1]:
            for mine in spans:
                if version == mine[0] and first <= mine[2] and mine[1] <= last:
                    _refuse_subnet(network, other)


def _check_uplinks(network: Network, other: Network) -> None:
    if not takes_uplinks(other):
        return
    for uplink in network.uplinks:
        if uplink in other.uplinks:
            raise Conflict(
                f"network {network.name!r}: its uplink {describe(uplink)} is one of network "
                f"{other.name!r}, which is active",
                hint="stop that one first, or choose another uplink: "
                f"jackfield stop {shell_word(other.name)}",
            )


def _check_routes(network: Network, other: Network) -> None:
    if not other.routes:
        return
    theirs = {(route.destination, metric_of(route)) for route in other.routes}
    for route in network.routes:
        if (route.destination, metric_of(route)) in theirs:
            raise Conflict(
                f"network {network.name!r}: its route to {route.destination} with metric "
                f"{metric_of(route)} is one of network {other.name!r} as well, which is active",
                hint="give one of them another metric (<route metric='…'/>: the host takes the "
                f"lesser one), or stop that one: jackfield stop {shell_word(other.name)}",
            )


def _refuse_subnet(network: Network, other: NetworkRecord) -> None:
    for mine in _subnets(network):
        for theirs in _subnets(other.current):
            if overlap(mine, theirs):
                raise ForeignObject(
                    f"subnet {mine} overlaps {theirs} of network {other.name!r}, which "
                    f"{'runs' if other.settled else 'is being started'}",
                    hint="two active networks of a host need different subnets",
                )


def _subnets(network: Network) -> list[IpNetwork]:
    return [item.interface.network for item in network.subnets if item.interface is not None]


def _spans(network: Network) -> list[tuple[int, int, int]]:
    return [span_of(subnet) for subnet in _subnets(network)]
