"""What somebody else does to the ways between networks and the rest: uplinks and routes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.model.address import IpNetwork
from jackfield.model.uplink import DeviceUplink
from jackfield.plan.collision import is_default, overlap
from jackfield.state.facts import LinkFact
from jackfield.state.links import network_of, port_of

__all__ = ["WayWatch"]

_SETTLE = 0.2
"""Seconds after a change before it is judged: who changes a route removes it first."""


class WayWatch:
    """Has networks judged whose uplinks, or whose part of the host's routes, were changed."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        judge: Callable[[Sequence[NetworkRecord]], Coroutine[None, None, None]],
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Have networks of ``registry`` judged by ``judge``; ``later`` runs that as a task."""
        self._registry = registry
        self._host = host
        self._judge_networks = judge
        self._later = later
        self._links: set[str] = set()
        self._routes: set[IpNetwork] = set()
        self._outside = False
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Have nothing judged any more."""
        if self._timer is not None:
            self._timer.cancel()

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that came, went, or is called or placed otherwise now."""
        if old is None or new is None or _place(old) != _place(new):
            found = [link for link in (old, new) if link is not None and not _is_ours(link)]
            if found:
                self._links.update(link.name for link in found)
                self._begin()

    def route_changed(self, destination: IpNetwork, index: int) -> None:
        """Take note of a route that came or went, by the link of an ``index``."""
        link = self._host.link(index)
        if link is not None and _is_ours(link):
            return
        if is_default(destination):
            # It takes nothing from anybody, and leads past the uplinks that it is not of.
            self._outside = True
        else:
            self._routes.add(destination)
            if link is not None:
                self._links.add(link.name)
        self._begin()

    def _begin(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE, self._judge)

    def _judge(self) -> None:
        self._timer = None
        links, self._links = self._links, set()
        routes, self._routes = self._routes, set()
        outside, self._outside = self._outside, False
        concerned = [
            record
            for record in self._registry.networks.values()
            if record.active and _is_concerned(record, links, routes, outside=outside)
        ]
        if concerned:
            self._later(self._judge_networks(concerned))


def _place(link: LinkFact) -> tuple[str, bool, int | None]:
    return link.name, link.up, link.master


def _is_ours(link: LinkFact) -> bool:
    return network_of(link.alias) is not None or port_of(link.alias) is not None


def _is_concerned(
    record: NetworkRecord, links: set[str], routes: set[IpNetwork], *, outside: bool
) -> bool:
    network = record.current
    if not network.mode.is_routed:
        return False
    named = [uplink.dev for uplink in network.uplinks if isinstance(uplink, DeviceUplink)]
    if named and (outside or not links.isdisjoint(named)):
        return True
    return any(
        overlap(subnet.interface.network, route)
        for subnet in network.subnets
        if subnet.interface is not None
        for route in routes
    )
