"""Host states, and the change that leads from one to another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, ValuesView

from jackfield.state.resources import KINDS, NetworkRules, PortGuard, Resource

__all__ = ["NOTHING", "Change", "HostState", "difference", "removal_order"]

_RANK = {kind: rank for rank, kind in enumerate(KINDS)}


class HostState(Mapping[str, Resource]):
    """Resources by key, in the order in which they are made."""

    __slots__ = ("_by_key",)

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        """Take ``resources`` in any order; two with one key are a defect of the caller."""
        self._by_key: dict[str, Resource] = {}
        for resource in sorted(resources, key=lambda item: _RANK[item.kind]):
            if resource.key in self._by_key:
                raise ValueError(f"two resources are about {resource.key}")
            self._by_key[resource.key] = resource

    def __getitem__(self, key: str) -> Resource:
        """Return the resource about ``key``."""
        return self._by_key[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys in making order."""
        return iter(self._by_key)

    def __len__(self) -> int:
        """Return how many resources there are."""
        return len(self._by_key)

    def values(self) -> ValuesView[Resource]:
        """Return the resources in making order; a dictionary's view is several times faster."""
        return self._by_key.values()

    def __repr__(self) -> str:
        """Return the resources, readable."""
        return f"HostState({list(self._by_key.values())!r})"


NOTHING = HostState()
"""What wants nothing of the host; most ports of libvirt's guests do."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What to do, in order: ``remove`` first, then ``ensure``.

    ``replaced`` holds the former value of those in ``ensure`` that exist already, by key.
    """

    remove: tuple[Resource, ...] = ()
    ensure: tuple[Resource, ...] = ()
    replaced: Mapping[str, Resource] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.remove or self.ensure)

    def __add__(self, other: Change) -> Change:
        """Return both: what is removed by either, and what is made by this one first."""
        return Change(
            remove=(*self.remove, *other.remove),
            ensure=(*self.ensure, *other.ensure),
            replaced={**other.replaced, **self.replaced},
        )


def removal_order(resources: Iterable[Resource]) -> list[Resource]:
    """Return ``resources``, given in making order, in the order in which they are removed.

    The reverse, but rules go last: nobody may be on a network without them.
    """
    backwards = list(resources)[::-1]
    return [
        *(item for item in backwards if not isinstance(item, NetworkRules | PortGuard)),
        *(item for item in backwards if isinstance(item, NetworkRules | PortGuard)),
    ]


def difference(wanted: HostState, present: HostState) -> Change:
    """Return the change that makes ``present`` into ``wanted``; equal resources are left alone.

    What goes away with a link that is removed is not removed one by one.
    """
    gone = [present[key] for key in present if key not in wanted]
    going = {resource.key for resource in gone}
    remove = [item for item in removal_order(gone) if item.carrier not in going]
    ensure = [resource for key, resource in wanted.items() if present.get(key) != resource]
    replaced = {item.key: present[item.key] for item in ensure if item.key in present}
    return Change(remove=tuple(remove), ensure=tuple(ensure), replaced=replaced)
