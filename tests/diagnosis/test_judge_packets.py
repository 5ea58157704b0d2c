"""Random rules of others: what is judged of a packet is what becomes of it.

guest 10.5.5.100 ── virbr7 10.5.5.1  router  eth0 192.0.2.10 ── outside 192.0.2.1, OUTSIDE
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from jackfield.diagnosis.judge import Outcome, judge
from jackfield.diagnosis.need import host_samples, routed_samples
from jackfield.diagnosis.packet import Device, Sample
from jackfield.diagnosis.way import OUTSIDE, Way
from jackfield.host.ipset import with_ipsets
from jackfield.host.legacy import parse_save
from jackfield.host.nft.foreign import read_foreign_tables
from jackfield.state.ruleset import Ruleset
from tests.lab import iptables
from tests.lab.flow import EchoServer
from tests.lab.namespace import NetworkNamespace
from tests.lab.packets import ask_udp, can_connect

pytestmark = pytest.mark.kernel

GUEST, LOCAL = "10.5.5.100", "10.5.5.1"
#: Seconds for what is to arrive, and for what is not.
LIMIT, GRACE = 5.0, 0.3


@dataclasses.dataclass(frozen=True)
class Wires:
    """Three machines in a row."""

    guest: NetworkNamespace
    router: NetworkNamespace
    way: Way


@pytest.fixture(scope="module")
def wires() -> Iterator[Wires]:
    """Give a guest, a router and the outside, and servers on the last two."""
    with NetworkNamespace() as guest, NetworkNamespace() as router, NetworkNamespace() as outside:
        for where, name, peer, theirs in (
            (router, "eth0", outside, "lan"),
            (router, "port", guest, "eth0"),
        ):
            with peer.entered():
                descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            try:
                path = f"/proc/{os.getpid()}/fd/{descriptor}"
                link = ["ip", "link", "add", name, "type", "veth", "peer", "name", theirs]
                where.run([*link, "netns", path])
            finally:
                os.close(descriptor)
        commands = {
            router: [
                "link add virbr7 type bridge",
                "link set port master virbr7",
                "addr add 10.5.5.1/24 dev virbr7",
                "addr add 192.0.2.10/24 dev eth0",
                *(f"link set {name} up" for name in ("port", "virbr7", "eth0")),
                "route add default via 192.0.2.1",
            ],
            guest: [
                f"addr add {GUEST}/24 dev eth0",
                "link set eth0 up",
                f"route add default via {LOCAL}",
            ],
            outside: [
                "addr add 192.0.2.1/24 dev lan",
                f"addr add {OUTSIDE[4]}/32 dev lo",
                "link set lan up",
                "route add 10.5.5.0/24 via 192.0.2.10",
            ],
        }
        for machine, words in commands.items():
            for command in words:
                machine.run(["ip", *command.split()])
        router.set_sysctl("net/ipv4/ip_forward", "1")
        indexes = {link["ifname"]: link["ifindex"] for link in router.ip("link")}
        way = Way(
            bridge=Device("virbr7", indexes["virbr7"]),
            local=ipaddress.ip_address(LOCAL),
            guest=ipaddress.ip_address(GUEST),
            uplink=Device("eth0", indexes["eth0"]),
        )
        with EchoServer(outside, 443), EchoServer(router, 53):
            assert can_connect(guest, str(OUTSIDE[4]), 443, timeout=LIMIT)
            yield Wires(guest, router, way)


MATCHES = st.sampled_from(
    [
        *('iifname "virbr7"', 'iifname "virbr*"', 'iifname != "eth0"', 'iifname { "eth0", "lo" }'),
        *('oifname "eth0"', 'oifname "virbr7"', 'oifname != { "virbr7" }', "oif eth0"),
        *("iif virbr7", "iif lo", "meta iiftype ether", "meta nfproto ipv4", "meta nfproto ipv6"),
        *("ip saddr 10.5.5.0/24", "ip saddr != 10.0.0.0/8", "ip daddr 10.5.5.1", "ip protocol udp"),
        *("ip saddr { 10.5.5.1-10.5.5.99, 10.5.5.101 }", "ip daddr @outer", "ip saddr @inner"),
        *("tcp dport 443", "tcp dport 1-500", "tcp dport != { 22, 80 }", "udp dport 53"),
        *("tcp sport 443", "th dport { 53, 443 }", "meta l4proto { tcp, udp }", "udp sport < 53"),
        *("ip saddr . tcp dport { 10.5.5.0/24 . 400-500 }", "iifname . oifname @pairs"),
        *("ct state new", "ct state established,related", "ct state invalid", "ct state != new"),
        *("ct direction original", "ct direction reply", "ct status dnat", "ct mark 1"),
        *("ct state { new, untracked }", "ct original protocol tcp", "ct mark & 0x2 == 0"),
        *("meta mark 1", "meta mark & 0x3 == 0x1", "meta mark != 0", "meta mark 2-9"),
        *("fib saddr . iif oif exists", "fib saddr . iif oif missing", "fib daddr type local"),
        *("fib saddr type unicast", "fib daddr type { broadcast, multicast }", "meta pkttype host"),
        *("tcp flags syn / syn,ack", "tcp flags & (syn|ack) == (syn|ack)", "ip dscp 0"),
        *("limit rate 1000/second burst 1000 packets", "ip frag-off & 0x1fff != 0"),
        *("limit rate over 1000/second burst 1000 packets", "meta secpath missing"),
    ]
)
# A chain leads only to those after it.
VERDICTS = ["accept", "drop", "return", "counter", "meta mark set 1", "ct mark set 1", "continue"]
VERDICTS += ["meta mark set meta mark | 0x2", "reject", "accept", "drop"]
LEADS = {0: ["jump one", "goto one", "jump two", "goto two"], 1: ["jump two", "goto two"], 2: []}


def rules(level: int) -> st.SearchStrategy[str]:
    """Return rules of a chain that leads to those of higher levels."""
    leads = LEADS[level]
    other = leads[-1] if leads else "drop"
    maps = st.sampled_from(
        [
            f'iifname vmap {{ "virbr7" : {other}, "eth0" : accept }}',
            f"th dport vmap {{ 443 : {other}, 50-60 : drop }}",
            f"ct state vmap {{ new : {other}, invalid : drop, established : accept }}",
            f"ip saddr . th dport vmap {{ {GUEST} . 443 : {other}, * : return }}",
        ]
    )
    plain = st.builds(
        lambda matches, verdict: " ".join([*matches, verdict]),
        st.lists(MATCHES, max_size=2),
        st.sampled_from([*VERDICTS, *leads]),
    )
    several = st.lists(st.one_of(plain, plain, plain, maps), max_size=4)
    return several.map(lambda lines: "\n".join(f"    {line}" for line in lines))


@st.composite
def rulesets(draw: st.DrawFn) -> str:
    """Return tables of others as nft reads them."""
    lines = [
        "table inet other {",
        "  set outer { type ipv4_addr; flags interval; elements = { 93.184.0.0/16, 9.9.9.9 } }",
        "  set inner { type ipv4_addr; elements = { 10.5.5.100, 10.5.5.7 } }",
        '  set pairs { type ifname . ifname; elements = { "virbr7" . "eth0" } }',
        f"  chain two {{\n{draw(rules(2))}\n  }}",
        f"  chain one {{\n{draw(rules(1))}\n  }}",
    ]
    hooks = st.sampled_from(["input", "forward", "forward", "prerouting", "postrouting", "output"])
    for number in range(draw(st.integers(1, 3))):
        hook = draw(hooks)
        priority = draw(st.sampled_from([-300, -150, -10, 0, 10]))
        policy = draw(st.sampled_from(["accept", "accept", "drop"]))
        body = draw(rules(0))
        if hook in {"prerouting", "input"}:
            body = body.replace("oifname", "iifname").replace("oif eth0", "iif eth0")
        if hook in {"output", "postrouting"}:
            body = body.replace("fib saddr . iif oif", "fib daddr type != blackhole fib saddr type")
            body = body.replace("type exists", "type unicast").replace("type missing", "type local")
        if hook in {"prerouting", "postrouting"}:
            body = body.replace("reject", "drop")
        lines.append(
            f"  chain base{number} {{\n    type filter hook {hook} priority {priority}; "
            f"policy {policy};\n{body}\n  }}"
        )
    return "\n".join([*lines, "}"])


def judged(samples: list[Sample], ruleset: Ruleset) -> bool:
    """Return whether all of it passes; nothing of these rules is in doubt."""
    outcomes = {sample.words: judge(ruleset, sample).outcome for sample in samples}
    note(f"{outcomes}")
    assert Outcome.PERHAPS not in outcomes.values()
    return set(outcomes.values()) == {Outcome.PASSES}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=rulesets())
def test_judgements_come_true(wires: Wires, text: str) -> None:
    """A connection to outside, and a question to the host, end as they are judged to."""
    note(text)
    wires.router.run(["nft", "flush", "ruleset"])
    loaded = wires.router.run(["nft", "-f", "-"], input=text, check=False)
    if loaded.returncode:
        # Some of these the kernel takes in some hooks only.
        note(loaded.stderr)
        return
    with wires.router.entered():
        ruleset = Ruleset(tables=tuple(read_foreign_tables()))
    outward = judged(list(routed_samples(wires.way)), ruleset)
    timeout = LIMIT if outward else GRACE
    assert outward == can_connect(wires.guest, str(OUTSIDE[4]), 443, timeout=timeout)
    asked = judged(list(host_samples(wires.way, dhcp=False, dns=True, advertises=False)), ruleset)
    timeout = LIMIT if asked else GRACE
    answer = ask_udp(wires.guest, LOCAL, 53, timeout=timeout / 2, tries=2)
    assert asked == (answer is not None)


IPTABLES_MATCHES = (
    *("-i virbr7", "! -i virbr7", "-i virbr+", "-o eth0", "! -o eth+", "-s 10.5.5.0/24"),
    *("! -s 10.5.5.100", "-d 93.184.0.0/16", "-p tcp", "! -p tcp", "-p udp", "-p icmp"),
    *("-p tcp --dport 443", "-p tcp ! --dport 443", "-p tcp --dport 400:500", "-p tcp --sport 443"),
    *("-p tcp --syn", "-p tcp ! --syn", "-p tcp --tcp-flags SYN,ACK SYN,ACK", "-p udp --dport 53"),
    *("-p tcp -m multiport --dports 22,400:450", "-p tcp -m multiport ! --ports 22,443"),
    *("-p tcp -m multiport --sports 443,9", "-m conntrack --ctstate NEW", "-m state --state NEW"),
    *("-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack ! --ctstate NEW,ESTABLISHED"),
    *(
        "-m conntrack --ctstate INVALID",
        "-m conntrack --ctdir REPLY",
        "-m conntrack --ctdir ORIGINAL",
    ),
    *(
        "-m conntrack --ctstatus SEEN_REPLY",
        "-m conntrack --ctstate DNAT",
        "-m state --state INVALID",
    ),
    *("-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL", "-m comment --comment x"),
    *("-m addrtype --src-type UNICAST --dst-type UNICAST", "-m pkttype --pkt-type unicast"),
    *("-m addrtype --dst-type MULTICAST,BROADCAST", "-m pkttype ! --pkt-type broadcast"),
    *(
        "-m mark --mark 0x1",
        "-m mark ! --mark 0x1/0x1",
        "-m mark --mark 0x0",
        "-m connmark --mark 0",
    ),
    *("-m limit --limit 1000/s --limit-burst 1000", "-m physdev --physdev-is-bridged"),
    *("-m physdev ! --physdev-is-bridged", "-p tcp -m mark --mark 0x2/0x2"),
    *("-m owner --uid-owner 0", "-m owner ! --uid-owner 0", "-m owner --gid-owner 0-99"),
    *("-m owner --socket-exists", "-m owner ! --uid-owner 0 --gid-owner 0"),
    *(
        f"-m set {match}"
        for match in (
            "--match-set nets src",
            "! --match-set nets src",
            "--match-set nets dst",
            "--match-set hosts dst",
            "! --match-set hosts dst",
            "--match-set hosts src",
            "--match-set range src",
            "--match-set empty src",
            "! --match-set empty dst",
        )
    ),
)


#: What sets have, beside addresses that nobody here has.
IPSETS = f"""
create nets hash:net
add nets 192.0.2.0/25
add nets 10.5.0.0/16
add nets 10.5.5.0/24
create hosts hash:ip
add hosts {OUTSIDE[4]}
add hosts 198.51.100.7
create range bitmap:ip range 10.5.5.0-10.5.5.255
add range 10.5.5.90-10.5.5.110
create empty hash:net
"""


@pytest.mark.parametrize("program", ["iptables-nft", "iptables-legacy"])
@pytest.mark.timeout(180)
def test_matches_of_iptables(wires: Wires, program: str) -> None:
    """So it is with each match of iptables, of both kinds; what is not known is left open."""
    reason = iptables.skip_reason()
    if reason is not None:
        pytest.skip(reason)
    multi, env = iptables.multi_program(program)
    wires.router.run(["nft", "flush", "ruleset"])
    ipset, where = iptables.ipset_program()
    wires.router.run([ipset, "-exist", "restore"], input=IPSETS, env=where)
    doubted = []
    for match in IPTABLES_MATCHES:
        forward, leaving = f"-A FORWARD {match} -j DROP\n", ""
        if "-m owner" in match:
            # It may be asked for only where the host may be the sender.
            forward, leaving = leaving, forward.replace("FORWARD", "POSTROUTING")
        text = (
            f"*mangle\n-A PREROUTING -p tcp --dport 443 -j MARK --set-mark 2\n{leaving}COMMIT\n"
            f"*filter\n:FORWARD ACCEPT\n{forward}COMMIT\n"
        )
        wires.router.run([multi, "iptables-restore"], input=text, env=env)
        with wires.router.entered():
            tables = read_foreign_tables()
        if program == "iptables-legacy":
            saved = wires.router.run([multi, "iptables-save"], env=env).stdout
            tables += parse_save(saved, "ip", program)
        with wires.router.entered():
            tables = with_ipsets(tables)
        found = [judge(Ruleset(tables=tuple(tables)), item) for item in routed_samples(wires.way)]
        outcome = max(item.outcome for item in found)
        if outcome is Outcome.PERHAPS:
            doubted.append(match)
            continue
        passes = outcome is Outcome.PASSES
        timeout = LIMIT if passes else GRACE
        assert passes == can_connect(wires.guest, str(OUTSIDE[4]), 443, timeout=timeout), match
    empty = "*mangle\nCOMMIT\n*filter\n:FORWARD ACCEPT\nCOMMIT\n"
    wires.router.run([multi, "iptables-restore"], input=empty, env=env)
    wires.router.run([ipset, "destroy"], env=where)
    assert not (program == "iptables-nft" and doubted), doubted
    assert len(doubted) < len(IPTABLES_MATCHES) / 2
