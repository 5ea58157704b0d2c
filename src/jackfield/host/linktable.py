"""The mirror's links, each with its addresses: by index, and by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from jackfield.host.netlink.address import AddressEntry
from jackfield.host.netlink.link import Link
from jackfield.model.address import IpInterface
from jackfield.model.values import MacAddress
from jackfield.state.facts import LinkFact

__all__ = ["LinkChange", "LinkTable"]

LinkChange = tuple[LinkFact | None, LinkFact | None]
"""A link as it was and as it is; ``None`` where it was not, or is not any more."""


class LinkTable:
    """Every link as a fact.

    Of two that have one name while they are renamed, ``by_name`` has the one that got it last.
    """

    def __init__(self, links: Iterable[Link], addresses: Iterable[AddressEntry]) -> None:
        """Hold ``links`` with those of ``addresses`` that are theirs."""
        # Also of links that are not known yet: the kernel may tell of an address first.
        self._addresses: dict[int, tuple[IpInterface, ...]] = {}
        for entry in addresses:
            known = self._addresses.get(entry.index, ())
            self._addresses[entry.index] = (*known, entry.interface)
        self.by_index = {
            link.index: _link_fact(link, self._addresses.get(link.index, ())) for link in links
        }
        self.by_name = {link.name: link for link in self.by_index.values()}

    def changes_to(self, newer: LinkTable) -> list[LinkChange]:
        """Return what is different in ``newer``."""
        changes: list[LinkChange] = [
            (old, newer.by_index.get(index))
            for index, old in self.by_index.items()
            if newer.by_index.get(index) != old
        ]
        changes += [
            (None, new) for index, new in newer.by_index.items() if index not in self.by_index
        ]
        return changes

    def put(self, link: Link) -> tuple[LinkFact | None, LinkFact]:
        """Add or change a link; both facts are equal where it is as it was."""
        old = self.by_index.get(link.index)
        new = _link_fact(link, self._addresses.get(link.index, ()))
        if new != old:
            self._replace(old, new)
        return old, new

    def drop(self, index: int) -> LinkChange | None:
        """Remove a link with its addresses; ``None`` where it was not known."""
        self._addresses.pop(index, None)
        old = self.by_index.pop(index, None)
        if old is None:
            return None
        self._forget_name(old)
        return old, None

    def put_address(self, entry: AddressEntry) -> LinkChange | None:
        """Add an address to its link; ``None`` where no link is different by that."""
        present = self._addresses.get(entry.index, ())
        if entry.interface in present:
            return None
        return self._set_addresses(entry.index, (*present, entry.interface))

    def drop_address(self, entry: AddressEntry) -> LinkChange | None:
        """Take an address from its link; ``None`` where no link is different by that."""
        present = self._addresses.get(entry.index, ())
        rest = tuple(item for item in present if item != entry.interface)
        return None if rest == present else self._set_addresses(entry.index, rest)

    def _set_addresses(self, index: int, addresses: tuple[IpInterface, ...]) -> LinkChange | None:
        self._addresses[index] = addresses
        old = self.by_index.get(index)
        if old is None:
            return None
        new = dataclasses.replace(old, addresses=addresses)
        self._replace(old, new)
        return old, new

    def _replace(self, old: LinkFact | None, new: LinkFact) -> None:
        self.by_index[new.index] = new
        if old is not None:
            self._forget_name(old)
        self.by_name[new.name] = new

    def _forget_name(self, old: LinkFact) -> None:
        if self.by_name.get(old.name) is old:
            del self.by_name[old.name]


def _link_fact(link: Link, addresses: tuple[IpInterface, ...]) -> LinkFact:
    return LinkFact(
        index=link.index,
        name=link.name,
        kind=link.kind,
        mac=MacAddress(link.mac_text) if len(link.mac) == 6 else None,
        mtu=link.mtu,
        up=link.up,
        carrier=link.carrier,
        master=link.master,
        alias=link.alias,
        lower=_lower(link),
        addresses=addresses,
    )


def _lower(link: Link) -> int | None:
    """Return the index of the link that this one is stacked on.

    A veth is on nothing: its ``IFLA_LINK`` is its peer, which the kernel announces only when it
    does not know it yet.  An index in another namespace means nothing here.
    """
    return None if link.kind == "veth" or link.lower_netns is not None else link.lower or None
