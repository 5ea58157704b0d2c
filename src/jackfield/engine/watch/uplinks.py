"""Uplinks of managed bridges that go away and come back: they are taken over again.

A link that vanishes, with a driver that is loaded anew or an adapter that is unplugged, leaves
its bridge.  When one of its name appears, the bridge gets it back.  One that somebody took off
the bridge, or set down, is left alone: the network says so.  So it does of one that somebody gives
an address, as ifupdown does when it is late: a port of a bridge has no use for it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from uuid import UUID

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.mending.mending import Mending
from jackfield.engine.records import NetworkRecord
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.errors import shell_word
from jackfield.state.facts import LinkFact
from jackfield.state.links import network_of
from jackfield.state.resources import ManagedUplink

__all__ = ["UplinkWatch"]


class UplinkWatch:
    """Knows the uplinks that are not on their bridges, and what happens to them."""

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
        # Uplinks that are not on their bridge, by name: whose they are.
        self._away: dict[str, UUID] = {}

    def expect(self, records: Iterable[NetworkRecord]) -> None:
        """Have uplinks taken over when they appear that running networks lack from the start.

        Those that have addresses are told of.
        """
        links = self._host.links()
        for record in records:
            for item in record.present.values():
                if not isinstance(item, ManagedUplink):
                    continue
                if item.link not in links:
                    self._miss(item.link, record)
                elif _addresses_of(links[item.link]):
                    self._later(self._tell_addressed(record, links[item.link].index))

    def link_changed(self, old: LinkFact | None, new: LinkFact | None) -> None:
        """Take note of a link that left a bridge of ours, came to one, came back, or is gone."""
        if old is not None and old.master is not None and (new is None or new.master is None):
            self._left(old)
        elif new is not None and new.name in self._away:
            if new.master is not None:
                self._returned(new)
            elif old is None:
                self._appeared(new)
        elif old is not None and new is not None and old.name != new.name:
            self._renamed(old, new)
        elif new is not None and new.master is not None and (old is None or old.master is None):
            self._joined(new)
        elif old is not None and new is not None and old.up is not new.up:
            self._set_up_or_down(new)
        elif old is not None and new is not None and old.addresses != new.addresses:
            self._addressed(new)

    def _addressed(self, link: LinkFact) -> None:
        record = self._network_of(link)
        if record is None or not self._is_missed(record, link.name):
            return
        if _addresses_of(link):
            self._later(self._tell_addressed(record, link.index))
        elif (record.problem or "").startswith(_useless(link.name)):
            record.problem = None

    async def _tell_addressed(self, record: NetworkRecord, index: int) -> None:
        """Tell of an uplink that has addresses on its bridge, if it still does."""
        await self._host.settle()
        async with record.lock:
            link = self._host.link(index)
            if link is None or self._network_of(link) is not record or not record.active:
                return
            if found := _addresses_of(link):
                word = shell_word(record.name)
                await self._tidings.problem(
                    record,
                    f"{_useless(link.name)}: {', '.join(found)}; its bridge takes them over by: "
                    f"jackfield stop {word}; jackfield start {word}",
                )

    def _left(self, link: LinkFact) -> None:
        assert link.master is not None
        bridge, record = self._host.link(link.master), self._network_of(link)
        if record is None or not self._is_missed(record, link.name):
            return
        self._miss(link.name, record)
        assert bridge is not None
        problem = f"uplink {link.name} is not on {bridge.name} any more"
        self._later(self._tell(record, link.name, problem))

    def _miss(self, link: str, record: NetworkRecord) -> None:
        """Remember that a network has lost an uplink, and forget those that nobody wants now."""
        self._away = {
            name: uuid for name, uuid in self._away.items() if self._is_wanted(name, uuid)
        }
        self._away[link] = record.uuid

    def _is_wanted(self, link: str, network: UUID) -> bool:
        record = self._registry.networks.get(network)
        return record is not None and f"uplink:{link}" in record.present

    def _set_up_or_down(self, link: LinkFact) -> None:
        """Tell of an uplink that somebody set down, until somebody sets it up."""
        record = self._network_of(link)
        if record is None or not record.active or f"uplink:{link.name}" not in record.present:
            return
        if link.up:
            self._forget_problem(record, link.name)
        else:
            self._later(self._tell_down(record, link.index))

    async def _tell_down(self, record: NetworkRecord, index: int) -> None:
        """Tell of an uplink that is down, if it still is."""
        link = self._host.link(index)
        if link is not None and not link.up:
            await self._tidings.problem(record, f"uplink {link.name} is not up")

    def _network_of(self, link: LinkFact) -> NetworkRecord | None:
        """Return the network whose bridge a link is on."""
        bridge = None if link.master is None else self._host.link(link.master)
        uuid = None if bridge is None else network_of(bridge.alias)
        return None if uuid is None else self._registry.networks.get(uuid)

    def _renamed(self, old: LinkFact, new: LinkFact) -> None:
        """Tell of an uplink that is where it was, but not what the definition calls it."""
        bridge = None if new.master is None else self._host.link(new.master)
        record = self._network_of(new)
        if bridge is None or record is None or not self._is_missed(record, old.name):
            return
        self._miss(old.name, record)
        problem = (
            f"uplink {old.name} is not on {bridge.name} by this name any more: it is called "
            f"{new.name} now"
        )
        self._later(self._tell(record, old.name, problem))

    async def _tell(self, record: NetworkRecord, link: str, problem: str) -> None:
        """Tell of a problem with an uplink, if that has not come back in the meantime."""
        if self._away.get(link) == record.uuid:
            await self._tidings.problem(record, problem)

    def _returned(self, link: LinkFact) -> None:
        """Forget the problem: somebody put the link where it belongs, maybe us."""
        record = self._registry.networks.get(self._away.pop(link.name))
        if record is not None:
            self._forget_problem(record, link.name)
        self._joined(link)

    def _joined(self, link: LinkFact) -> None:
        """Forget the uplinks that a network missed, and does without now that it has this one."""
        record = self._network_of(link)
        if record is None:
            return
        for name in [name for name, whose in self._away.items() if whose == record.uuid]:
            if f"uplink:{name}" not in record.present:
                del self._away[name]
                self._forget_problem(record, name)

    def _forget_problem(self, record: NetworkRecord, link: str) -> None:
        if (record.problem or "").startswith(f"uplink {link} is not"):
            record.problem = None

    def _appeared(self, link: LinkFact) -> None:
        record = self._registry.networks.get(self._away.pop(link.name))
        if record is not None and self._is_missed(record, link.name):
            self._later(self._mending.mend(record.uuid, f"uplink {link.name} is back"))

    def _is_missed(self, record: NetworkRecord, link: str) -> bool:
        """Whether a network that nobody is changing just now wants the link."""
        return record.active and not record.lock.locked() and f"uplink:{link}" in record.present


def _addresses_of(link: LinkFact) -> list[str]:
    return [str(item) for item in link.addresses if not item.ip.is_link_local]


def _useless(link: str) -> str:
    return f"uplink {link} is a port of a bridge and has addresses, where they are of no use"
