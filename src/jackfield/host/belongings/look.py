"""What a link has, and how all of it gets to another link."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Sequence

from jackfield.host.belongings.address import HeldAddress
from jackfield.host.belongings.belonging import Belonging, Place
from jackfield.host.belongings.neighbour import HeldNeighbour, dump_neighbours
from jackfield.host.belongings.route import HeldRoute
from jackfield.host.netlink.address import dump_addresses
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.netlink.routing import dump_all_tables
from jackfield.host.netlink.socket import Refusal

__all__ = ["CLASSES", "belongings_of", "hang_up", "take_off"]

_FAMILIES = (socket.AF_INET, socket.AF_INET6)

CLASSES: dict[str, Callable[[Place, bytes], Belonging]] = {
    cls.kind: cls for cls in (HeldAddress, HeldRoute, HeldNeighbour)
}
"""How a belonging is made again from its kind, place and message."""


def belongings_of(route: RouteSocket, place: Place) -> list[Belonging]:
    """Return what a link has and would lose: addresses, routes and neighbours, in this order.

    What the kernel makes with the addresses, local and connected routes, is not among them.
    """
    told = [HeldAddress(place, body) for body in _ask(route, dump_addresses(place.index))]
    addresses = [item for item in told if item.family in _FAMILIES and item.index == place.index]
    connected = {network for item in addresses if (network := item.connected)}
    routes = [
        leg
        for family in _FAMILIES
        for body in _ask(route, dump_all_tables(family, place.index))
        if body[0] == family and HeldRoute(place, body).stands_alone(connected)
        for leg in HeldRoute(place, body).legs()
    ]
    neighbours = [
        HeldNeighbour(place, body)
        for family in _FAMILIES
        for proxy in (False, True)
        for body in _ask(route, dump_neighbours(family, place.index, proxy=proxy))
        if body[0] == family and HeldNeighbour(place, body).was_entered
    ]
    return [*addresses, *routes, *neighbours]


def hang_up(things: Iterable[Belonging], target: Place) -> list[Message]:
    """Return what gives ``things`` to ``target``, in an order in which that works."""
    known = list(things)
    addresses = [item for item in known if isinstance(item, HeldAddress)]
    routes = [item for item in reversed(known) if isinstance(item, HeldRoute)]
    ordered: list[Belonging] = [item for item in addresses if item.family == socket.AF_INET]
    # The kernel puts a new IPv6 address before the others of its scope.
    ordered += [item for item in reversed(addresses) if item.family == socket.AF_INET6]
    # And a new IPv4 route before others alike.
    ordered += [item for item in routes if not item.has_gateway]
    ordered += [item for item in routes if item.has_gateway]
    ordered += [item for item in known if isinstance(item, HeldNeighbour)]
    return [message for item in ordered for message in item.placed(target)]


def take_off(things: Sequence[Belonging]) -> list[Message]:
    """Return what takes ``things`` off their links.

    To be sent after ``hang_up``: an address that never quite vanishes keeps the routes of other
    links that name it as their source.
    """
    return [message for item in reversed(things) for message in item.removed()]


def _ask(route: RouteSocket, request: Message) -> list[bytes]:
    try:
        return [reply.body for reply in route.dump(request)]
    except Refusal as refusal:
        # A table is made with the first route, and IPv6 may be missing altogether.
        if refusal.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.ENODEV):
            return []
        raise
