"""What networks claim of the host before the host shows it: uplinks, subnets and routes.

Several networks start at once.  Asked again just before a network is noted as live, with nothing
waited for in between, of two that want the same thing only the first gets it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from uuid import UUID

from jackfield.document.rules import makes_bridge
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.errors import Conflict, ForeignObject, shell_word
from jackfield.model.address import IpNetwork
from jackfield.model.network import Network
from jackfield.model.uplink import describe
from jackfield.plan.collision import overlap
from jackfield.plan.network import metric_of
from jackfield.state.facts import span_of

__all__ = ["Claims", "takes_uplinks"]


def takes_uplinks(network: Network) -> bool:
    """Whether a network makes uplinks ports of its bridges."""
    return makes_bridge(network) and not network.mode.is_routed


class Claims:
    """What active networks have, and those that are being started: found at once among hundreds."""

    def __init__(self, registry: Registry) -> None:
        """Know of nothing yet; networks are those of ``registry``."""
        self._registry = registry
        # By IP version: the first and the last address of each subnet in order, with its network,
        # and how much the longest one is longer than one address.
        self._subnets: dict[int, list[tuple[int, int, UUID]]] = {4: [], 6: []}
        self._longest = {4: 0, 6: 0}
        self._known: dict[UUID, list[tuple[int, int, int]]] = {}

    def note(self, record: NetworkRecord) -> None:
        """Take note of what a network has, now that it is begun, changed or ended."""
        for version, first, last in self._known.pop(record.uuid, ()):
            subnets = self._subnets[version]
            del subnets[bisect.bisect_left(subnets, (first, last, record.uuid))]
        if record.live is None or not record.present:
            return
        spans = [span_of(subnet) for subnet in _subnets(record.live)]
        self._known[record.uuid] = spans
        for version, first, last in spans:
            bisect.insort(self._subnets[version], (first, last, record.uuid))
            self._longest[version] = max(self._longest[version], last - first)

    def check_free(self, network: Network, record: NetworkRecord) -> None:
        """Refuse what another network than ``record`` has, or is just getting."""
        # Whatever the host's routes say: somebody may have taken theirs away.
        for subnet in _subnets(network):
            for uuid in self._holders(*span_of(subnet)):
                if uuid != record.uuid:
                    _refuse_subnet(network, self._registry.networks[uuid])
        takes = takes_uplinks(network)
        if not (takes or network.routes):
            return
        for uuid in self._known.keys() - {record.uuid}:
            other = self._registry.networks[uuid].current
            if takes:
                _check_uplinks(network, other)
            if network.routes:
                _check_routes(network, other)

    def _holders(self, version: int, first: int, last: int) -> Iterator[UUID]:
        """Yield the networks that have some of the addresses from ``first`` to ``last``."""
        subnets = self._subnets[version]
        place = bisect.bisect_left(subnets, first - self._longest[version], key=_first)
        while place < len(subnets) and subnets[place][0] <= last:
            if subnets[place][1] >= first:
                yield subnets[place][2]
            place += 1


def _first(subnet: tuple[int, int, UUID]) -> int:
    return subnet[0]


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
