"""Looks at what the kernel has of ``table bridge jackfield``."""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
from collections.abc import Iterator

from jackfield.host.netlink.message import attribute_list, attributes, text
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.compare import contains, same_rules
from jackfield.host.nft.guardexpressions import IFNAMSIZ
from jackfield.host.nft.guardmessage import encode_rule, of_bridges
from jackfield.host.nft.guardtable import (
    BASE_CHAINS,
    CHAINS,
    LEARNED,
    SETS,
    Element,
    Key,
    KeyPart,
    elements,
)
from jackfield.host.nft.mark import is_marked
from jackfield.host.nft.message import (
    chain_attributes,
    get_chain,
    get_elements,
    get_rules,
    get_table,
)
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.model.address import Address
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.resources import PortGuard

__all__ = ["Held", "base_fault", "guarded_links", "is_ours", "look_at_ports", "misplaced_chains"]

_RULE_EXPRESSIONS = 4
_ELEM_LIST_ELEMENTS = 3
_SET_ELEM_KEY = 1
_DATA_VALUE = 1


def is_ours(nft: NftSocket) -> bool | None:
    """Tell whether the table of our name is ours; ``None`` if there is none."""
    found = nft.get(of_bridges(get_table()))
    return None if found is None else is_marked(found)


def misplaced_chains(nft: NftSocket) -> list[str]:
    """Return the base chains that have another hook, priority or policy than ours."""
    found = {name: nft.get(of_bridges(get_chain(name))) for name in BASE_CHAINS}
    return [
        name
        for name, seen in found.items()
        if seen is not None and not contains(seen, chain_attributes(BASE_CHAINS[name]))
    ]


def base_fault(nft: NftSocket) -> str:
    """Return what is wrong with the chains that all ports share; empty when nothing is."""
    misplaced = misplaced_chains(nft)
    if misplaced:
        return f"chain {misplaced[0]} has another hook, priority or policy"
    for name, rules in CHAINS.items():
        present = [
            object_attributes(reply).get(_RULE_EXPRESSIONS, b"")
            for reply in nft.dump(of_bridges(get_rules(name)))
        ]
        if not same_rules(present, [encode_rule(rule) for rule in rules]):
            return f"chain {name} has other rules"
    return ""


def guarded_links(nft: NftSocket) -> list[InterfaceName]:
    """Return the names of all ports that have a guard of ours."""
    if not is_ours(nft):
        return []
    return [name for key in _keys(nft, "guarded") if (name := _name(key)) is not None]


def look_at_ports(nft: NftSocket) -> dict[InterfaceName, Held]:
    """Return what the sets hold of every port, but for what the kernel learned."""
    owned = set(_keys(nft, "owned6"))
    found: dict[bytes, set[tuple[str, bytes]]] = {}
    for name in SETS:
        if name in ("owned6", LEARNED):
            continue
        for key in _keys(nft, name):
            held = found.setdefault(key[:IFNAMSIZ], set())
            held.add((name, key))
            if name == "addresses6" and key[-16:] in owned:
                held.add(("owned6", key[-16:]))
    return {link: Held(link, raw) for key, raw in found.items() if (link := _name(key)) is not None}


def _name(key: bytes) -> InterfaceName | None:
    """Return the name that a key begins with; ``None`` for what somebody else wrote there."""
    try:
        return InterfaceName(text(key[:IFNAMSIZ]))
    except ValueError:
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """What the sets hold of the port ``link``: their names, each with a key as the kernel has it.

    Keys become values only where they are not those that are wanted: there are many.
    """

    link: InterfaceName
    raw: set[tuple[str, bytes]]

    def is_of(self, guard: PortGuard) -> bool:
        """Tell whether these are the elements of ``guard``."""
        return self.raw == {(item.set, item.packed) for item in elements(guard)}

    @property
    def elements(self) -> list[Element]:
        """The elements."""
        return [
            Element(name, tuple(_parts(SETS[name].parts, key))) for name, key in sorted(self.raw)
        ]

    @property
    def guard(self) -> PortGuard | None:
        """The port's guard; ``None`` when these are not the elements of one."""
        present = self.elements
        macs = [key for item in present for key in item.key if isinstance(key, MacAddress)]
        if not macs:
            return None
        sets = {item.set for item in present}

        def addresses(*names: str) -> tuple[Address, ...]:
            keys = (item.key[-1] for item in present if item.set in names)
            found = {key for key in keys if not isinstance(key, str)}
            return tuple(sorted(found, key=lambda address: (address.version, address)))

        guard = PortGuard(
            link=self.link,
            mac=macs[0],
            addresses=addresses("addresses4", "addresses6"),
            owned=addresses("owned6"),
            denied=addresses("denied4", "denied6"),
            prefixes=tuple(ipaddress.ip_network((one, 64)) for one in addresses("prefixes6")),
            learns="learning" in sets,
            open4="open4" in sets,
            open6="open6" in sets,
        )
        return guard if self.is_of(guard) else None


def _keys(nft: NftSocket, name: str) -> Iterator[bytes]:
    """Yield the keys of a set, by a dump."""
    try:
        replies = nft.dump(of_bridges(get_elements(name)))
    except Refusal as error:
        if error.errno == errno.ENOENT:
            return
        raise
    for reply in replies:
        listed = object_attributes(reply).get(_ELEM_LIST_ELEMENTS, b"")
        for _, payload in attribute_list(listed):
            key = attributes(attributes(payload).get(_SET_ELEM_KEY, b""))
            yield key.get(_DATA_VALUE, b"")


def _parts(parts: tuple[KeyPart, ...], key: bytes) -> Iterator[Key]:
    offset = 0
    for part in parts:
        yield _parsed(part, key[offset : offset + part.length])
        offset += part.length + 3 & ~3


def _parsed(part: KeyPart, data: bytes) -> Key:
    match part.name:
        case "ifname":
            return text(data)
        case "ether_addr":
            return MacAddress(data.hex(":"))
        case _:
            return ipaddress.ip_address(data)
