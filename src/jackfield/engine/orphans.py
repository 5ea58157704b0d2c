"""Links that are marked as ours, and of nothing that is on record."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable
from uuid import UUID

from jackfield.state.facts import LinkFact
from jackfield.state.links import network_of, port_of

__all__ = ["tell_orphans"]

log = logging.getLogger(__name__)


def tell_orphans(
    links: Iterable[LinkFact], networks: Container[UUID], ports: Container[UUID]
) -> None:
    """Name the ``links`` that are of none of ``networks`` and ``ports`` in the log.

    So it is when the database was lost, or is an older copy.  Guests may be on them, so they stay
    until somebody decides.
    """
    for link in links:
        if not link.alias:
            continue
        network, port = network_of(link.alias), port_of(link.alias)
        if (network is None or network in networks) and (port is None or port in ports):
            continue
        what = "port" if network is None else "network"
        log.warning(
            "%s is marked as ours, of a %s that is not on record, and left alone; when nobody "
            "needs it any more: ip link del %s",
            link.name,
            what,
            link.name,
        )
