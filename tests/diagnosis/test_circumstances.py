"""What is in a network's way beside firewalls."""

from __future__ import annotations

import dataclasses
import ipaddress

import pytest

from jackfield.diagnosis.circumstances import Circumstances, find_obstacles, sysctls_of, ways_of
from jackfield.diagnosis.finding import Likelihood
from jackfield.document.reader import read_network
from jackfield.model.network import Network
from jackfield.state.facts import Facts, LinkFact, RouteFact

RED = """
<network>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr7'/>
  <ip address='10.5.5.1' prefix='24'>
    <dhcp>
      <range start='10.5.5.10' end='10.5.5.12'/>
      <host mac='52:54:00:00:00:01' ip='10.5.5.10'/>
    </dhcp>
  </ip>
</network>
"""
LINKS = {
    "virbr7": LinkFact(index=7, name="virbr7", kind="bridge", up=True, carrier=True),
    "eth0": LinkFact(index=2, name="eth0", up=True, carrier=True),
    "eth1": LinkFact(index=3, name="eth1", up=True, carrier=True),
}
TRACKING = ("net/netfilter/nf_conntrack_count", "net/netfilter/nf_conntrack_max")
SUBNET = RouteFact(destination=ipaddress.ip_network("10.5.5.0/24"), link="virbr7")
DEFAULT = RouteFact(destination=ipaddress.ip_network("0.0.0.0/0"), link="eth0", on_link=False)


def network(document: str = RED, **changes: str) -> Network:
    """Return the network; ``changes`` replace words of its document."""
    for before, after in changes.items():
        document = document.replace(before, after)
    return read_network(document)


def seen(
    *routes: RouteFact,
    of: Network | None = None,
    links: dict[str, LinkFact] | None = None,
    leased: tuple[str, ...] = (),
    sysctls: dict[str, str | None] | None = None,
) -> Circumstances:
    """Return a host on which all is well but what is given."""
    return Circumstances(
        network=of or network(),
        facts=Facts(
            links=LINKS if links is None else links,
            routes=tuple(sorted(routes or (SUBNET, DEFAULT), key=lambda route: route.span)),
        ),
        sysctls=sysctls or {},
        leased=[ipaddress.ip_address(address) for address in leased],
    )


def words(circumstances: Circumstances) -> list[str]:
    """Return what is found."""
    return [item.text for item in find_obstacles(circumstances)]


UPLINK = network(RED.replace("<forward mode='nat'/>", "<forward mode='nat' dev='eth1'/>"))


def test_all_is_well() -> None:
    """Nothing is found where nothing is wrong."""
    assert [] == words(seen())
    assert [] == words(seen(SUBNET, DEFAULT, leased=("10.5.5.10", "10.5.5.11")))
    ((way, _),) = ways_of(seen())
    assert ("eth0", "10.5.5.11", True) == (way.uplink.name, str(way.guest), way.guest_back)
    names = sysctls_of(network(), seen().facts)
    assert "net/ipv4/conf/eth0/forwarding" in names
    assert "net/bridge/bridge-nf-call-iptables" in names


def test_dhcp_is_exhausted() -> None:
    """Leases and reservations together leave nothing."""
    (told,) = words(seen(SUBNET, DEFAULT, leased=("10.5.5.11", "10.5.5.12")))
    assert "no free address: all of 10.5.5.10 to 10.5.5.12" in told


@pytest.mark.parametrize(
    ("count", "most", "likelihood"),
    [
        ("89", "100", None),
        ("90", "100", Likelihood.PERHAPS),
        ("100", "100", Likelihood.FAULT),
        ("500", "0", None),
        (None, None, None),
    ],
)
def test_connections_that_are_tracked(
    count: str | None, most: str | None, likelihood: Likelihood | None
) -> None:
    """A host that has no room for another one, or hardly any, says so."""
    sysctls = dict(zip(TRACKING, (count, most), strict=True))
    assert set(TRACKING) <= set(sysctls_of(network(), seen().facts))
    found = list(find_obstacles(seen(sysctls=sysctls)))
    assert ([] if likelihood is None else [likelihood]) == [item.likelihood for item in found]
    assert all(f"tracks {count} connections" in item.text for item in found)
    assert all("sysctl -w net.netfilter.nf_conntrack_max=200" in item.hint for item in found)


@pytest.mark.parametrize(
    ("link", "told"),
    [
        (None, "uplink eth1 is not there"),
        (LinkFact(index=3, name="eth1", up=False), "uplink eth1 is down"),
        (LinkFact(index=3, name="eth1", up=True, carrier=False), "uplink eth1 has no carrier"),
    ],
)
def test_the_uplink_is_of_no_use(link: LinkFact | None, told: str) -> None:
    """An uplink that is named must be there, up and plugged in."""
    links = {name: fact for name, fact in LINKS.items() if name != "eth1"}
    if link is not None:
        links["eth1"] = link
    default = RouteFact(destination=DEFAULT.destination, link="eth1")
    assert told in words(seen(SUBNET, default, of=UPLINK, links=links))


def test_the_route_leads_elsewhere() -> None:
    """What a network lets out through one uplink only, the host must send there."""
    strict: dict[str, str | None] = {
        "net/ipv4/conf/all/rp_filter": "1",
        "net/ipv4/conf/eth1/rp_filter": "0",
    }
    (found,) = find_obstacles(seen(of=UPLINK, sysctls=strict))
    assert "through eth0, and this network lets it out through eth1 only" in found.text
    assert "rp_filter drops answers: eth1" in found.hint
    both = RouteFact(destination=DEFAULT.destination, link="eth1")
    assert [] == words(seen(SUBNET, DEFAULT, both, of=UPLINK))


def test_the_least_metric_is_taken() -> None:
    """Of two default routes one is used alone."""
    better = RouteFact(destination=DEFAULT.destination, link="eth1", metric=0)
    worse = RouteFact(destination=DEFAULT.destination, link="eth0", metric=100)
    assert [] == words(seen(SUBNET, better, worse, of=UPLINK))
    ((way, _),) = ways_of(seen(SUBNET, better, worse))
    assert "eth1" == way.uplink.name
    (found,) = words(seen(SUBNET, dataclasses.replace(better, metric=200), worse, of=UPLINK))
    assert "routes what goes outside by IPv4 through eth0" in found


def test_no_default_route() -> None:
    """Without a default route there is no outside; an isolated network needs none."""
    assert ["the host has no IPv4 default route, so guests reach only what it has routes to"] == (
        words(seen(SUBNET))
    )
    isolated = network(RED.replace("<forward mode='nat'/>", ""))
    assert [] == words(seen(SUBNET, of=isolated))
    local6 = network(
        "<network><name>six</name><forward mode='nat'/><bridge name='virbr7'/>"
        "<ip family='ipv6' address='fd00:7::1' prefix='64'/></network>"
    )
    assert [] == words(seen(SUBNET, of=local6))


def test_a_router_that_is_passed_over() -> None:
    """Where forwarding keeps the host from its IPv6 default route, the sysctl is named."""
    both = network(
        RED.replace("</ip>", "</ip><ip family='ipv6' address='2001:db8::1' prefix='64'/>")
    )
    conf = "net/ipv6/conf/eth0"
    assert {f"{conf}/accept_ra", f"{conf}/forwarding"} <= set(sysctls_of(both, seen().facts))
    for accept_ra, is_named in (("1", True), ("2", False), ("0", False)):
        sysctls: dict[str, str | None] = {f"{conf}/accept_ra": accept_ra, f"{conf}/forwarding": "1"}
        (found,) = find_obstacles(seen(of=both, sysctls=sysctls))
        assert "no IPv6 default route" in found.text
        assert is_named == ("sysctl -w net.ipv6.conf.eth0.accept_ra=2" in found.hint)


def test_a_pool_of_nics() -> None:
    """Of a macvtap network's NICs one is enough."""
    pool = network(
        "<network><name>pool</name><forward mode='bridge'>"
        "<interface dev='eth0'/><interface dev='eth2'/></forward></network>"
    )
    assert [] == words(seen(of=pool))
    assert ["uplink eth0 is not there", "uplink eth2 is not there"] == words(
        seen(of=pool, links={})
    )


@pytest.mark.parametrize(("known", "told"), [(921, False), (922, True), (1024, True)])
def test_neighbours_without_room(known: int, told: bool) -> None:
    """A host with hardly room for another neighbour says so: it may lose some, or not."""
    name = "net/ipv6/neigh/default/gc_thresh3"
    assert name in sysctls_of(network(), seen().facts)
    full = dataclasses.replace(seen(sysctls={name: "1024"}), neighbours={4: 2000, 6: known})
    found = list(find_obstacles(full))
    assert [Likelihood.PERHAPS] * told == [item.likelihood for item in found]
    assert all(f"knows {known} neighbours by IPv6, and may know 1024" in one.text for one in found)
    assert all("sysctl -w net.ipv6.neigh.default.gc_thresh3=4096" in one.hint for one in found)


def test_links_that_others_configure() -> None:
    """Who else configures a network's links is named, with all of them."""
    managed = dataclasses.replace(seen(), managers={"virbr7": "x (done)", "tap7": "x (done)"})
    (found,) = find_obstacles(managed)
    assert "tap7, virbr7: configured by x (done) as well, and not as the network is" == found.text
    assert found.hint.endswith("then: jackfield apply red")
