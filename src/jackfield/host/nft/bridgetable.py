"""A table of the family bridge that is one set and a chain of rules which look things up there.

What is entered costs an element, and frames a lookup, however many there are.  The table comes with
the first element and goes with the last.  Numbers are those of ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import abc
import dataclasses
import errno
import struct
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Generic, TypeVar

from jackfield.errors import KernelError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    Message,
    attribute,
    attribute_list,
    attribute_text,
    attributes,
    nested,
)
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.expression import attribute_be32
from jackfield.host.nft.mark import MARK, foreign_table, foreign_words, is_marked
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.state.resources import Resource

__all__ = [
    "HOOK_FORWARD",
    "HOOK_PREROUTING",
    "IFNAME_SIZE",
    "TYPE_ETHER",
    "TYPE_IFNAME",
    "BridgeTable",
    "BridgeTableDriver",
    "drop_counted",
    "load_address",
    "load_name",
    "look_up",
    "only",
]

R = TypeVar("R", bound=Resource)

HOOK_PREROUTING, HOOK_FORWARD = 0, 2
# nft's own numbers of types, src/datatype.c: they say how a set is shown.
TYPE_ETHER, TYPE_IFNAME = 9, 41
IFNAME_SIZE = 16

_NFPROTO_BRIDGE = 7
_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN = 3
_NEWRULE, _GETRULE, _DELRULE = 6, 7, 8
_NEWSET = 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14
_HEADER = struct.pack("!BBH", _NFPROTO_BRIDGE, 0, 0)
_SET_USERDATA = 13
# NFTNL_UDATA_SET_KEYBYTEORDER: the host's.
_BYTE_ORDER = struct.Struct("=BBI").pack(0, 4, 1)

_REG_VERDICT = 0
_LINK_HEADER = 0
_CMP_EQ = 0
_NF_DROP = 0


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, attribute_text(1, name), nested(2, *data))


def load_name(key: int, register: int) -> bytes:
    """Return the expression that loads an interface's name, ``NFT_META_IIFNAME`` or its like."""
    return _expression("meta", attribute_be32(2, key), attribute_be32(1, register))


def load_address(offset: int, register: int) -> bytes:
    """Return the expression that loads an Ethernet address from a frame's header."""
    return _expression(
        "payload",
        *(attribute_be32(1, register), attribute_be32(2, _LINK_HEADER)),
        *(attribute_be32(3, offset), attribute_be32(4, 6)),
    )


def look_up(name: str, register: int) -> bytes:
    """Return the expression that goes on only with what is in the set ``name``."""
    return _expression("lookup", attribute_text(1, name), attribute_be32(2, register))


def only(value: bytes, register: int) -> bytes:
    """Return the expression that goes on only where ``register`` holds ``value``."""
    return _expression(
        "cmp",
        *(attribute_be32(1, register), attribute_be32(2, _CMP_EQ)),
        nested(3, attribute(1, value)),
    )


def drop_counted() -> bytes:
    """Return the expressions that count a frame and drop it."""
    return _expression("counter") + _expression(
        "immediate",
        attribute_be32(1, _REG_VERDICT),
        nested(2, nested(2, attribute_be32(1, _NF_DROP))),
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BridgeTable:
    """Such a table: ``rules`` are the expressions of each rule of ``chain``.

    ``key_types`` say what an element is made of, ``key_size`` how many bytes it has.
    """

    name: str
    set_name: str
    key_types: tuple[int, ...]
    key_size: int
    chain: str
    hook: int
    priority: int
    rules: tuple[bytes, ...]

    @property
    def words(self) -> str:
        """What it is called."""
        return f"table bridge {self.name}"

    def is_ours(self, nft: NftSocket) -> bool | None:
        """Return whether the table has our mark; ``None`` when there is none."""
        found = nft.get(self._message(_GETTABLE, 0, f"look at {self.words}"))
        return None if found is None else is_marked(found)

    def elements(self, nft: NftSocket) -> set[bytes]:
        """Return what is in the set; nothing while the rules are not as they should be."""
        return self._listed(nft) if self._count_rules(nft) == len(self.rules) else set()

    def observe(self, nft: NftSocket, elements: Mapping[Resource, bytes]) -> dict[str, Observed]:
        """Return which resources have their element in the set, by key.

        None has while the rules are not as they should be; a table of somebody else is foreign.
        """
        ours = self.is_ours(nft)
        if ours is False:
            foreign = Observed(presence=Presence.FOREIGN, description=foreign_words(self.words))
            return {item.key: foreign for item in elements}
        present = self.elements(nft) if ours else set()
        return {
            item.key: Observed(presence=Presence.OURS, resource=item)
            if element in present
            else ABSENT
            for item, element in elements.items()
        }

    def enter(self, nft: NftSocket, elements: Mapping[bytes, str]) -> None:
        """Make or mend the table and have ``elements``, each with its name in words, in its set."""
        if self.is_ours(nft) is False:
            raise foreign_table(self.words)
        messages = [
            self._element(_NEWSETELEM, NLM_F_CREATE, key, words) for key, words in elements.items()
        ]
        try:
            nft.commit([*self._shared(), *messages])
        except Refusal as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT):
                error.hint = "the kernel may lack nftables for bridges: CONFIG_NF_TABLES_BRIDGE"
            raise

    def strike(self, nft: NftSocket, elements: Collection[bytes]) -> None:
        """Take ``elements`` out of the set; the last one takes the table with it.

        Raises an ``ExceptionGroup`` of what the kernel refused.
        """
        if not self.is_ours(nft):
            return
        present = self._listed(nft)
        going = present.intersection(elements)
        if present <= going:
            messages = [self._message(_DELTABLE, 0, f"delete {self.words}")]
        else:
            messages = [self._element(_DELSETELEM, 0, key, "elements") for key in sorted(going)]
        try:
            nft.commit(messages)
        except KernelError as error:
            raise ExceptionGroup(f"could not strike all of {self.words}", [error]) from error

    def _message(self, kind: int, flags: int, what: str, *parts: bytes) -> Message:
        body = _HEADER + attribute_text(1, self.name) + b"".join(parts)
        return Message(_SUBSYSTEM | kind, flags, body, what)

    def _shared(self) -> list[Message]:
        """Return what makes, or mends, table, set and chain with its rules."""
        key_type = 0
        for one in self.key_types:
            key_type = key_type << 6 | one
        single = len(self.key_types) == 1
        return [
            self._message(
                *(_NEWTABLE, NLM_F_CREATE, f"add {self.words}"),
                attribute_be32(2, 0),
                MARK,
            ),
            self._message(
                *(_NEWSET, NLM_F_CREATE, f"add set {self.set_name} to {self.words}"),
                attribute_text(2, self.set_name),
                *(attribute_be32(3, 0), attribute_be32(4, key_type)),
                *(attribute_be32(5, self.key_size), attribute_be32(10, 1)),
                attribute(_SET_USERDATA, _BYTE_ORDER) if single else b"",
            ),
            self._message(
                *(_NEWCHAIN, NLM_F_CREATE, f"add base chain {self.chain} to {self.words}"),
                attribute_text(3, self.chain),
                nested(4, attribute_be32(1, self.hook), attribute_be32(2, self.priority)),
                attribute_be32(5, 1),
                attribute_text(7, "filter"),
            ),
            self._message(
                *(_DELRULE, 0, f"flush chain {self.chain} of {self.words}"),
                attribute_text(2, self.chain),
            ),
            *(
                self._message(
                    *(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, f"add a rule to {self.words}"),
                    attribute_text(2, self.chain),
                    nested(4, rule),
                )
                for rule in self.rules
            ),
        ]

    def _element(self, kind: int, flags: int, key: bytes, words: str) -> Message:
        return self._message(
            *(kind, flags, f"enter or strike {words} in set {self.set_name} of {self.words}"),
            attribute_text(2, self.set_name),
            nested(3, nested(1, nested(1, attribute(1, key.ljust(self.key_size, b"\0"))))),
        )

    def _count_rules(self, nft: NftSocket) -> int:
        what = f"list the rules of {self.words}"
        return len(nft.dump(self._message(_GETRULE, 0, what, attribute_text(2, self.chain))))

    def _listed(self, nft: NftSocket) -> set[bytes]:
        what = f"list set {self.set_name} of {self.words}"
        question = self._message(_GETSETELEM, 0, what, attribute_text(2, self.set_name))
        try:
            replies = nft.dump(question)
        except Refusal as error:
            if error.errno == errno.ENOENT:
                return set()
            raise
        return {
            attributes(attributes(element)[1])[1]
            for reply in replies
            for _, element in attribute_list(object_attributes(reply).get(3, b""))
        }


class BridgeTableDriver(abc.ABC, Generic[R]):
    """Driver of resources that are an element of such a table each."""

    table: ClassVar[BridgeTable]

    @abc.abstractmethod
    def _element(self, item: R) -> bytes:
        """Return the element that stands for a resource."""

    @abc.abstractmethod
    def _words(self, item: R) -> str:
        """Return the element for people."""

    def observe(
        self, kernel: Kernel, resources: Sequence[R], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return which are entered; none are while the rules are not as they should be."""
        return self.table.observe(kernel.nft, {item: self._element(item) for item in resources})

    def ensure(self, kernel: Kernel, resources: Sequence[R], replaced: Mapping[str, R]) -> None:
        """Have them entered."""
        elements = {self._element(item): self._words(item) for item in resources}
        self.table.enter(kernel.nft, elements)

    def remove(self, kernel: Kernel, resources: Sequence[R]) -> None:
        """Strike them; the last one takes the table with it."""
        self.table.strike(kernel.nft, [self._element(item) for item in resources])
