"""The driver of policing: what comes in by a device faster than it may is dropped.

At the device's ingress, before any bridge or the host's stack, so that it is the same for taps,
veths and macvtaps::

    table netdev jackfield-police {
        chain jf0123456789 {
            type filter hook ingress device "jf0123456789" priority filter; policy accept;
            limit rate over 1000 kbytes/second burst 500 kbytes counter drop
        }
    }

One chain for one device, named after it: what is sent and looked at does not depend on the others.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import ForeignObject, MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    attribute,
    attribute_list,
    attribute_text,
    attributes,
    nested,
    text,
)
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import COMMENT
from jackfield.host.nft.expression import attribute_be32, encode_rule
from jackfield.host.nft.message import message_type
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.model.bandwidth import Rate
from jackfield.state.resources import Policing
from jackfield.state.rules import Drop, RateOver, Rule

__all__ = ["POLICE_TABLE", "PolicingDriver"]

POLICE_TABLE = "jackfield-police"
"""The table's name, in the family netdev."""

_NFPROTO_NETDEV = 5
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN, _DELCHAIN = 3, 5
_NEWRULE, _GETRULE, _DELRULE = 6, 7, 8
_TABLE_USE = 3
_TABLE_USERDATA = 6
_RULE_EXPRESSIONS = 4
_HOOK_INGRESS = 0
_PRIORITY = 0
_POLICY_ACCEPT = 1

_HEADER = struct.Struct("!BBH").pack(_NFPROTO_NETDEV, 0, 0)
_OF_TABLE = attribute_text(1, POLICE_TABLE)
_TABLE = f"table netdev {POLICE_TABLE}"
_MARK = bytes([0, len(COMMENT) + 1]) + COMMENT.encode() + b"\0"

_KIB = 1024
_BURST_LIMIT = 0xFFFFFFFF


class PolicingDriver:
    """Makes, looks at and removes policing."""

    def __init__(self) -> None:
        """Ask the kernel nothing yet."""
        self._can_police: bool | None = None

    def refuse_impossible(self, kernel: Kernel, resources: Sequence[Policing]) -> None:
        """Raise ``MissingFeature`` if the kernel has no rules for single devices."""
        if not resources:
            return
        if self._can_police is None:
            self._can_police = _has_family(kernel.nft)
        if not self._can_police:
            raise MissingFeature(
                f"cannot limit what comes in by {resources[0].link}: the kernel has no nftables "
                "rules for single devices",
                hint="it needs the family netdev (CONFIG_NF_TABLES_NETDEV)",
            )

    def observe(
        self, kernel: Kernel, resources: Sequence[Policing], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return to what each device is held; a chain without our limit counts as absent."""
        table = _look_at_table(kernel.nft)
        if table is None:
            return {item.key: ABSENT for item in resources}
        if not _is_ours(table):
            foreign = Observed(presence=Presence.FOREIGN, description=_foreign_text())
            return {item.key: foreign for item in resources}
        return {item.key: _observed(kernel.nft, item) for item in resources}

    def ensure(
        self, kernel: Kernel, resources: Sequence[Policing], replaced: Mapping[str, Policing]
    ) -> None:
        """Hold the devices to their rates, all of them or none.

        A new rate begins with a full bucket.
        """
        if not resources:
            return
        table = _look_at_table(kernel.nft)
        if table is not None and not _is_ours(table):
            raise ForeignObject(
                f"{_foreign_text()} is in the way and is not ours; it is left alone",
                hint=f"rename or delete it (`nft delete {_TABLE}`)",
            )
        messages = [_add_table()]
        for item in resources:
            messages += [_add_chain(item.link), _flush_chain(item.link), _add_rule(item)]
        kernel.nft.commit(messages)

    def remove(self, kernel: Kernel, resources: Sequence[Policing]) -> None:
        """Remove the devices' chains, and the table with the last one."""
        table = _look_at_table(kernel.nft)
        if table is None or not _is_ours(table):
            return
        for item in resources:
            try:
                kernel.nft.commit([_delete_chain(item.link)])
            except Refusal as refusal:
                if refusal.errno != errno.ENOENT:
                    raise ExceptionGroup("could not end all policing", [refusal]) from None
        table = _look_at_table(kernel.nft)
        if table is not None and not int.from_bytes(table.get(_TABLE_USE, b"\1"), "big"):
            kernel.nft.commit([_message(_DELTABLE, 0, f"delete {_TABLE}", _OF_TABLE)])


def _rule(rate: Rate) -> RateOver:
    """Return the limit, in bytes.

    nft's bucket holds a second of the rate besides the burst.  libvirt's holds the burst, which
    is a second of the rate where none is given (``virNetDevBandwidthSet``); ours is the same
    from there on.
    """
    average = rate.average or 1
    more = max((rate.burst or 0) - average, 0)
    return RateOver(rate=average * _KIB, burst=min(more * _KIB, _BURST_LIMIT))


def _observed(nft: NftSocket, wanted: Policing) -> Observed:
    request = _message(
        _GETRULE,
        0,
        f"list chain {wanted.link} of {_TABLE}",
        _OF_TABLE,
        attribute_text(2, wanted.link),
    )
    rules = [object_attributes(reply) for reply in nft.dump(request)]
    limits = [_found_limit(rule.get(_RULE_EXPRESSIONS, b"")) for rule in rules]
    limit = limits[0] if len(limits) == 1 else None
    if limit is None:
        return ABSENT
    if limit == _rule(wanted.rate):
        return Observed(presence=Presence.OURS, resource=wanted)
    average = limit.rate // _KIB
    burst = average + limit.burst // _KIB if limit.burst else None
    found = Policing(link=wanted.link, rate=Rate(average=average, burst=burst))
    return Observed(presence=Presence.OURS, resource=found)


def _found_limit(expressions: bytes) -> RateOver | None:
    """Return the limit above which a rule drops; ``None`` if that is not all it does."""
    parts = [attributes(data) for _, data in attribute_list(expressions)]
    names = [text(part.get(1, b"")) for part in parts]
    if names != ["limit", "counter", "immediate"]:
        return None
    limit = attributes(parts[0].get(2, b""))
    return RateOver(
        rate=int.from_bytes(limit.get(1, b""), "big"),
        burst=int.from_bytes(limit.get(3, b""), "big"),
    )


def _has_family(nft: NftSocket) -> bool:
    """Ask for a chain at the loopback, in a batch that is refused as a whole."""
    name = "jackfield-probe"
    of_table = attribute_text(1, name)
    messages = [
        _message(_NEWTABLE, NLM_F_CREATE, "find the family netdev", of_table),
        _message(_NEWCHAIN, NLM_F_CREATE, "find its hook", of_table, *_chain("lo")),
        # There is no such chain, so nothing of this is made.
        _message(_DELCHAIN, 0, "leave nothing", of_table, attribute_text(3, "none")),
    ]
    try:
        nft.commit(messages)
    except Refusal as refusal:
        return refusal.index == len(messages) - 1
    return True


def _look_at_table(nft: NftSocket) -> dict[int, bytes] | None:
    try:
        return nft.get(_message(_GETTABLE, 0, f"look at {_TABLE}", _OF_TABLE))
    except Refusal as refusal:
        if refusal.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
            return None
        raise


def _is_ours(table: Mapping[int, bytes]) -> bool:
    return table.get(_TABLE_USERDATA) == _MARK


def _foreign_text() -> str:
    return f"{_TABLE} without the comment that marks ours"


def _message(kind: int, flags: int, what: str, *parts: bytes) -> Message:
    return Message(message_type(kind), flags, _HEADER + b"".join(parts), what)


def _add_table() -> Message:
    mark = attribute(_TABLE_USERDATA, _MARK)
    return _message(_NEWTABLE, NLM_F_CREATE, f"add {_TABLE}", _OF_TABLE, attribute_be32(2, 0), mark)


def _add_chain(device: str) -> Message:
    what = f"add chain {device} to {_TABLE}"
    return _message(_NEWCHAIN, NLM_F_CREATE, what, _OF_TABLE, *_chain(device))


def _chain(device: str) -> tuple[bytes, ...]:
    return (
        attribute_text(3, device),
        nested(
            4,
            attribute_be32(1, _HOOK_INGRESS),
            attribute_be32(2, _PRIORITY),
            attribute_text(3, device),
        ),
        attribute_be32(5, _POLICY_ACCEPT),
        attribute_text(7, "filter"),
    )


def _delete_chain(device: str) -> Message:
    what = f"delete chain {device} of {_TABLE}"
    return _message(_DELCHAIN, 0, what, _OF_TABLE, attribute_text(3, device))


def _flush_chain(device: str) -> Message:
    what = f"flush chain {device} of {_TABLE}"
    return _message(_DELRULE, 0, what, _OF_TABLE, attribute_text(2, device))


def _add_rule(item: Policing) -> Message:
    return _message(
        _NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        f"limit what comes in by {item.link}",
        _OF_TABLE,
        attribute_text(2, item.link),
        nested(4, encode_rule(Rule((_rule(item.rate),), Drop()))),
    )
