"""What all networks share in ``table inet jackfield``, as messages."""

from __future__ import annotations

import functools

from jackfield.host.netlink.message import Message
from jackfield.host.nft.expression import encode_rule
from jackfield.host.nft.message import (
    add_chain,
    add_rule,
    add_set,
    add_table,
    delete_chain,
    delete_set,
    delete_table,
    flush_chain,
)
from jackfield.plan.table import shared_chains
from jackfield.state.rules import NamedSet

__all__ = ["base_messages", "removal_messages"]


# The sets are the same few again and again.
@functools.lru_cache(maxsize=64)
def base_messages(places: frozenset[NamedSet]) -> tuple[Message, ...]:
    """Return what makes, or mends, the table, these sets, and the chains that look them up."""
    in_order = sorted(places, key=_name)
    return (
        add_table(),
        *(add_set(place, number) for number, place in enumerate(in_order, start=1)),
        *_chain_messages(places),
    )


@functools.lru_cache(maxsize=64)
def removal_messages(
    places: frozenset[NamedSet], unused: frozenset[NamedSet]
) -> tuple[Message, ...]:
    """Return what removes those of the sets ``places`` that are ``unused``; with all, the table.

    The chains are filled anew without what looks them up.  The kernel refuses it all if one of
    them has an element.
    """
    kept = places - unused
    names = {chain.name for chain in shared_chains(kept)}
    chains = [chain.name for chain in shared_chains(places)]
    return (
        *map(flush_chain, chains),
        *_chain_messages(kept),
        *(delete_chain(name) for name in chains if name not in names),
        *(delete_set(place.name, empty=True) for place in sorted(unused, key=_name)),
        *(() if kept else (delete_table(),)),
    )


def _name(place: NamedSet) -> str:
    return place.name


def _chain_messages(places: frozenset[NamedSet]) -> list[Message]:
    chains = shared_chains(places)
    messages: list[Message] = []
    for chain in chains:
        messages += [add_chain(chain.name, chain.base), flush_chain(chain.name)]
    for chain in chains:
        messages += [
            add_rule(chain.name, encode_rule(rule), f"rule {number}")
            for number, rule in enumerate(chain.rules, start=1)
        ]
    return messages
