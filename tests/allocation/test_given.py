"""Ports that follow another definition of their network."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from jackfield.allocation.given import follow, former_settings
from jackfield.document.reader import read_network
from jackfield.errors import UnsupportedConfiguration
from jackfield.model.bandwidth import Bandwidth, Rate
from jackfield.model.network import Network
from jackfield.model.port import NetworkPlug, Port
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.model.vlan import Vlan, VlanTag

PORT = Port(
    uuid=UUID(int=1),
    mac=MacAddress("52:54:00:00:00:01"),
    group=Text("gold"),
    plug=NetworkPlug(bridge=InterfaceName("red0")),
)


def network(group: str, more: str = "") -> Network:
    """Return a network whose portgroup gold says ``group``."""
    text = (
        "<network><name>red</name><forward mode='route'/><bridge name='red0'/>"
        f"{more}<ip address='10.0.0.1' prefix='24'/>{group}</network>"
    )
    return read_network(text.encode())


PLAIN = network("<portgroup name='gold'/>")
FAST = network(
    "<portgroup name='gold' trustGuestRxFilters='yes'><vlan><tag id='7'/></vlan>"
    "<port isolated='yes'/><bandwidth><inbound average='500'/></bandwidth></portgroup>"
)
LIMIT = Bandwidth(inbound=Rate(average=500))


def test_all_settings_follow_and_go() -> None:
    """What a portgroup gives is the port's, and is not when it gives it no more."""
    fast = follow(FAST, PORT, limited=False)
    assert Vlan(tags=(VlanTag(id=7),)) == fast.vlan
    assert (LIMIT, True, True) == (fast.bandwidth, fast.isolated, fast.trust_guest_rx_filters)
    assert (PORT.uuid, PORT.mac, PORT.plug) == (fast.uuid, fast.mac, fast.plug)
    assert PORT == follow(PLAIN, fast, limited=False)


def test_what_is_the_ports_own_stays() -> None:
    """A limit that was set for it alone, and everything when its portgroup is no more."""
    own = msgspec.structs.replace(PORT, bandwidth=LIMIT)
    assert LIMIT == follow(PLAIN, own, limited=True).bandwidth
    assert own == follow(network(""), own, limited=False)


def test_what_a_port_cannot_be() -> None:
    """A port of Open vSwitch is not isolated."""
    switched = VirtualPort(type=VirtualPortType.OPENVSWITCH)
    port = msgspec.structs.replace(PORT, virtualport=switched)
    with pytest.raises(UnsupportedConfiguration, match="cannot isolate ports"):
        follow(FAST, port, limited=False)


def test_what_a_clients_port_keeps() -> None:
    """Only what it had of its definition, and that gives otherwise."""
    fast = follow(FAST, PORT, limited=False)
    assert {"bandwidth"} <= former_settings(FAST, PLAIN, fast)
    assert frozenset() == former_settings(FAST, FAST, fast)
    known = former_settings(FAST, PLAIN, fast)
    # By one definition more it is still a former one's, until one gives the same again.
    assert known == former_settings(PLAIN, PLAIN, fast, known)
    assert frozenset() == former_settings(PLAIN, FAST, fast, known)
    # Of a portgroup that is no more it has what that gave, also when there is one again.
    none = former_settings(FAST, network(""), fast)
    assert {"portgroup", "vlan", "bandwidth", "isolated", "trust_guest_rx_filters"} == none
    assert {"portgroup"} == former_settings(FAST, network(""), PORT)
    assert none == former_settings(network(""), network(""), fast, none)
    assert none - {"portgroup"} == former_settings(network(""), PLAIN, fast, none)
    wishes = Bandwidth(inbound=Rate(average=1))
    slower = network(
        "<portgroup name='gold'><bandwidth><inbound average='9'/></bandwidth></portgroup>"
    )
    assert not former_settings(PLAIN, slower, msgspec.structs.replace(PORT, bandwidth=wishes))
    assert {"bandwidth"} == former_settings(PLAIN, slower, PORT)
