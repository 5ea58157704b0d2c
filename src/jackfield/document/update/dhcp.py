"""Updates of what DHCP serves: static hosts and ranges."""

from __future__ import annotations

from typing import NoReturn

import msgspec

from jackfield.document.address import read_dhcp_host, read_dhcp_range
from jackfield.document.update.request import Command, Update
from jackfield.model.address import Dhcp, DhcpHost, Subnet
from jackfield.model.network import Network

__all__ = ["update_host", "update_range"]


def _require_subnet(update: Update) -> None:
    """Refuse, before the entry is looked at, what there is no ``<ip>`` for."""
    subnets = update.network.subnets
    if not subnets:
        _refuse_without_subnet(update, "")
    if update.parent_index >= len(subnets):
        update.refuse(
            f"there is no <ip> with index {update.parent_index}",
            libvirt="couldn't update dhcp host entry - no <ip> element found at index "
            f"{update.parent_index} in network '{update.network.name}'",
        )


def _refuse_without_subnet(update: Update, family: str) -> NoReturn:
    update.refuse(
        f"there is no <ip>{family} to update",
        libvirt="couldn't update dhcp host entry - no <ip> element found in network "
        f"'{update.network.name}'",
    )


def _find_subnet(update: Update, version: int | None) -> int:
    """Return the index of the ``<ip>`` meant: the one named, if its family fits."""
    subnets = update.network.subnets

    def fits(subnet: Subnet) -> bool:
        return version is None or (subnet.address is not None and subnet.address.version == version)

    serving = [
        index for index, subnet in enumerate(subnets) if subnet.dhcp is not None and fits(subnet)
    ]
    if update.parent_index >= 0 and fits(subnets[update.parent_index]):
        taken = serving and update.parent_index not in serving
        if version is not None and update.command.adds and taken:
            update.refuse(
                f"it serves DHCP at {subnets[serving[0]].address} already, and <ip> "
                f"{update.parent_index} is another one of the family",
                hint="DHCP is served for one subnet of each family",
                libvirt=f"dhcp is supported only for a single IPv{version} address on each network",
            )
        return update.parent_index
    fitting = [index for index, subnet in enumerate(subnets) if fits(subnet)]
    if not fitting:
        _refuse_without_subnet(update, "" if version is None else f" of IPv{version}")
    return (serving or fitting)[0]


def _with_dhcp(update: Update, index: int, **changes: object) -> Network:
    subnet = update.network.subnets[index]
    dhcp = msgspec.structs.replace(subnet.dhcp or Dhcp(), **changes)
    if not dhcp.ranges and not dhcp.hosts:
        changed = msgspec.structs.replace(subnet, dhcp=None)
    else:
        changed = msgspec.structs.replace(subnet, dhcp=dhcp)
    subnets = list(update.network.subnets)
    subnets[index] = changed
    return msgspec.structs.replace(update.network, subnets=tuple(subnets))


def _host_text(host: DhcpHost) -> str:
    parts = (("mac", host.mac), ("id", host.id), ("name", host.name), ("ip", host.ip))
    return "<host" + "".join(f" {name}='{value}'" for name, value in parts if value) + "/>"


def _shares(one: DhcpHost, other: DhcpHost) -> bool:
    """Whether two static hosts have an identity or the address in common."""
    return any(
        value is not None and value == getattr(other, name)
        for name in ("mac", "id", "name", "ip")
        if (value := getattr(one, name)) is not None
    )


def _matches(pattern: DhcpHost, host: DhcpHost) -> bool:
    """Whether ``host`` has everything that ``pattern`` says (a host without MAC matches any)."""
    return (
        (pattern.mac is None or host.mac is None or pattern.mac == host.mac)
        and (pattern.id is None or pattern.id == host.id)
        and (pattern.name is None or pattern.name == host.name)
        and (pattern.ip is None or pattern.ip == host.ip)
    )


def update_host(update: Update) -> Network:
    """Update a static host of one of the subnets."""
    _require_subnet(update)
    partial = update.command is Command.DELETE
    pattern = read_dhcp_host(update.element, partial=True)
    version = None if pattern.ip is None else pattern.ip.version
    index = _find_subnet(update, version)
    subnet = update.network.subnets[index]
    family = None if subnet.address is None else subnet.address.version
    host = read_dhcp_host(update.element, family, partial=partial)
    hosts = () if subnet.dhcp is None else subnet.dhcp.hosts
    shown, name = _host_text(host), update.network.name
    # What is not there is printed as libvirt prints it.
    mac, host_name, ip = host.mac or "unknown", host.name or "(null)", host.ip or "unknown"
    if update.command is Command.DELETE:
        for place, one in enumerate(hosts):
            if _matches(host, one):
                return _with_dhcp(update, index, hosts=hosts[:place] + hosts[place + 1 :])
        update.refuse(
            f"no static host matches {shown}",
            libvirt=f"couldn't locate a matching dhcp host entry in network '{name}'",
        )
    same = [place for place, one in enumerate(hosts) if _shares(host, one)]
    if update.command.adds:
        if same:
            update.refuse(
                f"the static host {_host_text(hosts[same[0]])} matches {shown} already",
                libvirt=f"there is an existing dhcp host entry in network '{name}' that matches "
                f"\"<host mac='{mac}' name='{host_name}' ip='{ip}'/>\"",
            )
        return _with_dhcp(update, index, hosts=update.added(hosts, host))
    if not same:
        given = f"\"mac='{mac}'\" \"name='{host_name}'\" \"ip='{ip}'\""
        update.refuse(
            f"no static host matches {shown}",
            libvirt=f"couldn't locate an existing dhcp host entry with {given} in network '{name}'",
        )
    return _with_dhcp(update, index, hosts=(*hosts[: same[0]], host, *hosts[same[0] + 1 :]))


def update_range(update: Update) -> Network:
    """Update a range of addresses of one of the subnets."""
    _require_subnet(update)
    if update.command is Command.MODIFY:
        update.unsupported("DHCP ranges", "dhcp ranges")
    wanted = read_dhcp_range(update.element)
    index = _find_subnet(update, wanted.start.version)
    subnet = update.network.subnets[index]
    if update.command.adds:
        read_dhcp_range(update.element, subnet)
    ranges = () if subnet.dhcp is None else subnet.dhcp.ranges
    shown = f"the DHCP range from {wanted.start} to {wanted.end}"
    for place, one in enumerate(ranges):
        if (one.start, one.end) == (wanted.start, wanted.end):
            if update.command.adds:
                update.refuse(
                    f"{shown} is there already",
                    libvirt="there is an existing dhcp range entry in network "
                    f"'{update.network.name}' that matches "
                    f"\"<range start='{wanted.start}' end='{wanted.end}'/>\"",
                )
            return _with_dhcp(update, index, ranges=ranges[:place] + ranges[place + 1 :])
    if not update.command.adds:
        update.refuse(
            f"{shown} is not there",
            libvirt="couldn't locate a matching dhcp range entry in network "
            f"'{update.network.name}'",
        )
    return _with_dhcp(update, index, ranges=update.added(ranges, wanted))
