"""Partial updates of a network: libvirt's ``net-update`` (``virNetworkUpdate``), pure.

Which entry a document means follows libvirt: a static host by any of MAC, name and address when
it is modified and by all that are given when it is deleted; ranges by both ends; DNS hosts by
address or name; TXT records by name; SRV records by all that is given.  The sections that libvirt
lists but does not implement (bridge, domain, ip, forward, forward-pf) replace, add or remove
that element.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import NoReturn, TypeVar

from jackfield.document.address import read_dhcp_host, read_dhcp_range, read_subnet
from jackfield.document.convert import checked
from jackfield.document.libvirt import write_network
from jackfield.document.names import read_dns_host, read_dns_srv, read_dns_txt, read_domain
from jackfield.document.portgroup import read_portgroup
from jackfield.document.reader import read_network
from jackfield.document.rules import check_definition
from jackfield.document.uplink import read_uplink
from jackfield.document.xml import Element, fail, line_of, parse, serialise
from jackfield.errors import Conflict, DocumentError, InvalidRequest, UnsupportedOperation
from jackfield.model.address import Dhcp, DhcpHost, Subnet
from jackfield.model.dns import Dns, DnsHost, DnsSrv
from jackfield.model.network import Network
from jackfield.model.uplink import PhysicalFunction, Uplink, describe

__all__ = ["Command", "Section", "update_network"]

Item = TypeVar("Item")


class Command(enum.IntEnum):
    """What to do, with libvirt's numbers (``virNetworkUpdateCommand``)."""

    MODIFY = 1
    DELETE = 2
    ADD_LAST = 3
    ADD_FIRST = 4

    @property
    def adds(self) -> bool:
        """Whether an entry is added."""
        return self in (Command.ADD_LAST, Command.ADD_FIRST)


class Section(enum.IntEnum):
    """What is updated, with libvirt's numbers (``virNetworkUpdateSection``)."""

    BRIDGE = 1
    DOMAIN = 2
    IP = 3
    IP_DHCP_HOST = 4
    IP_DHCP_RANGE = 5
    FORWARD = 6
    FORWARD_INTERFACE = 7
    FORWARD_PF = 8
    PORTGROUP = 9
    DNS_HOST = 10
    DNS_TXT = 11
    DNS_SRV = 12

    @property
    def title(self) -> str:
        """The section as ``virsh net-update`` spells it."""
        return self.name.lower().replace("_", "-")


_ROOTS = {
    Section.BRIDGE: "bridge",
    Section.DOMAIN: "domain",
    Section.IP: "ip",
    Section.IP_DHCP_HOST: "host",
    Section.IP_DHCP_RANGE: "range",
    Section.FORWARD: "forward",
    Section.FORWARD_INTERFACE: "interface",
    Section.FORWARD_PF: "pf",
    Section.PORTGROUP: "portgroup",
    Section.DNS_HOST: "host",
    Section.DNS_TXT: "txt",
    Section.DNS_SRV: "srv",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Update:
    """One request: the network, what to do with it, and the fragment."""

    network: Network
    section: Section
    command: Command
    parent_index: int
    element: Element
    in_use: Mapping[Uplink, int]

    def refuse(
        self, reason: str, *, hint: str | None = None, libvirt: str | None = None
    ) -> NoReturn:
        """Raise that the state forbids it; ``libvirt`` is what libvirt says of the same."""
        error = Conflict(f"network '{self.network.name}': {reason}", hint=hint)
        raise error if libvirt is None else error.in_libvirt(libvirt)

    def unsupported(self, what: str, libvirt: str) -> NoReturn:
        told = "cannot be modified, only added or deleted"
        raise UnsupportedOperation(f"network '{self.network.name}': {what} {told}").in_libvirt(
            f"{libvirt} {told}"
        )

    def added(self, items: tuple[Item, ...], item: Item) -> tuple[Item, ...]:
        """Return ``items`` with ``item`` first or last."""
        return (item, *items) if self.command is Command.ADD_FIRST else (*items, item)


def update_network(
    network: Network,
    section: Section,
    command: Command,
    parent_index: int,
    text: str | bytes,
    *,
    in_use: Mapping[Uplink, int] | None = None,
) -> Network:
    """Return ``network`` with the fragment ``text`` added, changed or removed.

    ``parent_index`` chooses the ``<ip>`` that a DHCP entry belongs to, -1 the one that fits;
    ``in_use`` counts the ports of each uplink, and a used one is not removed.  Raises
    :class:`Conflict` when the entry is there already or not there, :class:`DocumentError` for a
    wrong fragment or result, :class:`UnsupportedOperation` where libvirt knows no such change.
    """
    try:
        section, command = Section(section), Command(command)
    except ValueError as error:
        raise InvalidRequest(f"network '{network.name}' cannot be updated: {error}") from None
    element = parse(text)
    if element.tag != _ROOTS[section]:
        raise DocumentError(
            f"the root element is <{element.tag}>",
            line=line_of(element),
            hint=f"section {section.title} expects <{_ROOTS[section]}>",
        ).in_libvirt(
            f"unexpected element <{element.tag}>, expecting <{_ROOTS[section]}>, "
            f"while updating network '{network.name}'"
        )
    updated = _SECTIONS[section](
        _Update(
            network=network,
            section=section,
            command=command,
            parent_index=parent_index,
            element=element,
            in_use=in_use or {},
        )
    )
    # Only a live document has these two, which are not of the definition.
    connections, vpn = updated.connections, updated.vpn
    updated = dataclasses.replace(checked(updated), connections=connections, vpn=vpn)
    # What was defined against our advice before may be updated; new faults may not come.
    if _definable(network):
        check_definition(updated)
    return updated


def _definable(network: Network) -> bool:
    try:
        check_definition(network)
    except InvalidRequest:
        return False
    return True


def _find_subnet(update: _Update, version: int | None) -> int:
    """Return the index of the ``<ip>`` meant: the one named, if its family fits."""
    subnets = update.network.subnets
    if update.parent_index >= len(subnets):
        update.refuse(
            f"there is no <ip> with index {update.parent_index}",
            libvirt="couldn't update dhcp host entry - no <ip> element found at index "
            f"{update.parent_index} in network '{update.network.name}'",
        )

    def fits(subnet: Subnet) -> bool:
        return version is None or (subnet.address is not None and subnet.address.version == version)

    if update.parent_index >= 0 and fits(subnets[update.parent_index]):
        return update.parent_index
    serving = [
        index for index, subnet in enumerate(subnets) if subnet.dhcp is not None and fits(subnet)
    ]
    fitting = [index for index, subnet in enumerate(subnets) if fits(subnet)]
    if not fitting:
        family = "" if version is None else f" of IPv{version}"
        update.refuse(
            f"there is no <ip>{family} to update",
            libvirt="couldn't update dhcp host entry - no <ip> element found in network "
            f"'{update.network.name}'",
        )
    return (serving or fitting)[0]


def _with_dhcp(update: _Update, index: int, **changes: object) -> Network:
    subnet = update.network.subnets[index]
    dhcp = dataclasses.replace(subnet.dhcp or Dhcp(), **changes)  # type: ignore[arg-type]
    if not dhcp.ranges and not dhcp.hosts:
        changed = dataclasses.replace(subnet, dhcp=None)
    else:
        changed = dataclasses.replace(subnet, dhcp=dhcp)
    subnets = list(update.network.subnets)
    subnets[index] = changed
    return dataclasses.replace(update.network, subnets=tuple(subnets))


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


def _dhcp_host(update: _Update) -> Network:
    partial = update.command is Command.DELETE
    pattern = read_dhcp_host(update.element, partial=True)
    version = None if pattern.ip is None else pattern.ip.version
    index = _find_subnet(update, version)
    subnet = update.network.subnets[index]
    family = None if subnet.address is None else subnet.address.version
    host = read_dhcp_host(update.element, family, partial=partial)
    hosts = () if subnet.dhcp is None else subnet.dhcp.hosts
    shown, name = _host_text(host), update.network.name
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
                f'"{shown}"',
            )
        return _with_dhcp(update, index, hosts=update.added(hosts, host))
    if not same:
        given = " ".join(
            f"\"{key}='{value}'\""
            for key, value in (("mac", host.mac), ("name", host.name), ("ip", host.ip))
            if value
        )
        update.refuse(
            f"no static host matches {shown}",
            libvirt=f"couldn't locate an existing dhcp host entry with {given} in network '{name}'",
        )
    return _with_dhcp(update, index, hosts=(*hosts[: same[0]], host, *hosts[same[0] + 1 :]))


def _dhcp_range(update: _Update) -> Network:
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


def _uplink(update: _Update) -> Network:
    """Update one of the uplinks; in BRIDGE they are those of the managed bridge."""
    network = update.network
    wanted = read_uplink(update.element)
    shown = describe(wanted)
    uplinks = network.uplinks
    if update.command is Command.MODIFY:
        if not isinstance(wanted, PhysicalFunction):
            update.unsupported("uplinks", "forward interface entries")
        old = [one for one in uplinks if isinstance(one, PhysicalFunction)]
        if not old:
            update.refuse("there is no <pf> to modify")
        _refuse_used(update, old[0])
        return _replace_uplink(network, old[0], wanted)
    if update.command.adds:
        if wanted in uplinks:
            update.refuse(
                f"the uplink {shown} is there already",
                libvirt=f"there is an existing interface entry in network '{network.name}' "
                f"that matches \"<interface dev='{shown}'>\"",
            )
        if uplinks and (
            isinstance(wanted, PhysicalFunction) or type(uplinks[0]) is not type(wanted)
        ):
            update.refuse(
                f"the uplink {shown} cannot stand beside {describe(uplinks[0])}",
                hint="<interface>, <address> and <pf> exclude each other; one <pf> is the most",
            )
        return dataclasses.replace(network, uplinks=update.added(uplinks, wanted))
    if wanted not in uplinks:
        update.refuse(
            f"the uplink {shown} is not there",
            libvirt=f"couldn't find an interface entry in network '{network.name}' "
            f"matching <interface dev='{shown}'>",
        )
    _refuse_used(update, wanted)
    users = [group.name for group in network.portgroups if wanted in group.uplinks]
    if users:
        update.refuse(f"the uplink {shown} belongs to portgroup '{users[0]}'")
    return dataclasses.replace(network, uplinks=tuple(one for one in uplinks if one != wanted))


def _refuse_used(update: _Update, uplink: Uplink) -> None:
    count = update.in_use.get(uplink, 0)
    if count:
        update.refuse(
            f"the uplink {describe(uplink)} is used by {count} ports",
            hint="detach them first",
            libvirt=f"unable to delete interface '{describe(uplink)}' in network "
            f"'{update.network.name}'. It is currently being used by {count} domains.",
        )


def _replace_uplink(network: Network, old: Uplink, new: Uplink) -> Network:
    def swap(uplinks: tuple[Uplink, ...]) -> tuple[Uplink, ...]:
        return tuple(new if one == old else one for one in uplinks)

    groups = tuple(
        dataclasses.replace(one, uplinks=swap(one.uplinks)) for one in network.portgroups
    )
    return dataclasses.replace(network, uplinks=swap(network.uplinks), portgroups=groups)


def _portgroup(update: _Update) -> Network:
    groups, name = update.network.portgroups, update.network.name
    group = read_portgroup(update.element)
    places = [place for place, one in enumerate(groups) if one.name == group.name]
    others = [one.name for one in groups if one.default and one.name != group.name]
    if update.command is not Command.DELETE and group.default and others:
        update.refuse(
            f"portgroup '{others[0]}' is the default already",
            libvirt=f"a different portgroup entry in network '{name}' is already set as the "
            "default. Only one default is allowed.",
        )
    if update.command.adds:
        if places:
            update.refuse(
                f"portgroup '{group.name}' is there already",
                libvirt=f"there is an existing portgroup entry in network '{name}' that matches "
                f"\"<portgroup name='{group.name}'>\"",
            )
        return dataclasses.replace(update.network, portgroups=update.added(groups, group))
    if not places:
        update.refuse(
            f"portgroup '{group.name}' is not there",
            libvirt=f"couldn't find a portgroup entry in network '{name}' matching "
            f"<portgroup name='{group.name}'>",
        )
    middle = (group,) if update.command is Command.MODIFY else ()
    changed = groups[: places[0]] + middle + groups[places[0] + 1 :]
    return dataclasses.replace(update.network, portgroups=changed)


def _with_dns(update: _Update, **changes: object) -> Network:
    dns = dataclasses.replace(update.network.dns or Dns(), **changes)  # type: ignore[arg-type]
    if dns.enable is False and (dns.hosts or dns.txts or dns.srvs):
        update.refuse("DNS is off (enable='no'), so it has no records")
    return dataclasses.replace(update.network, dns=None if dns == Dns() else dns)


def _record(
    update: _Update, what: str, records: tuple[Item, ...], item: Item, same: Callable[[Item], bool]
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


def _dns_host(update: _Update) -> Network:
    deletes = update.command is Command.DELETE
    host = read_dns_host(update.element, partial=deletes)
    hosts = (update.network.dns or Dns()).hosts

    def same(one: DnsHost) -> bool:
        # A name may have several addresses, but an address only one entry.
        if host.ip is not None and host.ip == one.ip:
            return True
        return deletes and not set(host.hostnames).isdisjoint(one.hostnames)

    return _with_dns(update, hosts=_record(update, "HOST", hosts, host, same))


def _dns_txt(update: _Update) -> Network:
    txt = read_dns_txt(update.element, partial=update.command is Command.DELETE)
    txts = (update.network.dns or Dns()).txts
    return _with_dns(
        update, txts=_record(update, "TXT", txts, txt, lambda one: one.name == txt.name)
    )


def _dns_srv(update: _Update) -> Network:
    if update.command is Command.MODIFY:
        update.unsupported("DNS SRV records", "DNS SRV records")
    srv = read_dns_srv(update.element, partial=update.command is Command.DELETE)
    srvs = (update.network.dns or Dns()).srvs
    given = [
        (field.name, value)
        for field in dataclasses.fields(DnsSrv)
        if (value := getattr(srv, field.name)) is not None
    ]

    def same(one: DnsSrv) -> bool:
        return all(getattr(one, name) == value for name, value in given)

    return _with_dns(update, srvs=_record(update, "SRV", srvs, srv, same))


def _domain(update: _Update) -> Network:
    old = update.network.domain
    if update.command is Command.DELETE:
        name = update.element.get("name")
        if old is None or (name and name != old.name):
            update.refuse("there is no such domain")
        return dataclasses.replace(update.network, domain=None)
    domain = read_domain(update.element)
    if domain is None:
        fail(update.element, "lacks its attribute 'name'")
    if update.command.adds and old is not None:
        update.refuse(f"it has the domain '{old.name}' already", hint="modify it")
    if update.command is Command.MODIFY and old is None:
        update.refuse("there is no domain to modify", hint="add it")
    return dataclasses.replace(update.network, domain=domain)


def _ip(update: _Update) -> Network:
    subnets = update.network.subnets
    subnet = read_subnet(update.element)
    places = [
        place
        for place, one in enumerate(subnets)
        if one.address is not None and one.address == subnet.address
    ]
    if update.command.adds:
        if places:
            update.refuse(f"it has the address {subnet.address} already")
        return dataclasses.replace(update.network, subnets=update.added(subnets, subnet))
    if update.command is Command.MODIFY and update.parent_index >= 0:
        if update.parent_index >= len(subnets):
            update.refuse(f"there is no <ip> with index {update.parent_index}")
        places = [update.parent_index]
    if not places:
        update.refuse(f"there is no <ip> with the address {subnet.address}")
    middle = (subnet,) if update.command is Command.MODIFY else ()
    changed = subnets[: places[0]] + middle + subnets[places[0] + 1 :]
    return dataclasses.replace(update.network, subnets=changed)


def _whole_element(update: _Update) -> Network:
    """Replace, add or remove ``<forward>`` or ``<bridge>`` in the network's own document."""
    network = update.network
    name = update.element.tag
    root = parse(write_network(network))
    old = root.find(name)
    if update.command is Command.DELETE:
        if old is None:
            update.refuse(f"there is no <{name}>")
        if name == "bridge" and network.mode.is_routed:
            update.refuse(f"a network of mode {network.mode.value} always has a bridge")
        if name == "forward":
            for uplink in network.uplinks:
                _refuse_used(update, uplink)
        root.remove(old)
        return _reread(update, serialise(root))
    if update.command.adds and old is not None:
        update.refuse(f"there is a <{name}> already", hint="modify it")
    if update.command is Command.MODIFY and old is None:
        update.refuse(f"there is no <{name}> to modify", hint="add it")
    bridge = network.bridge
    if name == "bridge" and bridge is not None and bridge.name and not update.element.get("name"):
        update.element.set("name", bridge.name)
    if old is None:
        root.append(update.element)
    else:
        root.replace(old, update.element)
    changed = _reread(update, serialise(root))
    for uplink in network.uplinks:
        if uplink not in changed.uplinks:
            _refuse_used(update, uplink)
    return changed


def _reread(update: _Update, text: str) -> Network:
    try:
        changed = read_network(text)
    except DocumentError as error:
        # The line is of a text that the caller never saw.
        prefix = "" if error.line is None else f"line {error.line}: "
        raise DocumentError(error.message.removeprefix(prefix), hint=error.hint) from None
    return dataclasses.replace(changed, connections=update.network.connections)


_SECTIONS: dict[Section, Callable[[_Update], Network]] = {
    Section.BRIDGE: _whole_element,
    Section.DOMAIN: _domain,
    Section.IP: _ip,
    Section.IP_DHCP_HOST: _dhcp_host,
    Section.IP_DHCP_RANGE: _dhcp_range,
    Section.FORWARD: _whole_element,
    Section.FORWARD_INTERFACE: _uplink,
    Section.FORWARD_PF: _uplink,
    Section.PORTGROUP: _portgroup,
    Section.DNS_HOST: _dns_host,
    Section.DNS_TXT: _dns_txt,
    Section.DNS_SRV: _dns_srv,
}
