"""Updates of what DNS knows: records of three kinds, and the domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from jackfield.document.names import read_dns_host, read_dns_srv, read_dns_txt, read_domain
from jackfield.document.update.request import Command, Update
from jackfield.document.xml import fail
from jackfield.model.dns import Dns, DnsHost, DnsSrv
from jackfield.model.network import Network

__all__ = ["update_domain", "update_host", "update_srv", "update_txt"]

Item = TypeVar("Item")


def _with_dns(update: Update, **changes: object) -> Network:
    dns = msgspec.structs.replace(update.network.dns or Dns(), **changes)
    if dns.enable is False and (dns.hosts or dns.txts or dns.srvs):
        update.refuse(
            "DNS is off (enable='no'), so it has no records",
            libvirt=f"Extra data in disabled network '{update.network.name}'",
            code=27,
        )
    return msgspec.structs.replace(update.network, dns=None if dns == Dns() else dns)


def _record(
    update: Update, what: str, records: tuple[Item, ...], item: Item, same: Callable[[Item], bool]
) -> tuple[Item, ...]:
    """Return ``records`` with ``item`` added, in the place of its like, or without its like."""
    places = [place for place, one in enumerate(records) if same(one)]
    network = update.network.name
    if update.command.adds:
        if places:
            existing = {
                "HOST": "at least one DNS HOST record with a matching field",
                "TXT": f"a DNS TXT record with name '{getattr(item, 'name', '')}'",
                "SRV": "at least one DNS SRV record matching all specified fields",
            }
            update.refuse(
                f"there is a matching DNS {what} record already",
                libvirt=f"there is already {existing[what]} in network {network}",
            )
        return update.added(records, item)
    if not places:
        update.refuse(
            f"there is no matching DNS {what} record",
            libvirt=f"couldn't locate a matching DNS {what} record in network {network}",
        )
    if len(places) > 1:
        update.refuse(
            f"{len(places)} DNS {what} records match",
            hint="say more, so that only one of them is meant",
            libvirt=f"multiple matching DNS {what} records were found in network {network}",
        )
    middle = (item,) if update.command is Command.MODIFY else ()
    return records[: places[0]] + middle + records[places[0] + 1 :]


def update_host(update: Update) -> Network:
    """Update the names of an address."""
    deletes = update.command is Command.DELETE
    host = read_dns_host(update.element, partial=deletes)
    hosts = (update.network.dns or Dns()).hosts

    def same(one: DnsHost) -> bool:
        # A name may have several addresses, but an address only one entry.
        if host.ip is not None and host.ip == one.ip:
            return True
        return deletes and not set(host.hostnames).isdisjoint(one.hostnames)

    return _with_dns(update, hosts=_record(update, "HOST", hosts, host, same))


def update_txt(update: Update) -> Network:
    """Update a TXT record."""
    txt = read_dns_txt(update.element, partial=update.command is Command.DELETE)
    txts = (update.network.dns or Dns()).txts
    return _with_dns(
        update, txts=_record(update, "TXT", txts, txt, lambda one: one.name == txt.name)
    )


def update_srv(update: Update) -> Network:
    """Update a SRV record, which all that is given of it tells."""
    if update.command is Command.MODIFY:
        update.unsupported("DNS SRV records", "DNS SRV records")
    srv = read_dns_srv(update.element, partial=update.command is Command.DELETE)
    srvs = (update.network.dns or Dns()).srvs
    given = [
        (field.name, value)
        for field in msgspec.structs.fields(DnsSrv)
        if (value := getattr(srv, field.name)) is not None
    ]

    def same(one: DnsSrv) -> bool:
        return all(getattr(one, name) == value for name, value in given)

    return _with_dns(update, srvs=_record(update, "SRV", srvs, srv, same))


def update_domain(update: Update) -> Network:
    """Update the network's domain."""
    old = update.network.domain
    if update.command is Command.DELETE:
        name = update.element.get("name")
        if old is None or (name and name != old.name):
            update.refuse("there is no such domain")
        return msgspec.structs.replace(update.network, domain=None)
    domain = read_domain(update.element)
    if domain is None:
        fail(update.element, "lacks its attribute 'name'")
    if update.command.adds and old is not None:
        update.refuse(f"it has the domain '{old.name}' already", hint="modify it")
    if update.command is Command.MODIFY and old is None:
        update.refuse("there is no domain to modify", hint="add it")
    return msgspec.structs.replace(update.network, domain=domain)
