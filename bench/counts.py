"""How much is measured: enough for figures, or just enough to show that it runs."""

from __future__ import annotations

import dataclasses

__all__ = ["FULL", "QUICK", "Counts"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The sizes of all benchmarks.

    ``rounds`` are samples of each kind, ``peer_rounds`` those of libvirtd's slow works.
    ``defined`` networks are there when clients call; one does so ``in_a_row`` times in its turn,
    and ``clients`` of them do at once, each ``client_rounds`` times.
    ``others`` and ``peer_others`` run beside what is measured; ``networks`` and ``peer_networks``
    is how many are tried on one host, ``ports`` how many taps they have together.  ``bursts`` are
    the samples of a packet rate, ``burst`` seconds each.
    """

    rounds: int
    peer_rounds: int
    defined: int
    in_a_row: int
    clients: int
    client_rounds: int
    others: int
    peer_others: int
    networks: int
    peer_networks: int
    ports: int
    bursts: int
    burst: float


FULL = Counts(
    rounds=40,
    peer_rounds=15,
    defined=1000,
    in_a_row=20,
    clients=8,
    client_rounds=200,
    others=500,
    peer_others=100,
    networks=1000,
    peer_networks=140,
    ports=10_000,
    bursts=21,
    burst=0.5,
)
QUICK = Counts(
    rounds=2,
    peer_rounds=1,
    defined=4,
    in_a_row=2,
    clients=2,
    client_rounds=2,
    others=3,
    peer_others=2,
    networks=4,
    peer_networks=2,
    ports=8,
    bursts=2,
    burst=0.05,
)
