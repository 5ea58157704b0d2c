"""Uplinks of managed bridges: the bridge takes over what the uplink had, and gives it back.

The journal has the uplink as it was before anything is changed.  Everything goes over in one send
to the kernel, new places before old ones are left, so the host is never without its addresses.
What the bridge has when it goes, the uplink gets: also what was added meanwhile.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from jackfield.errors import (
    ForeignObject,
    JackfieldError,
    KernelError,
    NotFound,
    UnsupportedConfiguration,
)
from jackfield.host.belongings.address import HeldAddress
from jackfield.host.belongings.belonging import Belonging, Place
from jackfield.host.belongings.look import belongings_of, hang_up, take_off
from jackfield.host.belongings.route import HeldRoute, on_link
from jackfield.host.driver import ABSENT, Observed, Presence, Records
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.link import Link, set_link
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.routing import RTM_NEWROUTE
from jackfield.host.netlink.socket import Refusal
from jackfield.host.ownership import PROTOCOL, is_marked
from jackfield.host.settings import copy_settings, read_setting, write_setting
from jackfield.host.uplinkrecord import UplinkRecord
from jackfield.state.resources import ManagedUplink
from jackfield.undoing import Undoing

__all__ = ["UplinkDriver"]

log = logging.getLogger(__name__)

_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH})
_GONE = frozenset({errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT, errno.ENODEV})


class UplinkDriver:
    """Makes uplinks ports of their bridges, and sets them free again."""

    def __init__(self, records: Records) -> None:
        """Keep in ``records`` what uplinks were before."""
        self._records = records

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[ManagedUplink],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return whose port each uplink is: no bridge's is absent, another's is foreign."""
        return {item.key: self._observed(kernel, item) for item in resources}

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[ManagedUplink],
        replaced: Mapping[str, ManagedUplink],
    ) -> None:
        """Have the bridges take over; an uplink that cannot be taken over whole gets all back."""
        for item in resources:
            self._take(kernel, item)

    def remove(self, kernel: Kernel, resources: Sequence[ManagedUplink]) -> None:
        """Give the uplinks back what their bridges have, and set them free."""
        failures: list[JackfieldError] = []
        for item in resources:
            try:
                self._give_back(kernel, item)
            except* JackfieldError as errors:
                failures.append(_flat(item, errors))
        if failures:
            raise ExceptionGroup("could not give back every uplink", failures)

    def _observed(self, kernel: Kernel, wanted: ManagedUplink) -> Observed:
        link = kernel.route.link(wanted.link)
        if link is None or link.master is None:
            return ABSENT
        if link.master != kernel.route.index(wanted.bridge):
            return Observed(presence=Presence.FOREIGN, description=link.describe())
        text = self._records.record(wanted.key)
        arrived = text is not None and UplinkRecord.from_text(text).whole
        quiet = read_setting(_disable_ipv6(Place(link.index, link.name))) in ("1", None)
        found = ManagedUplink(
            link=wanted.link,
            bridge=wanted.bridge,
            mtu=None if wanted.mtu is None else link.mtu,
            whole=arrived and link.up and quiet,
        )
        return Observed(presence=Presence.OURS, resource=found)

    def _take(self, kernel: Kernel, wanted: ManagedUplink) -> None:
        uplink, bridge = _both(kernel, wanted)
        place, target = Place(uplink.index, uplink.name), Place(bridge.index, bridge.name)
        things = belongings_of(kernel.route, place)
        _refuse_next_hops(uplink, things)
        text = self._records.record(wanted.key)
        if text is None:
            record = UplinkRecord(
                place=place,
                bridge=bridge.index,
                up=uplink.up,
                mtu=uplink.mtu,
                disable_ipv6=read_setting(_disable_ipv6(place)),
                belongings=tuple(things),
            )
        else:
            record = UplinkRecord.from_text(text)
            lost = record.bridge != bridge.index or not record.whole
            if lost and not _own([*things, *belongings_of(kernel.route, target)]):
                # Somebody took the bridge away, with all that it had.
                things = _joined(record.left(place), things)
        if wanted.mtu is not None:
            mtus = dict.fromkeys((*record.own_mtus, wanted.mtu))
            record = dataclasses.replace(record, own_mtus=tuple(mtus))
        record = dataclasses.replace(record, bridge=bridge.index, whole=False)
        self._records.put_record(wanted.key, record.to_text())
        try:
            _move_in(kernel, wanted, record, uplink, bridge, things)
        except JackfieldError as error:
            with Undoing(error):
                self._give_back(kernel, wanted)
            raise
        record = dataclasses.replace(record, whole=True)
        self._records.put_record(wanted.key, record.to_text())

    def _give_back(self, kernel: Kernel, wanted: ManagedUplink) -> None:
        text = self._records.record(wanted.key)
        record = None if text is None else UplinkRecord.from_text(text)
        bridge = _bridge_now(kernel, wanted, record)
        uplink = _uplink_now(kernel, wanted, record, bridge)
        master = None if uplink is None else uplink.master
        free = uplink is not None and master in (None, None if bridge is None else bridge.index)
        if uplink is not None and free and (record is not None or master is not None):
            _move_out(kernel, record, uplink, bridge)
        elif not free and bridge is not None:
            _tell_lost(kernel, wanted, bridge, uplink)
        self._records.delete_record(wanted.key)


def _move_in(
    kernel: Kernel,
    wanted: ManagedUplink,
    record: UplinkRecord,
    uplink: Link,
    bridge: Link,
    things: Sequence[Belonging],
) -> None:
    """Send what makes the uplink a port of its bridge, with all it had."""
    target = Place(bridge.index, bridge.name)
    copy_settings(uplink.name, target.name)
    if record.disable_ipv6 is not None:
        _set(_disable_ipv6(target), record.disable_ipv6)
    mtu = wanted.mtu or (record.mtu if uplink.mtu in record.own_mtus else uplink.mtu)
    what = f"make {uplink.name} a port of {target.name}"
    messages = [
        set_link(uplink.index, what, up=True, mtu=None if uplink.mtu == mtu else mtu),
        # The kernel drops a bridge's neighbours when it is told its address, even the same.
        set_link(
            bridge.index,
            what,
            up=True,
            mac=None if bridge.mac == uplink.mac else uplink.mac,
            mtu=mtu,
        ),
    ]
    if uplink.master is None:
        messages.append(set_link(uplink.index, what, master=target.index))
    _send(kernel, [*messages, *hang_up(things, target)], take_off(things), target)
    if record.disable_ipv6 is not None:
        # A port has no addresses; a link-local one of its own would be the bridge's as well.
        _set(_disable_ipv6(Place(uplink.index, uplink.name)), "1")


def _move_out(
    kernel: Kernel, record: UplinkRecord | None, uplink: Link, bridge: Link | None
) -> None:
    """Send what sets an uplink free, with what its bridge has, or it had before."""
    place = Place(uplink.index, uplink.name)
    here = belongings_of(kernel.route, place)
    there = []
    recorded = [] if record is None else record.left(place)
    if bridge is not None:
        found = belongings_of(kernel.route, Place(bridge.index, bridge.name))
        there = _returning(found, recorded)
    things = there
    if record is not None:
        taken_away = bridge is None or bridge.index != record.bridge
        if not record.whole or (taken_away and not _own(here)):
            # Stopped half way, or the bridge was taken away: what was, shall be.
            things = _joined(there, (item for item in recorded if _is_to_return(item)))
    if record is not None and record.disable_ipv6 == "0":
        _set(_disable_ipv6(place), "0")
    what = f"set {uplink.name} free"
    messages: list[Message] = []
    if uplink.master is not None:
        messages.append(set_link(uplink.index, what, master=0))
    if record is not None and uplink.mtu in record.own_mtus and uplink.mtu != record.mtu:
        messages.append(set_link(uplink.index, what, mtu=record.mtu))
    if not uplink.up and things:
        messages.append(set_link(uplink.index, what, up=True))
    already = {item.identity for item in here} - {item.identity for item in there}
    messages += hang_up((item for item in things if item.identity not in already), place)
    _send(kernel, messages, take_off(there), place)
    if record is not None and not record.up:
        kernel.route.send([set_link(uplink.index, what, up=False)])


def _bridge_now(kernel: Kernel, wanted: ManagedUplink, record: UplinkRecord | None) -> Link | None:
    """Return the bridge of ours that took over, also where others have its name now."""
    named = kernel.route.link(wanted.bridge)
    if named is not None and is_marked(named.alias):
        return named
    former = None if record is None else kernel.route.link_at(record.bridge)
    return former if former is not None and is_marked(former.alias) else None


def _uplink_now(
    kernel: Kernel, wanted: ManagedUplink, record: UplinkRecord | None, bridge: Link | None
) -> Link | None:
    """Return the link that the bridge took over from, also where it has got another name."""
    named = kernel.route.link(wanted.link)
    if record is None or bridge is None or (named is not None and named.master == bridge.index):
        return named
    ports = kernel.route.ports(bridge.index)
    return next((link for link in ports if link.index == record.place.index), named)


def _both(kernel: Kernel, wanted: ManagedUplink) -> tuple[Link, Link]:
    """Return the uplink and its bridge; refuse one that is somebody else's port."""
    uplink, bridge = kernel.route.link(wanted.link), kernel.route.link(wanted.bridge)
    for link, name in ((uplink, wanted.link), (bridge, wanted.bridge)):
        if link is None:
            raise NotFound(
                f"cannot make {wanted.link} a port of {wanted.bridge}: there is no link {name}"
            )
    assert uplink is not None
    assert bridge is not None
    if uplink.master not in (None, bridge.index):
        raise ForeignObject(
            f"{uplink.describe()} cannot be a port of {wanted.bridge} as well; it is left alone"
        )
    return uplink, bridge


def _refuse_next_hops(uplink: Link, things: Iterable[Belonging]) -> None:
    """Refuse routes by next hop objects, which lead through the uplink for others as well."""
    for item in things:
        if isinstance(item, HeldRoute) and item.next_hop_object is not None:
            raise UnsupportedConfiguration(
                f"the {item.text} leads through {uplink.name} by next hop object "
                f"{item.next_hop_object}, which cannot be moved to a bridge",
                hint="replace it by a route that names its gateway, and add it again later",
            )


def _send(
    kernel: Kernel, gives: Sequence[Message], takes: Sequence[Message], target: Place
) -> None:
    """Send all at once; raise what was refused, but for what was there, or gone, already.

    Routes to ``target`` whose gateway nobody knows the way to any more are kept all the same.
    """
    again: list[Message] = []
    refusals: list[Refusal] = []
    for refusal in kernel.route.try_all([*gives, *takes]):
        if refusal.index >= len(gives):
            if refusal.errno not in _GONE:
                refusals.append(refusal)
        elif gives[refusal.index].type == RTM_NEWROUTE and refusal.errno in _UNREACHABLE:
            again.append(on_link(gives[refusal.index], target.index))
        elif refusal.errno != errno.EEXIST:
            refusals.append(refusal)
    refusals += kernel.route.try_all(again)
    if refusals:
        first = refusals[0]
        if first.errno == errno.EBUSY:
            first.hint = "a macvlan or macvtap, in whatever namespace, may be using it"
        raise first


def _own(things: Iterable[Belonging]) -> list[Belonging]:
    """Return the addresses that a link has not got by itself."""
    return [item for item in things if isinstance(item, HeldAddress) and not item.is_automatic]


def _is_to_return(item: Belonging) -> bool:
    """Whether an uplink gets it back: what the kernel learns from routers it will learn again."""
    return not (isinstance(item, HeldRoute) and (item.is_learned or item.protocol == PROTOCOL))


def _returning(found: Iterable[Belonging], recorded: Iterable[Belonging]) -> list[Belonging]:
    """Return what of a bridge's belongings its uplink gets."""
    before = {item.identity for item in recorded}
    return [
        item
        for item in found
        if _is_to_return(item)
        and not (
            isinstance(item, HeldAddress) and item.is_automatic and item.identity not in before
        )
    ]


def _joined(first: Iterable[Belonging], second: Iterable[Belonging]) -> list[Belonging]:
    """Return both without what is in ``second`` of the same identity, addresses first."""
    known = {item.identity: item for item in first}
    for item in second:
        known.setdefault(item.identity, item)
    kinds = list(dict.fromkeys(("address", "route", "neighbour")))
    return sorted(known.values(), key=lambda item: kinds.index(item.kind))


def _disable_ipv6(place: Place) -> str:
    return f"net/ipv6/conf/{place.name}/disable_ipv6"


def _set(name: str, value: str) -> None:
    """Set a sysctl that has another value."""
    if read_setting(name) != value:
        write_setting(name, value)


def _tell_lost(kernel: Kernel, wanted: ManagedUplink, bridge: Link, uplink: Link | None) -> None:
    """Say which addresses end with a bridge, because its uplink is not there to get them."""
    lost = _own(belongings_of(kernel.route, Place(bridge.index, bridge.name)))
    if lost:
        log.warning(
            "%s %s: what %s has ends with it: %s",
            wanted.link,
            "is gone" if uplink is None else "is a port of somebody else's",
            wanted.bridge,
            ", ".join(item.text for item in lost),
        )


def _flat(item: ManagedUplink, errors: BaseExceptionGroup[JackfieldError]) -> JackfieldError:
    told = "; ".join(str(error) for error in errors.exceptions)
    return KernelError(
        f"cannot give {item.link} back what {item.bridge} has: {told}", errno=errno.EIO
    )
