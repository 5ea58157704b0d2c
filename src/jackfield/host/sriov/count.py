"""How many virtual functions a physical function has."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import ConfigurationError, NotFound, counted
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.sriov import pci
from jackfield.model.uplink import PciAddress
from jackfield.state.functions import FunctionCount

__all__ = ["FunctionCountDriver"]

_log = logging.getLogger(__name__)


class FunctionCountDriver:
    """Makes virtual functions, and takes them away while nobody uses any."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[FunctionCount],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return how many there are; absent where there is no such physical function."""
        found = {}
        for wanted in resources:
            found[wanted.key] = ABSENT
            if _total(kernel, wanted) is not None:
                count = FunctionCount(
                    link=wanted.link, value=str(len(pci.virtual_functions(wanted.link)))
                )
                found[wanted.key] = Observed(presence=Presence.OURS, resource=count)
        return found

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[FunctionCount],
        replaced: Mapping[str, FunctionCount],
    ) -> None:
        """Make as many as are wanted; what is there and used stays, and more than enough too.

        No function at all is what was there before us: then they are taken away.
        """
        for wanted in resources:
            _make(kernel, wanted)

    def remove(self, kernel: Kernel, resources: Sequence[FunctionCount]) -> None:
        """Do nothing: the number is put back by whoever knows what it was."""


def _total(kernel: Kernel, wanted: FunctionCount) -> int | None:
    if kernel.route.index(wanted.link) is None:
        return None
    return pci.read_total(wanted.link)


def _make(kernel: Kernel, wanted: FunctionCount) -> None:
    count, present = int(wanted.value), pci.virtual_functions(wanted.link)
    if len(present) == count or 0 < count < len(present):
        return
    total = _total(kernel, wanted)
    if total is None:
        raise NotFound(
            f"{wanted.link} has no virtual functions: it is not here, or not a card with SR-IOV"
        )
    if count > total:
        raise ConfigurationError(
            f"{wanted.link} can have {counted(total, 'virtual function')}, not {count}",
            hint="lower its number under [virtual_functions] in the configuration",
        )
    used = [str(address) for address in present if _is_used(kernel, address)]
    if used:
        # The number can only be changed by taking all of them away.
        _log.warning(
            "%s keeps its %s instead of %d: used are %s",
            wanted.link,
            counted(len(present), "virtual function"),
            count,
            ", ".join(used),
        )
        return
    if present:
        pci.set_count(wanted.link, 0)
    if count:
        pci.set_count(wanted.link, count)


def _is_used(kernel: Kernel, address: PciAddress) -> bool:
    """Whether a function has been given to somebody, or its interface is up or on a bridge."""
    if not pci.driver_of(address):
        return False
    name = pci.interface_of(address)
    link = None if name is None else kernel.route.link(name)
    # What has a driver and no interface here is a guest's, or in another namespace.
    return link is None or link.up or link.master is not None
