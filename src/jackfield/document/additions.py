"""What a document has that libvirt's format has not, and libvirt drops without a word."""

from __future__ import annotations

from collections.abc import Iterator

from jackfield.model.mode import Mode
from jackfield.model.network import Network, Portgroup

__all__ = ["additions"]


def additions(network: Network) -> tuple[str, ...]:
    """Return the elements and attributes of ``network``'s libvirt dialect that are ours alone."""
    further = network.mode.is_routed and len(network.uplinks) > 1
    found = {
        "<uplink>": further,
        "<proxy>": network.mode is Mode.SUBNET,
        "<portForward>": bool(network.port_forwards),
        "<uplinks>": network.mode is Mode.BRIDGE and bool(network.uplinks),
        "<filterref>": bool(network.anti_spoofing),
        "<vpn>": network.vpn is not None,
        "<vde>": network.vde is not None,
    }
    names = [name for name, is_there in found.items() if is_there]
    return (*names, *(name for group in network.portgroups for name in _of_group(group)))


def _of_group(group: Portgroup) -> Iterator[str]:
    found = {
        "count": group.count is not None,
        "uplinks": bool(group.uplinks),
        "<port>": group.isolated is not None,
        "antiSpoofing": group.anti_spoofing is False,
        "<filterref>": bool(group.anti_spoofing),
    }
    names = [name for name, is_there in found.items() if is_there]
    if names:
        yield f"{', '.join(names)} of portgroup {group.name!r}"
