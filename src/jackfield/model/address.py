"""Addresses of a network: subnets, DHCP, static routes (libvirt's ``<ip>`` and ``<route>``)."""

from __future__ import annotations

import enum
import functools
import ipaddress

from jackfield.model.value import Value
from jackfield.model.values import DnsName, MacAddress, Text

__all__ = [
    "Address",
    "Bootp",
    "Dhcp",
    "DhcpHost",
    "DhcpRange",
    "Family",
    "IpInterface",
    "IpNetwork",
    "LeaseTime",
    "LeaseUnit",
    "StaticRoute",
    "Subnet",
    "default_prefix",
    "why_no_host",
]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IpInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_INTERFACES: dict[int, type[IpInterface]] = {
    4: ipaddress.IPv4Interface,
    6: ipaddress.IPv6Interface,
}


class Family(enum.Enum):
    """Address family, as the documents spell it."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class LeaseUnit(enum.Enum):
    """Unit of a lease time."""

    SECONDS = "seconds"
    MINUTES = "minutes"
    HOURS = "hours"


class LeaseTime(Value, frozen=True, kw_only=True):
    """How long a lease lasts: ``expiry`` in ``unit``; 0 is for ever."""

    expiry: int
    unit: LeaseUnit = LeaseUnit.MINUTES

    @property
    def seconds(self) -> int:
        """The lease time in seconds; 0 is for ever."""
        factor = {LeaseUnit.SECONDS: 1, LeaseUnit.MINUTES: 60, LeaseUnit.HOURS: 3600}
        return self.expiry * factor[self.unit]


class DhcpRange(Value, frozen=True, kw_only=True):
    """Addresses that DHCP may give out, both ends included."""

    start: Address
    end: Address
    lease: LeaseTime | None = None


class DhcpHost(Value, frozen=True, kw_only=True):
    """A fixed assignment: by ``mac`` (IPv4), client ``id`` or ``name`` (IPv6: DUID or name).

    ``mac_spelling`` is how the document spelled ``mac`` where that is not its canonical form,
    because the libvirt dialect writes it back that way.
    """

    mac: MacAddress | None = None
    mac_spelling: Text | None = None
    id: Text | None = None
    name: DnsName | None = None
    ip: Address | None = None
    lease: LeaseTime | None = None


class Bootp(Value, frozen=True, kw_only=True):
    """Network boot: ``file`` to load, from ``server`` (``None``: this host)."""

    file: Text
    server: Text | None = None


class Dhcp(Value, frozen=True, kw_only=True):
    """What one subnet's DHCP service gives out."""

    ranges: tuple[DhcpRange, ...] = ()
    hosts: tuple[DhcpHost, ...] = ()
    bootp: Bootp | None = None


def default_prefix(address: Address) -> int:
    """Return the prefix length libvirt assumes where none is given (RFC 791 classes; 64)."""
    if address.version == 6:
        return 64
    first = int(address) >> 24
    return 8 if first < 128 else 16 if first < 192 else 24


def why_no_host(interface: IpInterface) -> str | None:
    """Return what kind of address no host of a subnet can have; ``None`` if one can have it."""
    address, subnet = interface.ip, interface.network
    if address.version == 4 and subnet.prefixlen < 31 and address == subnet.broadcast_address:
        return f"the broadcast address of {subnet}"
    if address.version == 6 and address.ipv4_mapped is not None:
        return "an IPv4 address in the form of IPv6"
    kinds = {
        "a multicast address": address.is_multicast,
        "the unspecified address": address.is_unspecified,
        "a loopback address": address.is_loopback,
    }
    return next((words for words, is_one in kinds.items() if is_one), None)


class Subnet(Value, frozen=True, kw_only=True, dict=True, gc=True):
    """An address of the bridge and the subnet around it (libvirt's ``<ip>``).

    ``family``, ``netmask`` and ``prefix`` are kept as the document spelled them, because the
    libvirt dialect writes them back that way; everybody else uses ``interface``.
    """

    address: Address | None = None
    family: Family | None = None
    netmask: ipaddress.IPv4Address | None = None
    prefix: int | None = None
    local_ptr: bool | None = None
    tftp_root: Text | None = None
    dhcp: Dhcp | None = None

    @property
    def prefix_length(self) -> int:
        """The prefix length, however it was spelled; 0 without an address."""
        if self.netmask is not None:
            return int(self.netmask).bit_count()
        if self.prefix is not None:
            return self.prefix
        return 0 if self.address is None else default_prefix(self.address)

    @functools.cached_property
    def interface(self) -> IpInterface | None:
        """Address with prefix length; ``None`` without an address."""
        if self.address is None:
            return None
        # The number: an address is written as text first, and that is read again.
        made = _INTERFACES[self.address.version]
        return made((int(self.address), self.prefix_length))


class StaticRoute(Value, frozen=True, kw_only=True, dict=True, gc=True):
    """A route to a network behind a guest (libvirt's ``<route>``); spelling kept as in Subnet."""

    address: Address
    gateway: Address
    family: Family | None = None
    netmask: ipaddress.IPv4Address | None = None
    prefix: int | None = None
    metric: int | None = None

    @functools.cached_property
    def destination(self) -> IpNetwork:
        """Destination with prefix length; without any it is everything, as in libvirt."""
        if self.netmask is not None:
            length = int(self.netmask).bit_count()
        elif self.prefix is not None:
            length = self.prefix
        else:
            length = 0
        return ipaddress.ip_network((self.address, length), strict=False)
