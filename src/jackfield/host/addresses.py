"""Addresses and routes of ours, marked with our protocol number."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence

from jackfield.errors import ForeignObject
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.address import AddressEntry, add_address, delete_address
from jackfield.host.netlink.link import Link
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.route import ONE_BY_ONE_LIMIT
from jackfield.host.netlink.routing import RouteEntry, add_route, delete_route
from jackfield.host.ownership import PROTOCOL, is_marked
from jackfield.host.removal import send_removals
from jackfield.model.address import IpInterface, IpNetwork
from jackfield.state.resources import InterfaceAddress, Route

__all__ = ["AddressDriver", "RouteDriver"]


class AddressDriver:
    """Makes, looks at and removes addresses.

    An address is ours with our ``IFA_PROTO``.  Linux before 5.18 does not keep it: an address
    without one is ours when its link is.

    With an address comes the kernel's route to its subnet.  One whose route somebody has removed
    reaches nobody: it counts as absent, and is made anew.
    """

    def __init__(self) -> None:
        """Have looked at nothing yet."""
        self._unreached: set[str] = set()

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[InterfaceAddress],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return which addresses exist and whose they are; changes nothing."""
        links = kernel.route.links({item.link for item in resources})
        entries = _entries(kernel, links.values())
        reached = _reached(kernel, links.values(), entries)
        found: dict[str, Observed] = {}
        for item in resources:
            link = links.get(item.link)
            entry = None if link is None else entries.get((link.index, item.interface))
            self._unreached.discard(item.key)
            if link is None or entry is None:
                found[item.key] = ABSENT
            elif _is_ours(entry, link) and not _is_reached(item, link, reached):
                self._unreached.add(item.key)
                found[item.key] = ABSENT
            elif _is_ours(entry, link):
                found[item.key] = Observed(presence=Presence.OURS, resource=item)
            else:
                description = f"address {item.interface} on {link.describe()}"
                found[item.key] = Observed(presence=Presence.FOREIGN, description=description)
        return found

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[InterfaceAddress],
        replaced: Mapping[str, InterfaceAddress],
    ) -> None:
        """Add the addresses; the kernel makes a lost route with a new address only."""
        self.remove(kernel, [item for item in resources if item.key in self._unreached])
        indexes: dict[str, int] = {}
        messages: list[Message] = []
        for item in resources:
            what = f"add address {item.interface} to {item.link}"
            if item.link not in indexes:
                indexes[item.link] = kernel.route.require_index(item.link, what)
            messages.append(add_address(indexes[item.link], item.interface, PROTOCOL, what))
        kernel.route.send(messages)

    def remove(self, kernel: Kernel, resources: Sequence[InterfaceAddress]) -> None:
        """Remove the addresses that exist and are ours."""
        links = kernel.route.links({item.link for item in resources})
        entries = _entries(kernel, links.values())
        messages = []
        for item in resources:
            link = links.get(item.link)
            entry = None if link is None else entries.get((link.index, item.interface))
            if link is not None and entry is not None and _is_ours(entry, link):
                what = f"remove address {item.interface} from {item.link}"
                messages.append(delete_address(link.index, item.interface, what))
        gone = (errno.EADDRNOTAVAIL, errno.ENODEV)
        send_removals(kernel, messages, "could not remove every address", gone)


def _is_ours(entry: AddressEntry, link: Link) -> bool:
    return entry.protocol == PROTOCOL or (entry.protocol is None and is_marked(link.alias))


def _entries(
    kernel: Kernel, links: Collection[Link]
) -> dict[tuple[int, IpInterface], AddressEntry]:
    """Return the addresses of the links; for many links those of all, which is cheaper."""
    if len(links) > ONE_BY_ONE_LIMIT:
        found: Iterable[AddressEntry] = kernel.route.addresses()
    else:
        found = [entry for link in links for entry in kernel.route.addresses(link.index)]
    return {(entry.index, entry.interface): entry for entry in found}


def _reached(
    kernel: Kernel, links: Collection[Link], entries: Mapping[tuple[int, IpInterface], AddressEntry]
) -> set[tuple[int, IpNetwork]]:
    """Return the subnets on the links that the host has routes to, if it has addresses there."""
    versions = {interface.version for _, interface in entries}
    indexes = [0] if len(links) > ONE_BY_ONE_LIMIT else [link.index for link in links]
    return {
        (entry.index, entry.destination)
        for version in versions
        for index in indexes
        for entry in kernel.route.routes(version, index)
        if not entry.gateway
    }


def _is_reached(
    address: InterfaceAddress, link: Link, reached: Collection[tuple[int, IpNetwork]]
) -> bool:
    """Tell whether an address has its route, where it should: on a link that is up.

    That of a link in a VRF is in another table, and looked for by nobody here.
    """
    network = address.interface.network
    whole = network.prefixlen == network.max_prefixlen
    elsewhere = not link.up or link.master is not None
    return whole or elsewhere or (link.index, network) in reached


class RouteDriver:
    """Makes, looks at and removes routes of the main table.

    Routes are looked for on the wanted link; one to the same destination through another link
    is found when ours is added, and refused then.
    """

    def observe(
        self, kernel: Kernel, resources: Sequence[Route], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return which routes exist on the wanted links and whose they are."""
        entries = _routes(kernel, resources)
        found: dict[str, Observed] = {}
        for route in resources:
            entry = entries.get(route.key)
            if entry is None:
                found[route.key] = ABSENT
            elif entry.protocol != PROTOCOL:
                description = (
                    f"route to {route.destination} dev {route.link} of protocol {entry.protocol}"
                )
                found[route.key] = Observed(presence=Presence.FOREIGN, description=description)
            else:
                found[route.key] = Observed(
                    presence=Presence.OURS, resource=_as_found(route, entry)
                )
        return found

    def ensure(
        self, kernel: Kernel, resources: Sequence[Route], replaced: Mapping[str, Route]
    ) -> None:
        """Add the routes; one of ours to the same destination is replaced."""
        messages = [_addition(kernel, route, replace=route.key in replaced) for route in resources]
        for refusal in kernel.route.try_all(messages):
            if refusal.errno != errno.EEXIST:
                raise refusal
            route = resources[refusal.index]
            seen = self.observe(kernel, [route])[route.key]
            if seen.presence is not Presence.OURS:
                where = seen.description or _other_route(kernel, route)
                raise ForeignObject(
                    f"cannot route {route.destination} to {route.link}: {where} is in the way "
                    "and is not ours",
                    hint="give the route another metric, or remove the other route",
                ) from refusal
            if seen.resource != route:
                kernel.route.send([_addition(kernel, route, replace=True)])

    def remove(self, kernel: Kernel, resources: Sequence[Route]) -> None:
        """Remove the routes that exist and are ours."""
        messages = []
        for route in resources:
            index = kernel.route.index(route.link)
            if index is not None:
                messages.append(
                    delete_route(
                        route.destination,
                        route.gateway,
                        index,
                        route.metric or 0,
                        PROTOCOL,
                        f"remove the route to {route.destination}",
                    )
                )
        gone = (errno.ESRCH, errno.ENODEV)
        send_removals(kernel, messages, "could not remove every route", gone)


def _addition(kernel: Kernel, route: Route, *, replace: bool) -> Message:
    what = f"route {route.destination} via {route.gateway} to {route.link}"
    index = kernel.route.require_index(route.link, what)
    metric = route.metric or 0
    return add_route(
        route.destination, route.gateway, index, metric, PROTOCOL, what, replace=replace
    )


def _other_route(kernel: Kernel, wanted: Route) -> str:
    """Return, in words, the route that is where a wanted one should be."""
    metric = _metric_of(wanted)
    for entry in kernel.route.routes(wanted.destination.version):
        if (entry.destination, entry.metric) == (wanted.destination, metric):
            link = kernel.route.link_at(entry.index)
            through = "" if link is None else f" through {link.describe()}"
            return f"another route to {wanted.destination}{through}"
    return f"another route to {wanted.destination}"


def _routes(kernel: Kernel, resources: Sequence[Route]) -> dict[str, RouteEntry]:
    """Return the entry of each resource's key that has one, asking once per family and link."""
    found: dict[str, RouteEntry] = {}
    tables: dict[tuple[int, str], dict[tuple[IpNetwork, int], RouteEntry]] = {}
    for route in resources:
        version = route.destination.version
        if (version, route.link) not in tables:
            index = kernel.route.index(route.link)
            entries = [] if index is None else kernel.route.routes(version, index)
            tables[version, route.link] = {
                (entry.destination, entry.metric): entry for entry in entries
            }
        metric = _metric_of(route)
        entry = tables[version, route.link].get((route.destination, metric))
        if entry is not None:
            found[route.key] = entry
    return found


# IP6_RT_PRIO_USER in linux/ipv6_route.h: what the kernel makes of an IPv6 metric of 0.
_IPV6_DEFAULT_METRIC = 1024


def _metric_of(route: Route) -> int:
    return route.metric or (_IPV6_DEFAULT_METRIC if route.destination.version == 6 else 0)


def _as_found(route: Route, entry: RouteEntry) -> Route:
    gateway = ipaddress.ip_address(entry.gateway or bytes(len(route.gateway.packed)))
    return Route(
        destination=route.destination, gateway=gateway, link=route.link, metric=route.metric
    )
