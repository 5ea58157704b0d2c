"""What is marked as ours, and of nothing that is on record: links, and rules of networks.

So it is when the database was lost, or is an older copy.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable
from uuid import UUID

from jackfield.engine.records import NetworkRecord, PortRecord, bridges_of
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.nft.message import TABLE
from jackfield.host.nft.policing import policed, unpolice
from jackfield.host.nft.strangers import find_strangers, remove_strangers
from jackfield.state.facts import LinkFact
from jackfield.state.links import network_of, port_of

__all__ = ["sweep_limits", "sweep_rules", "tell_orphans"]

log = logging.getLogger(__name__)


def tell_orphans(
    links: Iterable[LinkFact], networks: Container[UUID], ports: Container[UUID]
) -> None:
    """Name the ``links`` that are of none of ``networks`` and ``ports`` in the log.

    Guests may be on them, so they stay until somebody decides.
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


def sweep_rules(tools: Workplace, networks: Iterable[NetworkRecord], links: Container[str]) -> None:
    """Remove the rules of bridges that are of none of ``networks`` and not there, name others.

    Nothing passes by a bridge that is not there, whoever makes one of its name next would have
    rules of nobody.
    """
    known = {bridge for record in networks for bridge in bridges_of(record.current)}
    try:
        strangers = find_strangers(tools.kernel.nft, known)
        gone = {bridge for bridge in strangers if bridge not in links}
        if gone:
            remove_strangers(tools.kernel.nft, gone)
            names = ", ".join(sorted(gone))
            log.warning("rules of %s in %s were of no network on record: removed", names, TABLE)
    except JackfieldError as error:
        log.error("rules of networks that are not on record are not looked for: %s", error)
        return
    for bridge in sorted(strangers - gone):
        log.warning(
            "%s has rules of %s, of a network that is not on record: they go when jackfieldd "
            "starts and there is no link of that name",
            TABLE,
            bridge,
        )


def sweep_limits(tools: Workplace, ports: Iterable[PortRecord]) -> None:
    """Remove the limits of devices that are of none of ``ports`` and not there, or have none.

    Those of a port that could not be attached, or has lost them, may have been put back with all
    the others, when somebody flushed the rules.
    """
    known = {str(port.device.name): port.port for port in ports if port.device is not None}
    try:
        gone = sorted(
            name
            for name in policed(tools.kernel.nft)
            if (
                known[name].bandwidth is None
                if name in known
                else tools.kernel.route.index(name) is None
            )
        )
        if gone:
            unpolice(tools.kernel.nft, gone)
            log.warning("limits of %s were of no port on record: removed", ", ".join(gone))
    except JackfieldError as error:
        log.error("limits of ports that are not on record are not looked for: %s", error)
