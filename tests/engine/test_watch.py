"""Bridges that somebody changed after they were looked at, and before anybody listened."""

from __future__ import annotations

import asyncio
import dataclasses
from ipaddress import ip_interface
from types import SimpleNamespace
from unittest.mock import AsyncMock, Mock
from uuid import UUID

import pytest

from jackfield.engine import watch
from jackfield.engine.watch import BridgeWatch
from jackfield.model.address import IpInterface
from jackfield.model.values import InterfaceName
from jackfield.state.facts import LinkFact
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
    monkeypatch.setattr(watch, "_SETTLE", 0)
    record = SimpleNamespace(
        uuid=RED,
        active=True,
        problem=None,
        present=HostState([BRIDGE, InterfaceAddress(link=BRIDGE.name, interface=ADDRESS)]),
        current=SimpleNamespace(bridge=SimpleNamespace(name="red0")),
        lock=asyncio.Lock(),
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
                links=Mock(return_value={link.name: link for link in links}),
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
