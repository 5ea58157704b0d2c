"""Drivers of addresses and routes; ``ip -j`` is the witness."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest

from jackfield.errors import ForeignObject, KernelError, NotFound
from jackfield.host.addresses import AddressDriver, RouteDriver
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.ownership import PROTOCOL
from jackfield.model.values import InterfaceName
from jackfield.state.resources import InterfaceAddress, Route
from tests.lab.namespace import NetworkNamespace

pytestmark = pytest.mark.kernel

BRIDGE = InterfaceName("br0")
INTERFACES = ["10.1.0.1/24", "10.2.0.1/30", "10.3.0.0/31", "10.4.0.1/32", "fd00:1::1/64"]


@pytest.fixture(autouse=True)
def bridge(here: NetworkNamespace) -> None:
    """Make a bridge of ours and one of somebody else, both up."""
    here.ip("link", "add", "br0", "up", "type", "bridge")
    here.ip("link", "set", "br0", "alias", "jackfield:network:x")
    here.ip("link", "add", "other", "up", "type", "bridge")


def address(text: str, link: str = BRIDGE) -> InterfaceAddress:
    """Return an address resource."""
    return InterfaceAddress(link=InterfaceName(link), interface=ipaddress.ip_interface(text))


def ours(resource: InterfaceAddress | Route) -> dict[str, Observed]:
    """Return what observing exactly ``resource`` gives."""
    return {resource.key: Observed(presence=Presence.OURS, resource=resource)}


def addresses(here: NetworkNamespace, link: str) -> dict[str, dict[str, Any]]:
    """Return what ip(8) says of a link's addresses but the link-local one."""
    (found,) = here.ip("address", "show", "dev", link)
    return {
        f"{entry['local']}/{entry['prefixlen']}": entry
        for entry in found["addr_info"]
        if entry["scope"] != "link"
    }


def routes(here: NetworkNamespace, family: str = "-4") -> dict[str, dict[str, Any]]:
    """Return what ip(8) says of the routes that are not the kernel's own."""
    found = here.ip(family, "route", "show", "table", "main")
    return {entry["dst"]: entry for entry in found if entry.get("protocol") != "kernel"}


@pytest.mark.parametrize("text", INTERFACES)
def test_an_address_without_its_route(kernel: Kernel, here: NetworkNamespace, text: str) -> None:
    """One whose subnet the host does not route to any more is made anew, with the route."""
    driver, wanted = AddressDriver(), address(text)
    driver.ensure(kernel, [wanted], {})
    assert ours(wanted) == driver.observe(kernel, [wanted])
    network = str(wanted.interface.network)
    if wanted.interface.network.num_addresses == 1:
        return
    here.ip("route", "del", network, "dev", BRIDGE)
    assert {wanted.key: ABSENT} == driver.observe(kernel, [wanted])
    driver.ensure(kernel, [wanted], {})
    assert ours(wanted) == driver.observe(kernel, [wanted])
    family = f"-{wanted.interface.version}"
    (route,) = here.ip(family, "route", "show", network)
    assert ("kernel", BRIDGE) == (route["protocol"], route["dev"])
    # On a link that is down there is none, and nothing to mend.
    if wanted.interface.version == 4:
        here.ip("link", "set", BRIDGE, "down")
        assert ours(wanted) == driver.observe(kernel, [wanted])


def test_addresses_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """Addresses of both families are added, found, added again, and removed."""
    driver, wanted = AddressDriver(), [address(text) for text in INTERFACES]
    expected = {item.key: observed for item in wanted for observed in ours(item).values()}
    assert dict.fromkeys(expected, ABSENT) == driver.observe(kernel, wanted)
    driver.ensure(kernel, wanted, {})
    driver.ensure(kernel, wanted, {})
    assert expected == driver.observe(kernel, wanted)
    assert set(INTERFACES) == set(addresses(here, "br0"))
    driver.remove(kernel, wanted)
    assert {} == addresses(here, "br0")
    driver.remove(kernel, wanted)


def test_addresses_as_the_kernel_shows_them(kernel: Kernel, here: NetworkNamespace) -> None:
    """IPv4 has its broadcast address where there is one; IPv6 waits for nobody."""
    AddressDriver().ensure(kernel, [address(text) for text in INTERFACES], {})
    found = addresses(here, "br0")
    broadcasts = {text: entry.get("broadcast") for text, entry in found.items()}
    assert {
        "10.1.0.1/24": "10.1.0.255",
        "10.2.0.1/30": "10.2.0.3",
        "10.3.0.0/31": None,
        "10.4.0.1/32": None,
        "fd00:1::1/64": None,
    } == broadcasts
    # A bridge without ports has no carrier: with duplicate detection it would stay tentative.
    assert not found["fd00:1::1/64"].get("tentative", False)
    entries = kernel.route.addresses(kernel.route.index("br0") or 0)
    marks = {str(entry.interface): entry.protocol for entry in entries}
    assert {PROTOCOL} == {marks[text] for text in INTERFACES}


def test_foreign_addresses(kernel: Kernel, here: NetworkNamespace) -> None:
    """The same address on somebody's link is foreign, described, and not removed."""
    here.ip("address", "add", "10.1.0.1/24", "dev", "other")
    wanted = address("10.1.0.1/24", "other")
    (seen,) = AddressDriver().observe(kernel, [wanted]).values()
    assert Presence.FOREIGN is seen.presence
    assert "address 10.1.0.1/24 on bridge other" in seen.description
    AddressDriver().remove(kernel, [wanted])
    assert {"10.1.0.1/24"} == set(addresses(here, "other"))


def test_an_unmarked_address_on_our_link(kernel: Kernel, here: NetworkNamespace) -> None:
    """Kernels that do not keep IFA_PROTO show none: on a link of ours the address is ours."""
    here.ip("address", "add", "10.1.0.1/24", "dev", "br0")
    wanted = address("10.1.0.1/24")
    assert ours(wanted) == AddressDriver().observe(kernel, [wanted])
    AddressDriver().remove(kernel, [wanted])
    assert {} == addresses(here, "br0")


def test_addresses_of_many_links(kernel: Kernel, here: NetworkNamespace) -> None:
    """Addresses on more links than are asked for one by one are found as well."""
    names = [f"b{number}" for number in range(60)]
    here.run(["ip", "-batch", "-"], input="".join(f"link add {n} type bridge\n" for n in names))
    wanted = [address(f"10.9.{number}.1/24", name) for number, name in enumerate(names)]
    AddressDriver().ensure(kernel, wanted, {})
    seen = AddressDriver().observe(kernel, wanted)
    assert {Presence.OURS} == {observed.presence for observed in seen.values()}
    AddressDriver().remove(kernel, wanted)
    seen = AddressDriver().observe(kernel, wanted)
    assert {Presence.ABSENT} == {observed.presence for observed in seen.values()}


def test_addresses_need_their_link(kernel: Kernel) -> None:
    """A missing link is an error to add to, and nothing to remove from."""
    wanted = address("10.1.0.1/24", "none")
    assert {wanted.key: ABSENT} == AddressDriver().observe(kernel, [wanted])
    with pytest.raises(NotFound, match=r"cannot add address 10\.1\.0\.1/24 to none"):
        AddressDriver().ensure(kernel, [wanted], {})
    AddressDriver().remove(kernel, [wanted])


def route(destination: str, gateway: str, metric: int | None = None) -> Route:
    """Return a route resource through our bridge."""
    return Route(
        destination=ipaddress.ip_network(destination),
        gateway=ipaddress.ip_address(gateway),
        link=BRIDGE,
        metric=metric,
    )


ROUTES = [
    route("192.168.8.0/24", "10.1.0.9", 1),
    route("192.168.9.0/24", "10.1.0.9"),
    route("0.0.0.0/0", "10.1.0.9", 5),
    route("fd00:8::/64", "fd00:1::9", 1),
    route("fd00:9::/64", "fd00:1::9"),
]


@pytest.fixture
def addressed(kernel: Kernel) -> None:
    """Give our bridge its addresses."""
    wanted = [address("10.1.0.1/24"), address("fd00:1::1/64")]
    AddressDriver().ensure(kernel, wanted, {})


@pytest.mark.usefixtures("addressed")
def test_routes_life(kernel: Kernel, here: NetworkNamespace) -> None:
    """Routes of both families, with and without metric: added, found, added again, removed."""
    driver = RouteDriver()
    expected = {item.key: observed for item in ROUTES for observed in ours(item).values()}
    assert dict.fromkeys(expected, ABSENT) == driver.observe(kernel, ROUTES)
    driver.ensure(kernel, ROUTES, {})
    driver.ensure(kernel, ROUTES, {})
    assert expected == driver.observe(kernel, ROUTES)
    found = routes(here)
    assert {"192.168.8.0/24", "192.168.9.0/24", "default"} == set(found)
    assert ("10.1.0.9", "br0", str(PROTOCOL), 1) == tuple(
        found["192.168.8.0/24"][key] for key in ("gateway", "dev", "protocol", "metric")
    )
    assert {"fd00:8::/64", "fd00:9::/64"} == set(routes(here, "-6"))
    driver.remove(kernel, ROUTES)
    assert {} == routes(here) | routes(here, "-6")
    driver.remove(kernel, ROUTES)


@pytest.mark.usefixtures("addressed")
@pytest.mark.parametrize("number", range(len(ROUTES)))
def test_a_gateway_is_changed_in_place(kernel: Kernel, here: NetworkNamespace, number: int) -> None:
    """A route with another gateway replaces ours, also when we forgot that it is there."""
    driver, old = RouteDriver(), ROUTES[number]
    first, second = (dataclasses.replace(old, gateway=old.gateway + offset) for offset in (1, 2))
    driver.ensure(kernel, [old], {})
    assert ours(old) == driver.observe(kernel, [first])
    driver.ensure(kernel, [first], {old.key: old})
    assert ours(first) == driver.observe(kernel, [first])
    driver.ensure(kernel, [second], {})
    assert ours(second) == driver.observe(kernel, [second])
    assert 1 == len(routes(here) | routes(here, "-6"))


@pytest.mark.usefixtures("addressed")
@pytest.mark.parametrize("link", ["br0", "other"])
def test_a_foreign_route_is_left_alone(kernel: Kernel, here: NetworkNamespace, link: str) -> None:
    """A route of somebody else's, through whichever link, is neither replaced nor removed."""
    here.ip("address", "add", "10.7.0.1/24", "dev", "other")
    gateway = "10.1.0.77" if link == "br0" else "10.7.0.77"
    here.ip("route", "add", "192.168.8.0/24", "via", gateway, "dev", link, "metric", "1")
    wanted = ROUTES[0]
    (seen,) = RouteDriver().observe(kernel, [wanted]).values()
    assert (Presence.FOREIGN if link == "br0" else Presence.ABSENT) is seen.presence
    with pytest.raises(ForeignObject, match=r"192\.168\.8\.0/24"):
        RouteDriver().ensure(kernel, [wanted], {})
    RouteDriver().remove(kernel, [wanted])
    assert gateway == routes(here)["192.168.8.0/24"]["gateway"]


@pytest.mark.usefixtures("addressed")
def test_an_unreachable_gateway_says_so(kernel: Kernel) -> None:
    """The kernel's own words are in the error."""
    with pytest.raises(KernelError, match=r"cannot route .* ENETUNREACH .*: Nexthop has invalid"):
        RouteDriver().ensure(kernel, [route("192.168.8.0/24", "10.99.0.1")], {})
