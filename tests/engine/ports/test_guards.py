"""Guards that are put back while their ports go, or others come in their place."""

from __future__ import annotations

import asyncio
from typing import Any
from unittest.mock import Mock

from jackfield.engine.ports.guards import Guards
from jackfield.engine.registry import Registry
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.hoststate import Change
from jackfield.state.resources import PortGuard


def guard(link: str, mac: str) -> PortGuard:
    """Return the guard of a device."""
    return PortGuard(link=InterfaceName(link), mac=MacAddress(mac))


class Known(Guards):
    """Guards of ports that have these now, and a note of what is done."""

    def __init__(self, present: list[PortGuard]) -> None:
        """Have ``present`` guards."""
        super().__init__(Mock(spec=Registry), self, Mock(), Mock(), Mock())  # type: ignore[arg-type]
        self.present = present
        self.done: list[Change] = []

    async def wanted(self) -> list[PortGuard]:
        """Return the guards of all ports."""
        return self.present

    async def run(self, _job: Any, change: Change) -> None:
        """Note a job of the kernel thread."""
        self.done.append(change)


def test_what_was_put_back_goes_with_its_port() -> None:
    """Another port of the device's name keeps its own guard, and no more than that."""
    kept, gone = guard("t0", "52:54:00:00:00:01"), guard("t1", "52:54:00:00:00:02")
    former, now = guard("t2", "52:54:00:00:00:03"), guard("t2", "52:54:00:00:00:04")
    guards = Known([kept, now])
    asyncio.run(guards.take_back([kept, gone, former]))
    (change,) = guards.done
    assert [gone] == list(change.remove)
    assert [now] == list(change.ensure)
    assert {former.key: former} == dict(change.replaced)
    asyncio.run(guards.take_back([kept, now]))
    assert 1 == len(guards.done)
