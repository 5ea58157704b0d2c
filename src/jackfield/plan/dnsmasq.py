"""A network's dnsmasq: what it serves, as the text of the files it reads.

The meaning is libvirt's for the same document (its page "Network XML format"); the differences
are deliberate:

- bound to the bridge's addresses (``bind-interfaces``) instead of following every address
  change of the host (``bind-dynamic``), and told its upstream servers instead of watching
  ``/etc/resolv.conf``: with hundreds of instances both cost more than the service itself; that a
  query came in through the bridge, which dnsmasq then does not look at, is left to the rules;
- the host's own ``/etc/hosts`` is not served to guests;
- a TXT value with commas stays one string; every free text is quoted.

What dnsmasq reads again on SIGHUP (reservations, names, DHCP options, upstream servers) is kept
out of ``Dnsmasq.config``, so two values with equal ``config`` differ by a SIGHUP at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from jackfield.errors import InternalError, InvalidRequest, UnsupportedConfiguration
from jackfield.model.address import IpInterface
from jackfield.model.dns import Dns, DnsForwarder, DnsSrv
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName
from jackfield.plan.dnsmasq_dhcp import (
    Served,
    advertising_lines,
    dhcp4_lines,
    dhcp6_lines,
    option_lines,
    reservation,
)
from jackfield.plan.dnsmasq_options import check_option
from jackfield.plan.dnsmasq_text import LINE_LIMIT, checked_line, file_text, quoted
from jackfield.plan.guard import guards_any
from jackfield.state.services import Dnsmasq

__all__ = ["dnsmasq_service", "may_be_refused", "served_ports"]

_LEASE_LIMIT = 65535
"""Leases at most: guests decide how many there are, and the lease file is rewritten whole.

The ranges are the limit where they are shorter.  This one is not less for them: dnsmasq does not
start with more leases than it may have, and those of a range that was longer are still there.
"""

_TXT_NAME = re.compile(r"(?=.{1,253}\Z)[!-\-/-~]{1,63}(\.[!-\-/-~]{1,63})*\.?")


def served_ports(network: Network) -> list[tuple[str, int]]:
    """Return where dnsmasq answers whoever reaches the bridge's addresses: protocol and port.

    That is DNS and TFTP.  DHCP is not among them: its sockets are bound to the bridge itself.
    """
    if not network.mode.is_routed or all(item.interface is None for item in network.subnets):
        return []
    ports = [("udp", 53), ("tcp", 53)] if _serves_dns(network) else []
    if any(subnet.tftp_root for subnet in network.subnets):
        ports.append(("udp", 69))
    return ports


def dnsmasq_service(network: Network, bridge: InterfaceName, *, user: str | None) -> Dnsmasq | None:
    """Return the dnsmasq that ``network`` needs on ``bridge``, or ``None``.

    It needs one if it has a subnet and serves DNS (on unless disabled), DHCP, TFTP or router
    advertisements.  ``user`` is whom dnsmasq changes to; ``None`` leaves that to dnsmasq.

    Raises ``InvalidRequest`` for an option that is refused or a text that dnsmasq would read
    as something else.
    """
    if not network.mode.is_routed:
        return None
    subnets = [
        (subnet, subnet.interface) for subnet in network.subnets if subnet.interface is not None
    ]
    if not subnets:
        return None
    dns = network.dns or Dns()
    serves_dns = _serves_dns(network)
    served: list[Served] = [
        (subnet, interface, subnet.dhcp)
        for subnet, interface in subnets
        if subnet.dhcp is not None and (subnet.dhcp.ranges or subnet.dhcp.hosts)
    ]
    dhcp4 = [item for item in served if item[1].version == 4]
    dhcp6 = [item for item in served if item[1].version == 6]
    advertising = list(advertising_lines(network, [item[1] for item in subnets], bool(dhcp6)))
    tftp = list(_tftp(network))
    if not (serves_dns or served or advertising or tftp):
        return None
    if network.uuid is None:
        raise InternalError(f"network {network.name!r} has no uuid yet")
    _check_domain(network)
    options = [check_option(option) for option in network.dnsmasq_options]
    config = [
        *_process(bridge, [item[1] for item in subnets], user),
        *(_names(network, dns) if serves_dns else ["port=0"]),
        *tftp,
    ]
    if served:
        config += ["dhcp-hostsfile=@DIR@/hosts", "dhcp-optsfile=@DIR@/options"]
        config.append(f"dhcp-leasefile=@STATE@/{network.uuid}.leases")
        config += dhcp4_lines(dhcp4)
        if dhcp4 and guards_any(network):
            # A client's identifier is what it says; its MAC is what its guard has checked.
            config.append("dhcp-ignore-clid")
        config += dhcp6_lines(dhcp6)
        config.append(f"dhcp-lease-max={_LEASE_LIMIT}")
    config += advertising
    config += options
    return Dnsmasq(
        network=network.uuid,
        bridge=bridge,
        config=file_text(config),
        hosts=file_text(
            reservation(host, item[1].version) for item in served for host in item[2].hosts
        ),
        names=file_text(_host_names(dns)) if serves_dns else "",
        options=file_text(option_lines(network)) if dhcp4 else "",
        servers=tuple(map(checked_line, _servers(network, dns))) if serves_dns else (),
        follow_resolver=serves_dns and "no-resolv" not in options and _follows(network, dns),
        serves_dhcp4=bool(dhcp4),
        serves_dhcp6=bool(dhcp6),
    )


def may_be_refused(network: Network) -> bool:
    """Tell whether ``dnsmasq_service`` might refuse a network: it holds texts, or prefixes of IPv6.

    Of most there is nothing but addresses and ranges that dnsmasq is told of.
    """
    if network.dns is not None or network.domain is not None or network.dnsmasq_options:
        return True
    for subnet in network.subnets:
        if subnet.tftp_root is not None or subnet.local_ptr:
            return True
        dhcp = subnet.dhcp
        if dhcp is not None and (
            dhcp.hosts
            or dhcp.bootp is not None
            or subnet.address is None
            or subnet.address.version == 6
        ):
            return True
    return False


def _serves_dns(network: Network) -> bool:
    return network.dns is None or network.dns.enable is not False


def _check_domain(network: Network) -> None:
    """Refuse what would have the host and dnsmasq ask each other for ever."""
    domain = network.domain
    if domain is not None and domain.register and not domain.local_only:
        raise InvalidRequest(
            f"<domain name='{domain.name}' register='yes'> has the host ask dnsmasq, which would "
            "ask the host in turn",
            hint="add localOnly='yes', so that dnsmasq answers alone",
        ).in_libvirt(
            "attribute 'register=yes' in <domain> element requires 'localOnly=yes' in network "
            f"{network.name}",
            code=67,
        )


def _process(
    bridge: InterfaceName, interfaces: Iterable[IpInterface], user: str | None
) -> Iterator[str]:
    """Yield how the process runs and what it is bound to."""
    yield "pid-file=@DIR@/pid"
    yield "log-facility=-"
    if user is not None:
        yield f"user={quoted(user)}"
    yield "bind-interfaces"
    # Its sockets are bound to the addresses of its start: others mean another process.
    yield f"# serves {', '.join(map(str, interfaces))}"
    yield f"interface={bridge}"
    yield "except-interface=lo"
    yield "no-hosts"
    yield "no-poll"
    yield "no-resolv"
    yield "strict-order"


def _names(network: Network, dns: Dns) -> Iterator[str]:
    """Yield what the DNS service answers, beyond names and servers (files of their own)."""
    yield "servers-file=@DIR@/servers"
    yield "addn-hosts=@DIR@/names"
    if network.domain is not None:
        yield f"domain={network.domain.name}"
        yield "expand-hosts"
    if dns.forward_plain_names is False:
        yield "domain-needed"
    for txt in dns.txts:
        value = "" if txt.value is None else f",{quoted(txt.value)}"
        yield f"txt-record={quoted(_txt_name(txt.name))}{value}"
    for srv in dns.srvs:
        yield from _srv(srv)


def _txt_name(name: str) -> str:
    """Return the name of a TXT record if dnsmasq takes it for one, and as it is meant."""
    if not _TXT_NAME.fullmatch(name):
        raise InvalidRequest(
            f"the name {name[:64]!r} of a DNS <txt> is not a domain name",
            hint="labels of 1 to 63 printable ASCII characters with dots between; other letters "
            "as in xn--…",
        )
    return name


def _srv(srv: DnsSrv) -> Iterator[str]:
    """Yield a SRV record; the manual page gives its defaults: port 1, the others 0."""
    if srv.service is None or srv.protocol is None:
        return
    name = f"_{srv.service}._{srv.protocol}"
    if srv.domain is not None:
        name += f".{srv.domain}"
    fields = [quoted(name)]
    if srv.target is not None:
        fields.append(srv.target)
        numbers = [srv.port, srv.priority, srv.weight]
        while numbers and numbers[-1] is None:
            numbers.pop()
        for number, default in zip(numbers, (1, 0, 0), strict=False):
            fields.append(str(default if number is None else number))
    yield f"srv-host={','.join(fields)}"


def _servers(network: Network, dns: Dns) -> Iterator[str]:
    """Yield the upstream servers, as ``server=`` takes them (``/DOMAIN/ADDRESS#PORT``).

    A domain without address is answered here or not at all; ``#`` means the usual servers.
    """
    for forwarder in dns.forwarders:
        if forwarder.domain is not None or forwarder.address is not None:
            yield _forwarder(network, forwarder)
    if network.domain is not None and network.domain.local_only:
        yield f"/{network.domain.name}/"
    if dns.forward_plain_names is False:
        yield "//"
    for subnet in network.subnets:
        if subnet.local_ptr and subnet.interface is not None:
            yield f"/{_reverse_zone(subnet.interface)}/"


def _forwarder(network: Network, forwarder: DnsForwarder) -> str:
    domain = "" if forwarder.domain is None else f"/{forwarder.domain}/"
    if forwarder.address is None:
        return f"{domain}#"
    port = "" if forwarder.port is None else f"#{forwarder.port}"
    device = "" if network.vpn is None or network.vpn.dev is None else f"@{network.vpn.dev}"
    return f"{domain}{forwarder.address}{port}{device}"


def _follows(network: Network, dns: Dns) -> bool:
    """Whether queries go to the host's own servers.

    Not from an isolated network, for which they would be a way out; not past a VPN; and not
    where the document names servers for everything.
    """
    named = any(item.domain is None and item.address is not None for item in dns.forwarders)
    return network.mode is not Mode.ISOLATED and network.vpn is None and not named


def _reverse_zone(interface: IpInterface) -> str:
    """Return the zone of PTR records of a subnet (RFC 1035 3.5, RFC 3596 2.5).

    Raises ``UnsupportedConfiguration`` where the prefix is not on the border of a label.
    """
    network = interface.network
    bits = 8 if network.version == 4 else 4
    if network.prefixlen == 0 or network.prefixlen % bits:
        raise UnsupportedConfiguration(
            f"localPtr is set for {network}, and there is no one reverse zone for a prefix "
            f"that is not a multiple of {bits}",
            hint="choose another prefix, or leave out localPtr",
        )
    labels = network.network_address.reverse_pointer.split(".")
    return ".".join(labels[(network.max_prefixlen - network.prefixlen) // bits :])


def _host_names(dns: Dns) -> Iterator[str]:
    """Yield lines of the names file (``hosts(5)``), several where one would be too long."""
    for host in dns.hosts:
        line = ""
        for name in host.hostnames if host.ip is not None else ():
            if line and len(line) + 1 + len(name) > LINE_LIMIT:
                yield line
                line = ""
            line = f"{line or host.ip} {name}"
        if line:
            yield line


def _tftp(network: Network) -> Iterator[str]:
    """Yield the TFTP service: one directory for the whole network."""
    roots = sorted({subnet.tftp_root for subnet in network.subnets if subnet.tftp_root})
    if not roots:
        return
    if len(roots) > 1:
        raise UnsupportedConfiguration(
            f"network {network.name!r} has two TFTP roots, {roots[0]!r} and {roots[1]!r}",
            hint="a network serves one directory, whichever <ip> names it",
        )
    if not roots[0].startswith("/"):
        raise InvalidRequest(f"TFTP root {roots[0]!r} is not an absolute path")
    yield "enable-tftp"
    yield f"tftp-root={quoted(roots[0])}"
