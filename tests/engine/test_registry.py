"""What the engine remembers: networks in order, what is told of them, whose each device is."""

from __future__ import annotations

import gc
from uuid import UUID

import msgspec

from jackfield.engine.devicenames import DeviceNames
from jackfield.engine.records import NetworkRecord, PortRecord
from jackfield.engine.registry import Registry
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.port import Port
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.model.virtualport import VirtualPort, VirtualPortType


def network(name: str, bridge: str) -> Network:
    """Return a NAT network."""
    return Network(name=NetworkName(name), mode=Mode.NAT, bridge=Bridge(name=InterfaceName(bridge)))


def added(registry: Registry, number: int, name: str) -> NetworkRecord:
    """Return a record of the registry, without a definition."""
    record = NetworkRecord(uuid=UUID(int=number), name=NetworkName(name))
    registry.add(record)
    return record


def names(registry: Registry) -> list[str]:
    """Return the names of all networks as they are told."""
    return [str(view.name) for view in registry.network_views()]


def test_networks_are_told_by_name() -> None:
    """Adding one twice does no harm, one of the same uuid takes the place of the other."""
    registry = Registry()
    records = [added(registry, number, name) for number, name in enumerate(("c", "a", "b"))]
    registry.add(records[0])
    assert ["a", "b", "c"] == names(registry)
    registry.discard(records[2])
    registry.discard(records[2])
    assert ["a", "c"] == names(registry)
    again = added(registry, 1, "d")
    assert ["c", "d"] == names(registry)
    assert again is registry.network(UUID(int=1))


def test_what_is_told_is_true_and_kept() -> None:
    """The view is the same until something of the network, or its ports, is another."""
    registry = Registry()
    record = added(registry, 1, "red")
    record.stored = network("red", "virbr0")
    first = registry.network_view(record)
    assert first is registry.network_view(record)
    record.autostart = True
    second = registry.network_view(record)
    assert (False, True) == (first.autostart, second.autostart)
    port = PortRecord(uuid=UUID(int=7), network=record.uuid, port=Port(), realiser="client")
    registry.add_port(port)
    assert 1 == registry.network_view(record).ports
    registry.discard_port(port)
    assert 0 == registry.network_view(record).ports
    record.live, record.settled = record.stored, True
    assert registry.network_view(record).active


def test_whose_a_device_is() -> None:
    """A device is a network's while that makes it, stored or live, and not longer."""
    registry = Registry()
    red, blue = added(registry, 1, "red"), added(registry, 2, "blue")
    red.stored = network("red", "virbr0")
    claimant = registry.devices.claimant
    assert "red" == claimant("virbr0")
    assert "red" == claimant("virbr0", without=blue)
    assert claimant("virbr0", without=red) is None
    red.live, red.stored = red.stored, network("red", "virbr1")
    assert "red" == claimant("virbr0", without=blue)
    assert "red" == claimant("virbr1", without=blue)
    red.live = None
    assert claimant("virbr0") is None
    blue.stored = network("blue", "virbr0")
    assert "blue" == claimant("virbr0", without=red)
    registry.discard(blue)
    assert claimant("virbr0") is None
    assert "red" == claimant("virbr1")
    green = added(registry, 3, "green")
    green.stored = msgspec.structs.replace(network("green", "br0"), mode=Mode.BRIDGE)
    assert claimant("br0") is None
    assert "green" == claimant("br0", used=True)
    assert claimant("br0", without=green, used=True) is None


def held(thing: object) -> int:
    """Return how many things a registry holds, in whatever it keeps them."""
    seen: set[int] = set()
    found = [thing]
    while found:
        one = found.pop()
        if id(one) not in seen:
            seen.add(id(one))
            if isinstance(one, dict | set | list | tuple | Registry | DeviceNames):
                found += gc.get_referents(one)
    return len(seen)


def test_nothing_is_kept_of_networks_that_are_gone() -> None:
    """They come and go for years, each with a bridge of its own."""
    registry = Registry()
    switched = Bridge(name=InterfaceName("ovs0"))
    openvswitch = VirtualPort(type=VirtualPortType.OPENVSWITCH)

    def comes_and_goes(number: int) -> None:
        record = added(registry, number, f"red{number}")
        record.stored = network(record.name, f"virbr{number}")
        record.live = record.stored
        record.stored = network(record.name, f"other{number}")
        assert record.name == registry.devices.claimant(f"virbr{number}")
        record.live = msgspec.structs.replace(
            record.stored, mode=Mode.BRIDGE, bridge=switched, virtualport=openvswitch
        )
        assert {"ovs0"} == registry.devices.switches
        registry.discard(record)
        assert set() == registry.devices.switches

    comes_and_goes(0)
    before = held(registry)
    for number in range(1, 6):
        comes_and_goes(number)
    assert before == held(registry)
