"""Sets of ``ipset`` that rules of iptables ask: those of addresses are known, others a doubt.

Numbers are those of ``linux/netfilter/ipset/ip_set.h``.  The kernel is asked only where a rule
asks for a set: who asks has its module loaded.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import struct
from collections.abc import Iterable, Iterator, Mapping

from jackfield.errors import KernelError
from jackfield.host.netlink.message import Message, attribute, attribute_list, attributes, text
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.model.address import IpNetwork
from jackfield.state.ruleset import (
    Base,
    Doubt,
    Expression,
    ForeignRule,
    ForeignSet,
    ForeignTable,
    Group,
    IpSet,
    Load,
    Lookup,
    Not,
    Payload,
    SetElement,
)

__all__ = ["with_ipsets"]

_SUBSYSTEM, _LIST = 6, 7  # NFNL_SUBSYS_IPSET, IPSET_CMD_LIST
_PROTOCOL, _SETNAME, _TYPENAME, _FAMILY, _DATA, _ADT, _INDEX = 1, 2, 3, 5, 7, 8, 11
_VERSION = 7
_IP, _IP_TO, _CIDR, _FLAGS = 1, 2, 3, 8
_BITMASK, _NETMASK = 12, 20
_NO_MATCH = 4  # IPSET_FLAG_NOMATCH
_KNOWN = frozenset({"hash:ip", "hash:net", "bitmap:ip"})
_FAMILIES = {2: "ip", 10: "ip6"}
_OFFSETS = {("ip", "src"): 12, ("ip", "dst"): 16, ("ip6", "src"): 8, ("ip6", "dst"): 24}
_LENGTHS = {"ip": 4, "ip6": 16}
_AT = 16
"""The register that is used for all of it."""

_Addresses = tuple[int, int]


@dataclasses.dataclass(slots=True)
class _Set:
    """One set: its ``kind``, the family of its addresses, and from where to where they go."""

    kind: str
    family: str
    ranges: list[_Addresses] = dataclasses.field(default_factory=list)
    is_plain: bool = True


def with_ipsets(tables: Iterable[ForeignTable]) -> list[ForeignTable]:
    """Return ``tables`` with what is in the sets that they ask; what is not known is a doubt."""
    found = list(tables)
    if not any(_asks(rule.expressions) for table in found for rule in _rules(table)):
        return found
    try:
        known = _read()
    except KernelError:
        known = {}
    return [_resolved(table, known) for table in found]


def _rules(table: ForeignTable) -> Iterator[ForeignRule]:
    for chain in table.chains.values():
        yield from chain.rules


def _asks(expressions: Iterable[Expression]) -> bool:
    return any(
        isinstance(item, IpSet) or (isinstance(item, Group | Not) and _asks(item.inner))
        for item in expressions
    )


def _resolved(table: ForeignTable, known: Mapping[str | int, _Set]) -> ForeignTable:
    sets = dict(table.sets)
    chains = {
        name: dataclasses.replace(
            chain,
            rules=tuple(
                dataclasses.replace(
                    rule, expressions=tuple(_without(rule.expressions, table.family, known, sets))
                )
                if _asks(rule.expressions)
                else rule
                for rule in chain.rules
            ),
        )
        for name, chain in table.chains.items()
    }
    return dataclasses.replace(table, chains=chains, sets=sets)


def _without(
    expressions: Iterable[Expression],
    family: str,
    known: Mapping[str | int, _Set],
    sets: dict[str, ForeignSet],
) -> Iterator[Expression]:
    """Yield expressions with lookups in the place of ``IpSet``, and add what they look up."""
    for item in expressions:
        if isinstance(item, Group | Not):
            inner = tuple(_without(item.inner, family, known, sets))
            yield dataclasses.replace(item, inner=inner)
        elif isinstance(item, IpSet):
            yield from _asked(item, family, known.get(item.which), sets)
        else:
            yield item


def _asked(
    item: IpSet, family: str, found: _Set | None, sets: dict[str, ForeignSet]
) -> Iterator[Expression]:
    if found is None or not found.is_plain or (found.family, len(item.ends)) != (family, 1):
        yield Doubt("set")
    else:
        name, length = f"ipset {item.which}", _LENGTHS[family]
        if name not in sets:
            sets[name] = _as_set(name, length, found.ranges)
        yield Load(Payload(Base.NETWORK, _OFFSETS[family, item.ends[0]], length), _AT)
        yield Lookup(name, _AT)


def _as_set(name: str, length: int, ranges: Iterable[_Addresses]) -> ForeignSet:
    """Return a set of ranges of which no two overlap."""
    apart: list[_Addresses] = []
    for low, high in sorted(ranges):
        if apart and low <= apart[-1][1] + 1:
            apart[-1] = (apart[-1][0], max(high, apart[-1][1]))
        else:
            apart.append((low, high))
    elements = (
        SetElement(low=low.to_bytes(length, "big"), high=high.to_bytes(length, "big"))
        for low, high in apart
    )
    return ForeignSet(name=name, fields=(length,), elements=tuple(elements))


def _read() -> dict[str | int, _Set]:
    """Return the sets of this namespace by name and by number; ``KernelError`` if that fails."""
    found: dict[str | int, _Set] = {}
    body = bytes(4) + attribute(_PROTOCOL, bytes([_VERSION]))
    with NftSocket() as netfilter:
        question = Message(_SUBSYSTEM << 8 | _LIST, 0, body, "list the sets of ipset")
        for reply in netfilter.dump(question):
            item = object_attributes(reply)
            name = text(item[_SETNAME])
            # A long set comes in several parts, of which the first says what it is.
            if _TYPENAME in item:
                one = _Set(text(item[_TYPENAME]), _FAMILIES.get(item[_FAMILY][0], ""))
                header = attributes(item.get(_DATA, b""))
                one.is_plain = one.kind in _KNOWN and not {_BITMASK, _NETMASK} & header.keys()
                found[name] = one
                if _INDEX in item:
                    found[struct.unpack("!H", item[_INDEX])[0]] = one
            if found[name].is_plain:
                for _, element in attribute_list(item.get(_ADT, b"")):
                    _add(found[name], attributes(element))
    return found


def _add(found: _Set, element: Mapping[int, bytes]) -> None:
    if int.from_bytes(element.get(_FLAGS, b""), "big") & _NO_MATCH:
        found.is_plain = False
        return
    network = _network(element)
    low, high = int(network.network_address), int(network.broadcast_address)
    if _IP_TO in element:
        high = int.from_bytes(_address(element[_IP_TO]), "big")
    found.ranges.append((low, high))


def _network(element: Mapping[int, bytes]) -> IpNetwork:
    address = _address(element[_IP])
    prefix = element[_CIDR][0] if _CIDR in element else len(address) * 8
    return ipaddress.ip_network((address, prefix), strict=False)


def _address(data: bytes) -> bytes:
    """Return an address of either family."""
    (found,) = attributes(data).values()
    return found
