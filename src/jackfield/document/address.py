"""Addresses: ``<ip>`` with its ``<dhcp>`` and ``<tftp>``, and ``<route>``.

Rules are libvirt's (https://libvirt.org/formatnetwork.html, "Addressing"): the family must agree
with the address, a netmask is for IPv4 only and excludes a prefix, a static host has a MAC
address or name (IPv4), a client id or name (IPv6).
"""

from __future__ import annotations

import ipaddress
import socket

import msgspec

from jackfield.document.xml import (
    MAX_UINT32,
    Element,
    choice,
    escape,
    fail,
    integer,
    required,
    typed,
    yes_no,
)
from jackfield.model.address import (
    Address,
    Bootp,
    Dhcp,
    DhcpHost,
    DhcpRange,
    Family,
    LeaseTime,
    LeaseUnit,
    StaticRoute,
    Subnet,
)
from jackfield.model.values import DnsName, MacAddress, Text

__all__ = [
    "address_text",
    "parse_address",
    "read_dhcp_host",
    "read_dhcp_range",
    "read_route",
    "read_subnet",
    "write_route",
    "write_subnet",
]

_FAMILIES = {family.value: family for family in Family}
_UNITS = {unit.value: unit for unit in LeaseUnit}
_CLIENT_ID = frozenset("0123456789abcdefABCDEF:")


def parse_address(text: str) -> Address:
    """Parse an IPv4 or IPv6 address; a scope (``%eth0``) is refused."""
    # inet_pton(3) is as strict as ``ipaddress``, and several times as fast.
    try:
        if ":" not in text:
            return ipaddress.IPv4Address(socket.inet_pton(socket.AF_INET, text))
        return ipaddress.IPv6Address(socket.inet_pton(socket.AF_INET6, text))
    except (OSError, ValueError):
        raise ValueError("this is not an IP address") from None


def address_text(address: Address) -> str:
    """Return ``address`` as ``inet_ntop(3)`` spells it, which libvirt uses.

    It differs from Python's spelling for IPv6 addresses that embed an IPv4 one.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return socket.inet_ntop(family, address.packed)


def _netmask(text: str) -> ipaddress.IPv4Address:
    address = parse_address(text)
    if address.version != 4:
        raise ValueError("a netmask is for IPv4")
    inverted = int(address) ^ MAX_UINT32
    if inverted & (inverted + 1):
        raise ValueError("a netmask's ones come before its zeros, as in 255.255.255.0")
    return address


def _read_spelling(
    element: Element, address: Address | None
) -> tuple[Family | None, ipaddress.IPv4Address | None, int | None]:
    """Read and check family, netmask and prefix beside ``address``."""
    family = choice(element, "family", _FAMILIES)
    netmask = typed(element, "netmask", _netmask)
    version = 4 if family is not Family.IPV6 else 6
    if address is not None and address.version != version:
        if family is None:
            fail(
                element,
                f"has address='{address}' without a family",
                hint="add family='ipv6'",
            )
        fail(element, f"has family='{family.value}' but address='{address}'")
    if family is not None and address is None:
        fail(element, f"has family='{family.value}' without an address")
    prefix = integer(element, "prefix", 0, 128 if version == 6 else 32)
    if netmask is not None:
        if address is None:
            fail(element, f"has netmask='{netmask}' without an address")
        if version == 6:
            fail(element, f"has netmask='{netmask}' with an IPv6 address", hint="use prefix=")
        if prefix:
            fail(element, f"has both netmask='{netmask}' and prefix='{prefix}'")
    return family, netmask, prefix


def _read_lease(element: Element) -> LeaseTime | None:
    lease = element.find("lease") if len(element) else None
    if lease is None:
        return None
    expiry = integer(lease, "expiry", 0, MAX_UINT32)
    if expiry is None:
        return None
    unit = choice(lease, "unit", _UNITS) or LeaseUnit.MINUTES
    result = LeaseTime(expiry=expiry, unit=unit if expiry else LeaseUnit.MINUTES)
    if 0 < result.seconds < 120 or result.seconds > MAX_UINT32:
        fail(
            lease,
            f"has expiry='{expiry}' {unit.value}",
            hint="a lease lasts two minutes to 4294967295 seconds; 0 is for ever",
        )
    return result


def read_dhcp_range(element: Element, subnet: Subnet | None = None) -> DhcpRange:
    """Read a ``<range>`` of DHCP; with ``subnet`` both ends must lie in it."""
    required(element, "start")
    required(element, "end")
    start = typed(element, "start", parse_address)
    end = typed(element, "end", parse_address)
    assert start is not None
    assert end is not None
    if start.version != end.version:
        fail(element, f"goes from start='{start}' to end='{end}', of different families")
    if int(start) > int(end):
        fail(element, f"has start='{start}' after end='{end}'")
    # libvirt compares all but the last 16 bits.
    if int(end) >> 16 != int(start) >> 16:
        fail(element, f"from '{start}' to '{end}' differs in more than the last 16 bits")
    if subnet is not None and subnet.address is not None:
        _check_range(element, subnet.address, subnet.prefix_length, start, end)
    return DhcpRange(start=start, end=end, lease=_read_lease(element))


def _check_range(
    element: Element, inside: Address, length: int, start: Address, end: Address
) -> None:
    """Refuse a range that is not among the hosts of the subnet around ``inside``."""
    # Numbers, because making a network object costs more than reading the whole element.
    host_bits = inside.max_prefixlen - length
    first = int(inside) >> host_bits << host_bits
    last = first | ((1 << host_bits) - 1)
    for name, address in (("start", start), ("end", end)):
        if address.version != inside.version or not first <= int(address) <= last:
            fail(element, f"has {name}='{address}', which is not in the subnet {inside}/{length}")
    if start.version == 4 and host_bits > 1:
        if int(start) == first:
            fail(element, f"has start='{start}', the network's own address")
        if int(end) == last:
            fail(element, f"has end='{end}', the network's broadcast address")


def read_dhcp_host(
    element: Element, version: int | None = None, *, partial: bool = False
) -> DhcpHost:
    """Read a static ``<host>`` of a subnet of IP ``version``.

    ``partial`` reads a search pattern, of which one attribute is enough.
    """
    mac = typed(element, "mac", MacAddress)
    if mac is not None:
        if version == 6:
            fail(element, f"has mac='{mac}' in an IPv6 subnet", hint="use id= with the DUID")
        if mac.is_multicast:
            fail(element, f"has mac='{mac}', which is a multicast address")
    spelled = element.get("mac")
    client = typed(element, "id", Text)
    if client is not None and not _CLIENT_ID.issuperset(client):
        fail(element, f"has id='{client}': hexadecimal digits and ':' are allowed")
    name = typed(element, "name", DnsName)
    # dnsmasq would take a name of digits for a lease time.
    if name is not None and not any(map(str.isalpha, name)):
        fail(element, f"has name='{name}': a host name has at least one letter")
    ip = typed(element, "ip", parse_address)
    if ip is not None and version is not None and ip.version != version:
        fail(element, f"has ip='{ip}' in a subnet of IPv{version}")
    if partial:
        if mac is None and name is None and ip is None and client is None:
            fail(element, "needs at least one of mac, id, name and ip")
    elif version == 6:
        if client is None and name is None:
            fail(element, "needs an id or a name in an IPv6 subnet")
    elif mac is None and name is None:
        fail(element, "needs a mac or a name")
    if ip is None and not partial:
        fail(element, "lacks its attribute 'ip'")
    return DhcpHost(
        mac=mac,
        mac_spelling=None if spelled is None or spelled == mac else Text(spelled),
        id=client,
        name=name,
        ip=ip,
        lease=_read_lease(element),
    )


def _read_dhcp(element: Element, subnet: Subnet) -> Dhcp | None:
    if subnet.address is None:
        fail(element, "is in an <ip> without an address")
    version = subnet.address.version
    ranges: list[DhcpRange] = []
    hosts: list[DhcpHost] = []
    bootp: Bootp | None = None
    boot: Element | None = None
    for part in element:
        tag = part.tag
        if tag == "host":
            hosts.append(read_dhcp_host(part, version))
        elif tag == "range":
            ranges.append(read_dhcp_range(part, subnet))
        elif tag == "bootp" and boot is None:
            boot = part
    if boot is not None and version == 4 and boot.get("file"):
        file = typed(boot, "file", Text)
        assert file is not None
        server = typed(boot, "server", parse_address)
        bootp = Bootp(file=file, server=None if server is None else Text(address_text(server)))
    # libvirt forgets a <dhcp> that gives nothing out, and so do we.
    if not ranges and not hosts:
        return None
    return Dhcp(ranges=tuple(ranges), hosts=tuple(hosts), bootp=bootp)


def read_subnet(element: Element) -> Subnet:
    """Read an ``<ip>``."""
    address = typed(element, "address", parse_address)
    family, netmask, prefix = _read_spelling(element, address)
    tftp_root: Text | None = None
    dhcp: Element | None = None
    for part in element:
        if part.tag == "dhcp" and dhcp is None:
            dhcp = part
        elif part.tag == "tftp" and tftp_root is None:
            tftp_root = typed(part, "root", Text)
            if tftp_root is not None and family is Family.IPV6:
                fail(part, "is not supported in an IPv6 <ip>")
    subnet = Subnet(
        address=address,
        family=family,
        netmask=netmask,
        prefix=prefix or None,
        local_ptr=yes_no(element, "localPtr"),
        tftp_root=tftp_root,
    )
    if dhcp is not None and (service := _read_dhcp(dhcp, subnet)) is not None:
        # The subnet was needed to judge the ranges; nobody else holds it yet.
        msgspec.structs.force_setattr(subnet, "dhcp", service)
    return subnet


def read_route(element: Element) -> StaticRoute:
    """Read a ``<route>``."""
    required(element, "address")
    required(element, "gateway")
    address = typed(element, "address", parse_address)
    gateway = typed(element, "gateway", parse_address)
    assert address is not None
    assert gateway is not None
    family, netmask, prefix = _read_spelling(element, address)
    if gateway.version != address.version:
        fail(element, f"has gateway='{gateway}' of another family than address='{address}'")
    metric = integer(element, "metric", 1, MAX_UINT32)
    route = StaticRoute(
        address=address,
        gateway=gateway,
        family=family,
        netmask=netmask,
        prefix=prefix,
        metric=metric,
    )
    if route.destination.network_address != address:
        fail(
            element,
            f"has address='{address}', which has bits beyond its prefix of "
            f"{route.destination.prefixlen}",
            hint="say netmask= or prefix=, and an address of which the rest is zero",
        )
    return route


def _lease(out: list[str], indent: str, head: str, name: str, lease: LeaseTime | None) -> None:
    if lease is None:
        out.append(f"{indent}{head}/>\n")
        return
    unit = f" unit='{lease.unit.value}'" if lease.expiry else ""
    out.append(
        f"{indent}{head}>\n{indent}  <lease expiry='{lease.expiry}'{unit}/>\n{indent}</{name}>\n"
    )


def write_dhcp_host(out: list[str], indent: str, host: DhcpHost) -> None:
    """Append the ``<host>`` of ``host``."""
    head = "<host"
    if host.mac is not None:
        head += f" mac='{escape(host.mac_spelling or host.mac)}'"
    if host.id is not None:
        head += f" id='{host.id}'"
    if host.name is not None:
        head += f" name='{host.name}'"
    if host.ip is not None:
        head += f" ip='{address_text(host.ip)}'"
    _lease(out, indent, head, "host", host.lease)


def _spelling(
    family: Family | None,
    address: Address | None,
    netmask: ipaddress.IPv4Address | None,
    prefix: int | None,
) -> str:
    text = f" family='{family.value}'" if family is not None else ""
    if address is not None:
        text += f" address='{address_text(address)}'"
    if netmask is not None:
        text += f" netmask='{netmask}'"
    if prefix is not None:
        text += f" prefix='{prefix}'"
    return text


def write_subnet(out: list[str], indent: str, subnet: Subnet) -> None:
    """Append the ``<ip>`` of ``subnet``."""
    head = _spelling(subnet.family, subnet.address, subnet.netmask, subnet.prefix)
    if subnet.local_ptr is not None:
        head += " localPtr='yes'" if subnet.local_ptr else " localPtr='no'"
    out.append(f"{indent}<ip{head}>\n")
    if subnet.tftp_root is not None:
        out.append(f"{indent}  <tftp root='{escape(subnet.tftp_root)}'/>\n")
    dhcp = subnet.dhcp
    if dhcp is not None and (dhcp.ranges or dhcp.hosts):
        inner = indent + "    "
        out.append(f"{indent}  <dhcp>\n")
        for one in dhcp.ranges:
            ends = f"<range start='{address_text(one.start)}' end='{address_text(one.end)}'"
            _lease(out, inner, ends, "range", one.lease)
        for host in dhcp.hosts:
            write_dhcp_host(out, inner, host)
        if dhcp.bootp is not None:
            server = dhcp.bootp.server
            shown = f" server='{escape(server)}'" if server is not None else ""
            out.append(f"{inner}<bootp file='{escape(dhcp.bootp.file)}'{shown}/>\n")
        out.append(f"{indent}  </dhcp>\n")
    out.append(f"{indent}</ip>\n")


def write_route(out: list[str], indent: str, route: StaticRoute) -> None:
    """Append the ``<route>`` of ``route``."""
    head = _spelling(route.family, route.address, route.netmask, route.prefix)
    metric = f" metric='{route.metric}'" if route.metric is not None else ""
    out.append(f"{indent}<route{head} gateway='{address_text(route.gateway)}'{metric}/>\n")
