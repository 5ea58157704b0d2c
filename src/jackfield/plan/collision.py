"""What a network would take from the host: subnets and destinations that it reaches already."""

from __future__ import annotations

import ipaddress
from uuid import UUID

from jackfield.errors import ForeignObject
from jackfield.model.address import IpNetwork, StaticRoute
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName
from jackfield.state.facts import Facts, RouteFact
from jackfield.state.links import network_of

__all__ = ["check_route", "check_subnet", "is_default", "other_way", "overlap"]


def check_subnet(network: Network, subnet: IpNetwork, bridge: InterfaceName, facts: Facts) -> None:
    """Refuse a subnet that the host reaches another way."""
    route = other_way(subnet, bridge, facts, network.uuid)
    if route is None:
        return
    where = f" through {route.link}" if route.link is not None else ""
    link = facts.links.get(route.link or "")
    owner = ""
    if link is not None and link.alias.startswith("jackfield:network:"):
        owner = " (another network of Jackfield)"
    raise ForeignObject(
        f"network {network.name!r}: its subnet {subnet} overlaps {route.destination}, "
        f"which this host already routes{where}{owner}",
        hint="choose another subnet; `ip route` shows those in use",
    ).in_libvirt(f"Network is already in use by interface {route.link or ''}", code=1, domain=0)


def check_route(network: Network, route: StaticRoute, bridge: InterfaceName, facts: Facts) -> None:
    """Refuse a static route to where the host has a route already that ours would take over.

    One with a metric above the host's is meant to be second to that.  Routes of our own networks
    are compared by themselves: each has named its metric.
    """
    for found in facts.routes_overlapping(route.destination):
        link = facts.links.get(found.link or "")
        of_network = link is not None and network_of(link.alias) is not None
        if (
            found.destination != route.destination
            or found.link == bridge
            or (of_network and not found.on_link)
            or (route.metric is not None and found.metric < route.metric)
        ):
            continue
        through = "" if link is None else f" through {link.kind or 'interface'} {link.name}"
        raise ForeignObject(
            f"network {network.name!r}: another route to {route.destination}{through} (metric "
            f"{found.metric}) is in the way and is not ours",
            hint=f"remove it, or have ours be second to it: <route … metric='{found.metric + 1}'/>",
        ).in_libvirt(
            f"Route address '{route.destination.network_address}' conflicts with IP address for "
            f"'{found.link or ''}'",
            code=1,
            domain=0,
        )


def other_way(
    subnet: IpNetwork, bridge: InterfaceName, facts: Facts, uuid: UUID | None
) -> RouteFact | None:
    """Return a route by which the host reaches some of ``subnet`` elsewhere than on ``bridge``.

    The bridge that the network ``uuid`` has had until now is no other way.  A wider route through
    a gateway (10.0.0.0/8 into a company's network) is none: a part of it may well be ours.  A
    wider subnet that is on a link is one: its hosts would vanish.  Half of all there is is none: a
    VPN's way to have the default route without changing the host's own.
    """
    for route in facts.routes_overlapping(subnet):
        if route.link == bridge or is_default(route.destination):
            continue
        link = facts.links.get(route.link or "")
        if uuid is not None and link is not None and network_of(link.alias) == uuid:
            continue
        if route.on_link or route.destination.prefixlen >= subnet.prefixlen:
            return route
    return None


def is_default(destination: IpNetwork) -> bool:
    """Return whether a route there is a default one, or a part of one: 2000::/3 is everywhere."""
    return destination.prefixlen <= (1 if destination.version == 4 else 3)


def overlap(one: IpNetwork, other: IpNetwork) -> bool:
    """Return whether two subnets share an address; those of two families do not."""
    if isinstance(one, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
        return one.overlaps(other)
    if isinstance(one, ipaddress.IPv6Network) and isinstance(other, ipaddress.IPv6Network):
        return one.overlaps(other)
    return False
