"""What ``inet jackfield`` holds of networks that nobody knows: as after a database was lost.

A network's elements and chains bear the name of its bridge.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Collection

from jackfield.errors import KernelError
from jackfield.host.nft.message import TABLE, delete_chain, delete_elements, delete_table
from jackfield.host.nft.observe import Entry, TableContents, is_ours, look_at, look_at_shared
from jackfield.host.nft.socket import GenerationChanged, NftSocket
from jackfield.plan.table import OWN_CHAINS, own_chain

__all__ = ["find_strangers", "remove_strangers"]

_ATTEMPTS = 10


def find_strangers(nft: NftSocket, known: Collection[str]) -> set[str]:
    """Return the bridges that the table has something about, and that are not ``known``."""
    return _bridges(_look(nft)) - set(known) if is_ours(nft) else set()


def remove_strangers(nft: NftSocket, bridges: Collection[str]) -> None:
    """Remove what there is about ``bridges``, and the table where it holds nothing else."""
    for _ in range(_ATTEMPTS):
        generation = nft.generation()
        if not is_ours(nft):
            return
        found = _look(nft)
        messages = [delete_table()]
        if _bridges(found) - set(bridges):
            entries: list[Entry] = [
                entry for bridge in bridges for entry in found.owned.get(bridge, ())
            ]
            messages = [
                delete_elements(place.name, [entry.key for entry in group])
                for place, group in itertools.groupby(entries, lambda entry: entry.place)
            ]
            chains = (name for bridge in bridges for name in found.own_chains(bridge))
            messages += [delete_chain(name) for name in chains]
        try:
            nft.commit(messages, generation)
        except GenerationChanged:
            continue
        return
    raise KernelError(
        f"cannot remove rules from {TABLE}: the host's rules change without pause",
        errno=errno.EAGAIN,
    )


def _look(nft: NftSocket) -> TableContents:
    return look_at(nft, (), look_at_shared(nft).places, one_by_one=False)


def _bridges(found: TableContents) -> set[str]:
    own = (
        name.removeprefix(prefix)
        for name in found.chains
        for prefix in (own_chain(place, "") for place in OWN_CHAINS)
        if name.startswith(prefix)
    )
    return {bridge for bridge in (*found.owned, *own) if bridge}
