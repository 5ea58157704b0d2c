"""Uplinks of Open vSwitch bridges of ours that go, come back, or are set down.

Which bridge they are on is a row in its database, so they are known by their names.  One that
comes back is plugged in again; of one that somebody set down or renamed the network says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.mending import Mending
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import shell_word
from jackfield.state.facts import LinkFact
from jackfield.state.openvswitch import OvsBridge

__all__ = ["SwitchWatch"]

_SETTLE = 0.2
"""Seconds after a change before an uplink is judged: one that goes is set down before."""


class SwitchWatch:
    """Has networks on Open vSwitch told of their uplinks, and mended."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        mending: Mending,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch the networks of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._host = host
        self._mending = mending
        self._tidings = tidings
        self._later = later

    async def expect(self) -> None:
        """Tell of the uplinks that are not there from the start."""
        links = self._host.links()
        for name in self._registry.devices.switched - links.keys():
            for record in self._networks_over(name):
                await self._tell(record, name)

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that is gone, has come, has another name, or was set up or down."""
        was, now = (None if link is None else link.name for link in (old, new))
        same = old is not None and new is not None and was == now and old.up is new.up
        for name in () if same else {was, now} & self._registry.devices.switched:
            assert name is not None
            came = name == now and was != now
            for record in self._networks_over(name):
                self._later(self._mend(record, name) if came else self._judge(record, name))

    def _networks_over(self, uplink: str) -> Iterable[NetworkRecord]:
        """Return the running networks with a bridge of Open vSwitch over an uplink."""
        return [
            record
            for record in self._registry.networks.values()
            if record.active and _bridge_over(record, uplink) is not None
        ]

    async def _mend(self, record: NetworkRecord, uplink: str) -> None:
        if uplink in self._host.links():
            await self._mending.mend(record.uuid, f"uplink {uplink} is back")
            await self._tell(record, uplink)

    async def _judge(self, record: NetworkRecord, uplink: str) -> None:
        await asyncio.sleep(_SETTLE)
        await self._tell(record, uplink)

    async def _tell(self, record: NetworkRecord, uplink: str) -> None:
        """Say what is wrong with an uplink now, or that nothing is any more."""
        # A network that is just being stopped gives its uplinks back.
        async with record.lock:
            bridge, link = _bridge_over(record, uplink), self._host.links().get(uplink)
            if not record.active or bridge is None:
                return
            prefix = f"uplink {uplink} of Open vSwitch bridge {bridge.name}"
            problem = None
            if link is None:
                problem = f"{prefix} is not there, or has another name now"
            elif not link.up:
                command = f"jackfield apply {shell_word(record.name)}"
                problem = f"{prefix} is not up; set it up with: {command}"
            if problem is not None and problem != record.problem:
                await self._tidings.problem(record, problem)
            elif problem is None and (record.problem or "").startswith(prefix):
                record.problem = None
                await self._tidings.repaired(record, f"uplink {uplink} is up")


def _bridge_over(record: NetworkRecord, uplink: str) -> OvsBridge | None:
    """Return the bridge of a network that is over an uplink."""
    bridges = (item for item in record.present.values() if isinstance(item, OvsBridge))
    return next((item for item in bridges if item.uplink == uplink), None)
