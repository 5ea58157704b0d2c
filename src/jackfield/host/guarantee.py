"""Guarantees: classes of a bridge's htb, each for the frames to one guest.

As libvirt's network driver does it (``virNetDevBandwidthPlug``), whoever makes the guest's tap.
What is promised is taken from the rest, which the others share.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import WrongState
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.filter import (
    add_destination_filter,
    delete_destination_filter,
    dump_class_filters,
    found_destination,
)
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.traffic import HtbClass, delete_class, least_burst, set_class
from jackfield.host.removal import send_removals
from jackfield.host.shaping import HANDLE, KIB, classes_of, rest_message
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.traffic import Guarantee

__all__ = ["GuaranteeDriver"]

_WHOLE = 1


class GuaranteeDriver:
    """Makes, looks at and removes guarantees."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[Guarantee],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return each class as it is; one to which another guest's frames go is shown as that."""
        found: dict[str, Observed] = {}
        for link in {item.link for item in resources}:
            index = kernel.route.index(link)
            classes, guests = ({}, {}) if index is None else _look(kernel, index)
            found |= {
                item.key: _observed(item, classes.get(HANDLE | item.number), guests)
                for item in resources
                if item.link == link
            }
        return found

    def ensure(
        self, kernel: Kernel, resources: Sequence[Guarantee], replaced: Mapping[str, Guarantee]
    ) -> None:
        """Make or change the classes, lead the guests' frames there, and mend the rest."""
        for item in resources:
            what = f"guarantee {item.mac} its share of {item.link}"
            index = kernel.route.require_index(item.link, what)
            classes, guests = _look(kernel, index)
            if HANDLE | _WHOLE not in classes:
                raise WrongState(
                    f"cannot {what}: what leaves {item.link} is not shaped",
                    hint="jackfield apply the network again, or stop and start it",
                )
            messages = [_class_message(index, item, what)]
            present = guests.get(HANDLE | item.number)
            if present not in (None, item.mac):
                messages.append(delete_destination_filter(index, HANDLE, item.number, what))
            if present != item.mac:
                messages.append(
                    add_destination_filter(index, HANDLE, item.number, item.mac.packed, what)
                )
            kernel.route.send(messages)
            kernel.route.send([rest_message(index, classes_of(kernel, index))])

    def remove(self, kernel: Kernel, resources: Sequence[Guarantee]) -> None:
        """Remove the classes, and give what they had to the rest."""
        messages: list[Message] = []
        indexes = set()
        for item in resources:
            index = kernel.route.index(item.link)
            if index is None:
                continue
            indexes.add(index)
            what = f"take the guarantee of {item.mac} on {item.link} back"
            messages += [
                delete_destination_filter(index, HANDLE, item.number, what),
                delete_class(index, HANDLE | item.number, what),
            ]
        gone = (errno.ENOENT, errno.EINVAL, errno.ENODEV)
        send_removals(kernel, messages, "could not take every guarantee back", gone)
        for index in indexes:
            classes = classes_of(kernel, index)
            if HANDLE | _WHOLE in classes:
                kernel.route.send([rest_message(index, classes)])


def _look(kernel: Kernel, index: int) -> tuple[dict[int, HtbClass], dict[int, MacAddress]]:
    """Return the classes of a link's htb, and to whom the frames of each go."""
    classes = classes_of(kernel, index)
    guests: dict[int, MacAddress] = {}
    if classes:
        for reply in kernel.route.dump(dump_class_filters(index, HANDLE)):
            found = found_destination(reply.body)
            if found is not None:
                guests[found[0]] = MacAddress(found[1].hex(":"))
    return classes, guests


def _observed(
    wanted: Guarantee, found: HtbClass | None, guests: Mapping[int, MacAddress]
) -> Observed:
    if found is None:
        return ABSENT
    mac = guests.get(found.handle)
    return Observed(
        presence=Presence.OURS,
        resource=Guarantee(
            link=InterfaceName(wanted.link),
            number=wanted.number,
            mac=mac if mac is not None else MacAddress("00:00:00:00:00:00"),
            floor=found.rate // KIB,
            ceiling=found.ceil // KIB,
        ),
    )


def _class_message(index: int, item: Guarantee, what: str) -> Message:
    rate = item.floor * KIB
    return set_class(
        index,
        HANDLE,
        number=item.number,
        parent=_WHOLE,
        rate=rate,
        ceil=max(item.ceiling * KIB, rate),
        burst=least_burst(rate),
        what=what,
    )
