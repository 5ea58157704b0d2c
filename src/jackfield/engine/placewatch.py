"""Devices of our ports that somebody takes off their bridge, or sets down.

It may be meant, and putting one back could be a fight: the network says so, and
``jackfield apply`` puts it right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.records import NetworkRecord, PortRecord, upkeep_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import shell_word
from jackfield.state.facts import LinkFact
from jackfield.state.links import port_of
from jackfield.state.resources import BridgePort

__all__ = ["PlaceWatch"]

_SETTLE = 0.2
"""Seconds before a port is looked at: it may be about to go, or its network may."""

_CUT_OFF = "cut off: "


class PlaceWatch:
    """Has networks say which of their ports are not where they should be."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch the ports of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._host = host
        self._tidings = tidings
        self._later = later
        self._changed: set[UUID] = set()
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Tell nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a port's device that has left its bridge or gone down, or is back."""
        if old is None or new is None:
            return
        if (old.master, old.up, old.name) == (new.master, new.up, new.name):
            return
        uuid = port_of(new.alias)
        port = None if uuid is None else self._registry.ports.get(uuid)
        record = None if port is None else self._registry.networks.get(port.network)
        if record is None:
            return
        lost = (old.master is not None and new.master != old.master) or (old.up and not new.up)
        # By another name it cannot be judged.
        if lost or old.name != new.name or (record.problem or "").startswith(_CUT_OFF):
            self._changed.add(record.uuid)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_SETTLE, self._judge)

    def _judge(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        for uuid in changed:
            self._later(self._look(uuid))

    async def _look(self, uuid: UUID) -> None:
        record = self._registry.networks.get(uuid)
        if record is None:
            return
        async with record.lock:
            known = record.problem or ""
            # What is wrong with the network itself is said first.
            if not record.active or (known and not known.startswith(_CUT_OFF)):
                return
            await self._host.settle()
            links = self._host.links()
            ports = self._registry.ports_of(uuid)
            found = sorted(filter(None, (_what_is_wrong(record, port, links) for port in ports)))
            if not found:
                record.problem = None
                if known:
                    await self._tidings.repaired(record, "all ports are on their bridge")
                return
            more = f", and {len(found) - 1} more" if found[1:] else ""
            again = f"put right by: jackfield apply {shell_word(record.name)}"
            problem = f"{_CUT_OFF}{found[0]}{more}; {again}"
            if problem != known:
                await self._tidings.problem(record, problem)


def _what_is_wrong(
    record: NetworkRecord, port: PortRecord, links: Mapping[str, LinkFact]
) -> str | None:
    """Return what is wrong with where a port's device is, if that and its bridge are there."""
    if port.device is None or port.device.link is None:
        return None
    name = str(port.device.name)
    owner = name if port.port.owner is None else str(port.port.owner.name)
    link = links.get(name)
    places = (item for item in upkeep_of_port(record.current, port) if isinstance(item, BridgePort))
    place = next(places, None)
    bridge = None if place is None else links.get(place.bridge)
    if link is None or place is None or bridge is None:
        return None
    whose = name if owner == name else f"{name} of {owner}"
    if link.master == bridge.index:
        return None if link.up else f"{whose} is not up"
    other = next((one.name for one in links.values() if one.index == link.master), None)
    if other is None:
        return f"{whose} is not on bridge {bridge.name} any more"
    return f"{whose} is on bridge {other}, not on {bridge.name}: ip link set {name} nomaster"
