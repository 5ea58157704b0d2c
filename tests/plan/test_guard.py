"""What a port may send, planned from documents."""

from __future__ import annotations

import ipaddress

import msgspec
import pytest

from jackfield.document.reader import read_network
from jackfield.model.address import Address
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, DirectPlug, NetworkPlug, Port
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.plan.guard import is_guarded, made_address, plan_guard
from jackfield.state.resources import PortGuard

BRIDGE = InterfaceName("virbr0")
DEVICE = InterfaceName("jf0123456789")
MAC = MacAddress("52:54:00:12:34:56")
PORT = Port(mac=MAC, plug=NetworkPlug(bridge=BRIDGE))
MADE, MADE_LOCAL = "fd00:1::5054:ff:fe12:3456", "fe80::5054:ff:fe12:3456"
FILTER = "<filterref filter='clean-traffic'/>"
V4 = """<ip address='10.0.1.1' prefix='24'><dhcp>
  <range start='10.0.1.2' end='10.0.1.9'/>
  <host mac='52:54:00:12:34:56' ip='10.0.1.20'/><host mac='52:54:00:00:00:01' ip='10.0.1.21'/>
</dhcp></ip>"""
V4_WITHOUT_DHCP = "<ip address='10.0.1.1' prefix='24'/>"
V6 = "<ip family='ipv6' address='fd00:1::1' prefix='64'/>"


def network(*elements: str, attributes: str = "") -> Network:
    """Return a routed network of these elements, with a filter."""
    return read_network(
        f"<network {attributes}><name>red</name><forward mode='route'/>"
        f"<mac address='52:54:00:00:00:fe'/>{''.join(elements)}</network>"
    )


def of(*texts: str) -> tuple[Address, ...]:
    """Return addresses."""
    return tuple(ipaddress.ip_address(text) for text in texts)


def guard(planned: Network, port: Port = PORT, *leases: str) -> PortGuard:
    """Return the guard of a port that has one."""
    found = plan_guard(planned, port, DEVICE, of(*leases))
    assert found is not None
    return found


def test_network_with_dhcp_of_both_families() -> None:
    """The guest has its reservation, its lease, and what it makes of its MAC."""
    found = guard(network(FILTER, V4, V6), PORT, "10.0.1.5", "fd00:1::99")
    assert (
        PortGuard(
            link=DEVICE,
            mac=MAC,
            addresses=of("10.0.1.5", "10.0.1.20", "fd00:1::99", MADE),
            owned=of("fd00:1::99", MADE),
            denied=of("10.0.1.1", "fd00:1::1", "fe80::5054:ff:fe00:fe"),
            prefixes=(ipaddress.ip_network("fd00:1::/64"), ipaddress.ip_network("fe80::/64")),
            learns=True,
        )
        == found
    )


def test_subnet_without_dhcp_is_open() -> None:
    """Where nobody gives addresses out, none is known, and the host's are denied."""
    found = guard(network(FILTER, V4_WITHOUT_DHCP))
    assert found.open4
    assert not found.learns
    assert () == found.addresses
    assert of("10.0.1.1", "fe80::5054:ff:fe00:fe") == found.denied
    assert not found.open6
    assert (ipaddress.ip_network("fe80::/64"),) == found.prefixes


def test_wide_prefix_is_open_and_narrow_one_is_its_half() -> None:
    """Sets hold the first half of addresses: what is wider cannot be told by it."""
    wide = guard(network(FILTER, "<ip family='ipv6' address='fd00:1::1' prefix='48'/>"))
    assert wide.open6
    assert () == wide.addresses
    narrow = guard(network(FILTER, "<ip family='ipv6' address='fd00:1::1' prefix='112'/>"))
    assert not narrow.open6
    assert ipaddress.ip_network("fd00:1::/64") in narrow.prefixes
    assert () == narrow.addresses


def test_named_addresses_are_all_there_are() -> None:
    """Named addresses close what would be open, for their own family."""
    named = "<filterref filter='clean-traffic'><parameter name='{}' value='{}'/></filterref>"
    four = guard(network(named.format("IP", "10.0.1.7"), V4_WITHOUT_DHCP, V6))
    assert not four.open4
    assert of("10.0.1.7", MADE) == four.addresses
    six = guard(network(named.format("IPV6", "fd00:1::7"), V4_WITHOUT_DHCP, V6))
    assert six.open4
    assert of("fd00:1::7") == six.addresses
    # Several guests may share what the document names.
    assert () == six.owned
    assert (ipaddress.ip_network("fe80::/64"),) == six.prefixes


def test_bridge_of_somebody_else() -> None:
    """Outside our own subnets nothing is known, and nothing denied."""
    plain = read_network(
        f"<network><name>b</name><forward mode='bridge'/><bridge name='br0'/>{FILTER}</network>"
    )
    assert plain.mode is Mode.BRIDGE
    port = msgspec.structs.replace(PORT, plug=BridgePlug(bridge=InterfaceName("br0")))
    found = guard(plain, port)
    assert (True, True, False, (), ()) == (
        found.open4,
        found.open6,
        found.learns,
        found.addresses,
        found.denied,
    )


@pytest.mark.parametrize(
    ("attribute", "group", "named", "wanted"),
    [
        ("", "", None, False),
        ("antiSpoofing='yes'", "", None, True),
        ("antiSpoofing='yes'", "<portgroup name='a'/>", "a", True),
        ("antiSpoofing='yes'", "<portgroup name='a' antiSpoofing='no'/>", "a", False),
        ("antiSpoofing='yes'", "<portgroup name='a' antiSpoofing='no'/>", None, True),
        ("", f"<portgroup name='a'>{FILTER}</portgroup>", "a", True),
        ("", f"<portgroup name='a'>{FILTER}</portgroup>", None, False),
    ],
)
def test_portgroup_is_asked_first(
    attribute: str, group: str, named: str | None, wanted: bool
) -> None:
    """A portgroup that says something is right, whatever its network says."""
    planned = network(V4, group, attributes=attribute)
    port = msgspec.structs.replace(PORT, group=None if named is None else Text(named))
    assert wanted == is_guarded(planned, port)
    assert wanted == (plan_guard(planned, port, DEVICE) is not None)


def test_portgroup_has_addresses_of_its_own() -> None:
    """What a portgroup names stands instead of what its network names."""
    named = "<filterref filter='clean-traffic'><parameter name='IP' value='{}'/></filterref>"
    planned = network(
        named.format("10.0.1.7"),
        V4_WITHOUT_DHCP,
        f"<portgroup name='a'>{named.format('10.0.1.8')}</portgroup><portgroup name='b'/>",
    )
    for group, address in ("a", "10.0.1.8"), ("b", "10.0.1.7"):
        port = msgspec.structs.replace(PORT, group=Text(group))
        assert of(address) == guard(planned, port).addresses


def test_port_past_all_bridges_has_no_guard() -> None:
    """A macvtap's frames are seen by nobody."""
    port = msgspec.structs.replace(PORT, plug=DirectPlug(dev=InterfaceName("eth0"), mode="vepa"))
    assert not is_guarded(network(FILTER, V4), port)


def test_made_address_is_what_the_standard_says() -> None:
    """RFC 4291, appendix A: the bit turned over, and ff:fe in the middle."""
    local = ipaddress.ip_network("fe80::/64")
    assert of(MADE_LOCAL) == (made_address(local, MAC),)
