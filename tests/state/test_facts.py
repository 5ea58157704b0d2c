"""What the host's facts answer."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from jackfield.model.address import IpNetwork
from jackfield.plan.collision import overlap
from jackfield.state.facts import Facts, RouteFact


@st.composite
def prefixes(draw: st.DrawFn) -> IpNetwork:
    """Draw prefixes that are near each other, so that many overlap."""
    if draw(st.booleans()):
        address = draw(st.sampled_from([0, 0x0A000000, 0x0A0A0000, 0xFFFFFF00]))
        address |= draw(st.integers(0, 0x1FF))
        return ipaddress.IPv4Network((address, draw(st.integers(0, 32))), strict=False)
    address = draw(st.sampled_from([0, 0xFD00 << 112, (0xFD00 << 112) + (5 << 64)]))
    address |= draw(st.integers(0, 7)) << draw(st.sampled_from([0, 62, 120]))
    return ipaddress.IPv6Network((address, draw(st.integers(0, 128))), strict=False)


@given(st.lists(prefixes(), max_size=30), prefixes())
def test_overlapping_routes_are_found(destinations: list[IpNetwork], network: IpNetwork) -> None:
    """They are those of all routes that share an address with a network, each once."""
    routes = [RouteFact(destination=to, link=f"eth{n}") for n, to in enumerate(destinations)]
    facts = Facts(routes=tuple(sorted(routes, key=lambda route: route.span)))
    found = list(facts.routes_overlapping(network))
    assert {route for route in routes if overlap(route.destination, network)} == set(found)
    assert len(set(found)) == len(found)
