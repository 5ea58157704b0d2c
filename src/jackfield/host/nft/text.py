"""The rules as nft writes them: for plans, the documentation and golden tests."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

from jackfield.host.nft.base import (
    BASE_CHAINS,
    COMMENT,
    MAPS,
    VERDICTS,
    Lookup,
    chain_name,
    entries,
)
from jackfield.host.nft.expression import NFT_JUMP
from jackfield.host.nft.message import TABLE, BaseChain
from jackfield.model.address import Address, IpNetwork
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import (
    Action,
    Chain,
    ConnectionState,
    Direction,
    Drop,
    Interface,
    Masquerade,
    Match,
    Peer,
    RateOver,
    Reject,
    Return,
    Rule,
    Snat,
    State,
    Transport,
)

__all__ = ["chain_text", "rule_text", "table_text"]

_PRIORITIES = {0: "filter", 100: "srcnat"}
_DEVICES = {Direction.SOURCE: "iifname", Direction.DESTINATION: "oifname"}
_ADDRESSES = {Direction.SOURCE: "saddr", Direction.DESTINATION: "daddr"}
_FAMILIES = {4: "ip", 6: "ip6"}
# The order in which nft lists states.
_STATES = (
    ConnectionState.INVALID,
    ConnectionState.ESTABLISHED,
    ConnectionState.RELATED,
    ConnectionState.NEW,
)


def rule_text(rule: Rule) -> str:
    """Return a rule on one line, without the values of its counter."""
    return " ".join([*map(_match_text, rule.matches), _action_text(rule.action)])


def chain_text(bridge: str, chain: Chain) -> str:
    """Return a network's chain."""
    return _block(f"chain {chain_name(chain.hook, bridge)}", map(rule_text, chain.rules))


def table_text(networks: Iterable[NetworkRules]) -> str:
    """Return the whole table of these networks, as ``nft list table inet jackfield`` shows it."""
    networks = list(networks)
    lines = [f"{TABLE} {{", f'\tcomment "{COMMENT}"']
    for name in MAPS:
        lines += [_indent(_map_text(name, networks)), ""]
    for chain, lookups in BASE_CHAINS.items():
        lines += [_indent(_base_chain_text(chain, lookups)), ""]
    for network in networks:
        for own in network.chains:
            lines += [_indent(chain_text(network.bridge, own)), ""]
    return "\n".join([*lines[:-1], "}", ""])


def _block(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"{title} {{", *(f"\t{line}" for line in lines), "}"])


def _indent(text: str) -> str:
    return "\n".join(f"\t{line}" for line in text.split("\n"))


def _map_text(name: str, networks: list[NetworkRules]) -> str:
    hook, key = MAPS[name]
    verb = "jump" if VERDICTS[hook] == NFT_JUMP else "goto"
    elements = [
        f"{_key_text(entry.key)} : {verb} {chain_name(hook, network.bridge)}"
        for network in networks
        for chain in network.chains
        for entry in entries(chain, network.bridge)
        if entry.map == name
    ]
    lines = [f"type {key.value} : verdict"]
    if elements:
        lines.append(f"elements = {{ {', '.join(elements)} }}")
    return _block(f"map {name}", lines)


def _key_text(key: str | Address) -> str:
    return f'"{key}"' if isinstance(key, str) else str(key)


def _base_chain_text(chain: BaseChain, lookups: tuple[Lookup, ...]) -> str:
    priority = _PRIORITIES[chain.priority]
    lines = [f"type {chain.type} hook {chain.hook} priority {priority}; policy accept;"]
    lines += [f"{_lookup_text(lookup)} vmap @{lookup.map}" for lookup in lookups]
    return _block(f"chain {chain.name}", lines)


def _lookup_text(lookup: Lookup) -> str:
    if isinstance(lookup.by, Direction):
        return _DEVICES[lookup.by]
    return f"{_FAMILIES[lookup.by]} {_ADDRESSES[Direction.DESTINATION]}"


def _not(negate: bool) -> str:
    return "!= " if negate else ""


def _match_text(match: Match) -> str:
    match match:
        case Interface(direction, name, negate):
            return f'{_DEVICES[direction]} {_not(negate)}"{name}"'
        case Peer(direction, network, negate):
            family = _FAMILIES[network.version]
            return f"{family} {_ADDRESSES[direction]} {_not(negate)}{_prefix(network)}"
        case Transport(protocol, port):
            return f"meta l4proto {protocol}" if port is None else f"{protocol} dport {port}"
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
