"""What a former version left in our table: chains and sets that this one does not know.

They go when the rules of today are there, all in one batch.  A chain that the kernel calls would
go on refusing what its version refused, whatever the networks are made of by now.
"""

from __future__ import annotations

from jackfield.host.netlink.message import text
from jackfield.host.nft.message import (
    TABLE_NAME,
    delete_chain,
    delete_set,
    flush_chain,
    get_chains,
    get_sets,
)
from jackfield.host.nft.observe import is_ours
from jackfield.host.nft.socket import GenerationChanged, NftSocket, object_attributes
from jackfield.plan.table import OWN_CHAINS, named_set, own_chain, shared_chains

__all__ = ["remove_former"]

_ATTEMPTS = 10
_SET_NAME = 2
_SET_FLAGS = 3
_ANONYMOUS = 1
_CHAIN_TABLE = 1
_CHAIN_NAME = 3


def remove_former(nft: NftSocket) -> list[str]:
    """Remove what is in our table and of no version that this one knows; return what it was."""
    for _ in range(_ATTEMPTS):
        generation = nft.generation()
        if not is_ours(nft):
            return []
        found = [object_attributes(reply) for reply in nft.dump(get_sets())]
        # Sets without a name of their own go with the rules that they are in.
        named = [
            text(item[_SET_NAME])
            for item in found
            if not int.from_bytes(item.get(_SET_FLAGS, b""), "big") & _ANONYMOUS
        ]
        sets = [name for name in named if named_set(name) is None]
        chains = _unknown_chains(nft, named)
        messages = [
            *map(flush_chain, chains),
            *map(delete_set, sets),
            *map(delete_chain, chains),
        ]
        try:
            nft.commit(messages, generation)
        except GenerationChanged:
            continue
        return [*(f"chain {name}" for name in chains), *(f"set {name}" for name in sets)]
    return []


def _unknown_chains(nft: NftSocket, sets: list[str]) -> list[str]:
    """Return the table's chains that are neither all networks' nor one's own."""
    places = [place for name in sets if (place := named_set(name)) is not None]
    shared = {chain.name for chain in shared_chains(places)}
    own = tuple(own_chain(place, "") for place in OWN_CHAINS)
    found = (object_attributes(reply) for reply in nft.dump(get_chains()))
    names = [text(item[_CHAIN_NAME]) for item in found if text(item[_CHAIN_TABLE]) == TABLE_NAME]
    return [name for name in names if name not in shared and not name.startswith(own)]
