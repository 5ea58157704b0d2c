"""Which networks have something in our table, and in which sets: what we know without looking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from jackfield.state.rules import NamedSet

__all__ = ["Usage"]


class Usage:
    """The sets of each network, by its bridge; what that costs does not grow with the others."""

    def __init__(self) -> None:
        """Know of nobody."""
        self._places: dict[str, frozenset[NamedSet]] = {}
        self._users: Counter[NamedSet] = Counter()

    def learn(self, seen: Mapping[str, Iterable[NamedSet]]) -> None:
        """Know what has been seen and nothing else."""
        self._places = {}
        self._users.clear()
        for bridge, places in seen.items():
            self.put(bridge, places)

    def put(self, bridge: str, places: Iterable[NamedSet]) -> None:
        """Know that the network has elements in these sets and in no other."""
        self.drop(bridge)
        self._places[bridge] = frozenset(places)
        self._users.update(self._places[bridge])

    def drop(self, bridge: str) -> None:
        """Know that the network has nothing there."""
        self._users.subtract(self._places.pop(bridge, ()))

    def others(self, bridges: Collection[str]) -> int:
        """Return how many other networks than these have something there."""
        return len(self._places) - sum(bridge in self._places for bridge in bridges)

    def unused(self, places: Iterable[NamedSet]) -> frozenset[NamedSet]:
        """Return those of ``places`` that nobody is in."""
        return frozenset(place for place in places if self._users[place] <= 0)
