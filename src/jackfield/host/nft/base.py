"""What all networks share in ``table inet jackfield``: base chains and the maps they look up."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from jackfield.host.netlink.message import Message
from jackfield.host.nft.expression import (
    NFT_GOTO,
    NFT_JUMP,
    lookup_destination,
    lookup_interface,
)
from jackfield.host.nft.message import (
    BaseChain,
    MapKey,
    add_base_chain,
    add_map,
    add_rule,
    add_table,
    flush_chain,
)
from jackfield.model.address import Address
from jackfield.model.values import InterfaceName
from jackfield.state.rules import Chain, Direction, Hook

__all__ = [
    "BASE_CHAINS",
    "COMMENT",
    "GUARD_MAPS",
    "MAPS",
    "OBJECTS",
    "VERDICTS",
    "Entry",
    "Lookup",
    "base_messages",
    "chain_name",
    "entries",
]

COMMENT = "made by jackfieldd; changes are undone"
"""The table's mark: a table of our name without it is somebody else's."""

# enum nf_ip_hook_priorities: NF_IP_PRI_FILTER and NF_IP_PRI_NAT_SRC.
_FILTER = 0
_SRCNAT = 100

GUARD_MAPS = {4: "guard4", 6: "guard6"}
"""The maps that lead to ``GUARD`` chains, by the version of the address they are looked up by."""

MAPS: dict[str, tuple[Hook, MapKey]] = {
    **{hook.value: (hook, MapKey.INTERFACE) for hook in Hook if hook is not Hook.GUARD},
    GUARD_MAPS[4]: (Hook.GUARD, MapKey.IPV4),
    GUARD_MAPS[6]: (Hook.GUARD, MapKey.IPV6),
}
"""The maps by name: to which chains they lead, and what they are looked up by."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lookup:
    """A base chain's rule: look ``map`` up.

    ``by`` says with what: the interface at that end, or the destination address of that version.
    """

    by: Direction | int
    map: str

    @property
    def expressions(self) -> bytes:
        """The rule as a list of expressions."""
        if isinstance(self.by, Direction):
            return lookup_interface(self.by, self.map)
        return lookup_destination(self.by, self.map)


BASE_CHAINS: dict[BaseChain, tuple[Lookup, ...]] = {
    BaseChain(name="forward", type="filter", hook="forward", priority=_FILTER): (
        Lookup(Direction.SOURCE, Hook.POLICE.value),
        Lookup(Direction.SOURCE, Hook.LEAVE.value),
        Lookup(Direction.DESTINATION, Hook.ENTER.value),
    ),
    BaseChain(name="input", type="filter", hook="input", priority=_FILTER): (
        Lookup(Direction.SOURCE, Hook.POLICE.value),
        Lookup(Direction.SOURCE, Hook.INPUT.value),
        Lookup(4, GUARD_MAPS[4]),
        Lookup(6, GUARD_MAPS[6]),
    ),
    # Packets keep their input device in this hook since Linux 5.7.
    BaseChain(name="postrouting", type="nat", hook="postrouting", priority=_SRCNAT): (
        Lookup(Direction.SOURCE, Hook.NAT.value),
    ),
}
"""The base chains, each with the maps that it looks up."""

_COME_BACK = (Hook.POLICE, Hook.LEAVE, Hook.INPUT)

VERDICTS = {hook: NFT_JUMP if hook in _COME_BACK else NFT_GOTO for hook in Hook}
"""How a map leads to a chain: what comes back from a jump is looked up in the next map."""

OBJECTS = len(BASE_CHAINS) + len(MAPS)
"""How many chains and maps the table holds when no network has any."""


class Entry(NamedTuple):
    """An element's place: the map's name, and the key in it."""

    map: str
    key: str | Address


def chain_name(hook: Hook, bridge: str) -> str:
    """Return the name of a network's chain: ``leave-virbr0``."""
    return f"{hook.value}-{bridge}"


def entries(chain: Chain, bridge: InterfaceName) -> list[Entry]:
    """Return where the elements are that lead to a network's chain."""
    if chain.hook is Hook.GUARD:
        return [Entry(GUARD_MAPS[address.version], address) for address in chain.addresses]
    return [Entry(chain.hook.value, bridge)]


def base_messages() -> list[Message]:
    """Return what makes, or mends, the table, the maps and the base chains with their rules."""
    messages = [add_table(COMMENT)]
    messages += [
        add_map(name, number, key) for number, (name, (_, key)) in enumerate(MAPS.items(), start=1)
    ]
    for chain, lookups in BASE_CHAINS.items():
        messages += [add_base_chain(chain), flush_chain(chain.name)]
        messages += [
            add_rule(chain.name, lookup.expressions, f"lookup in @{lookup.map}")
            for lookup in lookups
        ]
    return messages
