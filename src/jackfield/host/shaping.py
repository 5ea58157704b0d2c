"""Shaping of what leaves a link: an htb root with its classes, and filled DHCP checksums.

libvirt's meaning of inbound bandwidth (``virNetDevBandwidthSet``): towards the guests there is
``average``, up to ``peak`` while nobody else wants it, with ``burst`` at once.  Values are KiB.
Where parts of it may be guaranteed the class 1 is divided, with libvirt's numbers::

    class 1        the whole
      class 2      the rest: everybody without a guarantee, with what is not promised
      class 3, …   one guest's guarantee each
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence

from jackfield.errors import ForeignObject, KernelError, MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.modules import missing_module_hint
from jackfield.host.netlink.filter import (
    add_checksum_filter,
    ask_for_checksums,
    dump_filters,
    is_checksum_filter,
)
from jackfield.host.netlink.link import Link
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.route import ONE_BY_ONE_LIMIT
from jackfield.host.netlink.socket import Refusal
from jackfield.host.netlink.traffic import (
    TC_H_CLSACT,
    TC_H_ROOT,
    HtbClass,
    Qdisc,
    add_clsact,
    add_htb,
    ask_for_clsact,
    ask_for_htb,
    decode_class,
    decode_qdisc,
    delete_qdisc,
    dump_classes,
    dump_qdiscs,
    get_qdisc,
    least_burst,
    set_class,
)
from jackfield.host.removal import send_removals
from jackfield.model.bandwidth import Rate
from jackfield.state.traffic import Shaping

__all__ = ["HANDLE", "KIB", "ShapingDriver", "classes_of", "rest_message"]

log = logging.getLogger(__name__)

HANDLE = 0x4A460000
"""Major number of our htb: the mark by which it is ours (``JF``)."""

KIB = 1024

# What it takes to fill checksums, and the option of the kernel's build that gives it.
_ACTION = ("the action csum", "CONFIG_NET_ACT_CSUM")
_QDISC = ("the qdisc clsact", "CONFIG_NET_SCH_INGRESS")
_FILTER = ("the filter u32", "CONFIG_NET_CLS_U32")

_WHOLE = HANDLE | 1
_REST = HANDLE | 2


class ShapingDriver:
    """Makes, looks at and removes shaping.

    Where the kernel cannot fill checksums that wish is passed over, which the log says once, and
    counts as fulfilled: the guests that need it are few and old, no reason to refuse a network.
    """

    def __init__(self) -> None:
        """Ask the kernel nothing yet."""
        self._fills_checksums: bool | None = None
        self._has_htb: bool | None = None

    def refuse_impossible(self, kernel: Kernel, resources: Sequence[Shaping]) -> None:
        """Raise ``MissingFeature`` if the kernel cannot shape.

        ``ForeignObject`` where somebody has put a qdisc of his in the place of ours since.
        """
        shaped = [item for item in resources if item.rate is not None]
        if not shaped:
            return
        if self._has_htb is None:
            (refusal,) = kernel.route.try_all([ask_for_htb()])
            self._has_htb = refusal.errno != errno.ENOENT
        if not self._has_htb:
            raise MissingFeature(
                f"cannot limit what leaves {shaped[0].link}: the kernel has no queue htb",
                hint="load the kernel module sch_htb (CONFIG_NET_SCH_HTB)",
            )
        for item in shaped:
            link = kernel.route.link(item.link)
            root = None if link is None else _qdiscs(kernel, link.index)[0]
            if link is not None and root is not None and root.handle != HANDLE:
                raise ForeignObject(
                    f"cannot limit what leaves {item.link}: {_describe(root, link)} is in the way "
                    "and is not ours; it is left alone",
                    hint=f"tc qdisc del dev {item.link} root, or take the bandwidth out",
                )

    def _can_fill_checksums(self, kernel: Kernel) -> bool:
        if self._fills_checksums is None:
            refusals = kernel.route.try_all([ask_for_checksums(), ask_for_clsact()])
            for refusal, missing in zip(refusals, (_ACTION, _QDISC), strict=True):
                if refusal.errno == errno.ENOENT:
                    self._cannot_fill_checksums(*missing)
                    return False
            self._fills_checksums = True
        return self._fills_checksums

    def _cannot_fill_checksums(self, missing: str, option: str) -> None:
        self._fills_checksums = False
        log.warning(
            "DHCP replies go to guests with partial checksums, which a few old DHCP clients drop: "
            "the kernel lacks %s; %s",
            missing,
            missing_module_hint(option),
        )

    def _fill_checksums(self, kernel: Kernel, item: Shaping, index: int, *, clsact: bool) -> None:
        """Have checksums filled on a link that has a ``clsact`` or not, if the kernel can."""
        what = f"fill the checksums of DHCP replies on {item.link}"
        qdisc = [] if clsact else [add_clsact(index, what)]
        try:
            kernel.route.send([*qdisc, add_checksum_filter(index, what)])
        except KernelError as error:
            # Whether there is such a filter cannot be asked before there is a qdisc.
            if error.errno != errno.ENOENT:
                raise
            self._cannot_fill_checksums(*_FILTER)
            added = None if clsact else _qdiscs(kernel, index)[1]
            if added is not None:
                kernel.route.send([delete_qdisc(index, added, what)])

    def observe(
        self, kernel: Kernel, resources: Sequence[Shaping], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return how the links are shaped.

        Another root qdisc than the kernel's is foreign, and no matter where no rate is wanted.
        """
        links = kernel.route.links([item.link for item in resources])
        listed = _all_qdiscs(kernel) if len(resources) > ONE_BY_ONE_LIMIT else None
        return {
            item.key: self._observed(kernel, item, links.get(item.link), listed)
            for item in resources
        }

    def _observed(
        self,
        kernel: Kernel,
        wanted: Shaping,
        link: Link | None,
        listed: Mapping[int, Sequence[Qdisc]] | None,
    ) -> Observed:
        if link is None:
            return ABSENT
        if listed is None:
            root, clsact = _qdiscs(kernel, link.index)
        else:
            root, clsact = _sorted_out(listed.get(link.index, ()))
        if root is not None and root.handle != HANDLE:
            if wanted.rate is not None:
                return Observed(presence=Presence.FOREIGN, description=_describe(root, link))
            root = None
        checksum = clsact is not None and _has_filter(kernel, link.index)
        if root is None and not checksum:
            # Nothing is there; that is right when nothing was asked for that the kernel can do.
            if wanted.rate is not None or (
                wanted.checksum_dhcp and self._can_fill_checksums(kernel)
            ):
                return ABSENT
            return Observed(presence=Presence.OURS, resource=wanted)
        if wanted.checksum_dhcp and not checksum:
            checksum = not self._can_fill_checksums(kernel)
        rate, divided = None, wanted.divided
        if root is not None and root.default == _default(wanted):
            found = classes_of(kernel, link.index)
            rate, divided = _found_rate(found, wanted.rate), _is_divided(found)
        resource = Shaping(link=wanted.link, rate=rate, divided=divided, checksum_dhcp=checksum)
        return Observed(presence=Presence.OURS, resource=resource)

    def ensure(
        self, kernel: Kernel, resources: Sequence[Shaping], replaced: Mapping[str, Shaping]
    ) -> None:
        """Shape the links; a changed rate takes the place of the old one at once."""
        for item in resources:
            index = kernel.route.require_index(item.link, f"shape {item.link}")
            # A link that was just made has none.
            root, clsact = _qdiscs(kernel, index) if item.key in replaced else (None, None)
            kernel.route.send(_rate_messages(index, item, root))
            if item.divided and item.rate is not None:
                kernel.route.send([rest_message(index, classes_of(kernel, index))])
            present = clsact is not None and _has_filter(kernel, index)
            if item.checksum_dhcp and not present and self._can_fill_checksums(kernel):
                self._fill_checksums(kernel, item, index, clsact=clsact is not None)
            elif clsact is not None and present and not item.checksum_dhcp:
                what = f"stop filling checksums on {item.link}"
                kernel.route.send([delete_qdisc(index, clsact, what)])

    def remove(self, kernel: Kernel, resources: Sequence[Shaping]) -> None:
        """Remove the qdiscs that are ours."""
        messages: list[Message] = []
        for item in resources:
            index = kernel.route.index(item.link)
            if index is None:
                continue
            what = f"stop shaping {item.link}"
            root, clsact = _qdiscs(kernel, index)
            if root is not None and root.handle == HANDLE:
                messages.append(delete_qdisc(index, root, what))
            if clsact is not None and _has_filter(kernel, index):
                messages.append(delete_qdisc(index, clsact, what))
        gone = (errno.ENOENT, errno.EINVAL, errno.ENODEV)
        send_removals(kernel, messages, "could not stop all shaping", gone)


def _qdiscs(kernel: Kernel, index: int) -> tuple[Qdisc | None, Qdisc | None]:
    """Return a link's root qdisc, if somebody put it there, and its clsact qdisc."""
    found = []
    for parent in (TC_H_ROOT, TC_H_CLSACT):
        try:
            replies = kernel.route.request(get_qdisc(index, parent))
        except Refusal as refusal:
            # The link may have gone meanwhile, as with its guest's namespace.
            if refusal.errno not in (errno.ENOENT, errno.EINVAL, errno.ENODEV):
                raise
        else:
            found += [decode_qdisc(reply.body) for reply in replies]
    return _sorted_out(found)


def _all_qdiscs(kernel: Kernel) -> dict[int, list[Qdisc]]:
    """Return the qdiscs of all links by index."""
    found: dict[int, list[Qdisc]] = {}
    for reply in kernel.route.dump(dump_qdiscs()):
        qdisc = decode_qdisc(reply.body)
        found.setdefault(qdisc.index, []).append(qdisc)
    return found


def _sorted_out(qdiscs: Iterable[Qdisc]) -> tuple[Qdisc | None, Qdisc | None]:
    """Return which of a link's qdiscs is its root, put there by somebody, and which its clsact."""
    root = clsact = None
    for qdisc in qdiscs:
        if qdisc.kind == "clsact":
            clsact = qdisc
        elif qdisc.parent == TC_H_ROOT and qdisc.handle:
            root = qdisc
    return root, clsact


def _describe(qdisc: Qdisc, link: Link) -> str:
    return f"qdisc {qdisc.kind} {qdisc.handle >> 16:x}: on {link.describe()}"


def _has_filter(kernel: Kernel, index: int) -> bool:
    return any(is_checksum_filter(reply.body) for reply in kernel.route.dump(dump_filters(index)))


def _values(rate: Rate) -> tuple[int, int, int]:
    """Return rate and ceil in bytes a second, and burst in bytes."""
    average = (rate.average or 1) * KIB
    peak = max((rate.peak or 0) * KIB, average)
    return average, peak, max((rate.burst or 0) * KIB, least_burst(average))


def _rate_messages(index: int, item: Shaping, root: Qdisc | None) -> list[Message]:
    what = f"shape {item.link}"
    if item.rate is None:
        ours = root is not None and root.handle == HANDLE
        return [delete_qdisc(index, root, what)] if root is not None and ours else []
    rate, ceil, burst = _values(item.rate)
    messages = []
    if root is not None and root.default != _default(item):
        # An htb cannot be told of another default: it is made anew.
        messages.append(delete_qdisc(index, root, what))
        root = None
    if root is None:
        messages.append(add_htb(index, HANDLE, what, default=_default(item)))
    messages.append(set_class(index, HANDLE, rate=rate, ceil=ceil, burst=burst, what=what))
    return messages


def _default(item: Shaping) -> int:
    """Return the class that takes what no filter sends elsewhere.

    An htb with another default limits nothing: what finds no class goes out at once.
    """
    return (_REST if item.divided else _WHOLE) & 0xFFFF


def classes_of(kernel: Kernel, index: int) -> dict[int, HtbClass]:
    """Return the classes of our htb on a link, by handle; none where there is no such htb."""
    found = (decode_class(reply.body) for reply in kernel.route.dump(dump_classes(index)))
    return {
        item.handle: item
        for item in found
        if item is not None and item.handle & 0xFFFF0000 == HANDLE
    }


def rest_message(index: int, classes: Mapping[int, HtbClass]) -> Message:
    """Return what gives the guests without a guarantee all that ``classes`` do not promise."""
    whole = classes[_WHOLE]
    return set_class(
        index,
        HANDLE,
        number=_REST & 0xFFFF,
        parent=_WHOLE & 0xFFFF,
        rate=_rest(classes),
        ceil=whole.ceil,
        burst=whole.burst,
        what="divide what is shaped",
    )


def _rest(classes: Mapping[int, HtbClass]) -> int:
    """Return what is not promised, in bytes a second: never nothing, for htb takes no zero."""
    promised = sum(item.rate for item in classes.values() if item.handle > _REST)
    return max(classes[_WHOLE].rate - promised, KIB)


def _is_divided(classes: Mapping[int, HtbClass]) -> bool:
    """Return whether there is a rest, and it is what is not promised."""
    rest, whole = classes.get(_REST), classes.get(_WHOLE)
    if rest is None or whole is None:
        return False
    return (rest.rate, rest.ceil) == (_rest(classes), whole.ceil)


def _found_rate(classes: Mapping[int, HtbClass], wanted: Rate | None) -> Rate | None:
    """Return the whole's rate, as ``wanted`` spells it if it means the same."""
    found = classes.get(_WHOLE)
    if found is None or (wanted is not None and _means(wanted, found)):
        return None if found is None else wanted
    return Rate(average=found.rate // KIB, peak=found.ceil // KIB, burst=found.burst // KIB)


def _means(wanted: Rate, found: HtbClass) -> bool:
    rate, ceil, burst = _values(wanted)
    # The kernel keeps a burst as time in ticks of 64 ns, which rounds.
    tolerance = rate // 10_000_000 + 1
    return (rate, ceil) == (found.rate, found.ceil) and abs(burst - found.burst) <= tolerance
