"""What is judged where not everything is known; packets are in ``test_judge_packets``."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from jackfield.diagnosis.bits import Bits, compare, known, within
from jackfield.diagnosis.firewall import find_blames, tell_blame
from jackfield.diagnosis.judge import Outcome, Verdicts, judge
from jackfield.diagnosis.need import host_samples, routed_samples
from jackfield.diagnosis.packet import Device, Sample
from jackfield.diagnosis.way import Way
from jackfield.host.legacy import parse_save
from jackfield.state.ruleset import (
    Assign,
    Compare,
    Comparison,
    Decide,
    Doubt,
    Expression,
    ForeignChain,
    ForeignRule,
    ForeignSet,
    ForeignTable,
    Hook,
    Immediate,
    Load,
    Lookup,
    Ruleset,
    SetElement,
    Verdict,
    VerdictKind,
)

ACCEPT, DROP = Decide(Verdict(VerdictKind.ACCEPT)), Decide(Verdict(VerdictKind.DROP))
RETURN = Decide(Verdict(VerdictKind.RETURN))
QUEUE = Decide(Verdict(VerdictKind.ELSEWHERE))
DOUBT = Doubt("set")


def jump(chain: str) -> Decide:
    """Return a jump."""
    return Decide(Verdict(VerdictKind.JUMP, chain))


def goto(chain: str) -> Decide:
    """Return a goto."""
    return Decide(Verdict(VerdictKind.GOTO, chain))


def sample(uplink: Device | None = None, *, back: bool = False) -> Sample:
    """Return a guest's packet to outside, or the answer."""
    way = Way(
        bridge=Device("virbr7", 7),
        local=ipaddress.ip_address("10.5.5.1"),
        guest=ipaddress.ip_address("10.5.5.100"),
        uplink=uplink or Device("eth0", 2),
    )
    outward, answer = routed_samples(way)
    return answer if back else outward


def chain(
    name: str, *rules: tuple[Expression, ...], drops: bool | None = None, priority: int = 0
) -> ForeignChain:
    """Return a chain; with ``drops`` (its policy) one that the kernel calls."""
    hook = None
    if drops is not None:
        hook = Hook(type="filter", name="forward", priority=priority, drops=drops)
    numbered = enumerate(rules, 1)
    return ForeignChain(
        name=name,
        rules=tuple(ForeignRule(handle=number, expressions=rule) for number, rule in numbered),
        hook=hook,
    )


def judged(*chains: ForeignChain, back: bool = False) -> Verdicts:
    """Return what becomes of a guest's packet, or an answer's, in a table of these chains."""
    table = ForeignTable(
        family="inet",
        name="other",
        chains={item.name: item for item in chains},
    )
    return judge(Ruleset(tables=(table,)), sample(back=back))


@pytest.mark.parametrize(
    ("rules", "drops", "expected"),
    [
        ([(DOUBT, DROP)], False, Outcome.PERHAPS),
        ([(DOUBT, ACCEPT)], True, Outcome.PERHAPS),
        ([(DOUBT, DROP)], True, Outcome.DROPPED),
        ([(DOUBT, ACCEPT)], False, Outcome.PASSES),
        ([(DOUBT, ACCEPT), (DROP,)], False, Outcome.PERHAPS),
        ([(ACCEPT,), (DOUBT, DROP)], True, Outcome.PASSES),
        ([(DOUBT,), (ACCEPT,)], True, Outcome.PASSES),
        ([(DOUBT, jump("leaf"))], False, Outcome.PERHAPS),
        ([(DOUBT, jump("empty")), (ACCEPT,)], True, Outcome.PASSES),
        ([(DOUBT, RETURN), (ACCEPT,)], True, Outcome.PERHAPS),
        ([(jump("back"),), (ACCEPT,)], True, Outcome.PASSES),
        ([(goto("back"),), (ACCEPT,)], True, Outcome.DROPPED),
        ([(jump("leaf"),), (ACCEPT,)], False, Outcome.DROPPED),
        ([(QUEUE,)], False, Outcome.PERHAPS),
        ([(jump("nowhere"),)], False, Outcome.PASSES),
    ],
)
def test_both_ways_are_followed(
    rules: list[tuple[Expression, ...]], drops: bool, expected: Outcome
) -> None:
    """What cannot be told makes the outcome open only if it changes it."""
    leaf, back = chain("leaf", (DROP,)), chain("back", (RETURN,), (DROP,))
    found = judged(chain("base", *rules, drops=drops), leaf, back, chain("empty"))
    assert expected == found.outcome


def test_a_later_chain_drops() -> None:
    """An accept is not final: what one chain lets through another may drop, by priority."""
    first = chain("a", (ACCEPT,), drops=True, priority=-5)
    assert Outcome.PASSES == judged(first).outcome
    found = judged(
        chain("z", (DOUBT, DROP), drops=False, priority=-9), first, chain("b", drops=True)
    )
    assert Outcome.DROPPED == found.outcome
    assert found.place is not None
    assert ("b", None) == (found.place.chain, found.place.rule)


def test_marks_of_doubt() -> None:
    """A mark that is set perhaps is not known."""
    one, two = struct.pack("=I", 1), struct.pack("=I", 2)
    ask = (Load("mark", 16), Compare(16, Comparison.EQ, two), DROP)
    set_one: tuple[Expression, ...] = (Immediate(one, 16), Assign("mark", 16))
    assert Outcome.PASSES == judged(chain("a", set_one, ask, drops=False)).outcome
    assert Outcome.PERHAPS == judged(chain("a", (DOUBT, *set_one), ask, drops=False)).outcome
    inner = chain("in", set_one)
    found = judged(chain("a", (DOUBT, jump("in")), ask, drops=False), inner)
    assert Outcome.PERHAPS == found.outcome


def test_marks_of_connections() -> None:
    """A connection that is there has no mark where no rule gives any."""
    one = struct.pack("=I", 1)
    ask = (Load("ct mark", 16), Compare(16, Comparison.EQ, one), DROP)
    assert Outcome.PASSES == judged(chain("a", ask, drops=False), back=True).outcome
    for more in ((Immediate(one, 16), Assign("ct mark", 16)), (DOUBT,)):
        found = judged(chain("a", ask, drops=False), chain("elsewhere", more), back=True)
        assert Outcome.PERHAPS == found.outcome


def test_a_map_of_what_is_not_known() -> None:
    """Of a map each way that may be is followed, and no other."""
    key = ("eth0", "eth1")
    ends = (Verdict(VerdictKind.ACCEPT), Verdict(VerdictKind.DROP))
    elements = tuple(
        SetElement(
            low=name.encode().ljust(16, b"\0"), high=name.encode().ljust(16, b"\0"), verdict=verdict
        )
        for name, verdict in zip(key, ends, strict=True)
    )
    place = ForeignSet(name="m", fields=(16,), elements=elements)
    base = chain("a", (Load("oifname", 16), Lookup("m", 16, 0)), drops=False)
    table = ForeignTable(family="inet", name="t", chains={"a": base}, sets={"m": place})
    ruleset = Ruleset(tables=(table,))
    assert Outcome.PASSES == judge(ruleset, sample()).outcome
    assert Outcome.DROPPED == judge(ruleset, sample(Device("eth1", 3))).outcome
    assert Outcome.PERHAPS == judge(ruleset, sample(Device(None))).outcome


def test_bits() -> None:
    """Bits that are not known leave open only what depends on them."""
    half = Bits(b"\x0a\x00", b"\xff\x00")
    assert [False, None] == [compare(half, Comparison.EQ, item) for item in (b"\x0b\0", b"\x0a\1")]
    assert [True, None] == [compare(half, Comparison.NEQ, item) for item in (b"\x0b\0", b"\x0a\1")]
    assert [True, False, None] == [
        compare(half, Comparison.LT, item) for item in (b"\x0b\0", b"\x0a\0", b"\x0a\7")
    ]
    assert [True, False, None] == [
        within(half, *bounds)
        for bounds in ((b"\x0a\0", b"\x0a\xff"), (b"\0\0", b"\x09\xff"), (b"\0\0", b"\x0a\7"))
    ]
    assert known(b"\x0a\0") == half.combined(b"\xff\0", b"\0\0")


LEGACY = """
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [12:720]
:out - [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -s 10.5.0.0/16 ! -d 10.0.0.0/8 -i virbr+ -p tcp -m tcp --dport 443 -g out
-A FORWARD -j ACCEPT
-A out {match}-m comment --comment "what is -j DROP" -j {target}
COMMIT
"""


@pytest.mark.parametrize(
    ("match", "target", "expected"),
    [
        ("", "ACCEPT", Outcome.PASSES),
        ("", "RETURN", Outcome.DROPPED),
        ("-o eth1 ", "ACCEPT", Outcome.DROPPED),
        ("! -o eth1 ", "ACCEPT", Outcome.PASSES),
        ("-m set --match-set good src ", "ACCEPT", Outcome.PERHAPS),
        ("-m multiport --dports 22,400:500 ", "ACCEPT", Outcome.PASSES),
        ("-m addrtype --dst-type LOCAL ", "ACCEPT", Outcome.DROPPED),
        ("", "REJECT --reject-with icmp-port-unreachable", Outcome.DROPPED),
        ("", "LOG --log-prefix x", Outcome.DROPPED),
        ("", "NFQUEUE --queue-num 1", Outcome.PERHAPS),
        ("-p icmp -m icmp --icmp-type any ", "ACCEPT", Outcome.DROPPED),
        ("-m rt --rt-type 0 ", "ACCEPT", Outcome.DROPPED),
        ("-m ttl --ttl-gt x ", "ACCEPT", Outcome.PERHAPS),
        ("--dport many ", "ACCEPT", Outcome.PERHAPS),
        ("-m quark ! --up 1 2 ", "ACCEPT", Outcome.PERHAPS),
    ],
)
def test_rules_of_the_old_iptables(match: str, target: str, expected: Outcome) -> None:
    """What ``iptables-save`` writes is judged like what the kernel lists."""
    text = LEGACY.format(match=match, target=target)
    ruleset = Ruleset(tables=tuple(parse_save(text, "ip", "iptables-legacy")))
    assert expected == judge(ruleset, sample()).outcome


def test_words() -> None:
    """A finding names what is dropped, by what, and what to do; what is open names why."""
    text = LEGACY.format(match="-m set --match-set good src ", target="ACCEPT")
    ruleset = Ruleset(tables=tuple(parse_save(text, "ip", "iptables-legacy")))
    (blame,) = find_blames(ruleset, "virbr7", [sample()])
    finding = tell_blame("red", blame, lambda _: "")
    assert (
        "guests' IPv4 packets to outside are perhaps dropped by the policy of iptables-legacy, "
        "table filter, chain FORWARD, which depends on iptables-legacy, table filter, chain out, "
        'rule: -A out -m set --match-set good src -m comment --comment "what is -j DROP" '
        "-j ACCEPT" == finding.text
    )
    assert "if guests lack this: iptables-legacy -I FORWARD -i virbr7 -j ACCEPT" == finding.hint


def test_whose_a_packet_is() -> None:
    """What only passes is no program's of the host; of what the host sends, that is not known."""
    text = "*mangle\n:POSTROUTING ACCEPT\n-A POSTROUTING -m owner {} -j DROP\nCOMMIT\n"
    way = Way(
        bridge=Device("virbr7", 7),
        local=ipaddress.ip_address("10.5.5.1"),
        guest=ipaddress.ip_address("10.5.5.100"),
    )
    samples = {
        item.words: item for item in host_samples(way, dhcp=True, dns=False, advertises=False)
    }
    offer = samples["DHCP answers to guests"]
    for match, passing in (("--uid-owner 5", Outcome.PASSES), ("! --uid-owner 5", Outcome.DROPPED)):
        ruleset = Ruleset(tables=tuple(parse_save(text.format(match), "ip", "iptables-legacy")))
        assert passing == judge(ruleset, sample()).outcome
        assert Outcome.PERHAPS == judge(ruleset, offer).outcome


def test_dhcp_has_no_address_yet() -> None:
    """A guest's first request comes from nowhere, which a filter of sources must be told."""
    way = Way(
        bridge=Device("virbr7", 7),
        local=ipaddress.ip_address("10.5.5.1"),
        guest=ipaddress.ip_address("10.5.5.100"),
    )
    samples = {
        sample.words: sample for sample in host_samples(way, dhcp=True, dns=False, advertises=False)
    }
    request = samples["guests' DHCP requests"]
    text = "*raw\n:PREROUTING DROP [0:0]\n-A PREROUTING -s 10.5.5.0/24 -j ACCEPT\n{}COMMIT\n"
    for more, expected in (
        ("", Outcome.DROPPED),
        ("-A PREROUTING -s 0.0.0.0 -j ACCEPT\n", Outcome.PASSES),
    ):
        ruleset = Ruleset(tables=tuple(parse_save(text.format(more), "ip", "iptables-legacy")))
        assert expected == judge(ruleset, request).outcome
