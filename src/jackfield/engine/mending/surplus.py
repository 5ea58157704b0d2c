"""Bridges that are marked as a network's, besides those that it has.

A bridge is made, changed and removed by its name.  One that somebody renames in just that moment
stays behind, with an address that its network may have elsewhere by then.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from jackfield.engine.records import NetworkRecord
from jackfield.engine.workplace import Workplace
from jackfield.model.values import InterfaceName
from jackfield.state.facts import LinkFact
from jackfield.state.links import BridgeLink, OwnerKind, alias_of, network_of

__all__ = ["bridges_wanted", "networks_with_surplus", "remove_surplus", "surplus_of"]

log = logging.getLogger(__name__)

_KIND = "bridge"


def surplus_of(record: NetworkRecord, links: Mapping[str, LinkFact]) -> list[LinkFact]:
    """Return the bridges among ``links`` that are marked as a network's and none of its own.

    None as long as one of its own is missing: what there is may be that one, by another name.
    """
    mark = alias_of(OwnerKind.NETWORK, record.uuid)
    marked = [link for link in links.values() if link.alias == mark and link.kind == _KIND]
    wanted = bridges_wanted(record)
    if len(marked) <= len(wanted) or not wanted <= {link.name for link in marked}:
        return []
    return [link for link in marked if link.name not in wanted]


def bridges_wanted(record: NetworkRecord) -> set[InterfaceName]:
    """Return the bridges of ours that a network has."""
    return {item.name for item in record.present.values() if isinstance(item, BridgeLink)}


def networks_with_surplus(
    records: Mapping[UUID, NetworkRecord], links: Iterable[LinkFact]
) -> Iterator[NetworkRecord]:
    """Yield the networks that more bridges are marked as than they have."""
    marks = (network_of(link.alias) for link in links if link.alias and link.kind == _KIND)
    for uuid, count in collections.Counter(marks).items():
        record = None if uuid is None else records.get(uuid)
        if record is not None and count > len(bridges_wanted(record)):
            yield record


def remove_surplus(tools: Workplace, name: str, surplus: Sequence[LinkFact]) -> None:
    """Remove such bridges of the network ``name``."""
    tools.kernel.route.delete_links(link.index for link in surplus)
    for link in surplus:
        log.warning("network %s: bridge %s was left of it and is removed", name, link.name)
