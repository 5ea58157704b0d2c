"""The driver of ports' guards: elements of the sets of ``bridge jackfield``.

A port is some ten elements, put in or taken out in one batch whose cost does not depend on how
many other ports there are: no rule is added, so the kernel does not go through the table.  The
table, its chains and rules are made with the first port and go with the last.

What is sent first supposes that the table is as we left it; when the kernel refuses that, the
driver looks, mends what all ports share in the same batch, and tries again.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from jackfield.errors import JackfieldError, KernelError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.guardmessage import (
    add_element,
    base_messages,
    delete_element,
    get_element,
    of_bridges,
)
from jackfield.host.nft.guardobserve import (
    Held,
    base_fault,
    guarded_links,
    is_ours,
    look_at_ports,
    misplaced_chains,
)
from jackfield.host.nft.guardtable import GUARD_TABLE, Element, elements, learned
from jackfield.host.nft.mark import foreign_table, foreign_words
from jackfield.host.nft.message import delete_chain, delete_table
from jackfield.host.nft.socket import GenerationChanged, NftSocket
from jackfield.model.values import InterfaceName
from jackfield.state.resources import PortGuard

__all__ = ["PortGuardDriver"]

_ATTEMPTS = 10
_AT_ONCE = 256
"""How many ports go in one batch: what the socket's buffer takes without being enlarged."""


class PortGuardDriver:
    """Makes, looks at and removes what ports' guests may send."""

    def __init__(self) -> None:
        """Know nothing yet of what is in the kernel."""
        # The ports in the table, once somebody has looked, and whether what they share is right.
        self._guarded: set[InterfaceName] | None = None
        self._sound = False

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[PortGuard],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return what exists of each port's guard; changes nothing.

        A guard whose elements are no guard's is not shown, nor is any when what all ports share
        is damaged; ``description`` says then what is the matter.
        """
        nft = kernel.nft
        ours = is_ours(nft)
        if ours is None:
            return {resource.key: ABSENT for resource in resources}
        if not ours:
            foreign = Observed(presence=Presence.FOREIGN, description=foreign_words(GUARD_TABLE))
            return {resource.key: foreign for resource in resources}
        fault = base_fault(nft)
        self._sound = not fault
        found = look_at_ports(nft)
        self._guarded = set(found)
        return {
            resource.key: _observed(found.get(resource.link), resource, fault)
            for resource in resources
        }

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[PortGuard],
        replaced: Mapping[str, PortGuard],
    ) -> None:
        """Let ports send what ``resources`` say, each of them all of it or nothing new."""
        for group in _groups(resources):
            former = [replaced[guard.key] for guard in group if guard.key in replaced]
            self._commit(kernel.nft, former, group)
        if self._guarded is not None:
            self._guarded.update(guard.link for guard in resources)

    def remove(self, kernel: Kernel, resources: Sequence[PortGuard]) -> None:
        """Let ports send again whatever they like, and remove the table with the last one."""
        if not resources or not is_ours(kernel.nft):
            return
        try:
            for group in _groups(resources):
                self._commit(kernel.nft, group, ())
            if self._guarded is not None:
                self._guarded.difference_update(guard.link for guard in resources)
            self._remove_empty_table(kernel.nft)
        except JackfieldError as error:
            raise ExceptionGroup("could not remove what ports may send", [error]) from None

    def _commit(
        self, nft: NftSocket, former: Sequence[PortGuard], wanted: Sequence[PortGuard]
    ) -> None:
        """Take out what is of ``former`` guards only, and put in what is of the wanted ones."""
        # What goes in comes last: one port may take an address that another gives up.
        last = [add_element(item) for item in _elements(wanted)]
        ours = is_ours(nft)
        if ours is False:
            raise foreign_table(GUARD_TABLE)
        if ours and self._sound:
            stale = [*_stale(former, wanted), *_present(nft, _lapsed(former, wanted))]
            try:
                nft.commit([*map(delete_element, stale), *last])
            except Refusal:
                self._sound = False
            else:
                return
        for _ in range(_ATTEMPTS):
            generation = nft.generation()
            found = look_at_ports(nft)
            kept = _elements(wanted)
            stale = [
                item
                for link in dict.fromkeys(guard.link for guard in (*former, *wanted))
                if link in found
                for item in found[link].elements
                if item not in kept
            ]
            stale += _present(nft, _lapsed(former, wanted))
            try:
                nft.commit([*_mending(nft), *map(delete_element, stale), *last], generation)
            except GenerationChanged:
                continue
            except Refusal as error:
                if error.errno in (errno.EOPNOTSUPP, errno.ENOENT):
                    error.hint = "the kernel may lack CONFIG_NF_TABLES_BRIDGE"
                raise
            self._sound = True
            return
        raise KernelError(
            f"cannot change {GUARD_TABLE}: the host's rules change without pause",
            errno=errno.EAGAIN,
        )

    def _remove_empty_table(self, nft: NftSocket) -> None:
        """Delete the table if no port needs it."""
        for _ in range(_ATTEMPTS):
            if self._guarded:
                return
            generation = nft.generation()
            self._guarded = set(guarded_links(nft))
            if self._guarded or not is_ours(nft):
                return
            try:
                nft.commit([of_bridges(delete_table())], generation)
            except GenerationChanged:
                continue
            return


def _groups(resources: Sequence[PortGuard]) -> Iterator[Sequence[PortGuard]]:
    for first in range(0, len(resources), _AT_ONCE):
        yield resources[first : first + _AT_ONCE]


def _observed(held: Held | None, wanted: PortGuard, fault: str) -> Observed:
    if held is None:
        return ABSENT
    shown = None if fault else wanted if held.is_of(wanted) else held.guard
    return Observed(presence=Presence.OURS, resource=shown, description=fault)


def _elements(guards: Iterable[PortGuard]) -> dict[Element, None]:
    """Return the elements of guards, once each and in order."""
    return dict.fromkeys(item for guard in guards for item in elements(guard))


def _stale(former: Iterable[PortGuard], wanted: Iterable[PortGuard]) -> list[Element]:
    """Return the elements of ``former`` guards that nobody wants any more."""
    kept = _elements(wanted)
    return [item for item in _elements(former) if item not in kept]


def _lapsed(former: Iterable[PortGuard], wanted: Iterable[PortGuard]) -> list[Element]:
    """Return what the kernel may have learned for ``former`` guards and is over now."""
    kept = {item for guard in wanted for item in learned(guard)}
    found = dict.fromkeys(item for guard in former for item in learned(guard))
    return [item for item in found if item not in kept]


def _present(nft: NftSocket, asked: Iterable[Element]) -> list[Element]:
    return [item for item in asked if nft.get(get_element(item)) is not None]


def _mending(nft: NftSocket) -> list[Message]:
    """Return what makes right what all ports share."""
    if not is_ours(nft):
        return list(base_messages())
    misplaced = [of_bridges(delete_chain(name)) for name in misplaced_chains(nft)]
    return [*misplaced, *base_messages()]
