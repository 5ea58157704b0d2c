"""The mirror's routes: by what tells two of them apart, and by outgoing link."""

from __future__ import annotations

import bisect
import operator
from collections.abc import Iterable, Mapping

from jackfield.host.netlink.routing import RouteEntry
from jackfield.model.address import IpNetwork
from jackfield.state.facts import LinkFact, RouteFact

__all__ = ["RouteTable"]

_Key = tuple[IpNetwork, int, int, bytes]
_span = operator.attrgetter("span")


class RouteTable:
    """The main table's routes, and a fact of each.

    A fact is made once, when it is asked for first or, for many, with the table.
    """

    def __init__(self, routes: Iterable[RouteEntry], links: Mapping[int, LinkFact]) -> None:
        """Hold ``routes``; ``links`` (by index) give their facts the names."""
        self._routes = {_key(route): route for route in routes}
        self._by_link: dict[int, set[_Key]] = {}
        self._facts: dict[_Key, RouteFact] = {}
        self._in_order: list[RouteFact] = []
        self._without_fact = set(self._routes)
        for key, route in self._routes.items():
            self._by_link.setdefault(route.index, set()).add(key)
        self.facts(links)

    def add(self, route: RouteEntry, *, replaces: bool) -> None:
        """Add a route, in the place of those to the same destination if it ``replaces`` them."""
        if replaces:
            same = (route.destination, route.metric)
            for key in [key for key in self._routes if key[:2] == same]:
                self._forget(key)
        key = _key(route)
        self._routes[key] = route
        self._without_fact.add(key)
        self._by_link.setdefault(route.index, set()).add(key)

    def remove(self, route: RouteEntry) -> None:
        """Remove a route, if it is there."""
        key = _key(route)
        if key in self._routes:
            self._forget(key)

    def changes_to(self, newer: RouteTable) -> list[tuple[IpNetwork, int]]:
        """Return where the routes lead, and by which link, that are in one of the two alone."""
        return [(key[0], key[2]) for key in self._routes.keys() ^ newer._routes.keys()]

    def drop_ipv4(self, index: int, source: bytes | None) -> list[IpNetwork]:
        """Remove a link's IPv4 routes, of one ``source`` or all; return where they led."""
        lost = [
            key
            for key in self._by_link.get(index, ())
            if key[0].version == 4 and source in (None, self._routes[key].source)
        ]
        for key in lost:
            self._forget(key)
        return [key[0] for key in lost]

    def renamed(self, index: int) -> None:
        """Make the facts of a link's routes anew, because its name has changed."""
        self._without_fact |= self._by_link.get(index, set())

    def facts(self, links: Mapping[int, LinkFact]) -> tuple[RouteFact, ...]:
        """Return every route as a fact, in the order of their spans."""
        for key in self._without_fact:
            self._forget_fact(key)
            route = self._routes[key]
            link = links.get(route.index)
            fact = RouteFact(
                destination=route.destination,
                link=link.name if link is not None else None,
                on_link=not route.gateway,
                protocol=route.protocol,
                metric=route.metric,
                shared=route.shared,
            )
            self._facts[key] = fact
            bisect.insort(self._in_order, fact, key=_span)
        self._without_fact.clear()
        return tuple(self._in_order)

    def _forget(self, key: _Key) -> None:
        route = self._routes.pop(key)
        self._forget_fact(key)
        self._without_fact.discard(key)
        keys = self._by_link[route.index]
        keys.discard(key)
        if not keys:
            del self._by_link[route.index]

    def _forget_fact(self, key: _Key) -> None:
        fact = self._facts.pop(key, None)
        if fact is None:
            return
        at = bisect.bisect_left(self._in_order, fact.span, key=_span)
        while self._in_order[at] is not fact:
            at += 1
        del self._in_order[at]


def _key(route: RouteEntry) -> _Key:
    return route.destination, route.metric, route.index, route.gateway
