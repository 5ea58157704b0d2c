"""Devices of our ports that somebody takes off their bridge, sets down, or gives another MTU.

It may be meant, and putting one back could be a fight: the network says so, and
``jackfield apply`` puts it right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.ports.mtus import has_other_mtu
from jackfield.engine.records import NetworkRecord, PortRecord, upkeep_of_port
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import shell_word
from jackfield.model.port import BridgePlug, NetworkPlug
from jackfield.state.facts import LinkFact
from jackfield.state.links import port_of
from jackfield.state.resources import BridgePort

__all__ = ["PlaceWatch"]

_SETTLE = 0.2
"""Seconds before a port is looked at: it may be about to go, or its network may."""

_CUT_OFF = "cut off: "
_ALTERED = "changed by somebody else: "
_SLICE = 500


class PlaceWatch:
    """Has networks say which of their ports are not where they should be, or not as they were."""

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

    async def expect(self) -> None:
        """Tell of the ports with which something is wrong from the start.

        They were looked at before anybody listened, and somebody may have changed one since.
        """
        links, suspects = self._host.links(), set()
        for number, port in enumerate(list(self._registry.ports.values())):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if port.network not in suspects and _is_suspect(port, links):
                suspects.add(port.network)
        for uuid in suspects:
            await self._look(uuid)

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a port's device that is not as it was, or not where, or is so again."""
        if old is None or new is None:
            return
        if (old.master, old.up, old.name, old.mtu) == (new.master, new.up, new.name, new.mtu):
            return
        uuid = port_of(new.alias)
        port = None if uuid is None else self._registry.ports.get(uuid)
        record = None if port is None else self._registry.networks.get(port.network)
        if port is None or record is None:
            return
        lost = (old.master is not None and new.master != old.master) or (old.up and not new.up)
        other = port.device is not None and port.device.mtu not in (None, new.mtu)
        # By another name it cannot be judged.
        if lost or other or old.name != new.name or _is_told_here(record.problem):
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
            known = record.problem
            # What is wrong with the network itself is said first.
            if not record.active or (known and not _is_told_here(known)):
                return
            await self._host.settle()
            links = self._host.links()
            ports = self._registry.ports_of(uuid)
            found = []
            for number, port in enumerate(ports):
                if number % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
                if _is_suspect(port, links):
                    found += _what_is_wrong(record, port, links)
            # Who is cut off comes first.
            found.sort(key=lambda text: (text.startswith(_ALTERED), text))
            if not found:
                record.problem = None
                if known:
                    await self._tidings.repaired(record, "all ports are as they should be")
                return
            more = f", and {len(found) - 1} more" if found[1:] else ""
            again = f"put right by: jackfield apply {shell_word(record.name)}"
            problem = f"{found[0]}{more}; {again}"
            if problem != known:
                await self._tidings.problem(record, problem)


def _is_told_here(problem: str | None) -> bool:
    return problem is not None and problem.startswith((_CUT_OFF, _ALTERED))


def _is_suspect(port: PortRecord, links: Mapping[str, LinkFact]) -> bool:
    """Tell whether something may be wrong with a port's device, by a glance: there may be many."""
    link = None if port.device is None else links.get(port.device.name)
    if link is None:
        return False
    plug = port.port.plug
    bridge = links.get(plug.bridge) if isinstance(plug, NetworkPlug | BridgePlug) else None
    return (
        not link.up or bridge is None or link.master != bridge.index or has_other_mtu(port, links)
    )


def _what_is_wrong(
    record: NetworkRecord, port: PortRecord, links: Mapping[str, LinkFact]
) -> list[str]:
    """Return what is wrong with a port's device, and with where it is if its bridge is there."""
    if port.device is None or port.device.link is None or port.device.name not in links:
        return []
    name = str(port.device.name)
    owner = name if port.port.owner is None else str(port.port.owner.name)
    whose = name if owner == name else f"{name} of {owner}"
    link = links[name]
    found = []
    if has_other_mtu(port, links):
        found.append(f"{_ALTERED}the MTU of {whose} is {link.mtu}, not {port.device.mtu}")
    places = (item for item in upkeep_of_port(record.current, port) if isinstance(item, BridgePort))
    place = next(places, None)
    bridge = None if place is None else links.get(place.bridge)
    if bridge is None:
        return found
    if link.master != bridge.index:
        other = next((one.name for one in links.values() if one.index == link.master), None)
        where = f"not on bridge {bridge.name} any more"
        if other is not None:
            where = f"on bridge {other}, not on {bridge.name}: ip link set {name} nomaster"
        found.append(f"{_CUT_OFF}{whose} is {where}")
    elif not link.up:
        found.append(f"{_CUT_OFF}{whose} is not up")
    return found
