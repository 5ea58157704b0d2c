"""What is refused of a network before anything is made."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import pytest
from hypothesis import given

from jackfield.document.complete import Taken, complete
from jackfield.document.reader import read_network
from jackfield.errors import InvalidRequest, JackfieldError, UnsupportedConfiguration
from jackfield.model.network import Network
from jackfield.plan.network import check_network, plan_network
from tests.strategies import definitions

RED = """
<network>
  <name>red</name><uuid>6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c3d</uuid>
  <mtu size='{mtu}'/>
  <bridge name='virbr0'/>
  <ip family='{family}' address='{address}' prefix='{prefix}'/>
</network>
"""


def test_ipv6_needs_its_mtu() -> None:
    """Below 1280 bytes the kernel drops IPv6, and dnsmasq refuses to advertise it."""
    six = {"family": "ipv6", "address": "fd00::1", "prefix": "64"}
    with pytest.raises(InvalidRequest, match="an MTU of 1280 bytes at least"):
        plan_network(read_network(RED.format(mtu=1279, **six)))
    assert plan_network(read_network(RED.format(mtu=1280, **six)))
    four = {"family": "ipv4", "address": "10.0.0.1", "prefix": "24"}
    assert plan_network(read_network(RED.format(mtu=68, **four)))


@pytest.mark.parametrize(
    ("twice", "said"),
    [
        ("<ip address='10.0.0.1' prefix='24'/>", "the address 10.0.0.1/24 twice"),
        (
            "<route address='10.9.0.0' prefix='16' gateway='10.0.1.7'/>",
            "the route 10.9.0.0/16 metric 1 twice",
        ),
    ],
)
def test_nothing_is_asked_for_twice(twice: str, said: str) -> None:
    """The host could have it once only; libvirt defines such a network, and cannot start it."""
    text = RED.format(mtu=1500, family="ipv4", address="10.0.1.1", prefix="24")
    plan_network(read_network(text.replace("</network>", f"{twice}</network>")))
    with pytest.raises(UnsupportedConfiguration, match=f"network 'red' has {said}"):
        plan_network(read_network(text.replace("</network>", f"{twice}{twice}</network>")))


@pytest.mark.parametrize(
    ("address", "prefix", "kind"),
    [
        ("10.0.0.255", 24, "the broadcast address of 10.0.0.0/24"),
        ("224.0.0.5", 24, "a multicast address"),
        ("127.0.0.5", 24, "a loopback address"),
        ("0.0.0.0", 24, "the unspecified address"),
        ("ff02::1", 64, "a multicast address"),
        ("::1", 64, "a loopback address"),
        ("::", 64, "the unspecified address"),
        ("::ffff:10.0.0.1", 120, "an IPv4 address in the form of IPv6"),
        ("10.0.0.0", 24, None),
        ("10.0.0.1", 31, None),
        ("10.0.0.1", 32, None),
        ("fd00::", 64, None),
    ],
)
def test_an_address_that_no_host_can_have(address: str, prefix: int, kind: str | None) -> None:
    """libvirt starts some of these, and guests reach nothing; the kernel refuses the others."""
    family = "ipv6" if ":" in address else "ipv4"
    text = RED.format(mtu=1500, family=family, address=address, prefix=prefix)
    if kind is None:
        assert plan_network(read_network(text))
    else:
        with pytest.raises(
            UnsupportedConfiguration, match=f"{ipaddress.ip_address(address)} is {kind}"
        ):
            plan_network(read_network(text))


@given(definitions())
def test_a_check_says_what_a_plan_would(definition: Network) -> None:
    """What a definition is refused for is found without planning all of it."""
    network = complete(definition, Taken(), bytes)
    assert refusal(plan_network, network) == refusal(check_network, network)


def refusal(ask: Callable[[Network], object], network: Network) -> tuple[object, str]:
    """Return the class and the words of what is raised."""
    try:
        ask(network)
    except JackfieldError as error:
        return type(error), error.message
    return None, ""


def test_one_address_with_several_prefixes() -> None:
    """The kernel has an IPv4 address once for each of them, and an IPv6 address once."""
    four = {"family": "ipv4", "address": "10.0.0.1", "prefix": "24"}
    text = RED.format(mtu=1500, **four)
    more = "<ip address='10.0.0.1' prefix='25'/>"
    plan_network(read_network(text.replace("</network>", f"{more}</network>")))
    text = RED.format(mtu=1500, family="ipv6", address="fd00::1", prefix="64")
    more = "<ip family='ipv6' address='fd00::1' prefix='80'/>"
    with pytest.raises(UnsupportedConfiguration, match="the address fd00::1 twice"):
        plan_network(read_network(text.replace("</network>", f"{more}</network>")))
