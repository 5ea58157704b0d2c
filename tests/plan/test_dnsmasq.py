"""What a network's dnsmasq serves: against libvirt's files, by tables, and for any text."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jackfield.document.reader import read_network
from jackfield.errors import InvalidRequest, UnsupportedConfiguration
from jackfield.model.address import (
    Bootp,
    Dhcp,
    DhcpHost,
    DhcpRange,
    LeaseTime,
    LeaseUnit,
    Subnet,
)
from jackfield.model.dns import Dns, DnsForwarder, DnsHost, DnsSrv, DnsTxt, Domain
from jackfield.model.mode import Mode
from jackfield.model.network import Network, Portgroup
from jackfield.model.values import DnsName, InterfaceName, MacAddress, NetworkName, Text
from jackfield.model.vpn import Vpn
from jackfield.plan.dnsmasq import dnsmasq_service
from jackfield.plan.dnsmasq_options import REFUSED
from jackfield.plan.dnsmasq_text import LINE_LIMIT
from jackfield.state.services import Dnsmasq
from tests.corpus import corpus_files

BRIDGE = InterfaceName("virbr0")
RED = UUID("5d1f1a3e-6c1c-4d8e-9d0b-1a2b3c4d5e6f")
V4 = Subnet(address=ipaddress.ip_address("10.1.0.1"), prefix=24)
V6 = Subnet(address=ipaddress.ip_address("fd00:1::1"), prefix=64)
RANGE4 = DhcpRange(start=ipaddress.ip_address("10.1.0.10"), end=ipaddress.ip_address("10.1.0.19"))
RANGE6 = DhcpRange(start=ipaddress.ip_address("fd00:1::10"), end=ipaddress.ip_address("fd00:1::19"))
MAC = MacAddress("52:54:00:00:00:01")


def network(**fields: object) -> Network:
    """Return a NAT network with one IPv4 subnet."""
    values: dict[str, object] = {
        "name": NetworkName("red"),
        "uuid": RED,
        "mode": Mode.NAT,
        "subnets": (V4,),
    }
    return Network(**{**values, **fields})  # type: ignore[arg-type]


def with_dhcp(subnet: Subnet, **fields: object) -> Subnet:
    """Return ``subnet`` with a DHCP service."""
    return msgspec.structs.replace(subnet, dhcp=Dhcp(**fields))  # type: ignore[arg-type]


def serve(**fields: object) -> Dnsmasq:
    """Return the service of a network that needs one."""
    service = dnsmasq_service(network(**fields), BRIDGE, user="nobody")
    assert service is not None
    return service


def lines(text: str, key: str) -> list[str]:
    """Return the values of the lines ``key=VALUE``."""
    return [line.partition("=")[2] for line in text.splitlines() if line.partition("=")[0] == key]


# What libvirt 11.3 writes and what we write, brought to one form.

_NOT_COMPARED = re.compile(
    r"#|pid-file=|log-facility=|user=|except-interface=|bind-|no-hosts$|no-poll$|no-resolv$|"
    r"servers-file=|addn-hosts=|dhcp-hostsfile=|dhcp-optsfile=|dhcp-leasefile=|dhcp-lease-max="
)


def _theirs(conf: str, document: Network) -> tuple[set[str], bool]:
    """Return libvirt's lines in our form, and whether queries go to the host's own servers."""
    found: set[str] = set()
    netmask = {
        str(subnet.address): str(subnet.interface.netmask)
        for subnet in document.subnets
        if subnet.interface is not None
    }
    advertises = any(line.endswith(("ra-only", "enable-ra")) for line in conf.splitlines())
    for line in conf.splitlines():
        key, _, value = line.partition("=")
        if _NOT_COMPARED.match(line) or (key == "ra-param" and not advertises):
            continue
        if key in {"local", "server"}:
            line = f"server {value}"
        elif key == "dhcp-option":
            line = f"option {value}"
        elif line.endswith(",ra-only"):
            line += ",64"
        elif line.endswith(",static"):
            line += "," + netmask[value.partition(",")[0]]
        found.add(line)
    return found, "no-resolv" not in conf.splitlines()


def _ours(service: Dnsmasq) -> set[str]:
    return {
        *(line.replace('"', "") for line in service.config.splitlines() if line),
        *(f"option {line}" for line in service.options.splitlines()),
        *(f"server {line}" for line in service.servers),
    }


@pytest.mark.parametrize(
    "path", corpus_files("libvirt-11.3/dnsmasq/*.xml"), ids=lambda path: path.stem
)
def test_same_meaning_as_libvirt(path: Path) -> None:
    """For each document of libvirt's own tests the service is the one that libvirt starts."""
    document = read_network(path.read_bytes())
    assert document.bridge is not None
    assert document.bridge.name is not None
    service = dnsmasq_service(document, document.bridge.name, user=None)
    if path.stem == "routed-network-no-dns":
        # libvirt writes this file and, having nothing to serve, starts nothing.
        assert service is None
        return
    assert service is not None

    theirs, follows = _theirs(path.with_suffix(".conf").read_text(), document)

    assert theirs == {line for line in _ours(service) if not _NOT_COMPARED.match(line)}
    assert follows == service.follow_resolver
    hosts = path.with_suffix(".hostsfile")
    assert (hosts.read_text() if hosts.exists() else "") == service.hosts


# When there is a service at all.


@pytest.mark.parametrize(
    "fields",
    [
        {"subnets": ()},
        {"mode": Mode.BRIDGE},
        {"dns": Dns(enable=False)},
        {"dns": Dns(enable=False), "subnets": (msgspec.structs.replace(V6, prefix=80),)},
    ],
)
def test_nothing_to_serve(fields: dict[str, object]) -> None:
    """Without subnet, or without any service on it, there is no dnsmasq."""
    assert dnsmasq_service(network(**fields), BRIDGE, user=None) is None


@pytest.mark.parametrize(
    "subnet",
    [
        with_dhcp(V4, ranges=(RANGE4,)),
        with_dhcp(V6, ranges=(RANGE6,)),
        V6,
        msgspec.structs.replace(V4, tftp_root=Text("/srv/tftp")),
    ],
)
def test_service_without_dns(subnet: Subnet) -> None:
    """DHCP, router advertisements and TFTP are served without DNS, which has no port then."""
    service = serve(subnets=(subnet,), dns=Dns(enable=False))

    assert ["0"] == lines(service.config, "port")
    assert "servers-file" not in service.config
    assert not service.follow_resolver


# What a SIGHUP can change is not in the config.


@pytest.mark.parametrize(
    "fields",
    [
        {
            "subnets": (
                with_dhcp(V4, ranges=(RANGE4,), hosts=(DhcpHost(mac=MAC, ip=RANGE4.start),)),
            )
        },
        {"mtu": 1400},
        {"dns": Dns(hosts=(DnsHost(ip=RANGE4.start, hostnames=(DnsName("a"),)),))},
        {"dns": Dns(forwarders=(DnsForwarder(address=RANGE4.start),))},
        {"subnets": (msgspec.structs.replace(with_dhcp(V4, ranges=(RANGE4,)), local_ptr=True),)},
    ],
)
def test_needs_no_restart(fields: dict[str, object]) -> None:
    """Reservations, names, DHCP options and upstream servers leave the config as it is."""
    base: dict[str, object] = {"subnets": (with_dhcp(V4, ranges=(RANGE4,)),)}
    before = serve(**base)
    after = serve(**{**base, **fields})

    assert before.config == after.config
    assert before != after


def test_isolated_to_nat_needs_no_restart() -> None:
    """Without IPv6 even the router option and the way out are SIGHUP's."""
    subnets = (with_dhcp(V4, ranges=(RANGE4,)),)
    isolated = serve(mode=Mode.ISOLATED, subnets=subnets)
    nat = serve(subnets=subnets)

    assert isolated.config == nat.config
    assert ("3\n", "") == (isolated.options, nat.options)
    assert (False, True) == (isolated.follow_resolver, nat.follow_resolver)


# Names and servers.


@pytest.mark.parametrize(
    ("address", "prefix", "zone"),
    [
        ("10.1.2.1", 24, "/2.1.10.in-addr.arpa/"),
        ("10.1.2.1", 16, "/1.10.in-addr.arpa/"),
        ("10.1.2.1", 8, "/10.in-addr.arpa/"),
        ("fd00:1::1", 64, "/0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa/"),
        ("fd00:1::1", 12, "/0.d.f.ip6.arpa/"),
    ],
)
def test_local_ptr(address: str, prefix: int, zone: str) -> None:
    """The reverse zone of the subnet is answered here alone."""
    subnet = Subnet(address=ipaddress.ip_address(address), prefix=prefix, local_ptr=True)

    assert (zone,) == serve(subnets=(subnet,)).servers


@pytest.mark.parametrize(("address", "prefix"), [("10.1.2.1", 25), ("fd00::1", 63)])
def test_local_ptr_between_labels(address: str, prefix: int) -> None:
    """A prefix inside a label has no one reverse zone."""
    subnet = Subnet(address=ipaddress.ip_address(address), prefix=prefix, local_ptr=True)

    with pytest.raises(UnsupportedConfiguration, match="localPtr"):
        serve(subnets=(subnet,))


CORP = DnsName("corp.example")
NINE = ipaddress.ip_address("9.9.9.9")


@pytest.mark.parametrize(
    ("forwarder", "server", "follows"),
    [
        (DnsForwarder(address=NINE), "9.9.9.9", False),
        (DnsForwarder(address=NINE, port=5353), "9.9.9.9#5353", False),
        (DnsForwarder(domain=CORP, address=NINE), "/corp.example/9.9.9.9", True),
        (DnsForwarder(domain=CORP), "/corp.example/#", True),
        (
            DnsForwarder(address=ipaddress.ip_address("2001:db8::1"), port=53),
            "2001:db8::1#53",
            False,
        ),
    ],
)
def test_forwarder(forwarder: DnsForwarder, server: str, follows: bool) -> None:
    """A server for everything stands instead of the host's, one for a domain beside them."""
    service = serve(dns=Dns(forwarders=(forwarder,)))

    assert ((server,), follows) == (service.servers, service.follow_resolver)


def test_vpn_asks_only_through_the_tunnel() -> None:
    """No query goes past the tunnel: not to the host's servers, and to ours by its device."""
    vpn = Vpn(dev=InterfaceName("wg-red"))
    service = serve(vpn=vpn, dns=Dns(forwarders=(DnsForwarder(domain=CORP, address=NINE),)))

    assert (("/corp.example/9.9.9.9@wg-red",), False) == (
        service.servers,
        service.follow_resolver,
    )


def test_domain_that_stays_here() -> None:
    """``localOnly`` and ``forwardPlainNames='no'`` keep queries here."""
    service = serve(domain=Domain(name=CORP, local_only=True), dns=Dns(forward_plain_names=False))

    assert ("/corp.example/", "//") == service.servers
    assert "domain-needed\n" in service.config


def test_many_names_of_one_address() -> None:
    """Names that do not fit on one line get further lines of the same address."""
    names = tuple(DnsName(f"{'n' * 60}{number:03}") for number in range(40))
    service = serve(dns=Dns(hosts=(DnsHost(ip=NINE, hostnames=names),)))

    found = [line.split() for line in service.names.splitlines()]
    assert len(found) > 1
    assert {"9.9.9.9"} == {words[0] for words in found}
    assert list(names) == [name for words in found for name in words[1:]]


# DHCP.


@pytest.mark.parametrize(
    ("host", "subnet", "line"),
    [
        (DhcpHost(mac=MAC), V4, MAC),
        (DhcpHost(mac=MAC, name=DnsName("vm")), V4, f"{MAC},vm"),
        (DhcpHost(name=DnsName("vm"), ip=RANGE4.start), V4, "vm,10.1.0.10"),
        (DhcpHost(id=Text("01:aa"), ip=RANGE4.start), V4, "id:01:aa,10.1.0.10"),
        (DhcpHost(mac=MAC, ip=RANGE6.start), V6, f"{MAC},[fd00:1::10]"),
        (
            DhcpHost(mac=MAC, ip=RANGE4.start, lease=LeaseTime(expiry=2, unit=LeaseUnit.HOURS)),
            V4,
            f"{MAC},10.1.0.10,7200s",
        ),
    ],
)
def test_reservation(host: DhcpHost, subnet: Subnet, line: str) -> None:
    """A reservation is by whatever the document knows the guest by."""
    assert f"{line}\n" == serve(subnets=(with_dhcp(subnet, hosts=(host,)),)).hosts


@pytest.mark.parametrize("name", ["infinite", "ignore", "IGNORE", "45", "45m", "7w"])
def test_host_name_that_dnsmasq_takes_for_something_else(name: str) -> None:
    """A name that would be a lease time or a keyword is refused."""
    host = DhcpHost(mac=MAC, name=DnsName(name))

    with pytest.raises(InvalidRequest, match=name):
        serve(subnets=(with_dhcp(V4, hosts=(host,)),))


@pytest.mark.parametrize("text", ["00:01,ignore", "*", "", "00:0x"])
def test_host_id_that_is_none(text: str) -> None:
    """An id is hexadecimal numbers with colons, and nothing that could mean more."""
    with pytest.raises(InvalidRequest, match="DHCP host id"):
        serve(subnets=(with_dhcp(V4, hosts=(DhcpHost(id=Text(text)),)),))


def test_leases_have_a_limit() -> None:
    """Guests cannot make the lease file as long as a /64 has addresses."""
    whole = DhcpRange(
        start=ipaddress.ip_address("fd00:1::2"), end=ipaddress.ip_address("fd00:1::ffff:ffff:ffff")
    )

    assert ["65535"] == lines(
        serve(subnets=(with_dhcp(V6, ranges=(whole,)),)).config, "dhcp-lease-max"
    )


def test_two_subnets_boot_differently() -> None:
    """With several subnets each range's guests get their own boot file."""
    second = Subnet(address=ipaddress.ip_address("10.2.0.1"), prefix=24)
    range2 = DhcpRange(
        start=ipaddress.ip_address("10.2.0.10"), end=ipaddress.ip_address("10.2.0.19")
    )
    service = serve(
        subnets=(
            with_dhcp(V4, ranges=(RANGE4,), bootp=Bootp(file=Text("a b"))),
            with_dhcp(
                second, ranges=(range2,), bootp=Bootp(file=Text("c"), server=Text("10.2.0.5"))
            ),
        )
    )

    assert [
        "set:subnet0,10.1.0.10,10.1.0.19,255.255.255.0",
        "set:subnet1,10.2.0.10,10.2.0.19,255.255.255.0",
    ] == lines(service.config, "dhcp-range")
    assert ['tag:subnet0,"a b"', "tag:subnet1,c,,10.2.0.5"] == lines(service.config, "dhcp-boot")


@pytest.mark.parametrize(
    ("mode", "mtu", "parameters"),
    [
        (Mode.NAT, None, []),
        (Mode.NAT, 1400, ["*,mtu:1400,0"]),
        (Mode.ISOLATED, None, ["*,0,0"]),
        (Mode.ISOLATED, 1400, ["*,mtu:1400,0,0"]),
    ],
)
def test_router_advertisement(mode: Mode, mtu: int | None, parameters: list[str]) -> None:
    """Isolated networks advertise no router; an MTU of the document is advertised."""
    service = serve(mode=mode, mtu=mtu, subnets=(V6,))

    assert ["fd00:1::1,ra-only,64"] == lines(service.config, "dhcp-range")
    assert parameters == lines(service.config, "ra-param")
    assert not service.serves_dhcp6


@pytest.mark.parametrize(
    "subnets",
    [
        (with_dhcp(msgspec.structs.replace(V6, prefix=48), ranges=(RANGE6,)),),
        (
            msgspec.structs.replace(V4, tftp_root=Text("/a")),
            msgspec.structs.replace(V6, tftp_root=Text("/b")),
        ),
        (msgspec.structs.replace(V4, tftp_root=Text("relative")),),
        (with_dhcp(V4, hosts=(DhcpHost(),)),),
    ],
)
def test_what_dnsmasq_cannot_do(subnets: tuple[Subnet, ...]) -> None:
    """What dnsmasq would refuse at its start is refused before."""
    with pytest.raises(InvalidRequest):
        serve(subnets=subnets)


# Options handed through.


def test_options_come_last() -> None:
    """Options of the document are at the end, so that they win."""
    options = (Text(" log-queries"), Text("cache-size=0"))

    assert serve(dnsmasq_options=options).config.endswith("\nlog-queries\ncache-size=0\n")


def test_no_resolv_is_obeyed() -> None:
    """An option ``no-resolv`` means the host's servers, as it does with libvirt."""
    assert not serve(dnsmasq_options=(Text("no-resolv"),)).follow_resolver


@pytest.mark.parametrize("option", sorted(REFUSED))
@pytest.mark.parametrize("form", ["{}", "{}=/x", " {} = /x"])
def test_dangerous_option(option: str, form: str) -> None:
    """Every option of the table is refused by name, however it is written."""
    with pytest.raises(InvalidRequest, match=f"'{option}' is refused"):
        serve(dnsmasq_options=(Text(form.format(option)),))


@pytest.mark.parametrize(
    "text", ['"dhcp-script"=/x', "--dhcp-script=/x", "dhcp-\\script=/x", "", "# x", "=x", "é"]
)
def test_option_that_is_not_plainly_one(text: str) -> None:
    """What does not begin with a plain name is refused, whatever dnsmasq would make of it."""
    with pytest.raises(InvalidRequest, match="does not begin with the name"):
        serve(dnsmasq_options=(Text(text),))


# Any text.


def _dnsmasq_reads(line: str) -> list[str]:
    """Return the comma-separated fields of a line's value as dnsmasq's parser takes them.

    Independent of the writer: quotes hide commas and ``#``; inside them a backslash goes before
    ``"``, a backslash, and the letters of control characters.
    """
    fields = [""]
    quoted = False
    characters = iter(line.partition("=")[2])
    for character in characters:
        if quoted and character == "\\":
            following = next(characters)
            assert following in '"\\', "an escape that stands for something else"
            fields[-1] += following
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            fields.append("")
        else:
            assert quoted or character != "#", "a comment"
            fields[-1] += character
    assert not quoted
    return fields


_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
texts = st.text(min_size=1, max_size=80).filter(lambda text: not _FORBIDDEN.search(text)).map(Text)
long_texts = st.builds(lambda text, times: Text(text * times), texts, st.integers(1, 60))
_labels = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="."))
txt_names = (
    st.lists(_labels.filter(lambda label: 0 < len(label) <= 63), min_size=1, max_size=3)
    .map(".".join)
    .map(Text)
)


def _with_texts(txt_name: str, txt_value: str, file: str, root: str, service: str) -> Network:
    return network(
        dns=Dns(
            txts=(DnsTxt(name=Text(txt_name), value=Text(txt_value)),),
            srvs=(DnsSrv(service=Text(service), protocol=Text("tcp"), target=CORP),),
        ),
        subnets=(
            msgspec.structs.replace(
                with_dhcp(V4, ranges=(RANGE4,), bootp=Bootp(file=Text(file), server=Text(file))),
                tftp_root=Text(f"/{root}"),
            ),
        ),
    )


@given(txt_names, long_texts, long_texts, long_texts, long_texts)
def test_no_text_adds_a_line(
    name: Text, value: Text, file: Text, root: Text, service: Text
) -> None:
    """Whatever a text holds, it stays one field of its line, exactly as it was, or is refused."""
    plain = dnsmasq_service(_with_texts("a", "a", "a", "a", "a"), BRIDGE, user="nobody")
    assert plain is not None
    try:
        service_ = dnsmasq_service(
            _with_texts(name, value, file, root, service), BRIDGE, user="nobody"
        )
    except InvalidRequest:
        longest = max(len(text.encode()) for text in (name, value, file, root, service))
        assume(longest <= LINE_LIMIT // 5)
        raise
    assert service_ is not None
    found = service_.config.split("\n")
    assert [line.partition("=")[0] for line in plain.config.split("\n")] == [
        line.partition("=")[0] for line in found
    ]
    assert all(len(line.encode()) <= LINE_LIMIT for line in found)
    by_key = {line.partition("=")[0]: _dnsmasq_reads(line) for line in found}
    assert [name, value] == by_key["txt-record"]
    assert [file, "", file] == by_key["dhcp-boot"]
    assert [f"/{root}"] == by_key["tftp-root"]
    assert [f"_{service}._tcp", CORP] == by_key["srv-host"]


@pytest.mark.parametrize(
    "name", [" ", "a b", "\xa0", "é", ".", "a..b", "x" * 64, ".".join(["x" * 63] * 4), "a\n"]
)
def test_txt_name_that_is_none(name: str) -> None:
    """dnsmasq would not start with it, so the definition is refused."""
    with pytest.raises(InvalidRequest, match="<txt> is not a domain name"):
        serve(dns=Dns(txts=(DnsTxt(name=name, value=Text("x")),)))  # type: ignore[arg-type]


@given(st.text(max_size=30))
def test_unvalidated_text_cannot_break_a_line(text: str) -> None:
    """Even a text that no validated type has seen does not get a line of its own."""
    hostile = DnsTxt(name=Text("a"), value=text)  # type: ignore[arg-type]
    try:
        service = serve(dns=Dns(txts=(hostile,)))
    except InvalidRequest:
        return
    assert serve(dns=Dns(txts=(DnsTxt(name=Text("a"), value=Text("a")),))).config.count(
        "\n"
    ) == service.config.count("\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", service.config)


labels = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9_])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=3).map(".".join).map(DnsName)
macs = st.binary(min_size=6, max_size=6).map(lambda octets: MacAddress(octets.hex(":")))
addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@given(
    st.lists(st.builds(DnsHost, ip=addresses, hostnames=st.lists(names).map(tuple)), max_size=3),
    st.lists(
        st.builds(
            DhcpHost,
            mac=macs,
            name=st.none() | names,
            ip=st.none() | st.ip_addresses(v=4),
        ),
        max_size=3,
    ),
    st.lists(st.builds(DnsForwarder, domain=st.none() | names, address=addresses), max_size=3),
    st.none() | names.map(lambda name: Domain(name=name, local_only=True)),
)
def test_reloaded_files_have_a_line_for_each_thing(
    names_: list[DnsHost],
    hosts: list[DhcpHost],
    forwarders: list[DnsForwarder],
    domain: Domain | None,
) -> None:
    """Each reservation and server is one line; names are in the file and nothing else is."""
    try:
        service = serve(
            domain=domain,
            dns=Dns(hosts=tuple(names_), forwarders=tuple(forwarders)),
            subnets=(with_dhcp(V4, ranges=(RANGE4,), hosts=tuple(hosts)),),
        )
    except InvalidRequest:
        assume(not any(re.fullmatch(r"(?i)infinite|ignore|[0-9]+.?", h.name or "") for h in hosts))
        raise

    assert len(hosts) == service.hosts.count("\n")
    assert len(forwarders) + (domain is not None) == len(service.servers)
    assert not any(re.search(r"\s", server) for server in service.servers)
    assert [(str(host.ip), name) for host in names_ for name in host.hostnames] == [
        (line.split()[0], name) for line in service.names.splitlines() for name in line.split()[1:]
    ]


def test_guests_that_are_guarded_are_known_by_their_mac() -> None:
    """A client identifier is what a guest says; on a guarded network nobody listens to it."""
    fields: dict[str, object] = {"subnets": (with_dhcp(V4, ranges=(RANGE4,)),)}
    group = Portgroup(name=Text("gold"), anti_spoofing=True)
    for guarded in {"anti_spoofing": True}, {"portgroups": (group,)}:
        assert "\ndhcp-ignore-clid\n" in serve(**fields, **guarded).config
    assert "dhcp-ignore-clid" not in serve(**fields).config
