"""How long guests may take their leases for theirs, whatever happens to the host's clock.

dnsmasq writes down at which time a lease ends.  A clock that is set, or a host that was suspended,
passes that time at once, and dnsmasq forgets the lease with the next guest that asks for anything.
The guest has counted for itself, as RFC 2131 has it, and goes on with its address until it renews
it: one that is kept to its addresses would be silent for half its lease.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from uuid import UUID

from jackfield.engine.views import LeaseView
from jackfield.model.address import Address
from jackfield.model.values import MacAddress

__all__ = ["LeaseTerms"]

_Key = tuple[Address, MacAddress | None]


class LeaseTerms:
    """The ends of leases by a clock that nobody sets and that stands still with the guests.

    All times are seconds: ``now`` since the epoch, ``running`` of ``CLOCK_MONOTONIC``.
    """

    def __init__(self) -> None:
        """Know of no lease."""
        self._terms: dict[UUID, dict[_Key, tuple[LeaseView, float]]] = {}

    def forget(self, network: UUID) -> None:
        """Forget the leases of a network."""
        self._terms.pop(network, None)

    def outlasting(
        self, network: UUID, leases: Iterable[LeaseView], *, now: float, running: float
    ) -> list[LeaseView]:
        """Return what is over by the host's clock alone; ``leases`` are those that there are.

        What ended before its time was given back, and an address that somebody else has is his.
        """
        former, terms = self._terms.get(network, {}), {}
        taken = set()
        for lease in leases:
            key = (lease.address, lease.mac)
            known = former.get(key)
            if known is None or known[0].expires != lease.expires:
                known = lease, running + lease.expires - now if lease.expires else math.inf
            terms[key] = known
            taken.add(lease.address)
        held = []
        for key, (lease, end) in former.items():
            if lease.address not in taken and 0 < lease.expires <= now and running < end:
                terms[key] = lease, end
                held.append(lease)
        self._terms[network] = terms
        return held

    def next_end(self, network: UUID, held: Iterable[LeaseView]) -> float | None:
        """Return when the first of those that outlast the host's clock is over."""
        terms = self._terms.get(network, {})
        return min((terms[lease.address, lease.mac][1] for lease in held), default=None)
