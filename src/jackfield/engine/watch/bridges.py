"""What others do to bridges of ours: a removed one is made again, a changed one is told of.

One that is renamed gets its name back, because rules and services know it by that alone, and so
does the device of a port.
A bridge of others that a network uses is theirs to make again; its ports are put back then, or
moved to the one that has its name now.
Bridges of Open vSwitch are known by their names: what is ours is marked in its database, not on
the link, and the datapath in user space makes a tap.
Rules that somebody flushes are put back, because a network without them is open.  A bridge whose
address or MTU somebody changed is left so: it may be meant, and taking it back could be a fight.
The network says what is different instead, and ``jackfield apply NAME`` puts it right.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from uuid import UUID

from jackfield.document.rules import makes_bridge
from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.mending import Mending
from jackfield.engine.mending.surplus import bridges_wanted
from jackfield.engine.records import NetworkRecord, bridges_of
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import KernelError
from jackfield.model.address import IpNetwork
from jackfield.model.values import InterfaceName
from jackfield.plan.drift import drift
from jackfield.plan.openvswitch import uses_openvswitch
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.links import network_of, port_of

__all__ = ["BridgeWatch"]

_SETTLE = 0.2
"""Seconds after a change before a bridge is judged: one change is several notices."""

_CHANGED = "was changed by somebody else: "


class BridgeWatch:
    """Judges the bridges of running networks when the host says that they changed."""

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
        self._changed: set[UUID] = set()
        # By the name that they had last: ports may still be on them.
        self._renamed: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Judge nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    async def expect(self) -> None:
        """Tell of the bridges of others that are not there from the start.

        Ours were looked at before anybody listened, and somebody may have changed one since.
        """
        for record in list(self._registry.networks.values()):
            await self._mending.miss_bridges(record)
            if not record.active or record.problem is not None:
                continue
            facts = self._host.links_and_routes()
            missing = bridges_wanted(record) - facts.links.keys()
            if missing:
                reason = f"bridge {min(missing)} was removed"
                self._later(self._mending.mend(record.uuid, reason))
            elif drift(record.present, _bridge(record), facts):
                self._judge_later(record)

    def route_changed(self, _destination: IpNetwork, index: int) -> None:
        """Take note of a route that came or went by the link of an ``index``, maybe a bridge."""
        link = self._host.link(index)
        uuid = None if link is None else network_of(link.alias)
        record = None if uuid is None else self._registry.networks.get(uuid)
        if record is not None and record.active:
            self._judge_later(record)

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that is another now, or gone (``new`` is ``None``)."""
        link = new or old
        if link is None:
            return
        if old is None or new is None or old.name != new.name:
            for one, there in ((old, False), (new, True)):
                if one is not None and self._may_be_bridge(one):
                    self._bridge_changed(one.name, there=there)
            if old is not None and new is not None and old.kind == "bridge":
                self._renamed[old.name] = old.index
        uuid = network_of(link.alias)
        if uuid is None:
            if old is not None and new is not None and old.name != new.name:
                self._port_renamed(old.name, new)
            return
        record = self._registry.networks.get(uuid)
        if record is None or record.live is None:
            return
        if new is None and record.active:
            self._later(self._mending.mend(record.uuid, f"{link.kind} {link.name} was removed"))
            return
        if (
            old is not None
            and old.name != link.name
            and (f"link:{old.name}" in record.present or f"link:{link.name}" not in record.present)
        ):
            reason = f"{link.kind} {old.name} was renamed to {link.name}"
            self._later(self._mending.mend(record.uuid, reason))
            return
        self._judge_later(record)

    def _port_renamed(self, name: str, link: LinkFact) -> None:
        """Have a port's device that has another name get its own back."""
        uuid = port_of(link.alias)
        port = None if uuid is None else self._registry.ports.get(uuid)
        if port is not None and port.device is not None and port.device.link == name:
            reason = f"{link.kind} {name} was renamed to {link.name}"
            self._later(self._mending.take_name_back(port.uuid, reason))

    def _may_be_bridge(self, link: LinkFact) -> bool:
        return link.kind == "bridge" or link.name in self._registry.devices.switches

    def _bridge_changed(self, name: str, *, there: bool) -> None:
        """Take note of a bridge that came or went, of others or of Open vSwitch.

        Bridges of ours that have our mark on the link are looked at by it.
        """
        switched = name in self._registry.devices.switches
        for record in self._registry.networks.values():
            if not record.active:
                continue
            ours = makes_bridge(record.current)
            if (ours and not switched) or name not in bridges_of(record.current):
                continue
            if ours:
                if uses_openvswitch(record.current) and (record.problem or not there):
                    reason = f"bridge {name} {'is back' if there else 'was removed'}"
                    self._later(self._mending.mend(record.uuid, reason))
            elif there:
                former = self._renamed.get(name)
                self._later(self._mending.bridge_back(record.uuid, InterfaceName(name), former))
            else:
                self._later(self._mending.bridge_gone(record.uuid, name))

    def _judge_later(self, record: NetworkRecord) -> None:
        self._changed.add(record.uuid)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SETTLE, self._judge)

    def _judge(self) -> None:
        self._timer = None
        changed, self._changed = self._changed, set()
        facts = self._host.links_and_routes()
        for uuid in changed:
            record = self._registry.networks.get(uuid)
            if record is None or not record.active:
                continue
            if record.lock.locked():
                # Whoever is at it may be about to put it right, or be at something else.
                self._judge_later(record)
            else:
                self._judge_one(record, facts)

    def _judge_one(self, record: NetworkRecord, facts: Facts) -> None:
        link = facts.links.get(_bridge(record))
        if link is None:
            return
        problem, known = _problem(record, link.name, facts), record.problem
        if problem is not None and problem != known:
            self._later(self._tell(record, link))
        elif problem is None and known is not None and known.startswith(_prefix(link.name)):
            record.problem = None

    async def _tell(self, record: NetworkRecord, link: LinkFact) -> None:
        """Tell what is wrong with a bridge by the addresses that the kernel has.

        On a busy host it tells of a new IPv6 address long after it has it: the notice is sent by
        a work queue (``addrconf_dad_work``), which waits for a lock that all namespaces share.
        """
        try:
            addresses = await self._host.addresses(link.index)
        except KernelError:
            # It has gone, and that is judged by itself.
            return
        known = self._host.links_and_routes()
        links = {**known.links, link.name: dataclasses.replace(link, addresses=addresses)}
        problem = _problem(record, link.name, dataclasses.replace(known, links=links))
        if record.active and record.lock.locked():
            self._judge_later(record)
        elif record.active and problem is not None:
            await self._tidings.problem(record, problem)


def _prefix(bridge: str) -> str:
    return f"bridge {bridge} {_CHANGED}"


def _problem(record: NetworkRecord, bridge: str, facts: Facts) -> str | None:
    differences = drift(record.present, bridge, facts)
    return _prefix(bridge) + "; ".join(differences) if differences else None


def _bridge(record: NetworkRecord) -> str:
    network = record.current
    return "" if network.bridge is None or network.bridge.name is None else network.bridge.name
