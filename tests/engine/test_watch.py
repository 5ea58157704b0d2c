"""Bridges that somebody changed after they were looked at, and before anybody listened."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, Mock
from uuid import UUID

import pytest

from jackfield.engine import watch
from jackfield.engine.watch import BridgeWatch
from jackfield.model.values import InterfaceName
from jackfield.state.facts import LinkFact
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
        Mock(links=Mock(return_value=links)),
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
