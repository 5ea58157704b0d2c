"""The driver of managed bridges' uplinks; ``ip -j`` and the sysctls are the witnesses.

there: eth0 ── here: eth0, the uplink ── br0
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from jackfield.errors import ForeignObject, KernelError, NotFound, UnsupportedConfiguration
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.uplink import UplinkDriver
from jackfield.model.values import InterfaceName
from jackfield.state.resources import ManagedUplink
from tests.host.records import MemoryRecords
from tests.lab.namespace import NetworkNamespace
from tests.lab.wait import wait_for

pytestmark = pytest.mark.kernel

UPLINK = ManagedUplink(link=InterfaceName("eth0"), bridge=InterfaceName("br0"))
MAC = "02:00:00:00:00:10"

#: What the uplink of most tests has.
CONFIGURATION = (
    "addr add 192.0.2.10/24 brd 192.0.2.255 dev eth0",
    "addr add 192.0.2.11/24 dev eth0",
    "addr add 198.51.100.1 peer 198.51.100.2/32 dev eth0 label eth0:p2p",
    "addr add 203.0.113.5/24 dev eth0 valid_lft 4050 preferred_lft 2050",
    "addr add 10.9.0.1/16 dev eth0 noprefixroute",
    "addr add 10.8.0.1/16 dev eth0 metric 77",
    "-6 addr add 2001:db8:1::10/64 dev eth0 nodad",
    "-6 addr add 2001:db8:1::11/64 dev eth0 nodad preferred_lft 0",
    "-6 addr add 2001:db8:2::10/64 dev eth0 nodad valid_lft 4050 preferred_lft 2050",
    "route add default via 192.0.2.1 dev eth0 src 192.0.2.11",
    "route add 10.1.0.0/16 via 192.0.2.2 dev eth0 metric 50 proto static mtu 1400",
    "route add 10.2.0.0/16 dev eth0 scope link",
    "route add 10.3.0.0/16 via 10.2.0.1 dev eth0 proto 99 table 100",
    "route add 10.4.0.0/16 via 172.16.9.9 dev eth0 onlink",
    "route add 10.5.0.0/16 nexthop via 192.0.2.3 dev eth0 weight 3 nexthop via 172.16.0.2 dev eth9",
    "-6 route add default via fe80::1 dev eth0 metric 1024",
    "-6 route add 2001:db8:9::/48 via 2001:db8:1::1 dev eth0 proto static",
    "-6 route add 2001:db8:a::/48 via 2001:db8:1::1 dev eth0 expires 3050",
    "-6 route add 2001:db8:b::/48 nexthop via 2001:db8:1::1 dev eth0 nexthop via fe80::9 dev eth9",
    "neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
    "-6 neigh add 2001:db8:1::77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
    "neigh add proxy 192.0.2.88 dev eth0",
    "-6 neigh add proxy 2001:db8:1::88 dev eth0",
)


@pytest.fixture
def records() -> MemoryRecords:
    """Give a journal."""
    return MemoryRecords()


@pytest.fixture
def driver(records: MemoryRecords) -> UplinkDriver:
    """Give the driver."""
    return UplinkDriver(records)


@pytest.fixture
def uplink(here: NetworkNamespace, there: NetworkNamespace) -> None:
    """Lay the cable, another one beside it, and make a bridge of ours."""
    for name in ("eth0", "eth9"):
        here.ip("link", "add", name, "type", "veth", "peer", "name", name, "netns", str(there.path))
        there.ip("link", "set", name, "up")
    here.ip("link", "set", "eth0", "address", MAC)
    for name in ("eth0", "eth9"):
        here.ip("link", "set", name, "up")
    here.ip("addr", "add", "172.16.0.1/24", "dev", "eth9")
    here.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
    here.ip("link", "set", "br0", "alias", "jackfield:network:x")


@pytest.fixture
def configured(uplink: None, here: NetworkNamespace) -> None:
    """Give the uplink all that one can have."""
    for line in CONFIGURATION:
        here.run(["ip", *line.split()])


_MOVES = {"dev", "ifindex", "ifname", "label", "flags", "state", "nhid"}
_COUNTS_DOWN = ("valid_life_time", "preferred_life_time", "expires")


def belongings(here: NetworkNamespace, name: str) -> list[str]:
    """Return what ip(8) says that a link has, without what names the link."""
    (link,) = here.ip("addr", "show", "dev", name)
    found: list[Any] = [_plain(item, name) for item in link["addr_info"]]
    for family in ("-4", "-6"):
        routes = here.ip(family, "route", "show", "table", "all")
        found += [_plain(route, name) for route in routes if f'"{name}"' in json.dumps(route)]
        neighbours = here.ip(family, "neigh", "show", "nud", "permanent")
        neighbours += here.ip(family, "neigh", "show", "proxy")
        found += [_plain(item, name) for item in neighbours if item.get("dev") == name]
    return sorted(json.dumps(item, sort_keys=True) for item in found)


def settled(here: NetworkNamespace, name: str) -> list[str]:
    """Return what a link has when none of it is being checked for duplicates any more.

    The kernel begins anew with a link-local address when an uplink gets IPv6 again.
    """
    found: list[str] = []

    def still() -> bool:
        found[:] = belongings(here, name)
        return not any("tentative" in line for line in found)

    wait_for(still, 10, "the addresses to be usable")
    return found


def _plain(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        # Seconds go by while a test runs.
        return {
            key: item // 100 if key in _COUNTS_DOWN and item < 10000 else _plain(item, name)
            for key, item in value.items()
            if not (key in ("dev", "label") and str(item).startswith(name))
        }
    if isinstance(value, list):
        # The ways of an IPv6 route have no order.
        return sorted((_plain(item, name) for item in value), key=json.dumps)
    return value


@pytest.mark.usefixtures("configured")
def test_everything_goes_over_and_comes_back(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver, records: MemoryRecords
) -> None:
    """Addresses, routes of all tables and neighbours, with all that was said of them."""
    before = settled(here, "eth0")
    assert len(CONFIGURATION) <= len(before)
    assert {UPLINK.key: ABSENT} == driver.observe(kernel, [UPLINK])
    driver.ensure(kernel, [UPLINK], {})
    assert {UPLINK.key: Observed(presence=Presence.OURS, resource=UPLINK)} == driver.observe(
        kernel, [UPLINK]
    )
    assert before == settled(here, "br0")
    assert [] == belongings(here, "eth0")
    bridge, port = here.link("br0"), here.link("eth0")
    assert bridge is not None
    assert port is not None
    assert (MAC, "br0") == (bridge["address"], port["master"])
    driver.ensure(kernel, [UPLINK], {})
    assert before == settled(here, "br0")
    driver.remove(kernel, [UPLINK])
    assert before == settled(here, "eth0")
    assert {UPLINK.key: ABSENT} == driver.observe(kernel, [UPLINK])
    assert {} == records.kept
    driver.remove(kernel, [UPLINK])
    assert before == settled(here, "eth0")


def addresses(here: NetworkNamespace, name: str) -> set[str]:
    """Return the addresses of a link that it has not got by itself."""
    return {
        info["local"]
        for link in here.ip("addr", "show", "dev", name)
        for info in link["addr_info"]
        if info["scope"] == "global"
    }


@pytest.mark.usefixtures("configured")
def test_routes_of_others_keep_their_source(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver
) -> None:
    """An address never quite vanishes: what another link sends from it goes on."""
    here.ip("route", "add", "10.77.0.0/16", "via", "172.16.0.7", "dev", "eth9", "src", "192.0.2.10")
    here.ip("route", "add", "default", "via", "172.16.0.7", "dev", "eth9", "metric", "9")

    def of_eth9() -> list[Any]:
        # Newer versions of ip(8) also show those that are its own in part.
        shown = here.ip("route", "show", "dev", "eth9")
        return [route for route in shown if "nexthops" not in route]

    before = of_eth9()
    driver.ensure(kernel, [UPLINK], {})
    assert before == of_eth9()
    driver.remove(kernel, [UPLINK])
    assert before == of_eth9()


@pytest.mark.usefixtures("uplink")
def test_routes_outlive_their_addresses(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver
) -> None:
    """A gateway that no address reaches any more is believed to be there."""
    # The last IPv4 address of a link takes all routes with it.
    here.ip("addr", "add", "172.20.0.1/24", "dev", "eth0")
    for family, address, gateway in (
        ("-4", "192.0.2.10/24", "192.0.2.1"),
        ("-6", "2001:db8:1::10/64", "2001:db8:1::1"),
    ):
        nodad = ["nodad"] if family == "-6" else []
        here.ip(family, "addr", "add", address, "dev", "eth0", *nodad)
        here.ip(family, "route", "add", "default", "via", gateway, "dev", "eth0")
        here.ip(family, "addr", "del", address, "dev", "eth0")

    def gateways(name: str) -> list[str]:
        routes = [
            route
            for family in ("-4", "-6")
            for route in here.ip(family, "route", "show", "default", "dev", name)
        ]
        return [route["gateway"] for route in routes]

    driver.ensure(kernel, [UPLINK], {})
    assert (["192.0.2.1", "2001:db8:1::1"], []) == (gateways("br0"), gateways("eth0"))
    driver.remove(kernel, [UPLINK])
    assert (["192.0.2.1", "2001:db8:1::1"], []) == (gateways("eth0"), gateways("br0"))


@pytest.mark.usefixtures("configured")
def test_sysctls_go_along(kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver) -> None:
    """The bridge is to IP what the uplink was; the uplink itself has no IPv6 meanwhile."""
    values = {
        "net/ipv4/conf/{}/rp_filter": "2",
        "net/ipv6/conf/{}/accept_ra": "2",
        "net/ipv6/conf/{}/use_tempaddr": "1",
        "net/ipv4/neigh/{}/proxy_delay": "100",
    }
    for name, value in values.items():
        here.set_sysctl(name.format("eth0"), value)
    driver.ensure(kernel, [UPLINK], {})
    assert values == {name: here.sysctl(name.format("br0")) for name in values}
    disabled = "net/ipv6/conf/{}/disable_ipv6"
    assert ["0", "1"] == [here.sysctl(disabled.format(name)) for name in ("br0", "eth0")]
    driver.remove(kernel, [UPLINK])
    assert "0" == here.sysctl(disabled.format("eth0"))


@pytest.mark.usefixtures("uplink")
def test_an_uplink_without_ipv6(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver
) -> None:
    """The bridge has none either, and it stays off."""
    disabled = "net/ipv6/conf/{}/disable_ipv6"
    here.set_sysctl(disabled.format("eth0"), "1")
    driver.ensure(kernel, [UPLINK], {})
    assert ["1", "1"] == [here.sysctl(disabled.format(name)) for name in ("br0", "eth0")]
    driver.remove(kernel, [UPLINK])
    assert "1" == here.sysctl(disabled.format("eth0"))


@pytest.mark.usefixtures("uplink")
def test_what_routers_say_is_learned_again(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver
) -> None:
    """A learned route bridges the time until the bridge has learned its own, and stays here."""
    route = ["via", "fe80::1", "dev", "eth0", "proto", "ra", "metric", "1024", "expires", "900"]
    here.ip("-6", "route", "add", "default", *route)
    driver.ensure(kernel, [UPLINK], {})
    (found,) = here.ip("-6", "route", "show", "default")
    assert ("br0", "74", 1025) == (found["dev"], found["protocol"], found["metric"])
    assert 800 < found["expires"] <= 900
    driver.remove(kernel, [UPLINK])
    assert [] == here.ip("-6", "route", "show", "default", "dev", "eth0")


@pytest.mark.usefixtures("uplink")
def test_an_uplink_that_is_down(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver
) -> None:
    """It comes up as a port, and goes down again."""
    here.ip("link", "set", "eth0", "down")
    here.ip("addr", "add", "192.0.2.10/24", "dev", "eth0")
    driver.ensure(kernel, [UPLINK], {})
    assert {"192.0.2.10"} == addresses(here, "br0")
    assert "UP" in (here.link("eth0") or {})["flags"]
    driver.remove(kernel, [UPLINK])
    assert "UP" not in (here.link("eth0") or {})["flags"]
    assert {"192.0.2.10"} == addresses(here, "eth0")


@pytest.mark.usefixtures("configured")
def test_what_cannot_be_taken_over_is_left_as_it_is(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver, records: MemoryRecords
) -> None:
    """Somebody else's port, a link with a macvlan in whatever namespace, next hop objects."""
    before = settled(here, "eth0")
    nowhere = dataclasses.replace(UPLINK, link=InterfaceName("eth7"))
    with pytest.raises(NotFound, match="no link eth7"):
        driver.ensure(kernel, [nowhere], {})
    driver.remove(kernel, [nowhere])
    here.ip("link", "add", "name", "mv0", "link", "eth0", "type", "macvlan", "mode", "bridge")
    with pytest.raises(KernelError, match="EBUSY") as raised:
        driver.ensure(kernel, [UPLINK], {})
    assert "macvlan" in (raised.value.hint or "")
    assert (before, {}) == (settled(here, "eth0"), records.kept)
    here.ip("link", "del", "mv0")
    here.ip("nexthop", "add", "id", "5", "via", "192.0.2.6", "dev", "eth0")
    here.ip("route", "add", "10.99.0.0/16", "nhid", "5")
    with pytest.raises(UnsupportedConfiguration, match="next hop object 5"):
        driver.ensure(kernel, [UPLINK], {})
    here.ip("nexthop", "del", "id", "5")
    here.ip("link", "add", "br9", "type", "bridge")
    here.ip("link", "set", "eth0", "master", "br9")
    with pytest.raises(ForeignObject, match="eth0"):
        driver.ensure(kernel, [UPLINK], {})
    found = driver.observe(kernel, [UPLINK])[UPLINK.key]
    assert Presence.FOREIGN is found.presence
    driver.remove(kernel, [UPLINK])
    assert "br9" == (here.link("eth0") or {})["master"]
    assert before == settled(here, "eth0")


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("done", [True, False])
def test_a_bridge_that_somebody_took_away(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver, done: bool
) -> None:
    """The journal knows what it had: a new bridge gets it, or the uplink."""
    before = settled(here, "eth0")
    driver.ensure(kernel, [UPLINK], {})
    here.ip("link", "del", "br0")
    assert set() == addresses(here, "eth0")
    if done:
        driver.remove(kernel, [UPLINK])
        assert before == settled(here, "eth0")
        return
    here.ip("link", "add", "br0", "type", "bridge", "stp_state", "0")
    here.ip("link", "set", "br0", "alias", "jackfield:network:x")
    driver.ensure(kernel, [UPLINK], {})
    assert before == settled(here, "br0")
    driver.remove(kernel, [UPLINK])
    assert before == settled(here, "eth0")


@pytest.mark.usefixtures("configured")
def test_what_somebody_configured_anew_stays(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver
) -> None:
    """After the bridge was taken away, an uplink with other addresses is somebody else's."""
    driver.ensure(kernel, [UPLINK], {})
    here.ip("link", "del", "br0")
    here.ip("addr", "add", "192.0.2.200/24", "dev", "eth0")
    driver.remove(kernel, [UPLINK])
    assert {"192.0.2.200"} == addresses(here, "eth0")


@pytest.mark.usefixtures("configured")
def test_a_record_outlives_the_daemon(
    kernel: Kernel, here: NetworkNamespace, records: MemoryRecords
) -> None:
    """Another driver, with the same journal, gives everything back."""
    before = settled(here, "eth0")
    UplinkDriver(records).ensure(kernel, [UPLINK], {})
    UplinkDriver(records).remove(kernel, [UPLINK])
    assert before == settled(here, "eth0")


@pytest.mark.usefixtures("configured")
def test_half_way_there(kernel: Kernel, here: NetworkNamespace, records: MemoryRecords) -> None:
    """Of what was lost before everything had arrived, nothing is lost in the end."""
    before = settled(here, "eth0")
    UplinkDriver(records).ensure(kernel, [UPLINK], {})
    record = json.loads(records.kept[UPLINK.key])
    records.kept[UPLINK.key] = json.dumps({**record, "whole": False})
    here.ip("addr", "flush", "dev", "br0", "scope", "global")
    UplinkDriver(records).remove(kernel, [UPLINK])
    assert before == settled(here, "eth0")


@pytest.mark.usefixtures("configured")
def test_arrived_but_not_noted(
    kernel: Kernel, here: NetworkNamespace, driver: UplinkDriver, records: MemoryRecords
) -> None:
    """Done again, it is noted, and what somebody takes from the bridge then stays away."""
    driver.ensure(kernel, [UPLINK], {})
    record = json.loads(records.kept[UPLINK.key])
    records.kept[UPLINK.key] = json.dumps({**record, "whole": False})
    found = driver.observe(kernel, [UPLINK])[UPLINK.key]
    assert dataclasses.replace(UPLINK, whole=False) == found.resource
    before = settled(here, "br0")
    driver.ensure(kernel, [UPLINK], {UPLINK.key: UPLINK})
    assert before == settled(here, "br0")
    here.ip("addr", "flush", "dev", "br0", "scope", "global")
    driver.ensure(kernel, [UPLINK], {})
    driver.remove(kernel, [UPLINK])
    assert set() == addresses(here, "eth0")


@pytest.mark.usefixtures("configured")
def test_an_uplink_that_is_gone(
    kernel: Kernel,
    here: NetworkNamespace,
    driver: UplinkDriver,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There is nobody to give anything to; what ends with the bridge is told."""
    driver.ensure(kernel, [UPLINK], {})
    here.ip("link", "del", "eth0")
    assert {UPLINK.key: ABSENT} == driver.observe(kernel, [UPLINK])
    driver.remove(kernel, [UPLINK])
    assert "what br0 has ends with it: address 192.0.2.10/24" in caplog.text
