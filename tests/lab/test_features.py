"""Every word of a routed network's document, seen from its guests and from outside.

::

    second  192.0.2.2 ─┐
    outside 192.0.2.1 ─┴─ LAN ── eth0 192.0.2.10   host   virbr-red ── guests
    203.0.113.1, 2001:db8:ffff::1                         10.0.0.1, fd00::1 and others

A name server runs on outside and on second.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Uplink
from tests.lab.daemon import Daemon
from tests.lab.dns import Answer, resolve
from tests.lab.flow import EchoServer, transfer
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.nameserver import NameServer
from tests.lab.packets import ask_udp, ping
from tests.lab.switch import Lan, add_address
from tests.lab.troubles import problem, told
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

DNSMASQ = "xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'"
NO_PING = "<dnsmasq:option value='no-ping'/>"
"""dnsmasq would look for 3 s whether somebody has an address."""


class Site:
    """A host with a daemon, where networks are applied and guests plugged in."""

    def __init__(self, host: Host, daemon: Daemon) -> None:
        """Begin with nothing."""
        self.host = host
        self.daemon = daemon

    def apply(
        self,
        inside: str,
        *,
        forward: str = "<forward mode='nat'/>",
        name: str = "red",
        ping: bool = False,
    ) -> Any:
        """Apply a network with these elements; its bridge has no spanning tree unless said.

        With ``ping`` its dnsmasq looks whether somebody has an address before it offers it.
        """
        bridge = "" if "<bridge" in inside else f"<bridge name='virbr-{name}' stp='off' delay='0'/>"
        if not ping and "<dnsmasq:options>" not in inside:
            inside += f"<dnsmasq:options>{NO_PING}</dnsmasq:options>"
        return self.daemon.cli(
            "apply",
            self.daemon.document(
                f"<network {DNSMASQ}><name>{name}</name>{forward}{bridge}{inside}</network>"
            ),
            json=True,
        )

    def plug(
        self, name: str, mac: str | None = None, network: str = "red", *, slaac: bool = True
    ) -> Guest:
        """Make a guest with eth0 on a network, without an address."""
        guest = self.host.guest(name)
        if not slaac:
            guest.set_sysctl("net/ipv6/conf/default/accept_ra", "0")
        self.daemon.cli(
            *("attach", network, "--netns", name, "--ifname", "eth0"),
            *([] if mac is None else ["--mac", mac]),
        )
        return guest

    def static(self, guest: Guest, *addresses: str, via: str | None = None) -> None:
        """Give a guest's eth0 addresses, and a default route."""
        for address in addresses:
            add_address(guest, "eth0", address)
        if via is not None:
            guest.run(["ip", "route", "replace", "default", "via", via])


@pytest.fixture
def site(host: Host, uplink: Uplink) -> Iterator[Site]:
    """Give a host on the LAN with a daemon."""
    assert uplink.address4 == "192.0.2.10"
    host.use_name_servers("192.0.2.1")
    with Daemon(host) as daemon:
        yield Site(host, daemon)


@pytest.fixture
def second(lan: Lan) -> Iterator[Host]:
    """Give another machine outside."""
    with lan.outside("192.0.2.2/24", name="second") as machine:
        yield machine


def records(answer: Answer | None) -> tuple[str, ...]:
    """Return the records of an answer that must have come."""
    assert answer is not None
    return answer.records


def mac(number: int) -> str:
    """Return the address of a guest."""
    return f"52:54:00:00:00:{number:02x}"


def test_a_range_without_a_free_address(site: Site) -> None:
    """A guest that gets none is told of; that the range is in use to the last address is not."""
    inside = (
        "<ip address='10.0.0.1' netmask='255.255.255.0'><dhcp>"
        "<range start='10.0.0.10' end='10.0.0.11'/></dhcp></ip>"
    )
    site.apply(inside)
    anna, bert, carl = (site.plug(name, mac(n)) for n, name in enumerate(("a", "b", "c"), 1))
    assert anna.dhcp4() is not None
    assert bert.dhcp4() is not None
    assert "" == problem(site.daemon)
    assert carl.dhcp4(seconds=2) is None
    said = wait_for(lambda: problem(site.daemon), 5, "the network to say so")
    assert f"DHCP had no address for {mac(3)}" in said
    assert "10.0.0.10 to 10.0.0.11" in said
    assert ["network-problem"] == [event["type"] for event in told(site.daemon)]
    # Nobody has got one since.
    assert anna.dhcp4() is not None
    assert said == problem(site.daemon)
    # What is used without a lease is not given either, and a restart forgets nothing of it.
    site.apply(inside.replace("0.11'", "0.12'"), ping=True)
    site.daemon.restart()
    assert "" == problem(site.daemon)
    site.static(anna, "10.0.0.12/24")
    assert carl.dhcp4(seconds=6) is None
    assert f"for {mac(3)}" in wait_for(lambda: problem(site.daemon), 5, "it to say so again")
    anna.run(["ip", "addr", "del", "10.0.0.12/24", "dev", "eth0"])
    assert carl.dhcp4() is not None
    wait_for(lambda: not problem(site.daemon), 5, "the network to be well")


def test_several_subnets(site: Site, outside: Host) -> None:
    """The bridge has every address; guests of every subnet get out; SLAAC offers each prefix."""
    site.apply(
        "<ip address='10.0.0.1' netmask='255.255.255.0'>"
        "<dhcp><range start='10.0.0.100' end='10.0.0.199'/></dhcp></ip>"
        "<ip address='172.16.5.1' prefix='28'/>"
        "<ip family='ipv6' address='fd00::1' prefix='64'/>"
        "<ip family='ipv6' address='fd00:0:0:2::1' prefix='64'/>",
        forward="<forward mode='nat'><nat ipv6='yes'/></forward>",
    )
    found = {
        f"{info['local']}/{info['prefixlen']}"
        for (link) in site.host.ip("address", "show", "dev", "virbr-red", "scope", "global")
        for info in link["addr_info"]
    }
    assert {"10.0.0.1/24", "172.16.5.1/28", "fd00::1/64", "fd00:0:0:2::1/64"} == found
    anna, bert = site.plug("anna"), site.plug("bert")
    lease = anna.dhcp4()
    assert lease is not None
    assert ("10.0.0.1", 24) == (lease.router, lease.prefix)
    site.static(bert, "172.16.5.2/28", via="172.16.5.1")
    wait_for(
        lambda: (
            {"fd00::/64", "fd00:0:0:2::/64"}
            <= {str(ipaddress.ip_interface(address).network) for address in anna.addresses()}
        ),
        10,
        "an address of each prefix",
    )
    with EchoServer(outside) as server:
        for guest in (anna, bert):
            assert ask_udp(guest, "203.0.113.1", 7, tries=3) is not None
        assert ask_udp(anna, "2001:db8:ffff::1", 7, tries=3) is not None
        assert {"192.0.2.10", "2001:db8:1::10"} == server.sources()
    assert ping(bert, lease.address, tries=3) is not None


def test_dhcp(site: Site) -> None:
    """Ranges, reservations by MAC, name and DUID, lease times, boot files and options."""
    tftp = site.host.file("/run/lab/tftp")
    tftp.mkdir()
    content = "boot me\n" * 2000
    (tftp / "boot file").write_text(content)
    # DUID-LL (RFC 8415, 11.4) of an Ethernet address.
    duid = bytes([0, 3, 0, 1]) + bytes.fromhex(mac(4).replace(":", ""))
    site.apply(
        "<mtu size='1400'/><domain name='red.example'/>"
        "<ip address='10.0.0.1' netmask='255.255.255.0'>"
        "<tftp root='/run/lab/tftp'/>"
        "<dhcp>"
        "<range start='10.0.0.100' end='10.0.0.100'><lease expiry='5' unit='minutes'/></range>"
        f"<host mac='{mac(1)}' name='anna' ip='10.0.0.7'><lease expiry='0'/></host>"
        "<host name='bert' ip='10.0.0.8'><lease expiry='3' unit='hours'/></host>"
        "<bootp file='boot file' server='10.0.0.1'/>"
        "</dhcp></ip>"
        "<ip family='ipv6' address='fd00::1' prefix='64'>"
        "<dhcp><range start='fd00::100' end='fd00::1ff'/>"
        f"<host id='{duid.hex(':')}' name='dora' ip='fd00::d'/></dhcp></ip>"
        "<dnsmasq:options><dnsmasq:option value='dhcp-option=option:ntp-server,10.0.0.9'/>"
        f"{NO_PING}</dnsmasq:options>"
    )
    anna, bert, carl, dora = (
        site.plug(name, mac(number))
        for number, name in enumerate(("anna", "bert", "carl", "dora"), start=1)
    )
    lease = anna.dhcp4(options=["ntpsrv", "bootfile", "mtu"])
    assert lease is not None
    assert ("10.0.0.7", 0xFFFFFFFF) == (lease.address, lease.lease)
    assert ("10.0.0.1", ("10.0.0.1",), "red.example") == (lease.router, lease.dns, lease.domain)
    assert "10.0.0.9" == lease.options["ntpsrv"]
    assert "boot file" == lease.options["boot_file"]
    assert "10.0.0.1" == lease.options["siaddr"]
    assert "1400" == lease.options["mtu"]
    lease = bert.dhcp4(hostname="bert")
    assert lease is not None
    assert ("10.0.0.8", 3 * 3600) == (lease.address, lease.lease)
    lease = carl.dhcp4()
    assert lease is not None
    assert ("10.0.0.100", 5 * 60) == (lease.address, lease.lease)
    # The range has one address, and it is carl's.
    assert dora.dhcp4(seconds=1) is None
    octets = "".join(f"\\{octet:03o}" for octet in duid)
    site.host.file("/run/lab/dora-eth0.leases").write_text(f'default-duid "{octets}";\n')
    lease6 = dora.dhcp6()
    assert lease6 is not None
    assert "fd00::d" == lease6.address
    assert ("fd00::1",) == lease6.dns
    lease6 = carl.dhcp6()
    assert lease6 is not None
    assert lease6.address.startswith("fd00::1")
    leases = {item["address"]: item for item in site.daemon.cli("leases", "red", json=True)}
    assert {"10.0.0.7", "10.0.0.8", "10.0.0.100", "fd00::d", lease6.address} == set(leases)
    assert not leases["10.0.0.7"]["expires"]
    carl.run(["busybox", "tftp", "-g", "-r", "boot file", "-l", "/run/lab/fetched", "10.0.0.1"])
    assert content == site.host.file("/run/lab/fetched").read_text()
    # Nothing but that folder is served.
    for path in ("../jackfield/api.sock", "/etc/passwd"):
        stolen = carl.run(
            ["busybox", "tftp", "-g", "-r", path, "-l", "/run/lab/stolen", "10.0.0.1"],
            check=False,
        )
        assert 0 != stolen.returncode


def test_dns(site: Site, outside: Host, second: Host) -> None:
    """Names of the document and of guests are answered, the others by whom the document names."""
    upstream = {"upstream.example": "203.0.113.9", "plain": "203.0.113.10"}
    with (
        NameServer(outside, upstream) as general,
        NameServer(second, {"www.corp.example": "203.0.113.20"}) as special,
    ):
        site.apply(
            "<domain name='red.example' localOnly='yes'/>"
            "<dns forwardPlainNames='no'>"
            "<forwarder domain='corp.example' addr='192.0.2.2'/>"
            "<forwarder addr='192.0.2.1'/>"
            "<txt name='note.red.example' value='one, two, &quot;three&quot;'/>"
            "<srv service='ldap' protocol='tcp' domain='red.example' target='anna.red.example' "
            "port='389' priority='10' weight='5'/>"
            "<host ip='10.0.0.77'><hostname>printer</hostname><hostname>scanner</hostname></host>"
            "<host ip='fd00::77'><hostname>printer</hostname></host>"
            "</dns>"
            "<ip address='10.0.0.1' netmask='255.255.255.0' localPtr='yes'>"
            "<dhcp><range start='10.0.0.100' end='10.0.0.199'/>"
            f"<host mac='{mac(1)}' name='anna' ip='10.0.0.7'/></dhcp></ip>"
            "<ip family='ipv6' address='fd00::1' prefix='64'/>"
        )
        anna = site.plug("anna", mac(1))
        assert anna.dhcp4() is not None

        def ask(name: str, kind: str = "A") -> Answer | None:
            return resolve(anna, name, "10.0.0.1", kind)

        for name, kind, wanted in (
            ("anna.red.example", "A", ("10.0.0.7",)),
            ("anna", "A", ("10.0.0.7",)),
            ("10.0.0.7", "PTR", ("anna.red.example",)),
            ("printer", "A", ("10.0.0.77",)),
            ("scanner.red.example", "A", ("10.0.0.77",)),
            ("printer.red.example", "AAAA", ("fd00::77",)),
            ("note.red.example", "TXT", ('one, two, "three"',)),
            ("_ldap._tcp.red.example", "SRV", ("10 5 389 anna.red.example",)),
            ("upstream.example", "A", ("203.0.113.9",)),
            ("www.corp.example", "A", ("203.0.113.20",)),
        ):
            assert wanted == records(ask(name, kind)), (name, kind)
        # These must stay here: a name of the domain, a plain one, an address of the subnet.
        for name, kind in (
            ("nobody.red.example", "A"),
            ("plain", "A"),
            ("10.0.0.99", "PTR"),
        ):
            assert () == records(ask(name, kind)), name
        assert {"upstream.example"} == {name for name, _ in general.asked()}
        assert {("www.corp.example", "192.0.2.10")} == set(special.asked())


def test_names_are_asked_where_the_host_asks(site: Site, outside: Host, second: Host) -> None:
    """Guests follow a change of the host's own name servers, without a restart of anything."""
    with (
        NameServer(outside, {"upstream.example": "203.0.113.1", "plain": "203.0.113.3"}),
        NameServer(second, {"upstream.example": "203.0.113.2"}),
    ):
        site.apply(
            "<ip address='10.0.0.1' netmask='255.255.255.0'/>"
            "<ip family='ipv6' address='fd00::1' prefix='64'/>"
        )
        anna = site.plug("anna")
        site.static(anna, "10.0.0.2/24", "fd00::2/64")
        (server,) = site.host.processes("dnsmasq")
        for address in ("10.0.0.1", "fd00::1"):
            assert ("203.0.113.1",) == records(resolve(anna, "upstream.example", address))
        # Without a word about it plain names are passed on, as libvirt does.
        assert ("203.0.113.3",) == records(resolve(anna, "plain", "10.0.0.1"))
        site.host.use_name_servers("192.0.2.2")
        wait_for(
            lambda: ("203.0.113.2",) == records(resolve(anna, "upstream.example", "10.0.0.1")),
            10,
            "the answer of the other server",
        )
        assert [server] == site.host.processes("dnsmasq")
        # The network's own service may be turned off; DHCP and the rest stay.
        site.apply(
            "<dns enable='no'/>"
            "<ip address='10.0.0.1' netmask='255.255.255.0'>"
            "<dhcp><range start='10.0.0.100' end='10.0.0.199'/></dhcp></ip>"
        )
        lease = anna.dhcp4()
        assert lease is not None
        assert () == lease.dns
        assert resolve(anna, "upstream.example", "10.0.0.1", timeout=0.3, tries=1) is None


def test_an_isolated_network_asks_nobody(site: Site, outside: Host) -> None:
    """Its own names are answered; a question is no way out, and there is no router."""
    with NameServer(outside, {"upstream.example": "203.0.113.1"}) as general:
        site.apply(
            "<domain name='red.example'/>"
            "<ip address='10.0.0.1' netmask='255.255.255.0'>"
            "<dhcp><range start='10.0.0.100' end='10.0.0.199'/></dhcp></ip>",
            forward="",
        )
        anna = site.plug("anna")
        lease = anna.dhcp4(hostname="anna")
        assert lease is not None
        assert lease.router is None
        assert (lease.address,) == records(resolve(anna, "anna.red.example", "10.0.0.1"))
        assert () == records(resolve(anna, "upstream.example", "10.0.0.1"))
        assert [] == general.asked()


def test_static_routes(site: Site, outside: Host) -> None:
    """A subnet behind a guest is reached by the others, and reaches the outside, hidden."""
    site.apply(
        "<ip address='10.0.0.1' netmask='255.255.255.0'/>"
        "<ip family='ipv6' address='fd00::1' prefix='64'/>"
        "<route address='10.77.0.0' prefix='16' gateway='10.0.0.2'/>"
        "<route family='ipv6' address='fd77::' prefix='32' gateway='fd00::2' metric='7'/>",
        forward="<forward mode='nat'><nat ipv6='yes'/></forward>",
    )
    (route,) = site.host.ip("-6", "route", "show", "fd77::/32")
    assert ("fd00::2", 7) == (route["gateway"], route["metric"])
    router, anna = (site.plug(name, slaac=False) for name in ("router", "anna"))
    behind = site.host.guest("behind")
    site.static(router, "10.0.0.2/24", "fd00::2/64", via="10.0.0.1")
    site.static(anna, "10.0.0.3/24", "fd00::3/64", via="10.0.0.1")
    for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        router.set_sysctl(name, "1")
    for guest in (router, anna):
        guest.run(["ip", "-6", "route", "replace", "default", "via", "fd00::1", "metric", "1"])
    site.host.run(
        [
            *("ip", "-n", "router", "link", "add", "eth1", "up", "type", "veth"),
            *("peer", "name", "eth0", "netns", "behind"),
        ]
    )
    behind.run(["ip", "link", "set", "eth0", "up"])
    for where, link, addresses in (
        (router, "eth1", ("10.77.5.1/24", "fd77::1/64")),
        (behind, "eth0", ("10.77.5.2/24", "fd77::2/64")),
    ):
        for address in addresses:
            add_address(where, link, address)
    for gateway in ("10.77.5.1", "fd77::1"):
        behind.run(["ip", "route", "add", "default", "via", gateway])
    with EchoServer(behind) as server, EchoServer(outside) as far:
        for address in ("10.77.5.2", "fd77::2"):
            assert ask_udp(anna, address, 7, tries=5) is not None, address
        assert {"10.0.0.3", "fd00::3"} == server.sources()
        for address in ("203.0.113.1", "2001:db8:ffff::1"):
            assert ask_udp(behind, address, 7, tries=5) is not None, address
        assert {"192.0.2.10", "2001:db8:1::10"} == far.sources()


def test_addresses_and_ports_of_nat(site: Site, outside: Host) -> None:
    """The outside sees the addresses and ports that ``<nat>`` names, and no others."""
    site.apply(
        "<ip address='10.0.0.1' netmask='255.255.255.0'/>",
        forward="<forward mode='nat'><nat><address start='198.51.100.8' end='198.51.100.9'/>"
        "<port start='5000' end='5007'/></nat></forward>",
    )
    outside.run(["ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.10"])
    anna = site.plug("anna")
    site.static(anna, "10.0.0.2/24", via="10.0.0.1")
    with EchoServer(outside) as server:
        for number in range(6):
            source_port = 30000 + number
            assert ask_udp(anna, "203.0.113.1", 7, tries=5, source_port=source_port) is not None
        seen = server.seen("udp")
        assert {one.address for one in seen} <= {"198.51.100.8", "198.51.100.9"}
        assert {one.port for one in seen} <= set(range(5000, 5008))
    # Now one address and no ports: unprivileged ones.
    site.apply(
        "<ip address='10.0.0.1' netmask='255.255.255.0'/>",
        forward="<forward mode='nat'><nat><address start='198.51.100.20' end='198.51.100.20'/>"
        "</nat></forward>",
    )
    with EchoServer(outside) as server:
        assert ask_udp(anna, "203.0.113.1", 7, tries=5, source_port=88) is not None
        (one, *_) = server.seen("udp")
        assert "198.51.100.20" == one.address
        assert 1024 <= one.port


def test_links(site: Site) -> None:
    """MTU, spanning tree and hardware address of the bridge, and isolated ports."""
    inside = (
        "<bridge name='virbr-red' stp='on' delay='7'/><mtu size='9000'/>"
        "<mac address='52:54:00:11:22:33'/><port isolated='yes'/>"
        "<ip address='10.0.0.1' netmask='255.255.255.0'/>"
        "<ip family='ipv6' address='fd00::1' prefix='64'/>"
    )
    site.apply(inside)
    # Forwarding begins after twice the delay with a spanning tree, so the guests have none.
    site.apply(inside.replace("stp='on' delay='7'", "stp='off'"))
    anna, bert = site.plug("anna"), site.plug("bert")
    site.static(anna, "10.0.0.2/24", "fd00::2/64")
    site.static(bert, "10.0.0.3/24", "fd00::3/64")
    for guest in (anna, bert):
        for gateway in ("10.0.0.1", "fd00::1"):
            assert ping(guest, gateway, tries=5) is not None
    for address in ("10.0.0.3", "fd00::3"):
        assert ping(anna, address, timeout=0.3) is None
    state = bridge_state(site.host, "virbr-red")
    assert ("52:54:00:11:22:33", 9000, 0) == (state["address"], state["mtu"], state["stp"])
    for port in site.daemon.cli("ports", json=True):
        link = site.host.link(port["device"])
        assert link is not None
        assert 9000 == link["mtu"]
        assert link["linkinfo"]["info_slave_data"]["isolated"]
    (link,) = anna.ip("link", "show", "dev", "eth0")
    assert 9000 == link["mtu"]
    # A router advertisement tells the MTU, too (RFC 4861, 4.6.4).
    wait_for(lambda: anna.sysctl("net/ipv6/conf/eth0/mtu") == "9000", 5, "the MTU")
    site.apply(inside)
    state = bridge_state(site.host, "virbr-red")
    assert (1, 700) == (state["stp"], state["forward_delay"])


def bridge_state(host: Host, name: str) -> dict[str, Any]:
    """Return what the kernel says of a bridge."""
    link = host.link(name)
    assert link is not None
    data = link["linkinfo"]["info_data"]
    return {
        "address": link["address"],
        "mtu": link["mtu"],
        "stp": data["stp_state"],
        "forward_delay": data["forward_delay"],
    }


def test_what_is_generated_stays(site: Site) -> None:
    """Bridge name, uuid and hardware address are the same after restarts of everything."""
    document = site.daemon.document(
        "<network><name>blue</name><forward/><ip address='10.8.0.1' prefix='24'/></network>"
    )
    site.daemon.cli("apply", document)
    shown = site.daemon.cli("show", "blue")
    before = bridge_state(site.host, "virbr0")
    assert before["address"].startswith("52:54:00:")
    assert before["address"] in shown
    site.daemon.cli("stop", "blue")
    site.daemon.cli("start", "blue")
    assert before == bridge_state(site.host, "virbr0")
    site.daemon.restart()
    site.daemon.cli("define", document)
    assert shown == site.daemon.cli("show", "blue")
    assert {"steps": []} == site.daemon.cli("plan", "blue", json=True)
    assert before == bridge_state(site.host, "virbr0")


@pytest.mark.parametrize("ipv6", [False, True])
def test_ipv6_without_addresses(site: Site, ipv6: bool) -> None:
    """``ipv6='yes'`` leaves the bridge its IPv6 where the network has no such address."""
    word = " ipv6='yes'" if ipv6 else ""
    site.daemon.cli(
        "apply",
        site.daemon.document(
            f"<network{word}><name>red</name><bridge name='virbr-red' stp='off'/>"
            "<ip address='10.0.0.1' prefix='24'/></network>"
        ),
    )
    assert str(int(not ipv6)) == site.host.sysctl("net/ipv6/conf/virbr-red/disable_ipv6")
    anna, bert = site.plug("anna", slaac=False), site.plug("bert", slaac=False)
    for guest, number in ((anna, 2), (bert, 3)):
        site.static(guest, f"fd00::{number}/64", f"10.0.0.{number}/24")
    # Between guests the bridge carries what it is given.
    assert ping(anna, "fd00::3", tries=5) is not None
    link_local = [
        info["local"]
        for link in site.host.ip("-6", "address", "show", "dev", "virbr-red")
        for info in link["addr_info"]
    ]
    assert ipv6 is bool(link_local)
    site.apply("<ip address='10.9.0.1' prefix='24'/>", name="other")


# Bytes in so many seconds; an unlimited transfer is at least ten times as much.
RATE, SECONDS = 256 * 1024, 3.0


def test_bandwidth(site: Site) -> None:
    """Inbound is what the guests together receive, outbound what they together send."""
    plain = "<ip address='10.0.0.1' netmask='255.255.255.0'/>"
    site.apply(plain)
    anna, bert = site.plug("anna"), site.plug("bert")
    for number, guest in ((2, anna), (3, bert)):
        site.static(guest, f"10.0.0.{number}/24", via="10.0.0.1")
        assert ping(guest, "10.0.0.1", tries=5) is not None
    host = site.host
    unlimited = [
        transfer([(host, anna, "10.0.0.2")], 0.5),
        transfer([(anna, host, "10.0.0.1")], 0.5),
    ]
    assert all(amount / 0.5 > 10 * RATE for amount in unlimited), unlimited
    site.apply(
        f"{plain}<bandwidth><inbound average='{RATE // 1024}' peak='{RATE // 512}' burst='64'/>"
        f"<outbound average='{RATE // 1024}' burst='64'/></bandwidth>"
    )
    classes = host.run(["tc", "-s", "class", "show", "dev", "virbr-red"]).stdout
    assert re.search(r"class htb .* rate 2097Kbit ceil 4194Kbit burst 64Kb", classes), classes
    (qdisc,) = json.loads(host.run(["tc", "-j", "qdisc", "show", "dev", "virbr-red"]).stdout)
    assert ("htb", True) == (qdisc["kind"], qdisc["root"])
    into = transfer([(host, anna, "10.0.0.2"), (host, bert, "10.0.0.3")], SECONDS)
    assert 0.5 * RATE * SECONDS < into < 2 * RATE * SECONDS
    out = transfer([(anna, host, "10.0.0.1"), (bert, host, "10.0.0.1")], SECONDS)
    # TCP makes the less of a policed way the more it loses there.
    assert 0.1 * RATE * SECONDS < out < 2 * RATE * SECONDS
    # Guest to guest passes neither the host nor its limits.
    assert transfer([(anna, bert, "10.0.0.3")], 0.5) / 0.5 > 10 * RATE
    site.apply(plain)
    assert transfer([(host, anna, "10.0.0.2")], 0.5) / 0.5 > 10 * RATE
    assert transfer([(anna, host, "10.0.0.1")], 0.5) / 0.5 > 10 * RATE
