"""Names a network serves (libvirt's ``<domain>`` and ``<dns>``)."""

from __future__ import annotations

from jackfield.model.address import Address
from jackfield.model.value import Value
from jackfield.model.values import DnsName, Text

__all__ = ["Dns", "DnsForwarder", "DnsHost", "DnsSrv", "DnsTxt", "Domain"]


class Domain(Value, frozen=True, kw_only=True):
    """The domain of the network's guests."""

    name: DnsName
    local_only: bool | None = None
    register: bool | None = None


class DnsForwarder(Value, frozen=True, kw_only=True):
    """Where queries go: those under ``domain`` (``None``: all) to ``address``.

    Without an address, names of the domain are answered from the host's own servers.
    """

    domain: DnsName | None = None
    address: Address | None = None
    port: int | None = None


class DnsHost(Value, frozen=True, kw_only=True):
    """An address with its names."""

    ip: Address | None
    hostnames: tuple[DnsName, ...] = ()


class DnsTxt(Value, frozen=True, kw_only=True):
    """A TXT record."""

    name: Text
    value: Text | None = None


class DnsSrv(Value, frozen=True, kw_only=True):
    """A SRV record (RFC 2782)."""

    service: Text | None = None
    protocol: Text | None = None
    domain: DnsName | None = None
    target: DnsName | None = None
    port: int | None = None
    priority: int | None = None
    weight: int | None = None


class Dns(Value, frozen=True, kw_only=True):
    """The network's DNS service; ``enable`` and ``forward_plain_names`` ``None`` mean yes."""

    enable: bool | None = None
    forward_plain_names: bool | None = None
    forwarders: tuple[DnsForwarder, ...] = ()
    txts: tuple[DnsTxt, ...] = ()
    srvs: tuple[DnsSrv, ...] = ()
    hosts: tuple[DnsHost, ...] = ()
