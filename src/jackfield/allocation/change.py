"""What a new definition may not do to the ports there are: take their uplink away.

A portgroup's count may fall below what is used; it then admits no new port.
"""

from __future__ import annotations

from collections.abc import Iterable

from jackfield.allocation.candidates import every_candidate
from jackfield.allocation.usage import uplink_key
from jackfield.errors import Conflict
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.uplink import Uplink, describe
from jackfield.state.facts import Facts

__all__ = ["check_change", "uplinks_in_use"]


def uplinks_in_use(network: Network, ports: Iterable[Port], facts: Facts) -> dict[Uplink, int]:
    """Return how many of ``ports``, those of ``network``, each of its uplinks carries.

    Virtual functions count for the physical one that is listed.
    """
    candidates = every_candidate(network, facts)
    owners = dict(zip(candidates.keys, candidates.uplinks, strict=True))
    for uplink in network.uplinks:
        for function in facts.virtual_functions.get(getattr(uplink, "dev", ""), ()):
            names = (str(function.address), "" if function.dev is None else str(function.dev))
            owners.update((name, uplink) for name in names if name in owners)
    counts: dict[Uplink, int] = {}
    for port in ports:
        key = uplink_key(port)
        owner = None if key is None else owners.get(key)
        if owner is not None:
            counts[owner] = counts.get(owner, 0) + 1
    return counts


def check_change(old: Network, new: Network, ports: Iterable[Port], facts: Facts) -> None:
    """Raise :class:`Conflict` if ``new`` lacks an uplink of ``old`` that ``ports`` use."""
    for uplink, count in uplinks_in_use(old, ports, facts).items():
        if uplink not in new.uplinks:
            raise Conflict(
                f"network '{old.name}' cannot lose the uplink {describe(uplink)}: it has {count} "
                f"port{'s' * (count != 1)}",
                hint="detach them first, or keep the uplink",
            )
