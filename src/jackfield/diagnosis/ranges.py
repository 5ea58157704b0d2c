"""How many addresses the DHCP ranges of a network have left."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jackfield.model.address import Address, Subnet
from jackfield.model.network import Network

__all__ = ["ranges_left", "words_of"]

_MANY = 1 << 16
"""How many addresses a range may have at most to be counted."""


def ranges_left(
    network: Network, leased: Collection[Address], few: int
) -> Iterator[tuple[Subnet, int]]:
    """Yield the subnets whose ranges have no more than ``few`` addresses left, and how many."""
    for subnet in network.subnets:
        if subnet.dhcp is None or not subnet.dhcp.ranges or subnet.interface is None:
            continue
        spans = [(int(item.start), int(item.end)) for item in subnet.dhcp.ranges]
        size = sum(last - first + 1 for first, last in spans)
        # Most are told at a glance.
        if size > _MANY or size - len(leased) - len(subnet.dhcp.hosts) - 1 > few:
            continue
        taken = {int(address) for address in leased}
        taken |= {int(host.ip) for host in subnet.dhcp.hosts if host.ip is not None}
        taken.add(int(subnet.interface.ip))
        left = size - sum(first <= number <= last for number in taken for first, last in spans)
        if left <= few:
            yield subnet, left


def words_of(subnet: Subnet) -> str:
    """Return the ranges of a subnet in words."""
    ranges = () if subnet.dhcp is None else subnet.dhcp.ranges
    return ", ".join(f"{item.start} to {item.end}" for item in ranges)
