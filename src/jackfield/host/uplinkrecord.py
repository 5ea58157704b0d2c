"""What an uplink was before its bridge took over from it, as the journal keeps it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable

from jackfield.host.belongings.belonging import Belonging, Place
from jackfield.host.belongings.look import CLASSES

__all__ = ["UplinkRecord"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UplinkRecord:
    """An uplink before us, and how far we got.

    ``bridge`` is the index of the bridge that it became a port of: another of its name is new.
    ``own_mtus`` are the values that we have given it, ``disable_ipv6`` is its sysctl before us
    (``None`` without IPv6), ``taken_at`` seconds since boot.  ``whole`` says that everything has
    arrived at the bridge: from then on what the bridge has counts, not what was recorded.
    """

    place: Place
    bridge: int
    up: bool
    mtu: int
    own_mtus: tuple[int, ...] = ()
    disable_ipv6: str | None = None
    belongings: tuple[Belonging, ...] = ()
    taken_at: int = dataclasses.field(default_factory=lambda: _now())
    whole: bool = False

    def left(self, place: Place) -> list[Belonging]:
        """Return what was recorded as belongings of ``place``, without what is over by now."""
        elapsed = max(0, _now() - self.taken_at)
        aged = (item.aged(elapsed) for item in self.belongings)
        return [dataclasses.replace(item, place=place) for item in aged if item is not None]

    def to_text(self) -> str:
        """Return it as the journal keeps it (JSON)."""
        fields = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        fields["place"] = [self.place.index, self.place.name]
        fields["belongings"] = [[item.kind, item.body.hex()] for item in self.belongings]
        return json.dumps(fields)

    @classmethod
    def from_text(cls, text: str) -> UplinkRecord:
        """Return what the journal kept."""
        fields = json.loads(text)
        place = Place(*fields["place"])
        return cls(
            **{
                **fields,
                "place": place,
                "own_mtus": tuple(fields["own_mtus"]),
                "belongings": tuple(_belongings(place, fields["belongings"])),
            }
        )


def _belongings(place: Place, rows: Iterable[tuple[str, str]]) -> Iterable[Belonging]:
    return (CLASSES[kind](place, bytes.fromhex(body)) for kind, body in rows)


def _now() -> int:
    """Return the seconds since boot, sleep included: as lifetimes are counted."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME))
