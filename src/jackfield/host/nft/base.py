"""What all networks share in ``table inet jackfield``: base chains and the maps they look up."""

from __future__ import annotations

from jackfield.host.netlink.message import Message
from jackfield.host.nft.expression import NFT_GOTO, NFT_JUMP, lookup_interface
from jackfield.host.nft.message import (
    BaseChain,
    add_base_chain,
    add_map,
    add_rule,
    add_table,
    flush_chain,
)
from jackfield.state.rules import Direction, Hook

__all__ = ["BASE_CHAINS", "COMMENT", "OBJECTS", "VERDICTS", "base_messages", "chain_name"]

COMMENT = "made by jackfieldd; changes are undone"
"""The table's mark: a table of our name without it is somebody else's."""

# enum nf_ip_hook_priorities: NF_IP_PRI_FILTER and NF_IP_PRI_NAT_SRC.
_FILTER = 0
_SRCNAT = 100

BASE_CHAINS: dict[BaseChain, tuple[tuple[Direction, Hook], ...]] = {
    BaseChain(name="forward", type="filter", hook="forward", priority=_FILTER): (
        (Direction.SOURCE, Hook.LEAVE),
        (Direction.DESTINATION, Hook.ENTER),
    ),
    BaseChain(name="input", type="filter", hook="input", priority=_FILTER): (
        (Direction.SOURCE, Hook.INPUT),
    ),
    BaseChain(name="prerouting", type="filter", hook="prerouting", priority=_FILTER): (
        (Direction.SOURCE, Hook.POLICE),
    ),
    # Packets keep their input device in this hook since Linux 5.7.
    BaseChain(name="postrouting", type="nat", hook="postrouting", priority=_SRCNAT): (
        (Direction.SOURCE, Hook.NAT),
    ),
}
"""The base chains, each with the maps that it looks up: by which device, and which map."""

VERDICTS = {hook: NFT_JUMP if hook is Hook.LEAVE else NFT_GOTO for hook in Hook}
"""How a map leads to a chain: what leaves comes back, to be looked at where it enters."""

OBJECTS = len(BASE_CHAINS) + len(Hook)
"""How many chains and maps the table holds when no network has any."""


def chain_name(hook: Hook, bridge: str) -> str:
    """Return the name of a network's chain: ``leave-virbr0``."""
    return f"{hook.value}-{bridge}"


def base_messages() -> list[Message]:
    """Return what makes, or mends, the table, the maps and the base chains with their rules."""
    messages = [add_table(COMMENT)]
    messages += [add_map(hook.value, number) for number, hook in enumerate(Hook, start=1)]
    for chain, lookups in BASE_CHAINS.items():
        messages += [add_base_chain(chain), flush_chain(chain.name)]
        messages += [
            add_rule(
                chain.name, lookup_interface(direction, hook.value), f"lookup in @{hook.value}"
            )
            for direction, hook in lookups
        ]
    return messages
