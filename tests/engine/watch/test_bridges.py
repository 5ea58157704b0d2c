"""Bridges and ports that somebody changed after they were looked at, before anybody listened."""

from __future__ import annotations

import asyncio
import dataclasses
from ipaddress import ip_interface
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock
from uuid import UUID

import pytest

from jackfield.engine.records import NetworkRecord, PortRecord
from jackfield.engine.registry import Registry
from jackfield.engine.watch.bridges import BridgeWatch
from jackfield.engine.watch.places import PlaceWatch
from jackfield.model.address import IpInterface
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.port import NetworkPlug, Port
from jackfield.model.values import InterfaceName, MacAddress, NetworkName
from jackfield.plan.port import PortDevice
from jackfield.state.facts import Facts, LinkFact, RouteFact
from jackfield.state.hoststate import HostState
from jackfield.state.links import BridgeLink, OwnerKind, alias_of
from jackfield.state.resources import InterfaceAddress

RED = UUID(int=1)
ALIAS = alias_of(OwnerKind.NETWORK, RED)
BRIDGE = BridgeLink(name=InterfaceName("red0"), alias=ALIAS, mac=None)
ADDRESS = ip_interface("2001:db8::1/64")
DOWN = LinkFact(index=2, name="red0", kind="bridge", alias=ALIAS)
UP = dataclasses.replace(DOWN, up=True)
CHANGED = "bridge red0 was changed by somebody else: "


@pytest.mark.parametrize(
    ("links", "addresses", "told"),
    [
        ([], (), "mended"),
        ([DOWN], (ADDRESS,), CHANGED + "it is down"),
        ([UP], (), CHANGED + "it lacks 2001:db8::1/64"),
        # The kernel tells of a new IPv6 address when it comes to it, which may take a while.
        ([UP], (ADDRESS,), None),
        ([dataclasses.replace(UP, addresses=(ADDRESS,))], (), None),
    ],
)
def test_what_was_changed_before_anybody_listened(
    monkeypatch: pytest.MonkeyPatch,
    links: list[LinkFact],
    addresses: tuple[IpInterface, ...],
    told: str | None,
) -> None:
    """A bridge that is gone is made again, and one that is otherwise is told of."""
    monkeypatch.setattr("jackfield.engine.watch.bridges._SETTLE", 0)
    record = SimpleNamespace(
        uuid=RED,
        active=True,
        problem=None,
        present=HostState([BRIDGE, InterfaceAddress(link=BRIDGE.name, interface=ADDRESS)]),
        current=SimpleNamespace(bridge=SimpleNamespace(name="red0")),
        lock=asyncio.Lock(),
    )

    facts = Facts(
        links={link.name: link for link in links},
        routes=(RouteFact(destination=ADDRESS.network, link="red0"),),
    )

    async def mend(_uuid: UUID, _reason: str) -> None:
        record.problem = "mended"

    async def tell(_record: object, problem: str) -> None:
        record.problem = problem

    async def begin() -> None:
        loop = asyncio.get_running_loop()
        bridges = BridgeWatch(
            Mock(networks={RED: record}),
            Mock(
                links_and_routes=Mock(return_value=facts),
                addresses=AsyncMock(return_value=addresses),
            ),
            Mock(miss_bridges=AsyncMock(), mend=mend),
            Mock(problem=tell),
            loop.create_task,
        )
        await bridges.expect()
        # What is judged a moment later has its turn.
        for _ in range(6):
            await asyncio.sleep(0)

    asyncio.run(begin())
    assert told == record.problem


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
