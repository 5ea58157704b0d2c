"""Facts: what a plan needs to know of the host."""

from __future__ import annotations

import bisect
import dataclasses
import ipaddress
import operator
from collections.abc import Iterator, Mapping

from jackfield.model.address import Address, IpInterface, IpNetwork
from jackfield.model.uplink import PciAddress
from jackfield.model.values import InterfaceName, MacAddress

__all__ = ["Facts", "LinkFact", "RouteFact", "UplinkFact", "VirtualFunctionFact", "span_of"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LinkFact:
    """One link: ``kind`` is ``IFLA_INFO_KIND`` (``""`` for a NIC), ``master`` a link's index.

    ``carrier`` is ``None`` while the kernel does not know.
    """

    index: int
    name: str
    kind: str = ""
    mac: MacAddress | None = None
    mtu: int = 1500
    up: bool = False
    carrier: bool | None = None
    master: int | None = None
    alias: str = ""
    lower: int | None = None
    addresses: tuple[IpInterface, ...] = ()


def span_of(network: IpNetwork) -> tuple[int, int, int]:
    """Return the IP version, the first and the last address of ``network`` as numbers."""
    return network.version, int(network.network_address), int(network.broadcast_address)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RouteFact:
    """One route of the main table; ``link`` is the outgoing interface's name, if there is one.

    ``on_link`` says that it has no gateway; ``protocol`` is ``RTA_PROTOCOL``'s number.  One that is
    ``shared`` leads by further gateways too, maybe through other links.
    """

    destination: IpNetwork
    link: str | None = None
    on_link: bool = True
    protocol: int = 0
    metric: int = 0
    shared: bool = False
    span: tuple[int, int, int] = dataclasses.field(init=False, repr=False, compare=False)
    """IP version, first and last address as numbers: routes are kept in this order."""

    def __post_init__(self) -> None:
        """Work out ``span`` once."""
        object.__setattr__(self, "span", span_of(self.destination))


_span = operator.attrgetter("span")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UplinkFact:
    """What has to be known of a link before a bridge may take over from it.

    ``manager`` names the program that configures it, if one does.
    """

    manager: str | None = None
    wireless: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VirtualFunctionFact:
    """One virtual function; ``dev`` is its interface here, ``None`` while a guest has it.

    ``driver`` is what it is bound to, if it is.
    """

    address: PciAddress
    dev: InterfaceName | None = None
    driver: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """The host as a plan sees it: links by name, routes, and what the kernel can do.

    ``ra_interfaces`` are those that have a route learned from router advertisements and an
    ``accept_ra`` of 1: turning IPv6 forwarding on would lose it.  ``virtual_functions`` are
    those of each SR-IOV physical function, by the latter's name and in the order of their numbers.
    ``routes`` are in the order of their spans.
    """

    links: Mapping[str, LinkFact] = dataclasses.field(default_factory=dict)
    routes: tuple[RouteFact, ...] = ()
    ipv6: bool = True
    ra_interfaces: tuple[InterfaceName, ...] = ()
    ipv6_forwarding: bool = False
    virtual_functions: Mapping[str, tuple[VirtualFunctionFact, ...]] = dataclasses.field(
        default_factory=dict
    )

    def routes_overlapping(self, network: IpNetwork) -> Iterator[RouteFact]:
        """Yield the routes that share an address with ``network``, without a look at the others.

        Of two prefixes that overlap one holds the other.  So what is wider begins where
        ``network`` does once some of the last bits that are set there are cleared, and what is
        not begins within it.
        """
        version, first, last = span_of(network)
        begin = first
        while begin:
            begin &= begin - 1
            yield from self._routes_between((version, begin, last), (version, begin + 1, -1))
        yield from self._routes_between((version, first, -1), (version, last + 1, -1))

    def routes_to(self, address: Address) -> list[RouteFact]:
        """Return the routes that an address is reached by: the longest, of the least metric."""
        routes = list(self.routes_overlapping(ipaddress.ip_network(address)))
        longest = max((route.destination.prefixlen for route in routes), default=0)
        routes = [route for route in routes if route.destination.prefixlen == longest]
        least = min((route.metric for route in routes), default=0)
        return [route for route in routes if route.metric == least]

    def _routes_between(
        self, low: tuple[int, int, int], high: tuple[int, int, int]
    ) -> tuple[RouteFact, ...]:
        start = bisect.bisect_left(self.routes, low, key=_span)
        return self.routes[start : bisect.bisect_left(self.routes, high, start, key=_span)]

    def members(self, bridge: str) -> tuple[LinkFact, ...]:
        """Return the links that are ports of ``bridge``, by index."""
        master = self.links.get(bridge)
        if master is None:
            return ()
        return tuple(
            sorted(
                (link for link in self.links.values() if link.master == master.index),
                key=lambda link: link.index,
            )
        )
