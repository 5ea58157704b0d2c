"""Rules of the old ``iptables``, which nftables does not show, as ``state.ruleset`` has them.

``iptables-legacy-save`` is asked, where the kernel has such tables; without it they are unseen.
Those of the old ``arptables`` and ``ebtables`` are told of, and not gone through.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jackfield.host.nft.xtables import address_type, any_of, connection_state, hops, owner, port
from jackfield.state.ruleset import (
    Base,
    Bitwise,
    Compare,
    Comparison,
    Decide,
    Doubt,
    Expression,
    ForeignChain,
    ForeignRule,
    ForeignTable,
    Hook,
    IpSet,
    Load,
    Never,
    Not,
    Payload,
    Verdict,
    VerdictKind,
)

__all__ = ["parse_save", "read_legacy_tables"]

_TIMEOUT = 10
_AT = 16

_PROGRAMS = {
    "ip": ("ip_tables_names", "iptables-legacy"),
    "ip6": ("ip6_tables_names", "ip6tables-legacy"),
}

_HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
    "FORWARD": "forward",
    "OUTPUT": "output",
    "POSTROUTING": "postrouting",
}
# enum nf_ip_hook_priorities, by table; those of nat depend on the hook.
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_NAT_PRIORITIES = {"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}

_VERDICTS = {
    "ACCEPT": VerdictKind.ACCEPT,
    "DROP": VerdictKind.DROP,
    "REJECT": VerdictKind.DROP,
    "RETURN": VerdictKind.RETURN,
    **dict.fromkeys(("MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"), VerdictKind.ACCEPT),
    **dict.fromkeys(("QUEUE", "NFQUEUE", "TPROXY", "SYNPROXY"), VerdictKind.ELSEWHERE),
}
_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "ipv6-icmp": 58}
_STATES = {"INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8}
_TYPES = {"UNICAST": 1, "LOCAL": 2, "BROADCAST": 3, "ANYCAST": 4, "MULTICAST": 5}
_ADDRESSES = {("ip", "-s"): 12, ("ip", "-d"): 16, ("ip6", "-s"): 8, ("ip6", "-d"): 24}
_CHAIN = re.compile(r":(\S+) (\S+)")


def read_legacy_tables() -> tuple[list[ForeignTable], list[str]]:
    """Return the tables that there are, and in words those that could not be seen.

    Waits for a program: not for the event loop.
    """
    tables: list[ForeignTable] = []
    unseen: list[str] = []
    for family, (names, program) in _PROGRAMS.items():
        present = _names(names)
        if not present:
            continue
        said = _save(f"{program}-save")
        if said is None:
            unseen.append(
                f"tables of {program} ({', '.join(present)}) are there, and cannot be seen: "
                f"{program}-save is not installed, or fails"
            )
        else:
            tables += parse_save(said, family, program)
    return tables, unseen + [
        f"tables of {program} ({', '.join(names)}) {are}, and are not looked at: {program} -L"
        for program, names, are in (
            ("arptables-legacy", _names("arp_tables_names"), "are there"),
            # The kernel does not tell which namespace has them, but by making them there.
            ("ebtables-legacy", _modules("ebtable_"), "are loaded"),
        )
        if names
    ]


def _names(file: str) -> list[str]:
    try:
        return Path(f"/proc/thread-self/net/{file}").read_text().split()
    except OSError:
        return []


def _modules(prefix: str) -> list[str]:
    """Return what is loaded into the kernel under such names, without the prefix."""
    try:
        lines = Path("/proc/modules").read_text().splitlines()
    except OSError:
        return []
    names = (line.split()[0] for line in lines)
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def _save(program: str) -> str | None:
    if shutil.which(program) is None:
        return None
    try:
        done = subprocess.run(
            [program],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def parse_save(text: str, family: str, program: str) -> Iterator[ForeignTable]:
    """Yield the tables that ``iptables-save`` has written."""
    name = ""
    policies: dict[str, str] = {}
    rules: dict[str, list[ForeignRule]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            name, policies, rules = line[1:].strip(), {}, {}
        elif match := _CHAIN.match(line):
            policies[match[1]] = match[2]
        elif line.startswith("-A "):
            _, chain, *words = _words(line)
            known = rules.setdefault(chain, [])
            expressions = tuple(_rule(words, family, policies))
            known.append(ForeignRule(handle=len(known) + 1, expressions=expressions, text=line))
        elif line == "COMMIT":
            chains = {
                chain: ForeignChain(
                    name=chain,
                    rules=tuple(rules.get(chain, ())),
                    hook=_hook(name, chain, drops=policy == "DROP"),
                )
                for chain, policy in policies.items()
            }
            yield ForeignTable(family=family, name=name, chains=chains, program=program)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        # Of a comment with half a quotation the rest is told well enough.
        return line.split()


def _hook(table: str, chain: str, *, drops: bool) -> Hook | None:
    hook = _HOOKS.get(chain)
    if hook is None:
        return None
    kind = "nat" if table == "nat" else "filter"
    priority = _NAT_PRIORITIES[hook] if table == "nat" else _PRIORITIES.get(table, 0)
    return Hook(type=kind, name=hook, priority=priority, drops=drops)


def _rule(words: Sequence[str], family: str, chains: dict[str, str]) -> Iterator[Expression]:
    """Yield what a rule asks, in order, and at last what it does."""
    rest = list(words)
    inverted = False
    while rest:
        word = rest.pop(0)
        if word == "!":
            inverted = True
            continue
        if word in {"-j", "-g"} and rest:
            yield from _target(rest.pop(0), chains, goto=word == "-g")
            return
        if word == "-m" and rest:
            # What it asks follows; of what is known here that is enough to know it by.
            module = rest.pop(0)
            if module in _ABSENT:
                yield Never()
            elif module not in _MODULES:
                yield Doubt(module)
            continue
        if word in _WITHOUT_EFFECT:
            del rest[: _WITHOUT_EFFECT[word]]
            continue
        decode = _OPTIONS.get(word)
        if decode is None or not rest:
            yield Doubt(word)
            while rest and not rest[0].startswith("-") and rest[0] != "!":
                rest.pop(0)
        else:
            value = rest.pop(0)
            if word == "--match-set" and rest:
                value = f"{value} {rest.pop(0)}"
            try:
                test = list(decode(value, family, word))
            except (ValueError, LookupError):
                test = [Doubt(f"{word} {value}")]
            yield from ([Not(tuple(test))] if inverted else test)
        inverted = False


def _target(name: str, chains: dict[str, str], *, goto: bool) -> Iterator[Expression]:
    if name in chains:
        kind = VerdictKind.GOTO if goto else VerdictKind.JUMP
        yield Decide(Verdict(kind, name))
    elif name in _VERDICTS:
        yield Decide(Verdict(_VERDICTS[name]))


def _interface(value: str, _family: str, word: str) -> Iterator[Expression]:
    data = value[:-1].encode() if value.endswith("+") else value.encode().ljust(16, b"\0")
    yield Load("iifname" if word == "-i" else "oifname", _AT)
    if data:
        yield Compare(_AT, Comparison.EQ, data)


def _address(value: str, family: str, word: str) -> Iterator[Expression]:
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        yield Doubt(f"{word} {value}")
        return
    address, mask = network.network_address.packed, network.netmask.packed
    yield Load(Payload(Base.NETWORK, _ADDRESSES[family, word], len(address)), _AT)
    yield Bitwise(_AT, _AT, mask, bytes(len(mask)))
    yield Compare(_AT, Comparison.EQ, address)


def _protocol(value: str, _family: str, _word: str) -> Iterator[Expression]:
    number = int(value) if value.isdecimal() else _PROTOCOLS.get(value)
    if number is None:
        # None of what guests are known to need.
        number = 0xFF
    yield Load("l4proto", _AT)
    yield Compare(_AT, Comparison.EQ, bytes([number]))


def _ports(value: str, _family: str, word: str) -> Iterator[Expression]:
    end = "source" if word in {"--sport", "--sports"} else "target"
    ways = []
    for part in value.split(","):
        low, colon, high = part.partition(":")
        ways.append(port(end, int(low or 0), int(high or 0xFFFF) if colon else int(low)))
    yield from any_of(ways)


def _state(value: str, _family: str, _word: str) -> Iterator[Expression]:
    words = value.split(",")
    states = sum(_STATES.get(word, 0) for word in words)
    yield from connection_state(states, translated="SNAT" in words)


def _type(value: str, _family: str, word: str) -> Iterator[Expression]:
    kinds = [_TYPES.get(item) for item in value.split(",")]
    if None in kinds:
        yield Doubt(f"{word} {value}")
        return
    bits = sum(1 << kind for kind in kinds if kind is not None)
    yield from address_type("saddr" if word == "--src-type" else "daddr", bits)


def _icmp(value: str, _family: str, _word: str) -> Iterator[Expression]:
    if value == "any":
        return
    kind, slash, code = value.partition("/")
    octets = bytes([int(kind), int(code)]) if slash else bytes([int(kind)])
    yield Load(Payload(Base.TRANSPORT, 0, len(octets)), _AT)
    yield Compare(_AT, Comparison.EQ, octets)


def _hops(value: str, family: str, word: str) -> Iterator[Expression]:
    how = {"eq": Comparison.EQ, "lt": Comparison.LT, "gt": Comparison.GT}[word[-2:]]
    yield from hops(4 if family == "ip" else 6, how, int(value))


def _owner(value: str, _family: str, word: str) -> Iterator[Expression]:
    yield from owner(f"{word} {value}")


def _ipset(value: str, _family: str, _word: str) -> Iterator[Expression]:
    name, ends = value.split()
    yield IpSet(name, tuple(ends.split(",")))


_ABSENT = frozenset({"rt", "frag", "hbh", "dst", "ah", "esp", "ipv6header"})
"""Headers that sample packets have not."""

_MODULES = frozenset(
    {
        "tcp",
        "udp",
        "conntrack",
        "state",
        "comment",
        "addrtype",
        "multiport",
        "limit",
        "icmp",
        "icmp6",
        "hl",
        "ttl",
        "owner",
        "set",
    }
)
_OPTIONS: dict[str, Callable[[str, str, str], Iterator[Expression]]] = {
    "-i": _interface,
    "-o": _interface,
    "-s": _address,
    "-d": _address,
    "-p": _protocol,
    "--sport": _ports,
    "--dport": _ports,
    "--sports": _ports,
    "--dports": _ports,
    "--ctstate": _state,
    "--state": _state,
    "--icmp-type": _icmp,
    "--icmpv6-type": _icmp,
    **dict.fromkeys(("--hl-eq", "--hl-lt", "--hl-gt"), _hops),
    **dict.fromkeys(("--ttl-eq", "--ttl-lt", "--ttl-gt"), _hops),
    "--match-set": _ipset,
    "--uid-owner": _owner,
    "--gid-owner": _owner,
    "--src-type": _type,
    "--dst-type": _type,
}
_WITHOUT_EFFECT = {"--comment": 1, "--limit": 1, "--limit-burst": 1, "--suppl-groups": 0}
"""Options that a single packet is not stopped by, and how many words follow."""
