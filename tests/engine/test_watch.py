"""Bridges and ports that somebody changed after they were looked at, before anybody listened."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock
from uuid import UUID

import pytest

from jackfield.engine import watch
from jackfield.engine.placewatch import PlaceWatch
from jackfield.engine.records import NetworkRecord, PortRecord
from jackfield.engine.registry import Registry
from jackfield.engine.watch import BridgeWatch
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.port import NetworkPlug, Port
from jackfield.model.values import InterfaceName, MacAddress, NetworkName
from jackfield.plan.port import PortDevice
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.hoststate import HostState
from jackfield.state.links import BridgeLink, OwnerKind, alias_of

RED = UUID(int=1)
ALIAS = alias_of(OwnerKind.NETWORK, RED)
BRIDGE = BridgeLink(name=InterfaceName("red0"), alias=ALIAS, mac=None)


@pytest.mark.parametrize(
    ("links", "done"),
    [
        ({}, ["mend"]),
        ({"red0": LinkFact(index=2, name="red0", kind="bridge", alias=ALIAS)}, ["problem"]),
        ({"red0": LinkFact(index=2, name="red0", kind="bridge", alias=ALIAS, up=True)}, []),
    ],
)
def test_what_was_changed_before_anybody_listened(
    monkeypatch: pytest.MonkeyPatch, links: dict[str, LinkFact], done: list[str]
) -> None:
    """A bridge that is gone is made again, and one that is down is told of."""
    monkeypatch.setattr(watch, "_SETTLE", 0)
    record = SimpleNamespace(
        uuid=RED,
        active=True,
        problem=None,
        present=HostState([BRIDGE]),
        current=SimpleNamespace(bridge=SimpleNamespace(name="red0")),
        lock=asyncio.Lock(),
    )
    noted: list[Any] = []
    mending = Mock(miss_bridges=AsyncMock(), mend=Mock(return_value="mend"))
    bridges = BridgeWatch(
        Mock(networks={RED: record}),
        Mock(links_and_routes=Mock(return_value=Facts(links=links))),
        mending,
        Mock(problem=Mock(return_value="problem")),
        noted.append,
    )

    async def begin() -> None:
        await bridges.expect()
        # What is judged a moment later has its turn.
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(begin())
    assert done == noted


TAP: dict[str, Any] = {"index": 3, "name": "t0", "kind": "tun", "master": 2, "up": True}
CUT_OFF = "cut off: t0 is "
AGAIN = "; put right by: jackfield apply red"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, None),
        ({"up": False}, CUT_OFF + "not up" + AGAIN),
        ({"master": None}, CUT_OFF + "not on bridge red0 any more" + AGAIN),
        ({"mtu": 1400}, "changed by somebody else: the MTU of t0 is 1400, not 1500" + AGAIN),
    ],
)
def test_ports_that_were_changed_before_anybody_listened(
    changed: dict[str, Any], told: str | None
) -> None:
    """One that was taken off its bridge, set down or given another MTU is told of."""
    registry = Registry()
    red = Network(
        name=NetworkName("red"), mode=Mode.ISOLATED, bridge=Bridge(name=InterfaceName("red0"))
    )
    registry.add(NetworkRecord(uuid=RED, name=red.name, live=red, settled=True))
    plug = NetworkPlug(bridge=InterfaceName("red0"))
    registry.add_port(
        PortRecord(
            uuid=UUID(int=2),
            network=RED,
            port=Port(uuid=UUID(int=2), mac=MacAddress("52:54:00:00:00:02"), plug=plug),
            realiser="jackfield",
            device=PortDevice(name=InterfaceName("t0"), mtu=1500),
        )
    )
    bridge = LinkFact(index=2, name="red0", kind="bridge", up=True)
    links = {"red0": bridge, "t0": LinkFact(**(TAP | changed))}
    host = Mock(links=Mock(return_value=links), settle=AsyncMock())
    tidings = Mock(problem=AsyncMock())
    asyncio.run(PlaceWatch(registry, host, tidings, Mock()).expect())
    assert told == (tidings.problem.await_args and tidings.problem.await_args.args[1])
