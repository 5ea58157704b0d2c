"""The seam between the applier and the rooms of the host: a driver for each kind of resource.

Everything here runs on the kernel thread, in the network namespace of the daemon; nothing here
is asynchronous.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from jackfield.state.resources import Resource

if TYPE_CHECKING:
    from jackfield.host.kernel import Kernel

__all__ = ["ABSENT", "Driver", "Observed", "Particular", "Presence", "Records"]

R = TypeVar("R", bound=Resource, contravariant=True)


class Presence(enum.Enum):
    """Whether the thing a resource is about exists, and whose it is."""

    ABSENT = "absent"
    OURS = "ours"
    FOREIGN = "foreign"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was found under a resource's key.

    For ``OURS``, ``resource`` is the thing as it is: equal to the wanted one when there is
    nothing to do.  For ``FOREIGN``, ``description`` names it for people
    (``bridge virbr0, index 7``).
    """

    presence: Presence
    resource: Resource | None = None
    description: str = ""


ABSENT = Observed(presence=Presence.ABSENT)


class Driver(Protocol[R]):
    """Make, look at and remove resources of one kind, many at a time."""

    def observe(
        self, kernel: Kernel, resources: Sequence[R], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return what exists under each resource's key; changes nothing.

        ``claimed`` holds the keys with an open intent in the journal: an unmarked link that
        matches such a resource by name, kind and address is ours.
        """
        ...

    def ensure(self, kernel: Kernel, resources: Sequence[R], replaced: Mapping[str, R]) -> None:
        """Make the resources so, or raise; doing it again changes nothing.

        ``replaced`` holds, by key, what those were that exist already: only the difference is
        sent.  The caller has observed before and refused what is foreign.
        """
        ...

    def remove(self, kernel: Kernel, resources: Sequence[R]) -> None:
        """Remove the resources that exist and are ours; the others are left alone silently.

        Goes on after a failure and raises at the end: an ``ExceptionGroup`` of our errors.
        """
        ...


@runtime_checkable
class Particular(Protocol[R]):
    """A driver of what not every kernel can do."""

    def refuse_impossible(self, kernel: Kernel, resources: Sequence[R]) -> None:
        """Raise ``MissingFeature`` if the kernel lacks what ``resources`` need; makes nothing.

        Or another error that must come before anything is made or changed.
        """
        ...


class Records(Protocol):
    """Where a driver keeps what something that is not ours was before us, by a resource's key.

    It outlives the daemon, and ends with the boot or the network namespace.
    """

    def record(self, key: str) -> str | None:
        """Return what is recorded under ``key``."""
        ...

    def put_record(self, key: str, value: str) -> None:
        """Record ``value``; it is kept when this returns."""
        ...

    def delete_record(self, key: str) -> None:
        """Forget what is recorded under ``key``, if anything is."""
        ...
