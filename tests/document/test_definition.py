"""Definitions: filled in once, and refused when they could not work."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings

from jackfield.document.complete import Taken, complete
from jackfield.document.convert import checked
from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.document.rules import check_definition, makes_bridge
from jackfield.errors import AlreadyExists, DocumentError, HostError, UnsupportedConfiguration
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from tests.strategies import definitions

NAT = "<forward mode='nat'/><ip address='10.0.0.1' prefix='24'/>"


def network(body: str, attributes: str = "") -> Network:
    """Read a network called ``n``."""
    return read_network(f"<network{attributes}><name>n</name>{body}</network>")


def counting() -> Callable[[int], bytes]:
    """Return a source of bytes that are different each time, and the same in each test."""
    numbers = itertools.count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


def bridge_name(network: Network) -> str | None:
    """Return the name of a network's bridge."""
    return None if network.bridge is None else network.bridge.name


def test_what_is_left_out_is_filled_in() -> None:
    """uuid, the lowest free bridge and a MAC; what was said stays."""
    found = complete(
        network(NAT),
        Taken(claimant={"virbr0": "blue"}.get, present={"virbr1", "virbr3"}),
        counting(),
    )
    assert found.bridge is not None
    assert "virbr2" == found.bridge.name
    assert "52:54:00:00:00:02" == found.mac
    assert found.uuid is not None
    assert 4 == found.uuid.version
    again = complete(found, Taken(claimant={"virbr0": "blue"}.get), counting())
    assert found == again


def test_a_redefinition_keeps_what_was_generated() -> None:
    """The bridge's MAC and name stay the same when the new document leaves them out."""
    first = complete(network(NAT), Taken(), counting())
    second = complete(network(NAT), Taken(present={"virbr0"}), counting(), previous=first)
    assert first == second


def test_a_bridge_is_named_after_its_template() -> None:
    """The lowest number that is free; a redefinition keeps a name that still fits."""
    wanted = network(NAT + "<bridge name='lab%d-x'/>")
    first = complete(wanted, Taken(claimant={"lab0-x": "blue"}.get, present={"lab1-x"}), counting())
    assert first.bridge is not None
    assert "lab2-x" == first.bridge.name
    assert first.bridge == complete(wanted, Taken(), counting(), previous=first).bridge
    other = network(NAT + "<bridge name='lab%d'/>")
    assert "lab0" == str(bridge_name(complete(other, Taken(), counting(), previous=first)))
    text = write_network(wanted, inactive=True)
    assert "<bridge name='lab%d-x' stp='on' delay='0'/>" in text
    assert wanted == read_network(text)
    long = network(NAT + "<bridge name='abcdefghijklmn%d'/>")
    with pytest.raises(HostError, match="every device name from abcdefghijklmn0 on is taken"):
        complete(long, Taken(present={f"abcdefghijklmn{one}" for one in range(10)}), counting())


@pytest.mark.parametrize("name", ["%s", "%d%d", "a%d%", "abcdefghijklmno%d", "a/%d"])
def test_a_wrong_template_is_refused(name: str) -> None:
    """One number, in what would be a name with it."""
    with pytest.raises(DocumentError, match="<bridge> has name="):
        network(NAT + f"<bridge name='{name}'/>")


def test_a_template_names_no_bridge_that_is_only_used() -> None:
    """What libvirt takes literally is told: no bridge has such a name."""
    with pytest.raises(DocumentError, match="uses a bridge that is there"):
        network("<forward mode='bridge'/><bridge name='br%d'/>")


def test_an_open_network_needs_no_subnet() -> None:
    """libvirt's open network without an address is a bridge that is left alone."""
    assert network("<forward mode='open'/>").mode is Mode.OPEN


def test_a_claimed_bridge_is_refused() -> None:
    """The name of another network's bridge cannot be had, a mere host device's can be asked."""
    wanted = network(NAT + "<bridge name='br7'/>")
    with pytest.raises(AlreadyExists, match="'br7': network 'blue' has it"):
        complete(wanted, Taken(claimant={"br7": "blue"}.get), counting())
    assert complete(wanted, Taken(present={"br7"}), counting()).bridge == wanted.bridge
    used = network("<forward mode='bridge'/><bridge name='br7'/>")
    assert used.bridge == complete(used, Taken(claimant={"br7": "blue"}.get), counting()).bridge
    # One that others use, and somebody else is to make, cannot be had either, but be kept.
    with pytest.raises(AlreadyExists, match="'br7': network 'blue' uses one"):
        complete(wanted, Taken(user={"br7": "blue"}.get), counting())
    former = complete(wanted, Taken(), counting())
    assert former == complete(former, Taken(user={"br7": "blue"}.get), counting(), previous=former)
    managed = network(
        "<forward mode='bridge'/>"
        "<bridge name='br7'><uplinks><interface dev='eth0'/></uplinks></bridge>"
    )
    assert managed.bridge == complete(managed, Taken(user={"br7": "blue"}.get), counting()).bridge


def test_managed_bridge_and_tunnel_get_names_but_no_mac() -> None:
    """A managed bridge's MAC is its uplink's and never stored."""
    found = complete(
        network("<forward mode='bridge'/><vpn type='wireguard' vni='1'/>"),
        Taken(present={"wg0"}),
        counting(),
    )
    assert found.bridge is not None
    assert found.vpn is not None
    assert ("virbr0", "wg1", None) == (found.bridge.name, found.vpn.dev, found.mac)


@given(definitions())
@settings(deadline=None, max_examples=60)
def test_completion_is_stable(wanted: Network) -> None:
    """A completed network is a valid document, has everything, and is complete already."""
    found = complete(wanted, Taken(), counting())
    assert found == complete(found, Taken(), counting())
    assert found == checked(found)
    assert found.uuid is not None
    assert not makes_bridge(found) or (found.bridge is not None and found.bridge.name is not None)
    assert (found.mac is not None) == found.mode.is_routed
    assert wanted.subnets == found.subnets


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<portgroup name='a'/><portgroup name='a'/>", "two portgroups called 'a'"),
        (
            "<portgroup name='a' default='yes'/><portgroup name='b' default='yes'/>",
            "more than one default portgroup: 'a', 'b'",
        ),
        (
            (
                "<ip address='10.0.0.1'><dhcp><host name='a' ip='10.0.0.2'/></dhcp></ip>"
                "<ip address='10.0.1.1'><dhcp><host name='a' ip='10.0.1.2'/></dhcp></ip>"
            ),
            "more than one <ip> of IPv4 with <dhcp>",
        ),
        ("<forward mode='vepa'/><ip address='10.0.0.1'/>", "<ip>, which mode vepa"),
        ("<forward mode='vepa'/><mac address='52:54:00:00:00:01'/>", "<mac>"),
        ("<forward mode='vepa'/><domain name='a'/>", "<domain>"),
        ("<forward mode='vepa'/><dns><txt name='a' value='b'/></dns>", "<dns>"),
        (
            (
                "<forward mode='bridge'/><bridge name='b'/><bandwidth><inbound average='1'/>"
                "</bandwidth>"
            ),
            "<bandwidth>",
        ),
        ("<forward mode='vepa'/><port isolated='yes'/>", "no bridge ports"),
        ("<forward mode='hostdev' dev='eth0'/>", "gives PCI functions"),
        (
            "<forward mode='vepa'><address type='pci' bus='1' slot='0' function='0'/></forward>",
            "needs a device",
        ),
        ("<forward mode='vepa'/><vlan><tag id='1'/></vlan>", "<vlan> for the network"),
        (
            "<forward mode='vepa'/><portgroup name='g'><vlan><tag id='1'/></vlan></portgroup>",
            "<vlan> for portgroup 'g'",
        ),
        (NAT + "<virtualport type='openvswitch'/>", "'openvswitch', which mode nat has no use"),
        (
            "<forward mode='bridge'/><bridge name='b'/><virtualport type='802.1Qbg'/>",
            "which mode bridge has no use",
        ),
        (
            (
                "<forward mode='bridge'/><bridge name='b'/><portgroup name='g'><virtualport>"
                "<parameters profileid='x'/></virtualport></portgroup>"
            ),
            "of portgroup 'g', which mode bridge has no use",
        ),
        (
            (
                "<forward mode='vepa'/><virtualport type='802.1Qbg'/>"
                "<portgroup name='g'><virtualport type='802.1Qbh'/></portgroup>"
            ),
            "but the network's is of type '802.1Qbg'",
        ),
        ("<forward mode='bridge'/><vpn type='wireguard'/>", "no vni"),
        (NAT + "<vpn type='wireguard' vni='1'/>", "vni, which mode nat"),
        (
            "<forward dev='eth0'/><ip address='10.0.0.1'/><vpn type='wireguard'/>",
            "<vpn> and the uplink eth0",
        ),
        (
            (
                "<forward mode='bridge'/><bridge name='e'><uplinks><interface dev='e'/></uplinks>"
                "</bridge>"
            ),
            "own bridge e as an uplink",
        ),
        (
            (
                "<forward mode='bridge'/><bridge name='fifteencharslng'><uplinks>"
                "<interface dev='a'/><interface dev='b'/></uplinks></bridge>"
            ),
            "cannot be named",
        ),
    ],
)
def test_what_cannot_work_is_not_defined(body: str, said: str) -> None:
    """It can be read, so that it can be converted and shown, but not be defined."""
    with pytest.raises(UnsupportedConfiguration) as caught:
        check_definition(network(body))
    assert said in caught.value.message
    assert 67 == caught.value.code


def test_bridges_over_several_uplinks_are_numbered() -> None:
    """The first has the network's name, the others a number behind it."""
    found = network(
        "<forward mode='bridge'/><bridge name='br0'><uplinks><interface dev='a'/>"
        "<interface dev='b'/><interface dev='c'/></uplinks></bridge>"
    )
    assert ("br0", "br0-1", "br0-2") == found.managed_bridges
    assert () == network("<forward mode='bridge'/><bridge name='br0'/>").managed_bridges
    assert Mode.BRIDGE is found.mode
