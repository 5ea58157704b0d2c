"""Long documents: what goes through all of one takes longer than the event loop may be held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from jackfield.model.network import Network

__all__ = ["aside", "is_long"]

T = TypeVar("T")

_MANY = 200
_LONG = 32 * 1024


async def aside(work: Callable[[], T], *about: Network | str | bytes | None) -> T:
    """Return what ``work`` returns: at once, or from a thread where what it is ``about`` is long.

    For most networks the way to another thread and back takes longer than the work.
    """
    for item in about:
        if item is None:
            continue
        if len(item) > _LONG if isinstance(item, str | bytes) else is_long(item):
            return await asyncio.to_thread(work)
    return work()


def is_long(network: Network) -> bool:
    """Return whether a network has so many entries that going through them takes its time.

    Or so much metadata, which is XML of its own.
    """
    if network.metadata is not None and len(network.metadata) > _LONG:
        return True
    entries = len(network.portgroups) + len(network.uplinks) + len(network.routes)
    entries += len(network.port_forwards) + len(network.dnsmasq_options)
    for subnet in network.subnets:
        if subnet.dhcp is not None:
            entries += len(subnet.dhcp.hosts) + len(subnet.dhcp.ranges)
    if network.dns is not None:
        entries += len(network.dns.txts) + len(network.dns.srvs)
        entries += sum(1 + len(host.hostnames) for host in network.dns.hosts)
    return entries > _MANY
