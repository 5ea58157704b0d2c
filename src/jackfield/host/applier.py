"""The one place that acts: makes a change so, or takes a host state apart.

The applier holds no state.  Undoing a change is applying its opposite: what was made and did
not exist before is removed, what was replaced or removed is made as it was; the same code mends
after a crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeGuard

from jackfield.errors import ForeignObject, HostError, JackfieldError
from jackfield.host.driver import Driver, Observed, Particular, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.route import ONE_BY_ONE_LIMIT
from jackfield.host.renamed import LinkHere, remove_renamed, take_names_back
from jackfield.state.hoststate import Change, HostState, removal_order
from jackfield.state.links import AnyLink, BridgeLink, MacvlanLink, MacvtapLink
from jackfield.state.openvswitch import AnyRow
from jackfield.state.resources import BridgePort, ManagedUplink, Resource, TapNode
from jackfield.state.services import Service
from jackfield.state.settings import LinkSetting
from jackfield.state.vlans import VlanFiltering

__all__ = ["Applier", "is_astray"]

_NOT_VERIFIED = frozenset({"setting", "up", "rules", "port-guard", "dnsmasq", "vde-switch"})
"""Kinds whose request is one value or one transaction that the kernel answers for, or that prove
themselves by becoming ready: asking again would show nothing new."""


_NOT_MENDED = frozenset({"function-setting", "switch-association"})
"""Kinds that are not mended here: a function in use cannot be set again without stopping its
guest's traffic, and what differs was changed by that guest, which may, or by an administrator; and
for a switch's answer others would have to wait (``engine/ports/associations.py``)."""

_SHARED = frozenset(
    {
        *("setting", "link-setting", "function-setting", "function-count", "own-address"),
        *("vlan-filtering", "uplink-vlan"),
    }
)
"""Kinds that are taken back by the ledger of shared settings, or go with their link."""


class Applier:
    """Applies changes through one driver for each kind of resource."""

    def __init__(self, kernel: Kernel, drivers: Mapping[str, Driver[Any]]) -> None:
        """Act on ``kernel`` through ``drivers`` (by ``Resource.kind``)."""
        self._kernel = kernel
        self._drivers = drivers
        self._particular = {
            kind: driver for kind, driver in drivers.items() if isinstance(driver, Particular)
        }

    def observe(
        self, resources: Iterable[Resource], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return what exists under each resource's key, asking once for each kind."""
        found: dict[str, Observed] = {}
        by_kind: dict[str, list[Resource]] = {}
        for resource in resources:
            by_kind.setdefault(resource.kind, []).append(resource)
        many = any(len(group) > ONE_BY_ONE_LIMIT for group in by_kind.values())
        with self._kernel.route.one_look() if many else contextlib.nullcontext():
            for kind, group in by_kind.items():
                found.update(self._drivers[kind].observe(self._kernel, group, claimed))
        return found

    def refuse_foreign(self, wanted: Sequence[Resource]) -> None:
        """Raise ``ForeignObject`` if something that is not ours is where we want to be.

        What lives on a link that does not exist yet need not be asked for.
        """
        links = [item for item in wanted if isinstance(item, AnyLink | AnyRow)]
        found = self.observe(links)
        absent = {key for key, seen in found.items() if seen.presence is Presence.ABSENT}
        rest = [item for item in wanted if item.carrier is not None and item.carrier not in absent]
        found.update(self.observe(rest))
        for seen in found.values():
            if seen.presence is Presence.FOREIGN:
                raise ForeignObject(
                    f"{seen.description} is in the way and is not ours; it is left alone",
                    hint="rename or remove it, or choose another name for ours",
                )

    def refuse_impossible(self, wanted: Sequence[Resource]) -> None:
        """Raise ``MissingFeature`` if the kernel lacks what is wanted, before anything is made."""
        kinds = {item.kind for item in wanted}
        for kind, driver in self._particular.items():
            if kind in kinds:
                here = [item for item in wanted if item.kind == kind]
                if VlanFiltering.kind in kinds:
                    here = _without_promised(here, wanted)
                driver.refuse_impossible(self._kernel, here)

    def perform(self, change: Change) -> None:
        """Make ``change`` so; the first failure is raised and nothing undone.

        What is new is made exclusively, and the kernel answers for it; what is changed in place
        is looked at again, because a kernel passes over attributes that it does not know.
        """
        for kind, group in _runs(change.remove):
            self._drivers[kind].remove(self._kernel, group)
        for kind, group in _runs(change.ensure):
            self._drivers[kind].ensure(self._kernel, group, change.replaced)
        self._verify(item for item in change.ensure if item.key in change.replaced)

    def dismantle(self, present: HostState) -> None:
        """Remove everything of ``present`` that exists and is ours; go on after failures.

        A link stays as long as something that it shelters could not be removed.  Raises one
        ``HostError`` at the end that says of each failure what it was.  Shared settings are the
        ledger's business and left alone.
        """
        resources = removal_order(present.values())
        keys = set(present)
        failures: list[JackfieldError] = []
        sheltering: set[str] = set()
        for kind, every in _runs(item for item in resources if item.carrier not in keys):
            group = [item for item in every if item.key not in sheltering]
            if kind in _SHARED:
                continue
            refused = self._remove(kind, group)
            failures += refused
            if refused:
                sheltering |= {item.shelter for item in group if isinstance(item, ManagedUplink)}
        _raise_together(failures)

    def _remove(self, kind: str, group: Sequence[Resource]) -> list[JackfieldError]:
        """Remove what exists of ``group`` and is ours; return what could not be done."""
        failures: list[JackfieldError] = []
        try:
            self._drivers[kind].remove(self._kernel, group)
        except* JackfieldError as raised:
            failures += _leaves(raised)
        return failures

    def dismantle_whole(self, present: HostState) -> None:
        """Do as ``dismantle`` does, where ``present`` is all that networks or ports have.

        A link of theirs that somebody renamed goes too, also where others have its name now.
        """
        links = [item for item in present.values() if isinstance(item, LinkHere)]
        found = self.observe(links)
        self.dismantle(present)
        # A port's device is often gone already, with its guest.
        if any(
            seen.presence is Presence.FOREIGN
            or (seen.presence is Presence.ABSENT and isinstance(item, BridgeLink))
            for item in links
            for seen in (found[item.key],)
        ):
            remove_renamed(self._kernel, links)

    def mend(
        self, wanted: Sequence[Resource], claimed: Collection[str] = frozenset()
    ) -> tuple[Change, list[str]]:
        """Make ``wanted`` so where it is not, and return what that took.

        The second value names what could not be mended because something foreign is in the way;
        what belongs on a link is not put on a foreign one of that name.  Nor is what a macvtap or
        macvlan needs of its NIC set of another one that has got that NIC's name.
        """
        wanted = [item for item in wanted if item.kind not in _NOT_MENDED]
        found = self.observe(wanted, claimed)
        taken = {key for key, seen in found.items() if seen.presence is Presence.FOREIGN}
        renamed = {item.lower for item in wanted if is_astray(item, found[item.key])}
        ensure: list[Resource] = []
        replaced: dict[str, Resource] = {}
        foreign: list[str] = []
        for resource in wanted:
            seen = found[resource.key]
            if seen.presence is Presence.FOREIGN:
                foreign.append(seen.description)
            elif _place_of(resource) in taken or (
                isinstance(resource, LinkSetting) and resource.link in renamed
            ):
                continue
            elif seen.presence is Presence.ABSENT:
                ensure.append(resource)
            elif seen.resource != resource:
                ensure.append(resource)
                if seen.resource is not None:
                    replaced[resource.key] = seen.resource
        self._end_stranded(wanted, ensure, replaced)
        change = Change(ensure=tuple(ensure), replaced=replaced)
        for kind, group in _runs(change.ensure):
            self._drivers[kind].ensure(self._kernel, group, change.replaced)
        return change, foreign

    def mend_whole(self, wanted: Sequence[Resource]) -> tuple[Change, list[str]]:
        """Do as ``mend`` does, where ``wanted`` has all links of the networks or ports.

        A link that somebody renamed gets its name back: what knows it by that, rules and services
        among them, is right again, and its ports and addresses have never left it.
        """
        links = [item for item in wanted if isinstance(item, LinkHere)]
        renamed = take_names_back(self._kernel, links)
        change, foreign = self.mend(wanted)
        ensured = {item.key for item in change.ensure}
        others = {item.key: item for item in renamed if item.key not in ensured}
        whole = dataclasses.replace(
            change,
            ensure=(*others.values(), *change.ensure),
            replaced={**others, **change.replaced},
        )
        return whole, foreign

    def _end_stranded(
        self, wanted: Sequence[Resource], ensure: list[Resource], replaced: dict[str, Resource]
    ) -> None:
        """End the services on links that are made anew, and have them started again.

        A process is bound to its link by index, so it never serves a new one of that name.
        """
        made = {item.key for item in ensure} - replaced.keys()
        stranded = [item for item in wanted if isinstance(item, Service) and item.serves_on in made]
        _raise_together(
            [error for kind, group in _runs(stranded) for error in self._remove(kind, group)]
        )
        ensure += [item for item in stranded if item not in ensure]
        for item in stranded:
            replaced.pop(item.key, None)

    def claim(self, wanted: Collection[Resource]) -> None:
        """Mark the links of an open intent that a crash left without their mark.

        Between its making and its marking a link looks like anybody's, and would be left alone.
        """
        unmarked = {
            item.key: dataclasses.replace(item, alias="")
            for item in wanted
            if isinstance(item, AnyLink)
        }
        links = [item for item in wanted if item.key in unmarked]
        found = self.observe(links, claimed=frozenset(unmarked))
        for link in links:
            present = found[link.key].resource
            if isinstance(present, AnyLink) and not present.alias:
                former = {link.key: unmarked[link.key]}
                self._drivers[link.kind].ensure(self._kernel, [link], former)

    def _verify(self, resources: Iterable[Resource]) -> None:
        wanted = [item for item in resources if item.kind not in _NOT_VERIFIED]
        found = self.observe(wanted)
        for resource in wanted:
            seen = found[resource.key]
            if seen.presence is not Presence.OURS or seen.resource != resource:
                raise HostError(
                    f"{resource.key} is not as it was made: wanted {resource}, "
                    f"found {seen.resource or seen.presence.value} {seen.description}".rstrip(),
                    hint="another program may be changing the same device",
                )


def _without_promised(group: list[Resource], wanted: Sequence[Resource]) -> list[Resource]:
    """Return ``group`` without ports of bridges that the same plan has keep VLANs apart."""
    filtering = {item.link for item in wanted if isinstance(item, VlanFiltering)}
    return [
        item for item in group if not (isinstance(item, BridgePort) and item.bridge in filtering)
    ]


def is_astray(wanted: Resource, seen: Observed) -> TypeGuard[MacvtapLink | MacvlanLink]:
    """Tell whether a link of ours is over one that has another name now than the one wanted."""
    return (
        isinstance(wanted, MacvtapLink | MacvlanLink)
        and isinstance(seen.resource, MacvtapLink | MacvlanLink)
        and seen.resource.lower != wanted.lower
    )


def _place_of(resource: Resource) -> str | None:
    """Return the key of the link that a resource is made on, or leads to."""
    if isinstance(resource, BridgePort | ManagedUplink):
        return f"link:{resource.bridge}"
    if isinstance(resource, TapNode):
        return f"link:{resource.link}"
    return resource.serves_on if isinstance(resource, Service) else resource.carrier


def _runs(resources: Iterable[Resource]) -> Iterator[tuple[str, list[Resource]]]:
    """Yield runs of neighbours of one kind, so that a driver gets them together."""
    for kind, group in itertools.groupby(resources, key=lambda item: item.kind):
        yield kind, list(group)


def _raise_together(failures: Sequence[JackfieldError]) -> None:
    """Raise one error that says what could not be removed, each thing by its own, if any."""
    if failures:
        hints = dict.fromkeys(error.hint for error in failures if error.hint is not None)
        raise HostError(
            f"not everything could be removed: {'; '.join(map(str, failures))}",
            hint="; ".join(hints) or None,
        )


def _leaves(group: BaseExceptionGroup[JackfieldError]) -> Iterator[JackfieldError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
