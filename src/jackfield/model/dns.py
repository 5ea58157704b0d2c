"""Names a network serves (libvirt's ``<domain>`` and ``<dns>``)."""

from __future__ import annotations

import dataclasses

from jackfield.model.address import Address
from jackfield.model.values import DnsName, Text

__all__ = ["Dns", "DnsForwarder", "DnsHost", "DnsSrv", "DnsTxt", "Domain"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The domain of the network's guests."""

    name: DnsName
    local_only: bool | None = None
    register: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DnsForwarder:
    """Where queries go: those under ``domain`` (``None``: all) to ``address``.

    Without an address, names of the domain are answered from the host's own servers.
    """

    domain: DnsName | None = None
    address: Address | None = None
    port: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DnsHost:
    """An address with its names."""

    ip: Address | None
    hostnames: tuple[DnsName, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DnsTxt:
    """A TXT record."""

    name: Text
    value: Text | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DnsSrv:
    """A SRV record (RFC 2782)."""

    service: Text | None = None
    protocol: Text | None = None
    domain: DnsName | None = None
    target: DnsName | None = None
    port: int | None = None
    priority: int | None = None
    weight: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dns:
    """The network's DNS service; ``enable`` and ``forward_plain_names`` ``None`` mean yes."""

    enable: bool | None = None
    forward_plain_names: bool | None = None
    forwarders: tuple[DnsForwarder, ...] = ()
    txts: tuple[DnsTxt, ...] = ()
    srvs: tuple[DnsSrv, ...] = ()
    hosts: tuple[DnsHost, ...] = ()
