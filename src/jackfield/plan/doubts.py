"""What a network can have, or lack, and its author may not have meant."""

from __future__ import annotations

from collections.abc import Iterator

from jackfield.model.mode import Mode
from jackfield.model.network import Network

__all__ = ["doubtful_addresses", "missing_uplinks"]


def missing_uplinks(network: Network) -> Iterator[str]:
    """Yield in words that nothing can be plugged into a network, as long as it has no uplinks."""
    if not (network.mode.is_macvtap or network.mode is Mode.HOSTDEV) or network.uplinks:
        return
    what = "it has no uplinks, so that no guest can be plugged in: name them under <forward>"
    if network.mode is Mode.MACVTAP_BRIDGE:
        what += ", or a bridge of the host with <bridge name='…'/>"
    yield what


def doubtful_addresses(network: Network) -> Iterator[str]:
    """Yield in words what is unusual about the addresses of a network's ``<ip>`` elements."""
    for subnet in network.subnets:
        interface = subnet.interface
        if interface is None or interface.version != 4:
            continue
        if subnet.prefix is None and subnet.netmask is None:
            yield f"{interface.ip} has no prefix and no netmask: its subnet is {interface.network}"
        lowest = interface.network.network_address
        if interface.ip == lowest and interface.network.prefixlen < 31:
            # Linux before 5.14, and others, answer and ask it for nothing (RFC 1122, 3.2.1.3).
            yield f"{lowest} is the lowest of its subnet, which some guests take for a broadcast"
