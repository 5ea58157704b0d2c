"""Reservations that dnsmasq passes over, as libvirt's does, without saying so to anybody."""

from __future__ import annotations

from collections.abc import Iterator

from jackfield.model.address import DhcpHost, IpInterface
from jackfield.model.network import Network

__all__ = ["vain_reservations"]


def vain_reservations(network: Network) -> list[str]:
    """Return in words which of a network's ``<host>`` elements in ``<dhcp>`` nobody will get."""
    return [
        words
        for subnet in network.subnets
        if subnet.dhcp is not None and subnet.interface is not None
        for words in _of_subnet(subnet.dhcp.hosts, subnet.interface)
    ]


def _of_subnet(hosts: tuple[DhcpHost, ...], interface: IpInterface) -> Iterator[str]:
    addresses: dict[object, str] = {}
    guests: set[str] = set()
    for host in hosts:
        guest = str(host.mac or host.id or host.name)
        if host.ip is None:
            continue
        if host.ip not in interface.network:
            yield (
                f"{guest} is to have {host.ip}, which is not in {interface.network}: it gets "
                "another address"
            )
        elif host.ip == interface.ip:
            yield f"{guest} is to have {host.ip}, which is the host's own: it gets another address"
        elif host.ip in addresses:
            yield f"{host.ip} is reserved for {addresses[host.ip]} and {guest}: only one gets it"
        elif guest in guests:
            yield f"{guest} has more than one reservation: it gets one of them"
        addresses.setdefault(host.ip, guest)
        guests.add(guest)
