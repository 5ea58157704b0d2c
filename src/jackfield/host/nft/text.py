"""The rules as nft writes them: for plans, the documentation and golden tests."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from jackfield.host.nft.mark import COMMENT
from jackfield.host.nft.message import TABLE
from jackfield.model.address import Address, IpNetwork
from jackfield.plan.table import shared_chains
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import (
    Action,
    AddressOf,
    Chain,
    ConnectionState,
    Direction,
    Drop,
    Element,
    Field,
    Goto,
    InSet,
    Interface,
    InterfaceOf,
    Jump,
    Masquerade,
    Match,
    NamedSet,
    Part,
    RateOver,
    Reject,
    Return,
    Rule,
    Selector,
    Snat,
    State,
    To,
    Transport,
    TransportField,
    VerdictOf,
)

__all__ = ["element_text", "rule_text", "table_text"]

_PRIORITIES = {0: "filter", 100: "srcnat"}
_DEVICES = {Direction.SOURCE: "iifname", Direction.DESTINATION: "oifname"}
_ADDRESSES = {Direction.SOURCE: "saddr", Direction.DESTINATION: "daddr"}
_FAMILIES = {4: "ip", 6: "ip6"}
_BITS = {4: 32, 6: 128}
# The order in which nft lists states.
_STATES = (
    ConnectionState.INVALID,
    ConnectionState.ESTABLISHED,
    ConnectionState.RELATED,
    ConnectionState.NEW,
)


def rule_text(rule: Rule) -> str:
    """Return a rule on one line, without the values of its counter."""
    action = [] if rule.action is None else [_action_text(rule.action)]
    return " ".join([*map(_match_text, rule.matches), *action])


def element_text(element: Element) -> str:
    """Return an element as it stands in its set, without the values of its counter."""
    parts = [
        _part_text(field, part)
        for field, part in zip(element.place.fields, element.key, strict=True)
    ]
    counter = " counter" if element.place.counted else ""
    comment = f' comment "{element.comment}"' if element.comment else ""
    verdict = f" : jump {element.chain}" if element.chain else ""
    return f"{' . '.join(parts)}{counter}{comment}{verdict}"


def table_text(networks: Iterable[NetworkRules]) -> str:
    """Return the whole table of these networks, as ``nft list table inet jackfield`` shows it."""
    networks = list(networks)
    sets: dict[NamedSet, list[str]] = {}
    for network in networks:
        for element in network.elements:
            sets.setdefault(element.place, []).append(element_text(element))
    chains = [*shared_chains(sets), *(chain for network in networks for chain in network.chains)]
    blocks = [_set_text(place, elements) for place, elements in sets.items()]
    blocks += map(_chain_text, chains)
    return "\n".join(
        [f"{TABLE} {{", f'\tcomment "{COMMENT}"', "\n\n".join(map(_indent, blocks)), "}", ""]
    )


def _block(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{title} {{", *(f"\t{line}" for line in lines), "}"])


def _indent(text: str) -> str:
    return "\n".join(f"\t{line}" for line in text.split("\n"))


def _set_text(place: NamedSet, elements: list[str]) -> str:
    kind = " . ".join(field.value for field in place.fields)
    lines = [f"type {kind} : verdict" if place.verdicts else f"type {kind}"]
    if place.counted:
        lines.append("counter")
    lines.append(f"elements = {{ {', '.join(elements)} }}")
    return _block(f"{'map' if place.verdicts else 'set'} {place.name}", lines)


def _part_text(field: Field, part: Part) -> str:
    return f'"{part}"' if field is Field.INTERFACE else str(part)


def _chain_text(chain: Chain) -> str:
    lines = []
    if chain.base is not None:
        where = f"type {chain.base.type} hook {chain.base.hook}"
        lines.append(f"{where} priority {_PRIORITIES[chain.base.priority]}; policy accept;")
    return _block(f"chain {chain.name}", [*lines, *map(rule_text, chain.rules)])


def _selected(by: tuple[Selector, ...]) -> str:
    return " . ".join(map(_selector_text, by))


def _selector_text(selector: Selector) -> str:
    match selector:
        case InterfaceOf(direction):
            return _DEVICES[direction]
        case AddressOf(direction, version, length):
            address = f"{_FAMILIES[version]} {_ADDRESSES[direction]}"
            return address if length == _BITS[version] else f"{address} & {selector.mask}"
        case TransportField():
            return selector.value


def _match_text(match: Match) -> str:
    match match:
        case InSet(place, by):
            return f"{_selected(by)} @{place.name}"
        case Interface(direction, name):
            return f'{_DEVICES[direction]} "{name}"'
        case To(network):
            family = _FAMILIES[network.version]
            return f"{family} {_ADDRESSES[Direction.DESTINATION]} {_prefix(network)}"
        case Transport(protocol):
            return f"meta l4proto {protocol}"
        case State(states):
            return f"ct state {','.join(_state_names(states))}"
        case RateOver(rate, burst):
            allowed = f" burst {_bytes(burst)}" if burst else ""
            return f"limit rate over {_bytes(rate)}/second{allowed}"


def _prefix(network: IpNetwork) -> str:
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def _state_names(states: ConnectionState) -> Iterator[str]:
    for state in _STATES:
        if state in states:
            yield str(state.name).lower()


def _bytes(amount: int) -> str:
    """Return an amount in the largest unit that divides it, as nft does."""
    for unit in ("bytes", "kbytes"):
        if amount % 1024:
            return f"{amount} {unit}"
        amount //= 1024
    return f"{amount} mbytes"


def _action_text(action: Action) -> str:
    match action:
        case Return():
            return "return"
        case Drop():
            return "counter drop"
        case Reject():
            return "counter reject"
        case Jump(chain):
            return f"jump {chain}"
        case Goto(chain):
            return f"goto {chain}"
        case VerdictOf(place, by):
            return f"{_selected(by)} vmap @{place.name}"
        case Masquerade(start, end):
            ports = _port_text(start, end)
            return f"masquerade to {ports}" if ports else "masquerade"
        case Snat():
            return _snat_text(action)


def _port_text(start: int | None, end: int | None) -> str:
    if start is None:
        return ""
    return f":{start}" if end in (None, start) else f":{start}-{end}"


def _snat_text(action: Snat) -> str:
    family = _FAMILIES[action.address_start.version]
    ports = _port_text(action.port_start, action.port_end)
    addresses = _range_text(action.address_start, action.address_end, bracketed=bool(ports))
    return f"snat {family} to {addresses}{ports}"


def _range_text(start: Address, end: Address, *, bracketed: bool) -> str:
    """Return a range of addresses; nft shows one that is a prefix as such."""
    first, *more = ipaddress.summarize_address_range(start, end)
    if not more and start != end:
        return str(first)
    ends = [start] if start == end else [start, end]
    return "-".join(f"[{text}]" if bracketed and start.version == 6 else str(text) for text in ends)
