"""A network's firewall rules, from its definition alone."""

from __future__ import annotations

import ipaddress

import pytest

from jackfield.host.nft.text import rule_text
from jackfield.model.bandwidth import Rate
from jackfield.model.mode import Mode
from jackfield.model.network import Nat, Network
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.model.vpn import Vpn
from jackfield.plan.rules import network_rules
from jackfield.state.rules import Chain, Hook
from tests.host.nftlab import network

BRIDGE = InterfaceName("virbr0")


def planned(definition: Network) -> tuple[Chain, ...]:
    """Return the chains as planned."""
    rules = network_rules(definition, BRIDGE)
    if rules is None:
        return ()
    assert BRIDGE == rules.bridge
    return rules.chains


def chains(definition: Network) -> dict[str, list[str]]:
    """Return the rules as text, by hook, without those of the guard, which every mode has."""
    return {
        chain.hook.value: [rule_text(rule) for rule in chain.rules]
        for chain in planned(definition)
        if chain.hook is not Hook.GUARD
    }


def guard(definition: Network) -> tuple[list[str], list[str]]:
    """Return the addresses that are guarded and the rules as text; nothing without a guard."""
    for chain in planned(definition):
        if chain.hook is Hook.GUARD:
            return [str(address) for address in chain.addresses], [
                rule_text(rule) for rule in chain.rules
            ]
    return [], []


def test_isolated_reaches_only_its_bridge() -> None:
    """Nothing is forwarded, and of the host only the bridge's own addresses are there."""
    assert chains(network(Mode.ISOLATED, "192.168.100.1/24", "fd00:1::1/64")) == {
        "leave": ['oifname "virbr0" return', "counter reject"],
        "enter": ['iifname "virbr0" return', "counter reject"],
        "input": [
            "ip daddr 192.168.100.1 return",
            "ip daddr 192.168.100.255 return",
            "ip6 daddr fd00:1::1 return",
            "ip daddr 255.255.255.255 return",
            "ip daddr 224.0.0.0/4 return",
            "ip6 daddr fe80::/10 return",
            "ip6 daddr ff00::/8 return",
            "counter reject",
        ],
    }


def test_point_to_point_subnet_has_no_broadcast() -> None:
    """The other address of a /31 is a guest, not a broadcast address."""
    rules = chains(network(Mode.ISOLATED, "192.168.100.0/31"))
    assert "ip daddr 192.168.100.0 return" in rules["input"]
    assert "ip daddr 192.168.100.1 return" not in rules["input"]


def test_nat_hides_and_answers_return() -> None:
    """Sources are hidden, and only what belongs to a connection comes in."""
    assert chains(network(Mode.NAT, "192.168.122.1/24")) == {
        "leave": [
            'oifname "virbr0" return',
            "ip saddr 192.168.122.0/24 return",
            "counter reject",
        ],
        "enter": [
            'iifname "virbr0" return',
            "ip daddr 192.168.122.0/24 ct state established,related return",
            "counter reject",
        ],
        "nat": [
            "ip daddr 192.168.122.0/24 return",
            "ip daddr 224.0.0.0/4 return",
            "ip daddr 255.255.255.255 return",
            "ip saddr 192.168.122.0/24 meta l4proto tcp masquerade to :1024-65535",
            "ip saddr 192.168.122.0/24 meta l4proto udp masquerade to :1024-65535",
            "ip saddr 192.168.122.0/24 masquerade",
        ],
    }


def test_nat_goes_through_its_uplinks_only() -> None:
    """Each device that is none of the uplinks is refused, both ways."""
    rules = chains(network(Mode.NAT, "192.168.122.1/24", uplinks=("eth0", "eth1")))
    assert rules["leave"][1] == 'oifname != "eth0" oifname != "eth1" counter reject'
    assert rules["enter"][1] == 'iifname != "eth0" iifname != "eth1" counter reject'


def test_nat_covers_static_routes() -> None:
    """What lies behind a guest is hidden too, but not from the network itself."""
    rules = chains(
        network(Mode.NAT, "192.168.122.1/24", routes=(("10.9.0.0/16", "192.168.122.7"),))
    )
    assert "ip saddr 10.9.0.0/16 return" in rules["leave"]
    assert rules["nat"][:2] == ["ip daddr 192.168.122.0/24 return", "ip daddr 10.9.0.0/16 return"]
    assert "ip saddr 10.9.0.0/16 masquerade" in rules["nat"]


def test_nat_uses_the_ranges_given() -> None:
    """Addresses and ports of ``<nat>`` bound the translation; other protocols have no ports."""
    nat = Nat(
        address_start=ipaddress.ip_address("203.0.113.8"),
        address_end=ipaddress.ip_address("203.0.113.10"),
        port_start=5000,
        port_end=5999,
    )
    assert chains(network(Mode.NAT, "192.168.122.1/24", nat=nat))["nat"][3:] == [
        "ip saddr 192.168.122.0/24 meta l4proto tcp snat ip to 203.0.113.8-203.0.113.10:5000-5999",
        "ip saddr 192.168.122.0/24 meta l4proto udp snat ip to 203.0.113.8-203.0.113.10:5000-5999",
        "ip saddr 192.168.122.0/24 snat ip to 203.0.113.8-203.0.113.10",
    ]


def test_ipv6_of_a_nat_network_is_routed() -> None:
    """Without ``ipv6='yes'`` an IPv6 prefix is neither hidden nor closed."""
    rules = chains(network(Mode.NAT, "fd00:1::1/64"))
    assert "nat" not in rules
    assert "ip6 daddr fd00:1::/64 return" in rules["enter"]


def test_ipv6_is_hidden_when_asked() -> None:
    """With ``ipv6='yes'`` an IPv6 prefix is hidden; an IPv4 range leaves it masqueraded."""
    nat = Nat(ipv6=True, address_start=ipaddress.ip_address("203.0.113.8"))
    rules = chains(network(Mode.NAT, "fd00:1::1/64", nat=nat))
    assert "ip6 daddr fd00:1::/64 ct state established,related return" in rules["enter"]
    assert rules["nat"] == [
        "ip6 daddr fd00:1::/64 return",
        "ip6 daddr ff00::/8 return",
        "ip6 daddr fe80::/10 return",
        "ip6 saddr fd00:1::/64 meta l4proto tcp masquerade to :1024-65535",
        "ip6 saddr fd00:1::/64 meta l4proto udp masquerade to :1024-65535",
        "ip6 saddr fd00:1::/64 masquerade",
    ]


@pytest.mark.parametrize("mode", [Mode.ROUTE, Mode.SUBNET])
def test_routed_networks_are_open_for_their_own_addresses(mode: Mode) -> None:
    """Sources and destinations must be the network's own, through the uplink."""
    assert chains(network(mode, "192.168.122.1/24", uplinks=("eth0",))) == {
        "leave": [
            'oifname "virbr0" return',
            'oifname != "eth0" counter reject',
            "ip saddr 192.168.122.0/24 return",
            "counter reject",
        ],
        "enter": [
            'iifname "virbr0" return',
            'iifname != "eth0" counter reject',
            "ip daddr 192.168.122.0/24 return",
            "counter reject",
        ],
    }


def test_a_tunnel_is_the_only_way_out() -> None:
    """Traffic of a network with a VPN leaves through it or not at all."""
    definition = Network(
        name=NetworkName("red"), mode=Mode.ROUTE, vpn=Vpn(dev=InterfaceName("wg-red"))
    )
    assert chains(definition)["leave"][1] == 'oifname != "wg-red" counter reject'


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is Mode.OPEN or not mode.is_routed])
def test_other_modes_have_no_rules(mode: Mode) -> None:
    """OPEN is somebody else's business, and bridged frames never pass these hooks."""
    assert chains(network(mode)) == {}


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode.is_routed])
def test_dns_is_for_guests_and_the_host(mode: Mode) -> None:
    """In every mode, OPEN too, others get no answer at the bridge's addresses."""
    assert guard(network(mode, "192.168.122.1/24", "fd00:1::1/64")) == (
        ["192.168.122.1", "fd00:1::1"],
        [
            'iifname "virbr0" return',
            'iifname "lo" return',
            "udp dport 53 counter drop",
            "tcp dport 53 counter drop",
        ],
    )


def test_tftp_is_for_guests_and_the_host() -> None:
    """It is guarded beside DNS, and without DNS alone."""
    both = network(Mode.NAT, "192.168.122.1/24", tftp_root="/srv/tftp")
    assert [
        "udp dport 53 counter drop",
        "tcp dport 53 counter drop",
        "udp dport 69 counter drop",
    ] == guard(both)[1][2:]
    alone = network(Mode.NAT, "192.168.122.1/24", tftp_root="/srv/tftp", dns=False)
    assert ["udp dport 69 counter drop"] == guard(alone)[1][2:]


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
    assert ([], []) == guard(definition)


def test_outbound_average_is_policed() -> None:
    """KiB a second become bytes; an OPEN network has this rule alone."""
    limited = network(Mode.OPEN, "192.168.122.1/24", outbound=Rate(average=1000, burst=256))
    assert chains(limited) == {
        "police": [
            'oifname "virbr0" return',
            "limit rate over 1000 kbytes/second burst 256 kbytes counter drop",
        ]
    }


def test_burst_defaults_to_the_average() -> None:
    """Without a burst, one second's worth is allowed at once."""
    limited = network(Mode.OPEN, outbound=Rate(average=1000))
    assert "burst 1000 kbytes" in chains(limited)["police"][-1]


def test_inbound_bandwidth_is_not_policed() -> None:
    """Traffic to the guests is shaped, not dropped."""
    assert chains(network(Mode.OPEN, outbound=Rate())) == {}
