"""The driver of networks' rules: one batch for what is done, whatever else there is.

Every change carries the generation of the ruleset that it was made for.  While nobody else
changes rules, the generation after our last batch is known, the table is as we left it, and a
network's rules are one batch and nothing else.  When the kernel says that the ruleset has moved
on, or refuses a message, the driver looks, mends what all networks share in the same batch as
well, and tries again.

What we send and look at for one network does not depend on the others.  The kernel itself checks
the whole table for loops at the end of each batch that adds a rule (``nft_table_validate``):
about two microseconds for each other network.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping, Sequence

from jackfield.errors import ForeignObject, JackfieldError, KernelError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import (
    OBJECTS,
    VERDICTS,
    Entry,
    base_messages,
    chain_name,
    entries,
)
from jackfield.host.nft.expression import encode_rule
from jackfield.host.nft.message import (
    TABLE,
    add_chain,
    add_element,
    add_rule,
    delete_chain,
    delete_element,
    delete_table,
    flush_chain,
)
from jackfield.host.nft.observe import (
    Fault,
    Snapshot,
    look_at,
    look_at_base,
    look_at_table,
)
from jackfield.host.nft.socket import GenerationChanged, NftSocket
from jackfield.host.nft.text import rule_text
from jackfield.model.values import InterfaceName
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import Chain, Hook

__all__ = ["RulesDriver"]

_ATTEMPTS = 10
_BATCH_BYTES = 960 << 10
"""How much goes in one batch: what the socket's buffer takes without being enlarged."""


class RulesDriver:
    """Makes, looks at and removes the chains of networks in ``inet jackfield``."""

    def __init__(self) -> None:
        """Know nothing yet of what is in the kernel."""
        # The generation at which everything was as we left it, and whether that had our table.
        self._generation: int | None = None
        self._has_table = True

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[NetworkRules],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return what exists of each network's rules; changes nothing.

        A chain that is not as wanted is shown without rules, and ``description`` says what is
        the matter; so are all chains when what all networks share is damaged.
        """
        table = look_at_table(kernel.nft)
        if table is None:
            return {resource.key: ABSENT for resource in resources}
        if not table.ours:
            foreign = Observed(presence=Presence.FOREIGN, description=_foreign_text())
            return {resource.key: foreign for resource in resources}
        damage = "; ".join(
            f"base chain {name} {fault.value}" for name, fault in look_at_base(kernel.nft).items()
        )
        found = look_at(kernel.nft, resources)
        return {resource.key: _observe(found, resource, damage) for resource in resources}

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[NetworkRules],
        replaced: Mapping[str, NetworkRules],
    ) -> None:
        """Make the rules so, each network whole or not at all."""
        for group in _groups(resources):
            self._ensure(kernel.nft, group, replaced)

    def remove(self, kernel: Kernel, resources: Sequence[NetworkRules]) -> None:
        """Remove the networks' rules, and the table with the last one."""
        failures: list[JackfieldError] = []
        for group in _groups(resources):
            bare = [rules for rules, _ in group]
            try:
                self._remove(kernel.nft, bare)
            except JackfieldError as error:
                if len(bare) == 1:
                    failures.append(error)
                else:
                    failures += self._remove_one_by_one(kernel.nft, bare)
        try:
            self._remove_empty_table(kernel.nft)
        except JackfieldError as error:
            failures.append(error)
        if failures:
            raise ExceptionGroup("could not remove all rules", failures)

    def _ensure(
        self,
        nft: NftSocket,
        group: Sequence[tuple[NetworkRules, Sequence[Message]]],
        replaced: Mapping[str, NetworkRules],
    ) -> None:
        messages = [message for _, batch in group for message in batch]
        stale = [
            message
            for rules, _ in group
            if rules.key in replaced
            for message in _removal(replaced[rules.key], but=rules)
        ]
        # What is removed goes first: one network may take an address that another gives up.
        shared = [] if self._has_table else base_messages()
        if self._try(nft, [*shared, *stale, *messages]):
            self._has_table = True
            return
        messages = [
            message for rules, _ in group for message in _network_messages(rules, in_words=True)
        ]
        for attempt in range(_ATTEMPTS):
            generation = nft.generation()
            first = _mending(nft, [rules for rules, _ in group])
            # In the last attempt somebody changes rules without pause, and must be outrun.
            guard = None if attempt == _ATTEMPTS - 1 else generation
            try:
                nft.commit([*first, *messages], guard)
            except GenerationChanged:
                continue
            except Refusal as error:
                raise _with_hint(error) from None
            self._generation = None if guard is None else _after(guard)
            self._has_table = True
            return

    def _try(self, nft: NftSocket, messages: Sequence[Message]) -> bool:
        """Commit if the table is as we left it; tell whether it is done, or to be looked at.

        A refusal is tried again after a look, and is raised if it was no surprise to us.
        """
        if self._generation is None:
            return False
        generation, self._generation = self._generation, None
        try:
            nft.commit(messages, generation)
        except (GenerationChanged, Refusal):
            return False
        self._generation = _after(generation)
        return True

    def _remove(self, nft: NftSocket, resources: Sequence[NetworkRules]) -> None:
        exact = [message for rules in resources for message in _removal(rules)]
        if self._try(nft, exact):
            return
        for _ in range(_ATTEMPTS):
            generation = nft.generation()
            table = look_at_table(nft)
            if table is None or not table.ours:
                return
            found = look_at(nft, resources)
            try:
                nft.commit(
                    [message for rules in resources for message in _remains(found, rules.bridge)],
                    generation,
                )
            except GenerationChanged:
                continue
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

    def _remove_empty_table(self, nft: NftSocket) -> None:
        """Delete the table if it is ours and holds nothing but what all networks share."""
        for _ in range(_ATTEMPTS):
            generation = nft.generation()
            table = look_at_table(nft)
            if table is None or not table.ours or table.objects > OBJECTS:
                return
            self._generation = None
            try:
                nft.commit([delete_table()], generation)
            except GenerationChanged:
                continue
            self._generation = _after(generation)
            self._has_table = False
            return


def _after(generation: int) -> int:
    """Return the generation that one commit leads to; 0 is skipped (nf_tables_commit)."""
    return generation + 1 & 0xFFFFFFFF or 1


def _foreign_text() -> str:
    return f"{TABLE} without the comment that marks ours"


def _with_hint(error: Refusal) -> Refusal:
    if error.errno in (errno.EOPNOTSUPP, errno.ENOENT):
        error.hint = "the kernel may lack what the rule needs: see its CONFIG_NFT_ options"
    return error


def _observe(found: Snapshot, wanted: NetworkRules, damage: str) -> Observed:
    if not found.has_anything(wanted.bridge):
        return ABSENT
    problems = found.misfits(wanted)
    if not problems and not damage:
        return Observed(presence=Presence.OURS, resource=wanted)
    chains = {chain.hook: chain for chain in wanted.chains}
    return Observed(
        presence=Presence.OURS,
        resource=NetworkRules(
            bridge=wanted.bridge,
            chains=tuple(
                _bare(found, hook, wanted.bridge) if damage or hook in problems else chains[hook]
                for hook in Hook
                if found.has_any(hook, wanted.bridge)
            ),
        ),
        description="; ".join([*filter(None, [damage]), *problems.values()]),
    )


def _bare(found: Snapshot, hook: Hook, bridge: InterfaceName) -> Chain:
    """Return a chain without its rules, guarding what leads to it."""
    keys = [entry.key for entry in found.own_entries(hook, bridge)]
    return Chain(hook, (), tuple(key for key in keys if not isinstance(key, str)))


def _groups(
    resources: Sequence[NetworkRules],
) -> Iterator[list[tuple[NetworkRules, list[Message]]]]:
    """Yield the networks with what makes their rules, as many at once as one batch takes."""
    group: list[tuple[NetworkRules, list[Message]]] = []
    size = 0
    for rules in resources:
        messages = _network_messages(rules)
        length = sum(len(message.body) + 20 for message in messages)
        if group and size + length > _BATCH_BYTES:
            yield group
            group, size = [], 0
        group.append((rules, messages))
        size += length
    if group:
        yield group


def _network_messages(rules: NetworkRules, *, in_words: bool = False) -> list[Message]:
    """Return what replaces a network's rules at once: each chain is emptied and filled again.

    ``in_words`` has the messages say what each rule says, for the error that will be raised.
    """
    messages: list[Message] = []
    for chain in rules.chains:
        name = chain_name(chain.hook, rules.bridge)
        messages += [add_chain(name), flush_chain(name)]
        messages += [
            add_rule(
                name,
                encode_rule(rule),
                f"rule {number} ({rule_text(rule)})" if in_words else "a rule",
            )
            for number, rule in enumerate(chain.rules, start=1)
        ]
        messages += [
            add_element(entry.map, entry.key, VERDICTS[chain.hook], name)
            for entry in entries(chain, rules.bridge)
        ]
    return messages


def _entries(rules: NetworkRules) -> list[Entry]:
    return [entry for chain in rules.chains for entry in entries(chain, rules.bridge)]


def _removal(rules: NetworkRules, *, but: NetworkRules | None = None) -> list[Message]:
    """Return what removes a network's chains and elements, except those that ``but`` wants."""
    places = set() if but is None else set(_entries(but))
    hooks = set() if but is None else {chain.hook for chain in but.chains}
    elements = [
        delete_element(entry.map, entry.key) for entry in _entries(rules) if entry not in places
    ]
    return elements + [
        delete_chain(chain_name(chain.hook, rules.bridge))
        for chain in rules.chains
        if chain.hook not in hooks
    ]


def _remains(found: Snapshot, bridge: str) -> list[Message]:
    """Return what removes whatever there is of a network."""
    elements = [
        delete_element(entry.map, entry.key)
        for hook in Hook
        for entry in found.own_entries(hook, bridge)
    ]
    return elements + [
        delete_chain(chain_name(hook, bridge)) for hook in Hook if found.has_chain(hook, bridge)
    ]


def _mending(nft: NftSocket, resources: Sequence[NetworkRules]) -> list[Message]:
    """Return what must come first so that the networks' own messages succeed.

    What all networks share is made or mended; what a network has and should not goes, and so do
    elements that lead elsewhere and base chains of another hook, which the kernel cannot change.
    """
    table = look_at_table(nft)
    if table is None:
        return base_messages()
    if not table.ours:
        raise ForeignObject(
            f"{_foreign_text()} is in the way and is not ours; it is left alone",
            hint=f"rename or delete it (`nft delete {TABLE}`)",
        )
    messages = [
        delete_chain(name) for name, fault in look_at_base(nft).items() if fault is Fault.MISPLACED
    ]
    messages += base_messages()
    found = look_at(nft, resources)
    wrong: dict[Entry, None] = {}
    for rules in resources:
        wanted = {chain.hook: entries(chain, rules.bridge) for chain in rules.chains}
        for hook in Hook:
            own = found.own_entries(hook, rules.bridge)
            places = wanted.get(hook, [])
            wrong |= dict.fromkeys(entry for entry in own if entry not in places)
            wrong |= dict.fromkeys(
                entry
                for entry in places
                if entry in found.elements and not found.leads_there(entry, hook, rules.bridge)
            )
    messages += [delete_element(entry.map, entry.key) for entry in wrong]
    return messages + [
        delete_chain(chain_name(hook, rules.bridge))
        for rules in resources
        for hook in Hook
        if found.has_chain(hook, rules.bridge)
        and hook not in {chain.hook for chain in rules.chains}
    ]
