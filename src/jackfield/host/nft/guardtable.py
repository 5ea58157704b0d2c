"""``table bridge jackfield``: what a guest may send, looked up by its port's name.

The chains and rules are the same however many ports there are: each looks concatenations up in
sets (the port's name beside an address), so a port is elements of sets and nothing else, and a
packet passes the same few rules whether there is one guarded port or a thousand.  There is no map
of verdicts and no chain of a port's own, because the kernel goes through the whole table after a
batch that touches one.

Everything that a port sends passes ``prerouting`` of its bridge, to whomever it goes: the host,
another port, an uplink.  Rules match what a packet must have to be let through, and what a
packet lacks matches nothing, so that one without a header that is asked for is dropped.

A DHCP server of ours answers through ``output``: the address in its acknowledgement is in
``learned4`` before the guest has the packet, so that no guest waits for the daemon to read the
file of leases, and no other may use the address meanwhile.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator

from jackfield.host.nft.guardexpressions import (
    ACCEPT,
    DROP,
    RETURN,
    Clause,
    Field,
    equal,
    field,
    goto,
    jump,
    looked_up,
    masked,
    remember,
    unequal,
)
from jackfield.host.nft.mark import COMMENT
from jackfield.host.nft.message import TABLE_NAME
from jackfield.model.address import Address, IpNetwork
from jackfield.model.values import MacAddress
from jackfield.state.resources import PortGuard
from jackfield.state.rules import BaseHook

__all__ = [
    "BASE_CHAINS",
    "CHAINS",
    "GUARD_TABLE",
    "LEARNED",
    "LEARNED_SIZE",
    "SETS",
    "Element",
    "Key",
    "KeyPart",
    "Rule",
    "SetOf",
    "elements",
    "learned",
    "rule_text",
    "table_text",
]

GUARD_TABLE = f"table bridge {TABLE_NAME}"

_LEARNED_SECONDS = 24 * 60 * 60
"""How long an address that only the kernel learned stays, if nobody reads the leases."""

LEARNED_SIZE = 65536
"""How many addresses the kernel learns at most; it wants a limit for what packets fill."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPart:
    """A part of a set's key: nft's name and number of its type, and its length in bytes."""

    name: str
    type: int
    length: int


_NAME = KeyPart("ifname", 41, 16)
_ETHER = KeyPart("ether_addr", 9, 6)
_IPV4 = KeyPart("ipv4_addr", 7, 4)
_IPV6 = KeyPart("ipv6_addr", 8, 16)


@dataclasses.dataclass(frozen=True, slots=True)
class SetOf:
    """A set: of what its keys are made, and after how many seconds an element goes (0: never)."""

    parts: tuple[KeyPart, ...]
    timeout: int = 0


LEARNED = "learned4"
"""The set that the kernel fills by itself."""

SETS: dict[str, SetOf] = {
    # Ports whose packets are looked at.
    "guarded": SetOf((_NAME,)),
    # A port's own address.
    "macs": SetOf((_NAME, _ETHER)),
    # Which addresses a port may use.
    "addresses4": SetOf((_NAME, _ETHER, _IPV4)),
    "addresses6": SetOf((_NAME, _ETHER, _IPV6)),
    LEARNED: SetOf((_NAME, _ETHER, _IPV4), _LEARNED_SECONDS),
    # Ports to which a DHCP server of ours gives addresses.
    "learning": SetOf((_NAME,)),
    # Addresses that nobody behind a port may use: the host's own there.
    "denied4": SetOf((_NAME, _IPV4)),
    "denied6": SetOf((_NAME, _IPV6)),
    # Addresses that are known to be a guest's: nobody else's.
    "owned6": SetOf((_IPV6,)),
    # Where a guest makes addresses for itself: the first half of an address.
    "prefixes6": SetOf((_NAME, _IPV6)),
    # Ports of which no address is known.
    "open4": SetOf((_NAME,)),
    "open6": SetOf((_NAME,)),
}
"""The sets by name."""

Key = MacAddress | Address | str


@dataclasses.dataclass(frozen=True, slots=True)
class Element:
    """An element: the name of its set, and the parts of its key."""

    set: str
    key: tuple[Key, ...]

    @property
    def words(self) -> str:
        """The key as nft writes it."""
        return " . ".join(_quoted(part) for part in self.key)

    @property
    def packed(self) -> bytes:
        """The key as the kernel has it: each part filled up to whole registers."""
        return b"".join(map(_packed, self.key))


def _quoted(part: Key) -> str:
    return f'"{part}"' if _is_name(part) else str(part)


def _packed(part: Key) -> bytes:
    if isinstance(part, MacAddress):
        return part.packed.ljust(8, b"\0")
    if isinstance(part, str):
        return part.encode().ljust(16, b"\0")
    return part.packed


def _is_name(part: Key) -> bool:
    return isinstance(part, str) and not isinstance(part, MacAddress)


def _prefix_key(network: IpNetwork) -> Address:
    """Return what ``prefixes6`` has of a network: the first half of its addresses."""
    return ipaddress.ip_address(network.network_address.packed[:8].ljust(16, b"\0"))


def elements(guard: PortGuard) -> list[Element]:
    """Return everything that sets hold of a port."""
    link, mac = str(guard.link), guard.mac
    found = [Element("guarded", (link,)), Element("macs", (link, mac))]
    found += [
        Element(f"addresses{address.version}", (link, mac, address)) for address in guard.addresses
    ]
    found += [Element(f"denied{address.version}", (link, address)) for address in guard.denied]
    found += [Element("owned6", (address,)) for address in guard.owned]
    found += [Element("prefixes6", (link, _prefix_key(prefix))) for prefix in guard.prefixes]
    flags = {"learning": guard.learns, "open4": guard.open4, "open6": guard.open6}
    return found + [Element(name, (link,)) for name, wanted in flags.items() if wanted]


def learned(guard: PortGuard) -> Iterator[Element]:
    """Yield what the kernel may have learned of a port's addresses."""
    for address in guard.addresses:
        if address.version == 4:
            yield Element(LEARNED, (str(guard.link), guard.mac, address))


_IIFNAME, _OIFNAME = field("iifname"), field("oifname")
_PROTOCOL, _L4PROTO = field("meta protocol"), field("meta l4proto")
_ETHER_SOURCE = field("ether saddr", "ll", 6, 6)

_ARP = equal(_PROTOCOL, b"\x08\x06", "arp")
_IP = equal(_PROTOCOL, b"\x08\x00", "ip")
_IP6 = equal(_PROTOCOL, b"\x86\xdd", "ip6")
_RARP = equal(_PROTOCOL, b"\x80\x35", "0x8035")
_UDP = equal(_L4PROTO, b"\x11", "udp")
_ICMP6 = equal(_L4PROTO, b"\x3a", "ipv6-icmp")

# ARP (RFC 826) and RARP (RFC 903): hardware, protocol, both lengths, operation, then the sender's
# hardware and protocol address and the target's.
_ARP_KIND = field("", "nh", 0, 6)
_RARP_KIND = field("", "nh", 0, 8)
_ARP_SENDER = field("arp saddr ether", "nh", 8, 6)
_ARP_ADDRESS = field("arp saddr ip", "nh", 14, 4)
_RARP_TARGET = field("", "nh", 18, 6)

_IP_SOURCE = field("ip saddr", "nh", 12, 4)
_IP_TARGET = field("ip daddr", "nh", 16, 4)
_IP6_SOURCE = field("ip6 saddr", "nh", 8, 16)
_SOURCE_PORT = field("udp sport", "th", 0, 2)
_TARGET_PORT = field("udp dport", "th", 2, 2)

# DHCP (RFC 2131) behind the 8 bytes of UDP: operation, "your" address, the client's hardware
# address; and the option "message type", which dnsmasq writes first (RFC 2132, 9.6).
_DHCP_OPERATION = field("", "th", 8, 1)
_DHCP_ADDRESS = field("", "th", 8 + 16, 4)
_DHCP_CLIENT = field("", "th", 8 + 28, 6)
_DHCP_TYPE = field("", "th", 8 + 240, 3)

# ICMPv6 (RFC 4861): in a neighbour advertisement, the target and the first option.
_ICMP6_TYPE = field("icmpv6 type", "th", 0, 1)
_TARGET = field("", "th", 8, 16)
_OPTION = field("", "th", 24, 1)
_OPTION_ADDRESS = field("", "th", 26, 6)
_ROUTER_ADVERTISEMENT = equal(_ICMP6_TYPE, b"\x86", "nd-router-advert")
_SOLICITATION = equal(_ICMP6_TYPE, b"\x87", "nd-neighbor-solicit")
_ADVERTISEMENT = equal(_ICMP6_TYPE, b"\x88", "nd-neighbor-advert")
_REDIRECT = equal(_ICMP6_TYPE, b"\x89", "nd-redirect")


def _port(one: Field, number: int) -> Clause:
    return equal(one, number.to_bytes(2, "big"), str(number))


def _half(one: Field, words: str) -> Field:
    return masked(one, b"\xff" * 8 + bytes(8), words)


_SOURCE_PREFIX = _half(_IP6_SOURCE, "ffff:ffff:ffff:ffff::")
_TARGET_PREFIX = _half(_TARGET, f"0x{'f' * 16}{'0' * 16}")


Rule = tuple[Clause, ...]

_UNSPECIFIED4 = equal(_IP_SOURCE, bytes(4), "0.0.0.0")
_UNSPECIFIED6 = equal(_IP6_SOURCE, bytes(16), "::")

# enum nf_br_hook_priorities: NF_BR_PRI_FILTER_BRIDGED, nft's "filter" in this family.
_FILTER = -200

BASE_CHAINS: dict[str, BaseHook] = {
    "prerouting": BaseHook("filter", "prerouting", _FILTER),
    "output": BaseHook("filter", "output", _FILTER),
}
"""Where the kernel calls the chains that it calls."""

CHAINS: dict[str, tuple[Rule, ...]] = {
    "prerouting": ((looked_up("guarded", _IIFNAME), goto("guard")),),
    "output": (
        (
            _UDP,
            _port(_SOURCE_PORT, 67),
            _port(_TARGET_PORT, 68),
            looked_up("learning", _OIFNAME),
            looked_up("macs", _OIFNAME, _DHCP_CLIENT),
            equal(_DHCP_OPERATION, b"\x02", "0x2"),
            unequal(_DHCP_ADDRESS, bytes(4), "0x0"),
            equal(_DHCP_TYPE, b"\x35\x01\x05", "0x350105"),
            remember(LEARNED, _OIFNAME, _DHCP_CLIENT, _DHCP_ADDRESS),
        ),
    ),
    "guard": (
        (looked_up("macs", _IIFNAME, _ETHER_SOURCE, negate=True), DROP),
        (_IP, goto("guard-ip")),
        # A packet whose headers do not lead to what it carries has no such number (RFC 7112).
        (_IP6, unequal(_L4PROTO, b"\xff", "255"), goto("guard-ip6")),
        (_ARP, goto("guard-arp")),
        (_RARP, goto("guard-rarp")),
        (DROP,),
    ),
    "guard-arp": (
        (unequal(_ARP_KIND, bytes.fromhex("000108000604"), "0x108000604"), DROP),
        (_ARP, looked_up("macs", _IIFNAME, _ARP_SENDER, negate=True), DROP),
        # Whether somebody has an address (RFC 5227).
        (_ARP, equal(_ARP_ADDRESS, bytes(4), "0.0.0.0"), ACCEPT),
        (_ARP, looked_up("addresses4", _IIFNAME, _ARP_SENDER, _ARP_ADDRESS), ACCEPT),
        (_ARP, looked_up(LEARNED, _IIFNAME, _ARP_SENDER, _ARP_ADDRESS), ACCEPT),
        (_ARP, looked_up("denied4", _IIFNAME, _ARP_ADDRESS), DROP),
        (looked_up("open4", _IIFNAME), ACCEPT),
        (DROP,),
    ),
    # What QEMU says for a guest that has arrived: "who am I", asked by and about the guest.
    "guard-rarp": (
        (unequal(_RARP_KIND, bytes.fromhex("0001080006040003"), "0x1080006040003"), DROP),
        (looked_up("macs", _IIFNAME, field("", "nh", 8, 6), negate=True), DROP),
        (looked_up("macs", _IIFNAME, _RARP_TARGET, negate=True), DROP),
        (ACCEPT,),
    ),
    "guard-ip": (
        (_UDP, _port(_SOURCE_PORT, 67), _port(_TARGET_PORT, 68), DROP),
        (_UDP, _port(_TARGET_PORT, 67), jump("guard-dhcp")),
        (_IP, looked_up("addresses4", _IIFNAME, _ETHER_SOURCE, _IP_SOURCE), ACCEPT),
        (_IP, looked_up(LEARNED, _IIFNAME, _ETHER_SOURCE, _IP_SOURCE), ACCEPT),
        (
            _IP,
            _UNSPECIFIED4,
            equal(_IP_TARGET, b"\xff" * 4, "255.255.255.255"),
            _UDP,
            _port(_SOURCE_PORT, 68),
            _port(_TARGET_PORT, 67),
            ACCEPT,
        ),
        (_IP, looked_up("denied4", _IIFNAME, _IP_SOURCE), DROP),
        (looked_up("open4", _IIFNAME), ACCEPT),
        (DROP,),
    ),
    # A guest asks for itself, and gives nobody else's address back.
    "guard-dhcp": (
        (looked_up("macs", _IIFNAME, _DHCP_CLIENT), RETURN),
        (DROP,),
    ),
    "guard-ip6": (
        (_ICMP6, _ROUTER_ADVERTISEMENT, DROP),
        (_ICMP6, _REDIRECT, DROP),
        (_UDP, _port(_SOURCE_PORT, 547), _port(_TARGET_PORT, 546), DROP),
        (_ICMP6, _ADVERTISEMENT, jump("guard-neighbour")),
        (
            _ICMP6,
            _SOLICITATION,
            equal(_OPTION, b"\x01", "0x1"),
            looked_up("macs", _IIFNAME, _OPTION_ADDRESS, negate=True),
            DROP,
        ),
        (_IP6, looked_up("addresses6", _IIFNAME, _ETHER_SOURCE, _IP6_SOURCE), ACCEPT),
        # Whether somebody has an address (RFC 4862), and who listens (RFC 3810).
        (_IP6, _UNSPECIFIED6, _ICMP6, ACCEPT),
        (_IP6, looked_up("denied6", _IIFNAME, _IP6_SOURCE), DROP),
        (_IP6, looked_up("owned6", _IP6_SOURCE), DROP),
        (_IP6, looked_up("prefixes6", _IIFNAME, _SOURCE_PREFIX), ACCEPT),
        (looked_up("open6", _IIFNAME), ACCEPT),
        (DROP,),
    ),
    "guard-neighbour": (
        (
            equal(_OPTION, b"\x02", "0x2"),
            looked_up("macs", _IIFNAME, _OPTION_ADDRESS, negate=True),
            DROP,
        ),
        (looked_up("addresses6", _IIFNAME, _ETHER_SOURCE, _TARGET), RETURN),
        (looked_up("denied6", _IIFNAME, _TARGET), DROP),
        (looked_up("owned6", _TARGET), DROP),
        (looked_up("prefixes6", _IIFNAME, _TARGET_PREFIX), RETURN),
        (looked_up("open6", _IIFNAME), RETURN),
        (DROP,),
    ),
}
"""Every chain with its rules."""


def table_text() -> str:
    """Return the table without elements, as ``nft list table bridge jackfield`` shows it."""
    lines = [f"{GUARD_TABLE} {{", f'\tcomment "{COMMENT}"']
    for name, one in SETS.items():
        lines.append(f"\tset {name} {{")
        lines.append(f"\t\ttype {' . '.join(part.name for part in one.parts)}")
        if one.timeout:
            lines += [f"\t\tsize {LEARNED_SIZE}", "\t\tflags dynamic,timeout"]
            lines.append(f"\t\ttimeout {one.timeout // 86400}d")
        lines.append("\t}")
    for name, rules in CHAINS.items():
        lines.append(f"\tchain {name} {{")
        if (base := BASE_CHAINS.get(name)) is not None:
            lines.append(f"\t\ttype {base.type} hook {base.hook} priority filter; policy accept;")
        lines += [*_rule_lines(rules), "\t}"]
    return "\n".join([*lines, "}", ""])


def _rule_lines(rules: tuple[Rule, ...]) -> list[str]:
    return ["\t\t" + rule_text(rule) for rule in rules]


def rule_text(rule: Rule) -> str:
    """Return a rule as nft writes it: what follows from a later part is left out."""
    words = [clause.words for clause in rule]
    implied = {"meta protocol arp": "arp ", "meta protocol ip": "ip ", "meta protocol ip6": "ip6 "}
    implied |= {"meta l4proto udp": "udp ", "meta l4proto ipv6-icmp": "icmpv6 "}
    kept = [
        word
        for number, word in enumerate(words)
        if word not in implied or not any(implied[word] in later for later in words[number + 1 :])
    ]
    return " ".join(kept)
