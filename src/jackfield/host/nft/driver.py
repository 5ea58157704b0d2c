"""The driver of networks' rules: one batch for what is done, whatever else there is.

Every change carries the generation of the ruleset that it was made for.  While nobody else
changes rules, the generation after our last batch is known, the table is as we left it, and a
network's rules are one batch and nothing else.  When the kernel says that the ruleset has moved
on, or refuses a message, the driver looks, mends what all networks share in the same batch as
well, and tries again.

What we send and look at for one network does not depend on the others, and neither does what the
kernel does with it: an element of a set without verdicts is one entry of a hash table.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from jackfield.errors import JackfieldError, KernelError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.modules import missing_module_hint
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import base_messages, removal_messages
from jackfield.host.nft.mark import foreign_table, foreign_words
from jackfield.host.nft.message import (
    TABLE,
    delete_chain,
    delete_set,
    delete_table,
    flush_chain,
)
from jackfield.host.nft.networkmessages import (
    deletions,
    network_messages,
    network_removal,
    removal_of_found,
)
from jackfield.host.nft.observe import (
    Fault,
    Shared,
    TableContents,
    all_elements,
    is_ours,
    look_at,
    look_at_shared,
)
from jackfield.host.nft.socket import GenerationChanged, NftSocket, after
from jackfield.host.nft.usage import Usage
from jackfield.plan.table import shared_chains
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import NamedSet

__all__ = ["RulesDriver"]

_ATTEMPTS = 10
_BATCH_ELEMENTS = 4000
"""How many elements go in one batch: what the socket's buffer takes without being enlarged."""
_RULE_ELEMENTS = 4
"""As many elements take about the room of a rule."""
_FEW = 8
"""Up to so many networks are asked for one by one, where there are more others than that."""


class RulesDriver:
    """Makes, looks at and removes the rules of networks in ``inet jackfield``."""

    def __init__(self) -> None:
        """Know nothing yet of what is in the kernel."""
        # The generation at which what all networks share was as we left it, and its sets then;
        # without any there is no table.
        self._generation: int | None = None
        self._places: frozenset[NamedSet] = frozenset()
        self._usage = Usage()

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[NetworkRules],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return what exists of each network's rules; changes nothing.

        Rules that are not as wanted are shown as none, and ``description`` says what is the
        matter; so are all when what all networks share is damaged.
        """
        nft = kernel.nft
        generation = nft.generation()
        ours = is_ours(nft)
        if ours is None:
            return {resource.key: ABSENT for resource in resources}
        if not ours:
            foreign = Observed(presence=Presence.FOREIGN, description=foreign_words(TABLE))
            return {resource.key: foreign for resource in resources}
        shared = look_at_shared(nft)
        found = self._look_at(nft, resources, shared)
        seen = {item.key: _observe(found, item, shared.damage) for item in resources}
        if any(resource != seen[resource.key].resource for resource in resources):
            # What is made next has to look for itself.
            self._generation = None
        else:
            self._generation, self._places = generation, shared.places
        return seen

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[NetworkRules],
        replaced: Mapping[str, NetworkRules],
    ) -> None:
        """Make the rules so, each network whole or not at all."""
        for group in _groups(resources):
            self._ensure(kernel, group, replaced)
            for rules in group:
                self._usage.put(rules.bridge, (element.place for element in rules.elements))
        self._remove_unused(kernel.nft)

    def remove(self, kernel: Kernel, resources: Sequence[NetworkRules]) -> None:
        """Remove the networks' rules, and the table with the last one."""
        failures: list[JackfieldError] = []
        for group in _groups(resources):
            try:
                self._remove(kernel.nft, group)
            except JackfieldError as error:
                if len(group) == 1:
                    failures.append(error)
                else:
                    failures += self._remove_one_by_one(kernel.nft, group)
        self._remove_unused(kernel.nft)
        if not self._usage.others(()):
            if self._generation is None or self._places:
                try:
                    self._remove_empty_table(kernel.nft)
                except JackfieldError as error:
                    failures.append(error)
            kernel.connections.release(kernel.nft)
        if failures:
            raise ExceptionGroup("could not remove all rules", failures)

    def _look_at(
        self, nft: NftSocket, resources: Sequence[NetworkRules], shared: Shared
    ) -> TableContents:
        """Ask for what few networks among many want, or list everything and learn who is there."""
        bridges = [rules.bridge for rules in resources]
        one_by_one = len(bridges) <= _FEW < self._usage.others(bridges)
        found = look_at(nft, resources, shared.sound_places, one_by_one=one_by_one)
        if not one_by_one:
            self._usage.learn(found.places)
        return found

    def _ensure(
        self,
        kernel: Kernel,
        networks: Sequence[NetworkRules],
        replaced: Mapping[str, NetworkRules],
    ) -> None:
        messages = [message for rules in networks for message in network_messages(rules)]
        wanted = frozenset(element.place for rules in networks for element in rules.elements)
        stale = [
            message
            for rules in networks
            if rules.key in replaced
            for message in network_removal(replaced[rules.key], but=rules)
        ]
        places = self._places | wanted
        shared = () if places == self._places else base_messages(places)
        # What is removed goes first: one network may take an address that another gives up.
        nft, keeper = kernel.nft, kernel.connections
        if self._try(nft, [*shared, *stale, *messages, *keeper.missing]):
            keeper.held()
            self._places = places
            return
        messages = [
            message for rules in networks for message in network_messages(rules, in_words=True)
        ]
        for attempt in range(_ATTEMPTS):
            generation = nft.generation()
            first, places = self._mending(nft, networks, wanted)
            # In the last attempt somebody changes rules without pause, and must be outrun.
            guard = None if attempt == _ATTEMPTS - 1 else generation
            try:
                nft.commit([*first, *messages], guard)
            except GenerationChanged:
                continue
            except Refusal as error:
                raise _with_hint(error) from None
            self._generation = None if guard is None else after(guard)
            self._places = places
            keeper.hold(nft)
            return

    def _try(self, nft: NftSocket, messages: Sequence[Message]) -> bool:
        """Commit if the table is as we left it; tell whether it is done, or to be looked at.

        A refusal is tried again after a look, and is raised if it was no surprise to us.
        """
        if self._generation is None:
            return False
        if not messages:
            return True
        generation, self._generation = nft.led_to(self._generation), None
        try:
            nft.commit(messages, generation)
        except (GenerationChanged, Refusal):
            return False
        self._generation = after(generation)
        return True

    def _mending(
        self, nft: NftSocket, networks: Sequence[NetworkRules], wanted: frozenset[NamedSet]
    ) -> tuple[Sequence[Message], frozenset[NamedSet]]:
        """Return what must come first so that the networks' own messages succeed, and the sets.

        What all networks share is made or mended; what a network has and should not goes, and so
        does what the kernel cannot change: base chains of another hook, sets of another kind.
        """
        ours = is_ours(nft)
        if ours is None:
            return base_messages(wanted), wanted
        if not ours:
            raise foreign_table(TABLE)
        shared = look_at_shared(nft)
        places = shared.places | wanted
        messages = [
            flush_chain(chain.name)
            for chain in shared_chains(shared.places)
            if shared.chains.get(chain.name) is not Fault.MISSING
        ]
        messages += [
            delete_chain(name) for name, fault in shared.chains.items() if fault is Fault.MISPLACED
        ]
        messages += map(delete_set, shared.sets)
        messages += base_messages(places)
        found = self._look_at(nft, networks, shared)
        # One that says it is another's and is where this one's belongs is found twice.
        strangers = dict.fromkeys(entry for rules in networks for entry in found.strangers(rules))
        messages += deletions(strangers)
        messages += [
            delete_chain(name)
            for rules in networks
            for name in found.own_chains(rules.bridge)
            if name not in {chain.name for chain in rules.chains}
        ]
        return messages, places

    def _remove(self, nft: NftSocket, resources: Sequence[NetworkRules]) -> None:
        exact = [message for rules in resources for message in network_removal(rules)]
        if self._try(nft, exact):
            self._forget(resources)
            return
        for _ in range(_ATTEMPTS):
            generation = nft.generation()
            if not is_ours(nft):
                self._forget(resources)
                return
            shared = look_at_shared(nft)
            found = self._look_at(nft, resources, shared)
            messages = [
                message for rules in resources for message in removal_of_found(found, rules)
            ]
            try:
                nft.commit(messages, generation)
            except GenerationChanged:
                continue
            self._forget(resources)
            if not shared.damage:
                self._generation = after(generation) if messages else generation
                self._places = shared.places
            return
        raise KernelError(
            f"cannot remove rules from {TABLE}: the host's rules change without pause",
            errno=errno.EAGAIN,
        )

    def _remove_one_by_one(
        self, nft: NftSocket, resources: Sequence[NetworkRules]
    ) -> list[JackfieldError]:
        failures: list[JackfieldError] = []
        for rules in resources:
            try:
                self._remove(nft, [rules])
            except JackfieldError as error:
                failures.append(error)
        return failures

    def _forget(self, resources: Iterable[NetworkRules]) -> None:
        for rules in resources:
            self._usage.drop(rules.bridge)

    def _remove_unused(self, nft: NftSocket) -> None:
        """Delete the sets that no network is in any more, if we know what is there.

        With all of them goes the table.
        """
        unused = self._usage.unused(self._places)
        if unused and self._try(nft, removal_messages(self._places, unused)):
            self._places -= unused

    def _remove_empty_table(self, nft: NftSocket) -> None:
        """Delete the table if it is ours and no network has anything in it."""
        for _ in range(_ATTEMPTS):
            generation = nft.generation()
            if not is_ours(nft):
                return
            places = look_at_shared(nft).sound_places
            if any(True for place in places for _ in all_elements(nft, place)):
                return
            self._generation = None
            try:
                nft.commit([delete_table()], generation)
            except GenerationChanged:
                continue
            self._generation, self._places = after(generation), frozenset()
            return


def _with_hint(error: Refusal) -> Refusal:
    if error.errno in (errno.EOPNOTSUPP, errno.ENOENT):
        error.hint = missing_module_hint("CONFIG_NFT_")
    return error


def _observe(found: TableContents, wanted: NetworkRules, damage: str) -> Observed:
    if not found.has_anything(wanted.bridge):
        return ABSENT
    problems = [*filter(None, [damage]), *found.misfits(wanted)]
    return Observed(
        presence=Presence.OURS,
        resource=NetworkRules(bridge=wanted.bridge, elements=()) if problems else wanted,
        description="; ".join(problems),
    )


def _groups(resources: Sequence[NetworkRules]) -> Iterator[list[NetworkRules]]:
    """Yield as many networks at once as one batch takes."""
    group: list[NetworkRules] = []
    size = 0
    for rules in resources:
        length = len(rules.elements)
        length += _RULE_ELEMENTS * sum(len(chain.rules) for chain in rules.chains)
        if group and size + length > _BATCH_ELEMENTS:
            yield group
            group, size = [], 0
        group.append(rules)
        size += length
    if group:
        yield group
