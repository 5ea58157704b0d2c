"""What a network's dnsmasq says by DHCP and in router advertisements, as lines that it reads.

The rest of its configuration, and how it differs from libvirt's: ``dnsmasq``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from jackfield.errors import InvalidRequest, UnsupportedConfiguration
from jackfield.model.address import Dhcp, DhcpHost, IpInterface, LeaseTime, Subnet
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.plan.dnsmasq_text import quoted

__all__ = [
    "Served",
    "advertising_lines",
    "dhcp4_lines",
    "dhcp6_lines",
    "option_lines",
    "reservation",
]

_CLIENT_ID = re.compile(r"[0-9A-Fa-f]+(:[0-9A-Fa-f]+)*")
_NOT_A_HOST_NAME = re.compile(r"infinite|ignore|[0-9]+[wdhms]?", re.IGNORECASE)

Served = tuple[Subnet, IpInterface, Dhcp]
"""A subnet with DHCP: as the document has it, its address with prefix, and what is served there."""


def dhcp4_lines(served: list[Served]) -> Iterator[str]:
    """Yield what DHCP serves on subnets of IPv4."""
    for number, (_, interface, dhcp) in enumerate(served):
        # One subnet needs no tag; with several, each gets what was said for it.
        tagged = len(served) > 1 and any(item[2].bootp is not None for item in served)
        mark = f"set:subnet{number}," if tagged else ""
        for entry in dhcp.ranges:
            yield f"dhcp-range={mark}{entry.start},{entry.end},{interface.netmask}" + _lease(
                entry.lease
            )
        if not dhcp.ranges:
            yield f"dhcp-range={mark}{interface.ip},static,{interface.netmask}"
        if dhcp.bootp is not None:
            tag = f"tag:subnet{number}," if tagged else ""
            server = "" if dhcp.bootp.server is None else f",,{quoted(dhcp.bootp.server)}"
            yield f"dhcp-boot={tag}{quoted(dhcp.bootp.file)}{server}"
    if served:
        yield "dhcp-no-override"
        yield "dhcp-authoritative"


def dhcp6_lines(served: list[Served]) -> Iterator[str]:
    """Yield what DHCPv6 serves; ``UnsupportedConfiguration`` for a prefix shorter than 64."""
    for _, interface, dhcp in served:
        length = interface.network.prefixlen
        if length < 64:
            raise UnsupportedConfiguration(
                f"DHCP on {interface.network}: DHCPv6 needs a prefix of 64 or longer"
            )
        for entry in dhcp.ranges:
            yield f"dhcp-range={entry.start},{entry.end},{length}{_lease(entry.lease)}"
        if not dhcp.ranges:
            yield f"dhcp-range={interface.ip},static,{length}"


def _lease(lease: LeaseTime | None) -> str:
    if lease is None:
        return ""
    return f",{lease.seconds}s" if lease.seconds else ",infinite"


def reservation(host: DhcpHost, version: int) -> str:
    """Return a reservation as ``dhcp-host`` takes it, for an IP version.

    ``InvalidRequest`` for what dnsmasq would read as something else.
    """
    fields: list[str] = []
    if host.mac is not None:
        fields.append(host.mac)
    if host.id is not None:
        if not _CLIENT_ID.fullmatch(host.id):
            raise InvalidRequest(
                f"DHCP host id {host.id!r} is not hexadecimal numbers with colons between"
            )
        fields.append(f"id:{host.id}")
    name = [] if host.name is None else [_host_name(host.name)]
    address = [] if host.ip is None else [f"[{host.ip}]" if version == 6 else str(host.ip)]
    fields += name + address if version == 6 or not fields else address + name
    if not fields:
        raise InvalidRequest("a DHCP host has neither MAC address, id, name nor address")
    return ",".join(fields) + _lease(host.lease)


def _host_name(name: str) -> str:
    if _NOT_A_HOST_NAME.fullmatch(name):
        raise InvalidRequest(
            f"dnsmasq would read the host name {name!r} as a lease time or a keyword",
            hint="choose a name that is not only digits, and not 'infinite' or 'ignore'",
        )
    return name


def option_lines(network: Network) -> Iterator[str]:
    """Yield DHCPv4 options beyond those dnsmasq sends by itself (router, DNS, domain)."""
    if network.mode is Mode.ISOLATED:
        # An empty option 3: there is no router, and guests must not take us for one.
        yield "3"
    if network.mtu is not None:
        yield f"option:mtu,{network.mtu}"


def advertising_lines(
    network: Network, interfaces: list[IpInterface], serves_dhcp6: bool
) -> Iterator[str]:
    """Yield router advertisements (RFC 4861), on wherever the network has IPv6.

    With DHCPv6 they say "managed" and only its prefix is announced, as libvirt has it;
    otherwise each prefix of length 64 is there for SLAAC (RFC 4862 allows no other).
    """
    prefixes = [
        interface
        for interface in interfaces
        if interface.version == 6 and interface.network.prefixlen == 64
    ]
    if not (serves_dhcp6 or prefixes):
        return
    if serves_dhcp6:
        yield "enable-ra"
    else:
        for interface in prefixes:
            yield f"dhcp-range={interface.ip},ra-only,64"
    mtu = "" if network.mtu is None else f"mtu:{network.mtu},"
    if network.mode is Mode.ISOLATED:
        # An advertisement is an implicit default route; lifetime 0 takes that back.
        yield f"ra-param=*,{mtu}0,0"
    elif mtu:
        yield f"ra-param=*,{mtu}0"
