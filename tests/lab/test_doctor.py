"""What ``jackfield doctor`` says is dropped is dropped, and what it does not name passes.

                     192.0.2.0/24, 2001:db8:1::/64
host (.10, ::10) ──────────────────────────────────── outside (.1, ::1)
  │                                                     203.0.113.1
  └── red (NAT and routed IPv6, virbr7) ── guests "a" and "b"
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from tests.conftest import Uplink
from tests.lab import iptables
from tests.lab.daemon import Daemon
from tests.lab.dns import resolve
from tests.lab.flow import EchoServer
from tests.lab.guest import Guest
from tests.lab.host import Host
from tests.lab.packets import can_connect, ping
from tests.lab.snapshot import take_snapshot
from tests.lab.wait import wait_for

pytestmark = pytest.mark.lab

RED = """
<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
  <name>red</name>
  <forward mode='nat'/>
  <bridge name='virbr7' stp='off' delay='0'/>
  <dns><host ip='10.5.5.1'><hostname>gateway.example</hostname></host></dns>
  <ip address='10.5.5.1' prefix='24'>
    <dhcp><range start='10.5.5.10' end='10.5.5.20'/></dhcp>
  </ip>
  <ip family='ipv6' address='2001:db8:7::1' prefix='64'/>
  <dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options>
</network>
"""

PHRASES = {
    "dhcp": ("DHCP requests", "DHCP answers"),
    "dns4": ("DNS questions (IPv4)", "DNS answers to guests (IPv4)"),
    "dns6": ("DNS questions (IPv6)", "DNS answers to guests (IPv6)", "neighbour solicitations"),
    "out4": ("IPv4 packets to outside", "answers to guests' IPv4"),
    "out6": ("IPv6 packets to outside", "answers to guests' IPv6"),
    "across": ("IPv4 packets through the bridge",),
}


@dataclasses.dataclass(frozen=True)
class Place:
    """The host with its network and guests, and who answers outside."""

    host: Host
    daemon: Daemon
    guest: Guest
    address: str

    def dropped(self, expected: Collection[str] = ()) -> set[str]:
        """Return what does not pass, by trying it; what is expected to, several times."""
        guest, timeout = self.guest, 0.7
        tries: dict[str, Callable[[], object]] = {
            "dhcp": lambda: guest.dhcp4(seconds=1) is not None,
            "dns4": lambda: resolve(guest, "gateway.example", "10.5.5.1", timeout=timeout, tries=1),
            "dns6": lambda: resolve(
                guest, "gateway.example", "2001:db8:7::1", timeout=timeout, tries=1
            ),
            "out4": lambda: can_connect(guest, "203.0.113.1", 443, timeout=timeout),
            "out6": lambda: can_connect(guest, "2001:db8:ffff::1", 443, timeout=timeout),
            "across": lambda: can_connect(guest, self.address, 443, timeout=timeout),
        }

        def passes(name: str) -> bool:
            return any(tries[name]() for _ in range(1 if name in expected else 5))

        # A lease gives the guest its address anew: the others have to wait for that.
        found = {"dhcp": passes("dhcp")}
        others = tries.keys() - found
        with concurrent.futures.ThreadPoolExecutor(len(others)) as pool:
            found |= zip(others, pool.map(passes, others), strict=True)
        return {name for name, passed in found.items() if not passed}

    def examine(self, *names: str) -> dict[str, Any]:
        """Return what doctor says, and check its status."""
        result = self.daemon.cli("doctor", *names, "--json", check=False)
        assert not result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        assert bool(told["findings"]) == bool(result.returncode)
        assert result.returncode in {0, 1}
        return told

    def said(self) -> set[str]:
        """Return what doctor says is dropped for sure; it must not be in any doubt."""
        findings = self.examine()["findings"]
        assert all(item["certain"] and "dropped by" in item["text"] for item in findings), findings
        text = " ".join(item["text"] for item in findings)
        return {name for name, words in PHRASES.items() if any(word in text for word in words)}


@pytest.fixture
def place(host: Host, uplink: Uplink, outside: Host, daemon: Daemon) -> Iterator[Place]:
    """Give the host with its network, on which all is well."""
    assert uplink.ifname == "eth0"
    host.file("/etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    outside.run(["ip", "-6", "route", "add", "2001:db8:7::/64", "via", "2001:db8:1::10"])
    daemon.cli("apply", daemon.document(RED))
    guests = [host.guest(name) for name in ("a", "b")]
    for number, guest in enumerate(guests):
        daemon.cli("attach", "red", "--netns", guest.name, "--ifname", "eth0")
        guest.run(["ip", "link", "set", "eth0", "up"])
        guest.run(["ip", "addr", "add", f"2001:db8:7::{number + 2}/64", "dev", "eth0", "nodad"])
        guest.run(["ip", "-6", "route", "replace", "default", "via", "2001:db8:7::1"])
    assert guests[0].dhcp4() is not None
    address = "10.5.5.50"
    guests[1].run(["ip", "addr", "add", f"{address}/24", "dev", "eth0"])
    with EchoServer(outside, 443), EchoServer(guests[1], 443):
        for far in ("203.0.113.1", "2001:db8:ffff::1", address):
            reached = functools.partial(can_connect, guests[0], far, 443)
            wait_for(reached, 10, f"the way to {far}")
        yield Place(host, daemon, guests[0], address)


CASES: dict[str, tuple[str, Collection[str]]] = {
    "nothing": ("", ()),
    "somebody's table that accepts": (
        """
        table inet filter {
          chain input { type filter hook input priority 0; policy accept; }
          chain forward { type filter hook forward priority 0; policy accept; }
        }
        """,
        (),
    ),
    "a host that lets in nothing but ssh": (
        """
        table inet filter {
          chain input {
            type filter hook input priority 0; policy drop;
            ct state established,related accept
            iif lo accept
            tcp dport 22 accept
            meta l4proto { icmp, ipv6-icmp } accept
          }
        }
        """,
        {"dhcp", "dns4", "dns6"},
    ),
    "a host that does not forward": (
        """
        table inet filter {
          chain forward { type filter hook forward priority 0; policy drop; }
        }
        """,
        {"out4", "out6", "across"},
    ),
    "forwarding is refused by a rule at the end": (
        """
        table inet filter {
          chain forward {
            type filter hook forward priority 10;
            ct state vmap { established : accept, related : accept, invalid : drop }
            iifname "virbr7" oifname "virbr7" accept
            reject with icmpx admin-prohibited
          }
        }
        """,
        {"out4", "out6"},
    ),
    "only answers are dropped": (
        """
        table ip mine {
          chain forward {
            type filter hook forward priority -5;
            iifname "eth*" ct state != new drop
          }
        }
        """,
        {"out4"},
    ),
    "in two chains, with a set and a goto": (
        """
        table inet zones {
          set inner { type ifname; elements = { "virbr7", "docker0" } }
          set bad { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
          chain forward {
            type filter hook forward priority 0; policy drop;
            ct state established accept
            iifname @inner oifname @inner accept
            iifname @inner goto from_inner
            accept
          }
          chain from_inner {
            ip saddr @bad meta l4proto . th dport { tcp . 443, udp . 53 } return
            meta nfproto ipv6 accept
          }
        }
        """,
        {"out4"},
    ),
    "a bogon list before connections are known": (
        """
        table inet raw {
          chain pre {
            type filter hook prerouting priority raw;
            fib saddr . iif oif missing drop
            iifname "virbr7" ip saddr != { 10.5.5.0/24, 0.0.0.0 } drop
            ct state invalid counter
          }
        }
        """,
        (),
    ),
    "the bridge's own frames": (
        """
        table bridge mine {
          chain input {
            type filter hook input priority 0;
            ether type ip udp dport 67 drop
          }
        }
        """,
        {"dhcp"},
    ),
    "what the host sends into the bridge": (
        """
        table bridge mine {
          chain output {
            type filter hook output priority 0;
            ether type ip udp sport { 53, 67 } drop
          }
          chain post {
            type filter hook postrouting priority 0;
            ether type ip6 tcp sport 443 drop
          }
        }
        """,
        {"dhcp", "dns4", "out6"},
    ),
    "frames from guest to guest": (
        """
        table bridge mine {
          chain forward {
            type filter hook forward priority 0; policy drop;
            ether type arp accept
            iifname "eth7" accept
            ether type ip6 accept
          }
        }
        """,
        {"across"},
    ),
    "before routing has seen it": (
        """
        table netdev mine {
          chain uplink {
            type filter hook ingress device "eth0" priority 0;
            tcp sport 443 drop
          }
          chain below {
            type filter hook ingress device "virbr7" priority 0;
            ip daddr 10.5.5.1 udp dport 53 drop
          }
        }
        """,
        {"dns4", "out4", "out6"},
    ),
    "where addresses are translated": (
        """
        table ip mine {
          chain pre {
            type nat hook prerouting priority dstnat;
            iifname "virbr7" tcp dport 443 fib daddr type unicast drop
          }
          chain post {
            type nat hook postrouting priority srcnat; policy accept;
            oifname "eth0" masquerade
          }
        }
        """,
        {"out4", "across"},
    ),
    "answers of the host": (
        """
        table inet mine {
          chain output {
            type filter hook output priority 0;
            oifname "virbr7" udp sport { 53, 67 } drop
          }
        }
        """,
        {"dhcp", "dns4", "dns6"},
    ),
    "what is over a limit": (
        """
        table inet mine {
          chain forward {
            type filter hook forward priority 0;
            limit rate over 1000/second burst 1000 packets drop
            meta mark set 0x7
            meta mark & 0x3 == 0x3 ip daddr 203.0.113.0/24 accept
            meta mark 0x8 drop
          }
        }
        """,
        (),
    ),
}


def test_rules_of_nft(place: Place) -> None:
    """What is said to be dropped by tables of nft is dropped, and nothing else."""
    ours = set(place.host.tables())
    for case, (rules, expected) in CASES.items():
        place.host.run(["nft", "-f", "-"], input=rules)
        assert (set(expected), set(expected)) == (place.dropped(expected), place.said()), case
        hints = [item["hint"] for item in place.examine()["findings"]]
        if hints and all(hint.startswith("nft insert") for hint in hints):
            place.host.run(["sh", "-ec", "\n".join(hints)])
            assert (set(), set()) == (place.dropped(), place.said()), case
        for table in set(place.host.tables()) - ours:
            place.host.run(["nft", "delete", "table", *table.split()])


DOCKER = """
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-FORWARD - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-FORWARD -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
"""

UFW = """
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw-before-input - [0:0]
:ufw-before-forward - [0:0]
:ufw-not-local - [0:0]
:ufw-user-forward - [0:0]
:ufw-user-input - [0:0]
-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -j ufw-user-input
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j LOG --log-prefix "[UFW BLOCK] "
-A ufw-not-local -j DROP
-A ufw-user-input -p tcp -m multiport --dports 22,80:90 -j ACCEPT
COMMIT
"""


UFW6 = """
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:ufw6-before-input - [0:0]
:ufw6-before-forward - [0:0]
-A INPUT -j ufw6-before-input
-A FORWARD -j ufw6-before-forward
-A ufw6-before-input -i lo -j ACCEPT
-A ufw6-before-input -m rt --rt-type 0 -j DROP
-A ufw6-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw6-before-input -p ipv6-icmp -m icmp6 --icmpv6-type 133 -m hl --hl-eq 255 -j ACCEPT
-A ufw6-before-input -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT
-A ufw6-before-input -p ipv6-icmp -m icmp6 --icmpv6-type 136 -m hl --hl-eq 255 -j ACCEPT
-A ufw6-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw6-before-forward -m rt --rt-type 0 -j DROP
-A ufw6-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


@pytest.fixture
def with_iptables(host: Host) -> None:
    """Give the host the iptables of Debian, of both kinds."""
    reason = iptables.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    iptables.use_iptables(host)


@pytest.mark.parametrize("program", ["ip6tables-nft", "ip6tables-legacy"])
def test_rules_of_ip6tables(with_iptables: None, place: Place, program: str) -> None:
    """So it is with IPv6: neighbours are found, and headers that nobody sends raise no doubt."""
    place.host.run([f"{program}-restore"], input=UFW6)
    assert ({"dns6", "out6"}, {"dns6", "out6"}) == (place.dropped({"dns6", "out6"}), place.said())
    told = " ".join(item["text"] for item in place.examine()["findings"])
    assert "solicitations" not in told
    for chain in ("ufw6-before-input", "ufw6-before-forward"):
        place.host.run([program, "-A", chain, "-i", "virbr7", "-j", "ACCEPT"])
    assert (set(), set()) == (place.dropped(), place.said())


def test_rules_of_ebtables_and_arptables(with_iptables: None, place: Place) -> None:
    """Frames and address resolution are gone through as packets are."""
    host, guest = place.host, place.guest

    def eb(*words: str) -> None:
        host.run(["ebtables-nft", *words])

    eb("-A", "INPUT", "-p", "IPv4", "--ip-protocol", "udp", "--ip-destination-port", "67")
    eb("-A", "INPUT", "-p", "IPv4", "--ip-protocol", "udp", "--ip-dport", "53", "-j", "DROP")
    eb("-A", "FORWARD", "-p", "IPv4", "-j", "DROP")
    eb("-A", "FORWARD", "-i", "vnet9", "-j", "DROP")
    expected = {"dns4", "across"}
    assert (expected, expected) == (place.dropped(expected), place.said())
    eb("-F")
    eb("-P", "FORWARD", "DROP")
    eb("-A", "FORWARD", "-p", "ARP", "-j", "ACCEPT")
    eb("-A", "FORWARD", "-p", "IPv6", "-j", "ACCEPT")
    assert ({"across"}, {"across"}) == (place.dropped({"across"}), place.said())
    eb("-P", "FORWARD", "ACCEPT")
    eb("-A", "OUTPUT", "-p", "IPv4", "--ip-proto", "udp", "--ip-sport", "67", "-j", "DROP")
    assert ({"dhcp"}, {"dhcp"}) == (place.dropped({"dhcp"}), place.said())
    eb("-F")

    def told() -> str:
        return " ".join(item["text"] for item in place.examine()["findings"])

    def asks() -> bool:
        guest.run(["ip", "neigh", "flush", "dev", "eth0"])
        return ping(guest, "10.5.5.1", tries=2) is not None

    assert "" == told()
    assert asks()
    # What is for others passes by it.
    eb("-A", "INPUT", "-p", "ARP", "--arp-ip-src", "10.6.0.0/16", "-j", "DROP")
    eb("-A", "INPUT", "-p", "IPv6", "--ip6-proto", "tcp", "--ip6-dport", "22", "-j", "DROP")
    eb("-A", "INPUT", "-p", "IPv4", "--ip-src", "!", "10.5.0.0/16", "-i", "eth9", "-j", "DROP")
    eb("-A", "INPUT", "--mark", "1/1", "-j", "DROP")
    eb("-A", "INPUT", "-p", "ARP", "--arp-op", "Reply", "-j", "DROP")
    host.run(["arptables-nft", "-A", "INPUT", "-i", "eth9", "-j", "DROP"])
    assert "" == told()
    assert asks()
    requests, answers = "guests' ARP requests", "ARP answers to guests"
    for command, words in (
        ("ebtables-nft -A INPUT -p ARP -j DROP", f"{requests} are dropped by chain bridge"),
        (
            "ebtables-nft -A OUTPUT -p ARP --arp-op Reply --arp-ip-src 10.5.5.1 -j DROP",
            f"{answers} are dropped by chain bridge",
        ),
        (
            "ebtables-nft -A INPUT -p ARP --arp-op ! Reply --arp-ip-dst 10.5.5.0/24 -j DROP",
            f"{requests} are dropped by chain bridge",
        ),
        ("arptables-nft -P INPUT DROP", f"{requests} are dropped by the policy of chain arp"),
        ("arptables-nft -A OUTPUT -o virbr7 -j DROP", f"{answers} are dropped by chain arp"),
    ):
        host.run(command.split())
        assert words in told(), command
        assert not asks(), command
        host.run(command.replace("-A", "-D").replace("INPUT DROP", "INPUT ACCEPT").split())
        assert "" == told(), command
        assert asks(), command


def run_iptables(place: Place, program: str, hint: str) -> None:
    """Do as a hint says, by the program of this name."""
    for command in hint.split("; "):
        words = command.split()
        assert words[0] in {"iptables", "iptables-legacy"}
        place.host.run([program, *words[1:]])


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
def test_rules_of_iptables(with_iptables: None, place: Place, program: str) -> None:
    """So it is with what Docker and ufw make with iptables, old and new; the hints help."""
    host = place.host
    host.run([f"{program}-restore"], input=DOCKER)
    assert ({"out4", "across"}, {"out4", "across"}) == (
        place.dropped({"out4", "across"}),
        place.said(),
    )
    for finding in place.examine()["findings"]:
        assert "DOCKER-USER" in finding["hint"]
        run_iptables(place, program, finding["hint"])
    assert (set(), set()) == (place.dropped(), place.said())

    host.run([f"{program}-restore"], input=UFW)
    lost = {"dhcp", "dns4", "out4", "across"}
    assert (lost, lost) == (place.dropped(lost), place.said())
    hints = " ".join(item["hint"] for item in place.examine()["findings"])
    assert "ufw route allow in on virbr7" in hints
    assert "ufw allow in on virbr7 to any port 67 proto udp" in hints
    for chain in ("ufw-user-input", "ufw-user-forward"):
        host.run([program, "-A", chain, "-i", "virbr7", "-j", "ACCEPT"])
    assert (set(), set()) == (place.dropped(), place.said())

    for policy in ("INPUT", "OUTPUT", "FORWARD"):
        host.run([f"{program}-restore"], input=DOCKER)
        host.run([program, "-P", "FORWARD", "ACCEPT"])
        host.run([program, "-P", policy, "DROP"])
        host.run([program, "-I", "FORWARD", "-p", "tcp", "--dport", "443", "-j", "DROP"])
        lost = {"INPUT": {"dhcp", "dns4"}, "OUTPUT": {"dhcp", "dns4"}}.get(policy, set())
        lost |= {"out4", "across"}
        assert (lost, lost) == (place.dropped(lost), place.said())
        for finding in place.examine()["findings"]:
            run_iptables(place, program, finding["hint"])
        if policy == "FORWARD":
            # What came first is out of the way; the policy has been seen behind it.
            for finding in place.examine()["findings"]:
                run_iptables(place, program, finding["hint"])
        assert (set(), set()) == (place.dropped(), place.said())


def test_circumstances(place: Place) -> None:
    """What is missing besides is told, with what to do; doctor itself changes nothing."""
    host, daemon = place.host, place.daemon
    before = take_snapshot(host)
    assert "Nothing found: the host does not keep guests of red from the network.\n" == daemon.cli(
        "doctor"
    )
    assert before == take_snapshot(host)

    def told() -> str:
        result = daemon.cli("doctor", "red", check=False)
        assert result.returncode == 1, result
        assert all(line.startswith(("red: ", "  hint: ")) for line in result.stdout.splitlines()), (
            result
        )
        text: str = result.stdout
        return text

    # What is defined, and not applied, is no fault.
    daemon.cli("define", daemon.document(RED.replace("10.5.5.20", "10.5.5.30")))
    assert "Nothing found" in daemon.cli("doctor", "red")
    daemon.cli("define", daemon.document(RED))
    host.run(["ip", "route", "del", "default"])
    assert "no IPv4 default route" in told()
    host.run(["ip", "route", "add", "default", "via", "192.0.2.1"])
    host.file("/etc/resolv.conf").write_text("")
    assert "/etc/resolv.conf of the host names no server" in told()
    host.file("/etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    host.set_sysctl("net/ipv4/conf/virbr7/forwarding", "0")
    assert place.dropped({"out4"}) == {"out4"}
    assert "does not forward what comes in by virbr7" in told()
    host.run(["sysctl", "-q", "-w", told().partition("sysctl -w ")[2].split()[0]])
    assert place.dropped() == set()
    host.run(["ip", "route", "add", "10.5.5.0/28", "via", "192.0.2.1"])
    assert "answers to guests are routed to eth0 instead of virbr7" in told()
    host.run(["ip", "route", "del", "10.5.5.0/28"])
    host.run(["ip", "addr", "del", "10.5.5.1/24", "dev", "virbr7"])
    assert "the host lacks something of this network" in told()
    daemon.cli("apply", "red")
    assert "Nothing found" in daemon.cli("doctor", "red")
    daemon.cli("stop", "red")
    assert "does not run" in told()
    assert "No network runs" in daemon.cli("doctor")
    missing = daemon.cli("doctor", "blue", check=False)
    assert (4, "") == (missing.returncode, missing.stdout)


BRIDGED = """
<network><name>green</name><forward mode='bridge'/><bridge name='br0'/></network>
"""


def test_somebodys_bridge(host: Host, daemon: Daemon) -> None:
    """Guests on a bridge of somebody else are told of a firewall that sees their frames."""
    host.run(["ip", "link", "add", "br0", "type", "bridge"])
    host.run(["ip", "addr", "add", "10.6.6.1/24", "dev", "br0"])
    host.run(["ip", "link", "set", "br0", "up"])
    daemon.cli("apply", daemon.document(BRIDGED))
    guests = [host.guest(name) for name in ("a", "b")]
    for number, guest in enumerate(guests):
        daemon.cli("attach", "green", "--netns", guest.name, "--ifname", "eth0")
        guest.run(["ip", "addr", "add", f"10.6.6.{number + 2}/24", "dev", "eth0"])
        guest.run(["ip", "link", "set", "eth0", "up"])
    with EchoServer(guests[1], 443):
        reached = functools.partial(can_connect, guests[0], "10.6.6.3", 443, timeout=0.7)
        wait_for(reached, 10, "the other guest")
        assert "Nothing found" in daemon.cli("doctor")
        for setting in ("iptables", "ip6tables"):
            host.set_sysctl(f"net/bridge/bridge-nf-call-{setting}", "1")
        host.run(["nft", "-f", "-"], input=CASES["a host that does not forward"][0])
        assert not reached()
        result = daemon.cli("doctor", check=False)
        assert result.returncode == 1
        assert "IPv4 packets through the bridge" in result.stdout
        assert "are dropped by the policy of chain inet filter forward" in result.stdout
        hint = result.stdout.partition("hint: ")[2].splitlines()[0]
        host.run(["sh", "-ec", hint])
        assert reached()
        assert "Nothing found" in daemon.cli("doctor")
        host.run(["nft", "flush", "chain", "inet", "filter", "forward"])
        for setting in ("iptables", "ip6tables"):
            host.set_sysctl(f"net/bridge/bridge-nf-call-{setting}", "0")
        assert reached()
        assert "Nothing found" in daemon.cli("doctor")


KINDS = {
    "isolated": "<bridge name='virbr1'/><ip address='10.1.1.1' prefix='24'/>",
    "routed": "<forward mode='route' dev='eth0'/><bridge name='virbr1'/>"
    "<ip address='10.1.1.1' prefix='24'/>",
    "open": "<forward mode='open'/><bridge name='virbr1'/><ip address='10.1.1.1' prefix='24'/>",
    "hidden IPv6": "<forward mode='nat' dev='eth0'><nat ipv6='yes'/></forward>"
    "<bridge name='virbr1'/><ip family='ipv6' address='fd00:1::1' prefix='64'>"
    "<dhcp><range start='fd00:1::10' end='fd00:1::20'/></dhcp></ip>",
    "macvtap": "<forward mode='bridge'><interface dev='eth0'/></forward>",
    "a bridge over the uplink": "<forward mode='bridge'/><bridge name='br0'>"
    "<uplinks><interface dev='eth0'/></uplinks></bridge>",
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_false_alarm(daemon: Daemon, host: Host, uplink: Uplink, kind: str) -> None:
    """Of a network of any kind nothing is found on a host that has nothing against it."""
    assert uplink.ifname == "eth0"
    host.file("/etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    daemon.cli("apply", daemon.document(f"<network><name>blue</name>{KINDS[kind]}</network>"))
    host.run(["nft", "-f", "-"], input=CASES["a bogon list before connections are known"][0])
    assert "Nothing found: the host does not keep guests of blue from the network.\n" == daemon.cli(
        "doctor"
    )


def test_nft_is_not_needed(place: Place) -> None:
    """Without nft rules are named by their handles, and a note says so."""
    place.host.run(["nft", "-f", "-"], input=CASES["the bridge's own frames"][0])
    said = place.daemon.cli("doctor", check=False).stdout
    assert "chain bridge mine input, rule (handle 2): ether type ip udp dport 67 drop" in said
    program = place.host.run(["sh", "-c", "command -v nft"]).stdout.strip()
    place.host.run(["mount", "--bind", "/dev/null", program])
    said = place.daemon.cli("doctor", check=False).stdout
    assert "chain bridge mine input, rule (handle 2)\n" in said
    assert "note: nft is not installed, so rules are named by their handles" in said
    place.host.run(["umount", program])
