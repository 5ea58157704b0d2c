"""What the drivers of all kinds of links have in common: whose a link is, making, removing."""

from __future__ import annotations

import abc
import errno
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from jackfield.errors import ForeignObject, KernelError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.link import Link
from jackfield.model.values import MacAddress
from jackfield.state.links import (
    BridgeLink,
    MacvlanLink,
    MacvtapLink,
    TapLink,
    VethLink,
)

__all__ = ["LinkDriver", "found_mac", "found_mtu", "identity", "make_each"]

# ETH_DATA_LEN of linux/if_ether.h: what the kernel gives a new bridge or tap.
_DEFAULT_MTU = 1500

L = TypeVar("L", BridgeLink, TapLink, VethLink, MacvtapLink, MacvlanLink)


class LinkDriver(abc.ABC, Generic[L]):
    """Driver of links that are marked by their alias.

    A link of the wanted name is ours when it has the wanted alias, or when its key is claimed,
    it has no alias, and kind and MAC are the wanted ones.  Any other is foreign: it is
    described, and never changed or deleted.
    """

    info_kind: ClassVar[str]
    """``IFLA_INFO_KIND`` of the links."""

    def observe(
        self, kernel: Kernel, resources: Sequence[L], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return what exists under each resource's key; changes nothing."""
        links = kernel.route.links([resource.name for resource in resources])
        return {
            resource.key: self._observed(kernel, resource, links.get(resource.name), claimed)
            for resource in resources
        }

    def _observed(
        self, kernel: Kernel, wanted: L, link: Link | None, claimed: Collection[str]
    ) -> Observed:
        if link is None:
            return ABSENT
        if not self._is_ours(wanted, link, claimed):
            return Observed(presence=Presence.FOREIGN, description=link.describe())
        return Observed(presence=Presence.OURS, resource=self._as_found(kernel, wanted, link))

    def _is_ours(self, wanted: L, link: Link, claimed: Collection[str] = frozenset()) -> bool:
        if link.kind != self.info_kind:
            return False
        if link.alias:
            return link.alias == wanted.alias
        return wanted.key in claimed and wanted.mac in (None, link.mac_text)

    def ensure(self, kernel: Kernel, resources: Sequence[L], replaced: Mapping[str, L]) -> None:
        """Make the links so, or raise."""
        new = [resource for resource in resources if resource.key not in replaced]
        for error, resource in self._create(kernel, new):
            if error.errno not in (errno.EEXIST, errno.EBUSY):
                raise error
            # Something has the name already: ours when this is done again, else foreign.
            seen = self.observe(kernel, [resource])[resource.key]
            if seen.presence is Presence.FOREIGN:
                raise ForeignObject(
                    f"{seen.description} is in the way of {resource.kind} {resource.name} "
                    "and is not ours; it is left alone"
                ) from error
            present = seen.resource
            if present is None:
                raise error
            assert isinstance(present, type(resource))
            self._change(kernel, resource, present)
        for resource in resources:
            if resource.key in replaced:
                self._change(kernel, resource, replaced[resource.key])

    def remove(self, kernel: Kernel, resources: Sequence[L]) -> None:
        """Remove the links that exist and are ours, all in one request where that is possible."""
        links = kernel.route.links([resource.name for resource in resources])
        kernel.route.delete_links(
            links[resource.name].index
            for resource in resources
            if resource.name in links and self._is_ours(resource, links[resource.name])
        )

    @abc.abstractmethod
    def _as_found(self, kernel: Kernel, wanted: L, link: Link) -> L:
        """Return the resource as ``link`` shows it; what ``wanted`` leaves open, left open."""

    @abc.abstractmethod
    def _create(self, kernel: Kernel, resources: Sequence[L]) -> list[tuple[KernelError, L]]:
        """Make and mark links that do not exist; return those that were refused.

        Creation and mark are one send or, for taps, both before the link becomes persistent: a
        crash leaves nothing without a mark.
        """

    @abc.abstractmethod
    def _change(self, kernel: Kernel, wanted: L, present: L) -> None:
        """Send the difference between ``present`` and ``wanted``."""


def make_each(links: Iterable[L], make: Callable[[L], None]) -> list[tuple[KernelError, L]]:
    """Make links one by one; return those that were refused."""
    refused: list[tuple[KernelError, L]] = []
    for link in links:
        try:
            make(link)
        except KernelError as error:
            refused.append((error, link))
    return refused


def found_mac(wanted: MacAddress | None, link: Link) -> MacAddress | None:
    """Return the link's address, or ``None`` where ``wanted`` leaves it open."""
    return None if wanted is None else MacAddress(link.mac_text)


def found_mtu(wanted: int | None, link: Link) -> int | None:
    """Return the link's MTU, or ``None`` where ``wanted`` leaves it open."""
    return None if wanted is None else link.mtu


def identity(wanted: L, present: L) -> dict[str, Any]:
    """Return what ``set_link`` must change of alias, address and MTU; empty for nothing.

    An MTU that is not asked for any more goes back to what a new bridge or tap has; no other link
    of ours stops asking for one while it is there.
    """
    changes: dict[str, Any] = {}
    if present.alias != wanted.alias:
        changes["alias"] = wanted.alias
    if wanted.mac is not None and present.mac != wanted.mac:
        changes["mac"] = wanted.mac.packed
    if present.mtu != wanted.mtu:
        changes["mtu"] = _DEFAULT_MTU if wanted.mtu is None else wanted.mtu
    return changes
