"""One partial update: the section says what is updated, and what comes of it is checked.

Which entry a document means follows libvirt: a static host by any of MAC, name and address when
it is modified and by all that are given when it is deleted; ranges by both ends; DNS hosts by
address or name; TXT records by name; SRV records by all that is given.  The sections that libvirt
lists but does not implement (bridge, domain, ip, forward, forward-pf) replace, add or remove
that element.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from jackfield.document.convert import checked
from jackfield.document.rules import check_definition
from jackfield.document.update import dhcp, dns
from jackfield.document.update.element import update_element, update_ip
from jackfield.document.update.request import Command, Section, Update
from jackfield.document.update.uplink import update_portgroup, update_uplink
from jackfield.document.xml import line_of, parse
from jackfield.errors import DocumentError, InvalidRequest
from jackfield.model.network import Network
from jackfield.model.uplink import Uplink

__all__ = ["update_network"]

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
        Update(
            network=network,
            command=command,
            parent_index=parent_index,
            element=element,
            in_use=in_use or {},
        )
    )
    # Only a live document has these two, which are not of the definition.
    connections, vpn = updated.connections, updated.vpn
    updated = msgspec.structs.replace(checked(updated), connections=connections, vpn=vpn)
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


_SECTIONS: dict[Section, Callable[[Update], Network]] = {
    Section.BRIDGE: update_element,
    Section.DOMAIN: dns.update_domain,
    Section.IP: update_ip,
    Section.IP_DHCP_HOST: dhcp.update_host,
    Section.IP_DHCP_RANGE: dhcp.update_range,
    Section.FORWARD: update_element,
    Section.FORWARD_INTERFACE: update_uplink,
    Section.FORWARD_PF: update_uplink,
    Section.PORTGROUP: update_portgroup,
    Section.DNS_HOST: dns.update_host,
    Section.DNS_TXT: dns.update_txt,
    Section.DNS_SRV: dns.update_srv,
}
