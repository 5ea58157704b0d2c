"""What the engine remembers: networks in order, what is told of them, whose each device is."""

from __future__ import annotations

from uuid import UUID

import msgspec

from jackfield.engine.records import NetworkRecord, PortRecord
from jackfield.engine.registry import Registry
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.port import Port
from jackfield.model.values import InterfaceName, NetworkName


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
