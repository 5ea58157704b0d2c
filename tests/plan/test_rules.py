"""A network's firewall rules, from its definition alone."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from jackfield.host.nft.text import element_text, rule_text
from jackfield.model.bandwidth import Rate
from jackfield.model.mode import Mode
from jackfield.model.network import Nat, Network
from jackfield.model.values import InterfaceName
from jackfield.model.vpn import Vpn
from jackfield.plan.rules import network_rules
from tests.host.nftlab import network

BRIDGE = InterfaceName("virbr0")
# What every network has whose traffic is filtered.
FILTERED = {
    "networks": ['"virbr0"'],
    "within": ['"virbr0" . "virbr0"'],
    "leave_refused": ['"virbr0" counter'],
    "enter_refused": ['"virbr0" counter'],
}
GUARD = ("own", "served", "guard_refused")


def elements(definition: Network) -> dict[str, list[str]]:
    """Return the elements as text, by the set they are in."""
    rules = network_rules(definition, BRIDGE)
    if rules is None:
        return {}
    assert BRIDGE == rules.bridge
    found: dict[str, list[str]] = {}
    for element in rules.elements:
        found.setdefault(element.place.name, []).append(element_text(element))
    return found


def unguarded(definition: Network) -> dict[str, list[str]]:
    """Return them without those that every mode has, which guard what dnsmasq serves."""
    return {
        name: found
        for name, found in elements(definition).items()
        if name.rstrip("46") not in GUARD
    }


def chains(definition: Network) -> dict[str, list[str]]:
    """Return the rules of the network's own chains as text."""
    rules = network_rules(definition, BRIDGE)
    assert rules is not None
    return {chain.name: [rule_text(rule) for rule in chain.rules] for chain in rules.chains}


def test_isolated_reaches_only_its_bridge() -> None:
    """Nothing is forwarded, and of the host only the bridge's own addresses are there."""
    assert elements(network(Mode.ISOLATED, "192.168.100.1/24", "fd00:1::1/64", dns=False)) == {
        **FILTERED,
        "isolated": ['"virbr0"'],
        "input_refused": ['"virbr0" counter'],
        "own4": ['"virbr0" . 192.168.100.1', '"virbr0" . 192.168.100.255'],
        "own6": ['"virbr0" . fd00:1::1'],
    }


def test_point_to_point_subnet_has_no_broadcast() -> None:
    """The other address of a /31 is a guest, not a broadcast address."""
    assert ['"virbr0" . 192.168.100.0'] == elements(network(Mode.ISOLATED, "192.168.100.0/31"))[
        "own4"
    ]


def test_nat_hides() -> None:
    """The prefix is one whose sources are hidden, and who asks for it from outside is refused."""
    assert unguarded(network(Mode.NAT, "192.168.122.1/24")) == {
        **FILTERED,
        "hidden4_24": ['"virbr0" . 192.168.122.0'],
    }


def test_nat_goes_through_its_uplinks_only() -> None:
    """Each uplink is a way for the prefix; the bridge itself is another."""
    found = unguarded(network(Mode.NAT, "192.168.122.1/24", uplinks=("eth0", "eth1")))
    assert found == {
        **FILTERED,
        "hidden4_24_through": [
            '"virbr0" . "eth0" . 192.168.122.0',
            '"virbr0" . "eth1" . 192.168.122.0',
            '"virbr0" . "virbr0" . 192.168.122.0',
        ],
    }


def test_nat_covers_static_routes() -> None:
    """What lies behind a guest is hidden too; each length of prefix has its set."""
    found = elements(
        network(
            Mode.NAT,
            "192.168.122.1/24",
            routes=(("10.9.0.0/16", "192.168.122.7"), ("10.10.0.0/16", "192.168.122.7")),
        )
    )
    assert ['"virbr0" . 192.168.122.0'] == found["hidden4_24"]
    assert ['"virbr0" . 10.9.0.0', '"virbr0" . 10.10.0.0'] == found["hidden4_16"]


def test_a_prefix_is_there_once() -> None:
    """A static route to a subnet of the network says nothing new."""
    found = elements(
        network(Mode.NAT, "192.168.122.1/24", routes=(("192.168.122.0/24", "192.168.122.7"),))
    )
    assert ['"virbr0" . 192.168.122.0'] == found["hidden4_24"]


def test_nat_without_ranges_shares_its_chain() -> None:
    """Only what is not the same for everybody has a chain of its own."""
    assert chains(network(Mode.NAT, "192.168.122.1/24")) == {}


def test_nat_uses_the_ranges_given() -> None:
    """Addresses and ports of ``<nat>`` bound the translation; other protocols have no ports."""
    nat = Nat(
        address_start=ipaddress.ip_address("203.0.113.8"),
        address_end=ipaddress.ip_address("203.0.113.10"),
        port_start=5000,
        port_end=5999,
    )
    definition = network(Mode.NAT, "192.168.122.1/24", nat=nat)
    assert ['"virbr0" : jump translate-virbr0'] == elements(definition)["translate"]
    assert chains(definition) == {
        "translate-virbr0": [
            "meta l4proto tcp snat ip to 203.0.113.8-203.0.113.10:5000-5999",
            "meta l4proto udp snat ip to 203.0.113.8-203.0.113.10:5000-5999",
            "snat ip to 203.0.113.8-203.0.113.10",
        ]
    }


def test_nat_uses_a_port_range_alone() -> None:
    """Without an address the outgoing interface's is taken; one port is a range of one."""
    nat = Nat(port_start=5000)
    assert chains(network(Mode.NAT, "192.168.122.1/24", nat=nat)) == {
        "translate-virbr0": [
            "meta l4proto tcp masquerade to :5000",
            "meta l4proto udp masquerade to :5000",
            "masquerade",
        ]
    }


def test_ipv6_of_a_nat_network_is_routed() -> None:
    """Without ``ipv6='yes'`` an IPv6 prefix is neither hidden nor closed."""
    assert unguarded(network(Mode.NAT, "fd00:1::1/64")) == {
        **FILTERED,
        "routed6_64": ['"virbr0" . fd00:1::'],
    }


def test_ipv6_is_hidden_when_asked() -> None:
    """With ``ipv6='yes'`` an IPv6 prefix is hidden; an IPv4 range leaves it masqueraded."""
    nat = Nat(ipv6=True, address_start=ipaddress.ip_address("203.0.113.8"))
    masqueraded = [
        "meta l4proto tcp masquerade to :1024-65535",
        "meta l4proto udp masquerade to :1024-65535",
        "masquerade",
    ]
    alone = network(Mode.NAT, "fd00:1::1/64", nat=nat)
    assert ['"virbr0" . fd00:1::'] == elements(alone)["hidden6_64"]
    assert masqueraded == chains(alone)["translate-virbr0"]
    both = chains(network(Mode.NAT, "192.168.122.1/24", "fd00:1::1/64", nat=nat))
    assert both["translate-virbr0"] == [
        "meta l4proto tcp snat ip to 203.0.113.8:1024-65535",
        "meta l4proto udp snat ip to 203.0.113.8:1024-65535",
        "snat ip to 203.0.113.8",
        *masqueraded,
    ]


@pytest.mark.parametrize("mode", [Mode.ROUTE, Mode.SUBNET])
def test_routed_networks_are_open_for_their_own_addresses(mode: Mode) -> None:
    """Sources and destinations must be the network's own, through the uplink where one is named."""
    assert unguarded(network(mode, "192.168.122.1/24")) == {
        **FILTERED,
        "routed4_24": ['"virbr0" . 192.168.122.0'],
    }
    assert unguarded(network(mode, "192.168.122.1/24", uplinks=("eth0",))) == {
        **FILTERED,
        "routed4_24_through": [
            '"virbr0" . "eth0" . 192.168.122.0',
            '"virbr0" . "virbr0" . 192.168.122.0',
        ],
    }


def test_a_tunnel_is_the_only_way_out() -> None:
    """Traffic of a network with a VPN leaves through it or not at all."""
    definition = msgspec.structs.replace(
        network(Mode.ROUTE, "192.168.122.1/24", uplinks=("eth0",)),
        vpn=Vpn(dev=InterfaceName("wg-red")),
    )
    assert [
        '"virbr0" . "wg-red" . 192.168.122.0',
        '"virbr0" . "virbr0" . 192.168.122.0',
    ] == elements(definition)["routed4_24_through"]


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is Mode.OPEN or not mode.is_routed])
def test_other_modes_have_no_rules(mode: Mode) -> None:
    """OPEN is somebody else's business, and bridged frames never pass these hooks."""
    assert elements(network(mode)) == {}


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode.is_routed])
def test_dns_is_for_guests_and_the_host(mode: Mode) -> None:
    """In every mode, OPEN too, others get no answer at the bridge's addresses."""
    found = elements(network(mode, "192.168.122.1/24", "fd00:1::1/64"))
    assert '"virbr0" . 192.168.122.1' in found["own4"]
    assert '"virbr0" . fd00:1::1' in found["own6"]
    assert ['192.168.122.1 counter comment "virbr0"'] == found["guard_refused4"]
    assert ['fd00:1::1 counter comment "virbr0"'] == found["guard_refused6"]
    assert [
        '192.168.122.1 . udp . 53 comment "virbr0"',
        '192.168.122.1 . tcp . 53 comment "virbr0"',
    ] == found["served4"]
    assert [
        'fd00:1::1 . udp . 53 comment "virbr0"',
        'fd00:1::1 . tcp . 53 comment "virbr0"',
    ] == found["served6"]


def test_tftp_is_for_guests_and_the_host() -> None:
    """It is guarded beside DNS, and without DNS alone."""
    both = network(Mode.NAT, "192.168.122.1/24", tftp_root="/srv/tftp")
    assert [
        '192.168.122.1 . udp . 53 comment "virbr0"',
        '192.168.122.1 . tcp . 53 comment "virbr0"',
        '192.168.122.1 . udp . 69 comment "virbr0"',
    ] == elements(both)["served4"]
    alone = network(Mode.NAT, "192.168.122.1/24", tftp_root="/srv/tftp", dns=False)
    assert ['192.168.122.1 . udp . 69 comment "virbr0"'] == elements(alone)["served4"]


@pytest.mark.parametrize(
    "definition",
    [
        network(Mode.OPEN),
        network(Mode.OPEN, "192.168.122.1/24", dns=False),
        network(Mode.NAT, "fe80::1/64"),
        network(Mode.BRIDGE),
    ],
)
def test_nothing_is_guarded_where_nothing_is_served(definition: Network) -> None:
    """Without an address that others reach, or without DNS and TFTP, there is no guard."""
    assert elements(definition) == unguarded(definition)


def test_outbound_average_is_policed() -> None:
    """KiB a second become bytes; an OPEN network has this chain alone."""
    limited = network(
        Mode.OPEN, "192.168.122.1/24", outbound=Rate(average=1000, burst=256), dns=False
    )
    assert {"police": ['"virbr0" : jump police-virbr0']} == elements(limited)
    assert chains(limited) == {
        "police-virbr0": [
            'oifname "virbr0" return',
            "limit rate over 1000 kbytes/second burst 256 kbytes counter drop",
        ]
    }


def test_burst_defaults_to_the_average() -> None:
    """Without a burst, one second's worth is allowed at once."""
    limited = network(Mode.OPEN, outbound=Rate(average=1000))
    assert "burst 1000 kbytes" in chains(limited)["police-virbr0"][-1]


@pytest.mark.parametrize(
    ("average", "words"),
    [
        (13_000_000, "limit rate over 13000000 kbytes/second burst 4294967295 bytes"),
        (17_000_000, "limit rate over 17000000 kbytes/second burst 1038744073 bytes"),
        (2**51 - 1, "limit rate over 17408 mbytes/second burst 193133065 bytes"),
    ],
)
def test_more_than_the_kernel_counts_is_the_most_that_it_does(average: int, words: str) -> None:
    """Rate and burst together have to fit; so they do on the real kernel (tests/host)."""
    limited = network(Mode.OPEN, outbound=Rate(average=average))
    assert words in chains(limited)["police-virbr0"][-1]


def test_inbound_bandwidth_is_not_policed() -> None:
    """Traffic to the guests is shaped, not dropped."""
    assert elements(network(Mode.OPEN, outbound=Rate())) == {}
