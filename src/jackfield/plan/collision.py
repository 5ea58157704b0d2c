"""Subnets that the host reaches another way, or would: no network can have them as well."""

from __future__ import annotations

import ipaddress
from uuid import UUID

from jackfield.errors import ForeignObject
from jackfield.model.address import IpNetwork
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName
from jackfield.state.facts import Facts, RouteFact
from jackfield.state.links import network_of

__all__ = ["check_collision", "is_default", "other_way", "overlap"]


def check_collision(
    network: Network, subnet: IpNetwork, bridge: InterfaceName, facts: Facts
) -> None:
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
