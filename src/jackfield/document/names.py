"""Names: ``<domain>`` and ``<dns>`` (https://libvirt.org/formatnetwork.html, "Addressing")."""

from __future__ import annotations

import re

from jackfield.document.address import address_text, parse_address
from jackfield.document.xml import Element, escape, fail, integer, required, typed, yes_no
from jackfield.model.dns import Dns, DnsForwarder, DnsHost, DnsSrv, DnsTxt, Domain
from jackfield.model.values import DnsName, Text

__all__ = [
    "read_dns",
    "read_dns_host",
    "read_dns_srv",
    "read_dns_txt",
    "read_domain",
    "write_dns",
    "write_domain",
]

# RFC 2782 writes the name after an underscore, as one label of a domain name.
_SERVICE = re.compile(r"[A-Za-z0-9_-]{1,62}")


def read_domain(element: Element) -> Domain | None:
    """Read a ``<domain>``; one without a name says nothing."""
    name = typed(element, "name", DnsName)
    if name is None:
        return None
    return Domain(
        name=name, local_only=yes_no(element, "localOnly"), register=yes_no(element, "register")
    )


def read_dns_host(element: Element, *, partial: bool = False) -> DnsHost:
    """Read a ``<host>`` of ``<dns>``; ``partial`` is a search pattern, where either is enough."""
    ip = typed(element, "ip", parse_address)
    names = []
    for one in element.iterchildren("hostname"):
        text = (one.text or "").strip()
        if not text:
            fail(one, "is empty")
        try:
            names.append(DnsName(text))
        except ValueError as error:
            fail(one, str(error))
    if partial:
        if ip is None and not names:
            fail(element, "needs an ip or a <hostname>")
    elif ip is None:
        fail(element, "lacks its attribute 'ip'")
    elif not names:
        fail(element, "needs at least one <hostname>")
    return DnsHost(ip=ip, hostnames=tuple(names))


def read_dns_txt(element: Element, *, partial: bool = False) -> DnsTxt:
    """Read a ``<txt>``; ``partial`` is a search pattern, where the name is enough."""
    required(element, "name")
    name = typed(element, "name", Text)
    assert name is not None
    if " " in name or "," in name:
        fail(element, f"has name='{name}', which holds a space or a comma")
    value = typed(element, "value", Text)
    if value is None and "value" in element.attrib:
        value = Text("")
    if value is None and not partial:
        fail(element, "lacks its attribute 'value'")
    return DnsTxt(name=name, value=value)


def read_dns_srv(element: Element, *, partial: bool = False) -> DnsSrv:
    """Read a ``<srv>``; ``partial`` is a search pattern, where any attribute is enough."""
    service = typed(element, "service", Text)
    if service is None and not partial:
        fail(element, "lacks its attribute 'service'")
    if service is not None and not _SERVICE.fullmatch(service):
        fail(element, f"has service='{service}': at most 62 letters, digits, '-', '_' are allowed")
    protocol = typed(element, "protocol", Text)
    if protocol is None and not partial:
        fail(element, "lacks its attribute 'protocol'")
    if protocol is not None and not _SERVICE.fullmatch(protocol):
        fail(element, f"has protocol='{protocol}': a name like 'tcp' or 'udp' is allowed")
    target = typed(element, "target", DnsName)
    port = integer(element, "port", 0, 65535)
    if port == 0 or (port is not None and target is None and not partial):
        fail(element, f"has port='{port}'", hint="a port is 1 to 65535 and needs a target")
    priority = integer(element, "priority", 0, 65535)
    weight = integer(element, "weight", 0, 65535)
    if target is None and not partial and (priority or weight):
        fail(element, "has a priority or weight without a target")
    return DnsSrv(
        service=service,
        protocol=protocol,
        domain=typed(element, "domain", DnsName),
        target=target,
        port=port,
        priority=priority or None,
        weight=weight or None,
    )


def _read_forwarder(element: Element) -> DnsForwarder:
    domain = typed(element, "domain", DnsName)
    address = typed(element, "addr", parse_address)
    if domain is None and address is None:
        fail(element, "needs an addr or a domain")
    return DnsForwarder(domain=domain, address=address, port=integer(element, "port", 1, 65535))


def read_dns(element: Element) -> Dns | None:
    """Read a ``<dns>``; an empty one says nothing."""
    enable = yes_no(element, "enable")
    dns = Dns(
        enable=enable,
        forward_plain_names=yes_no(element, "forwardPlainNames"),
        forwarders=tuple(_read_forwarder(one) for one in element.iterchildren("forwarder")),
        txts=tuple(read_dns_txt(one) for one in element.iterchildren("txt")),
        srvs=tuple(read_dns_srv(one) for one in element.iterchildren("srv")),
        hosts=tuple(read_dns_host(one) for one in element.iterchildren("host")),
    )
    if enable is False and (dns.forwarders or dns.txts or dns.srvs or dns.hosts):
        fail(element, "has enable='no' and yet entries", hint="remove the entries or enable it")
    return None if dns == Dns() else dns


def write_domain(out: list[str], indent: str, domain: Domain) -> None:
    """Append the ``<domain>`` of ``domain``."""
    local = "" if domain.local_only is None else f" localOnly='{_yes_no(domain.local_only)}'"
    register = "" if domain.register is None else f" register='{_yes_no(domain.register)}'"
    out.append(f"{indent}<domain name='{domain.name}'{local}{register}/>\n")


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _forwarder_attributes(forwarder: DnsForwarder) -> str:
    text = ""
    if forwarder.domain is not None:
        text += f" domain='{forwarder.domain}'"
    if forwarder.address is not None:
        text += f" addr='{address_text(forwarder.address)}'"
    if forwarder.port is not None:
        text += f" port='{forwarder.port}'"
    return text


def _srv_attributes(srv: DnsSrv) -> str:
    values = (
        ("service", srv.service),
        ("protocol", srv.protocol),
        ("domain", srv.domain),
        ("target", srv.target),
        ("port", srv.port),
        ("priority", srv.priority),
        ("weight", srv.weight),
    )
    return "".join(f" {name}='{escape(str(one))}'" for name, one in values if one is not None)


def write_dns(out: list[str], indent: str, dns: Dns) -> None:
    """Append the ``<dns>`` of ``dns``."""
    head = f"{indent}<dns"
    if dns.enable is not None:
        head += f" enable='{_yes_no(dns.enable)}'"
    if dns.forward_plain_names is not None:
        head += f" forwardPlainNames='{_yes_no(dns.forward_plain_names)}'"
    if not (dns.forwarders or dns.txts or dns.srvs or dns.hosts):
        if dns.enable is not None or dns.forward_plain_names is not None:
            out.append(f"{head}/>\n")
        return
    out.append(f"{head}>\n")
    inner = indent + "  "
    out.extend(f"{inner}<forwarder{_forwarder_attributes(one)}/>\n" for one in dns.forwarders)
    out.extend(
        f"{inner}<txt name='{escape(txt.name)}' value='{escape(txt.value or '')}'/>\n"
        for txt in dns.txts
    )
    out.extend(f"{inner}<srv{_srv_attributes(srv)}/>\n" for srv in dns.srvs)
    for host in dns.hosts:
        ip = "" if host.ip is None else f" ip='{address_text(host.ip)}'"
        out.append(f"{inner}<host{ip}>\n")
        out.extend(f"{inner}  <hostname>{name}</hostname>\n" for name in host.hostnames)
        out.append(f"{inner}</host>\n")
    out.append(f"{indent}</dns>\n")
