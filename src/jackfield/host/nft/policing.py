"""The driver of policing: what comes in by a device faster than it may is dropped.

At the device's ingress, before any bridge or the host's stack, so that it is the same for taps,
veths and macvtaps::

    table netdev jackfield-police {
        chain jf0123456789 {
            type filter hook ingress device "jf0123456789" priority filter; policy accept;
            limit rate over 1000 kbytes/second burst 500 kbytes counter drop
        }
    }
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Mapping, Sequence

from jackfield.errors import MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    attribute_list,
    attribute_text,
    attributes,
    nested,
    text,
)
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.expression import encode_rule
from jackfield.host.nft.mark import foreign_words
from jackfield.host.nft.netdevtable import ACCEPT, NetdevTable, has_family
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.model.bandwidth import Rate
from jackfield.state.rules import Drop, RateOver, Rule, rate_over
from jackfield.state.traffic import Policing

__all__ = ["POLICE_TABLE", "PolicingDriver", "policed", "unpolice"]

POLICE_TABLE = "jackfield-police"
"""The table's name, in the family netdev."""

_NEWRULE, _GETRULE = 6, 7
_RULE_EXPRESSIONS = 4
_TABLE = NetdevTable(POLICE_TABLE, ACCEPT)

_KIB = 1024


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
            self._can_police = has_family(kernel.nft)
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
        ours = _TABLE.is_ours(kernel.nft)
        if ours is None:
            return {item.key: ABSENT for item in resources}
        if not ours:
            foreign = Observed(presence=Presence.FOREIGN, description=foreign_words(_TABLE.words))
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
        _TABLE.refuse_foreign(kernel.nft)
        messages = [_TABLE.add()]
        for item in resources:
            messages += [
                _TABLE.add_chain(item.link),
                _TABLE.flush_chain(item.link),
                _add_rule(item),
            ]
        kernel.nft.commit(messages)

    def remove(self, kernel: Kernel, resources: Sequence[Policing]) -> None:
        """Remove the devices' chains, and the table with the last one."""
        if not _TABLE.is_ours(kernel.nft):
            return
        try:
            unpolice(kernel.nft, [item.link for item in resources])
        except Refusal as refusal:
            raise ExceptionGroup("could not end all policing", [refusal]) from None


def policed(nft: NftSocket) -> set[str]:
    """Return all devices that are held to a rate."""
    return _TABLE.chains(nft) if _TABLE.is_ours(nft) else set()


def unpolice(nft: NftSocket, devices: Iterable[str]) -> None:
    """Remove the chains of ``devices``, and the table, which is ours, with the last one."""
    for device in devices:
        try:
            nft.commit([_TABLE.delete_chain(device)])
        except Refusal as refusal:
            if refusal.errno != errno.ENOENT:
                raise
    _TABLE.remove_empty(nft)


def _rule(rate: Rate) -> RateOver:
    """Return the limit, in bytes.

    nft's bucket holds a second of the rate besides the burst.  libvirt's holds the burst, which
    is a second of the rate where none is given (``virNetDevBandwidthSet``); ours is the same
    from there on.
    """
    average = rate.average or 1
    more = max((rate.burst or 0) - average, 0)
    return rate_over(average, more)


def _observed(nft: NftSocket, wanted: Policing) -> Observed:
    what = f"list chain {wanted.link} of {_TABLE.words}"
    request = _TABLE.message(_GETRULE, 0, what, attribute_text(2, wanted.link))
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


def _add_rule(item: Policing) -> Message:
    return _TABLE.message(
        _NEWRULE,
        NLM_F_CREATE | NLM_F_APPEND,
        f"limit what comes in by {item.link}",
        attribute_text(2, item.link),
        nested(4, encode_rule(Rule((_rule(item.rate),), Drop()))),
    )
