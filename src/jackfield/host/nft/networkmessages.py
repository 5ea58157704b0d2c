"""What one network has in ``table inet jackfield``, as messages: made, replaced, removed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from jackfield.host.netlink.message import Message
from jackfield.host.nft.expression import encode_key, encode_rule
from jackfield.host.nft.message import (
    add_chain,
    add_elements,
    add_rule,
    delete_chain,
    delete_elements,
    flush_chain,
)
from jackfield.host.nft.observe import Entry, TableContents
from jackfield.host.nft.text import rule_text
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import Element

__all__ = ["deletions", "network_messages", "network_removal", "removal_of_found"]


def network_messages(rules: NetworkRules, *, in_words: bool = False) -> list[Message]:
    """Return what makes a network's rules: its elements, and its own chains filled anew.

    ``in_words`` has the messages say what each rule says, for the error that will be raised.
    """
    messages: list[Message] = []
    for chain in rules.chains:
        messages += [add_chain(chain.name), flush_chain(chain.name)]
        messages += [
            add_rule(
                chain.name,
                encode_rule(rule),
                f"rule {number} ({rule_text(rule)})" if in_words else "a rule",
            )
            for number, rule in enumerate(chain.rules, start=1)
        ]
    return messages + [
        add_elements(place, elements)
        for place, elements in itertools.groupby(rules.elements, lambda element: element.place)
    ]


def network_removal(rules: NetworkRules, *, but: NetworkRules | None = None) -> list[Message]:
    """Return what removes a network's elements and chains, except those that ``but`` wants."""
    kept: set[Element] = set() if but is None else set(but.elements)
    chains = set() if but is None else {chain.name for chain in but.chains}
    gone = [
        Entry(element.place, encode_key(element))
        for element in rules.elements
        if element not in kept
    ]
    return deletions(gone) + [
        delete_chain(chain.name) for chain in rules.chains if chain.name not in chains
    ]


def removal_of_found(found: TableContents, rules: NetworkRules) -> list[Message]:
    """Return what removes whatever there is of a network."""
    return deletions(found.owned.get(rules.bridge, ())) + [
        delete_chain(name) for name in found.own_chains(rules.bridge)
    ]


def deletions(entries: Iterable[Entry]) -> list[Message]:
    """Return what deletes elements, those of one set that stand together in one message."""
    return [
        delete_elements(place.name, [entry.key for entry in group])
        for place, group in itertools.groupby(entries, lambda entry: entry.place)
    ]
