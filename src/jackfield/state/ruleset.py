"""Somebody else's firewall as values: tables, chains and rules, as the kernel runs them.

A rule is a list of expressions over a few registers, left at the first one that does not hold
(``nf_tables_core.c``).  Registers are named by the byte at which they begin.  What is not decoded
is a ``Doubt``: nobody can say here whether it holds.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterable, Mapping

__all__ = [
    "Assign",
    "Base",
    "Bitwise",
    "Byteorder",
    "Compare",
    "Comparison",
    "Decide",
    "Doubt",
    "Expression",
    "Fib",
    "ForeignChain",
    "ForeignRule",
    "ForeignSet",
    "ForeignTable",
    "Group",
    "Hook",
    "Immediate",
    "IpSet",
    "Load",
    "Lookup",
    "Never",
    "Not",
    "Payload",
    "Range",
    "Ruleset",
    "SetElement",
    "Verdict",
    "VerdictKind",
]


class VerdictKind(enum.Enum):
    """What becomes of a packet."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    CONTINUE = "continue"
    JUMP = "jump"
    GOTO = "goto"
    ELSEWHERE = "elsewhere"
    """It is handed to a program or another device, and nobody here knows what becomes of it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a packet; ``chain`` is where a jump or goto leads."""

    kind: VerdictKind
    chain: str = ""


class Base(enum.Enum):
    """Where in a packet an offset begins."""

    LINK = "link"
    NETWORK = "network"
    TRANSPORT = "transport"


@dataclasses.dataclass(frozen=True, slots=True)
class Payload:
    """So many bytes of the packet."""

    base: Base
    offset: int
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class Fib:
    """What the routing tables say: ``result`` is ``oif``, ``oifname`` or ``type``.

    ``flags`` are ``saddr``, ``daddr``, ``mark``, ``iif``, ``oif`` and ``present``.
    """

    result: str
    flags: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """Put something of the packet into the register at ``at``.

    A text names what is known beside the packet's bytes: ``iifname``, ``ct state``, …
    """

    what: str | Payload | Fib
    at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Immediate:
    """Put ``data`` into the register at ``at``."""

    data: bytes
    at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Assign:
    """Set what is named (``mark``, ``ct mark``) from the register at ``at``."""

    what: str
    at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Bitwise:
    """And with ``mask``, then exclusive or with ``xor``."""

    source: int
    target: int
    mask: bytes
    xor: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Byteorder:
    """Turn numbers of ``size`` bytes into the other order."""

    source: int
    target: int
    length: int
    size: int


class Comparison(enum.Enum):
    """How a register is compared, as a big number."""

    EQ = 0
    NEQ = 1
    LT = 2
    LTE = 3
    GT = 4
    GTE = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Compare:
    """Go on only if the register at ``at`` compares so with ``data``."""

    at: int
    how: Comparison
    data: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """Go on only if the register lies between both, them included; or, ``inverted``, if not."""

    at: int
    low: bytes
    high: bytes
    inverted: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Lookup:
    """Go on only if the set has the register's key; with ``target`` put its data there.

    ``target`` 0 is the register of verdicts.
    """

    name: str
    at: int
    target: int | None = None
    inverted: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Decide:
    """Do this with the packet."""

    verdict: Verdict


@dataclasses.dataclass(frozen=True, slots=True)
class Never:
    """No single packet gets beyond this: it is for what is over a limit."""


@dataclasses.dataclass(frozen=True, slots=True)
class Doubt:
    """Whether this holds is not known; ``words`` name it."""

    words: str


@dataclasses.dataclass(frozen=True, slots=True)
class IpSet:
    """Go on only if a set of ``ipset``, by its name or number, has what is at these ``ends``."""

    which: str | int
    ends: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Go on only if all of ``inner`` lets the packet go on."""

    inner: tuple[Expression, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Not:
    """Go on only if ``inner`` does not."""

    inner: tuple[Expression, ...]


Expression = (
    Load
    | Immediate
    | Assign
    | Bitwise
    | Byteorder
    | Compare
    | Range
    | Lookup
    | Decide
    | Never
    | Doubt
    | IpSet
    | Group
    | Not
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRule:
    """One rule; ``text`` is how it is written, where that is known already."""

    handle: int
    expressions: tuple[Expression, ...]
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """Where the kernel calls a chain; ``devices`` only where it is called for these alone."""

    type: str
    name: str
    priority: int
    drops: bool
    devices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForeignChain:
    """A chain; without a ``hook`` others lead to it."""

    name: str
    rules: tuple[ForeignRule, ...] = ()
    hook: Hook | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SetElement:
    """From ``low`` to ``high``, both included; in a map it has ``data`` or a ``verdict``."""

    low: bytes
    high: bytes
    data: bytes = b""
    verdict: Verdict | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSet:
    """A set or map; ``fields`` are the lengths of its keys' parts, each padded to four bytes.

    ``catch_all`` is what holds for all keys that nothing else holds for.  There may be many
    thousand elements: those of one key each are also ``single``, by that key with its padding, and
    the others ``ranges``, in their order.
    """

    name: str
    fields: tuple[int, ...]
    elements: tuple[SetElement, ...] = ()
    catch_all: SetElement | None = None
    single: Mapping[bytes, SetElement] = dataclasses.field(init=False, repr=False, compare=False)
    ranges: tuple[SetElement, ...] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Sort the elements once."""
        length = self.length
        single = {
            item.low.ljust(length, b"\0"): item for item in self.elements if item.low == item.high
        }
        ranges = sorted(
            (item for item in self.elements if item.low != item.high), key=lambda item: item.low
        )
        object.__setattr__(self, "single", single)
        object.__setattr__(self, "ranges", tuple(ranges))

    @property
    def length(self) -> int:
        """How many bytes a key has with its padding."""
        return sum(-(-field // 4) * 4 for field in self.fields)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTable:
    """A table that is not ours; ``program`` names who keeps it where it is not nftables'."""

    family: str
    name: str
    chains: Mapping[str, ForeignChain]
    sets: Mapping[str, ForeignSet] = dataclasses.field(default_factory=dict)
    program: str = "nft"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ruleset:
    """Everybody else's tables; ``unseen`` says in words what could not be looked at."""

    tables: tuple[ForeignTable, ...] = ()
    unseen: tuple[str, ...] = ()

    @functools.cached_property
    def may_mark_connections(self) -> bool:
        """Whether any rule sets the mark of connections, or might, for all that is known of it."""
        return bool(self.unseen) or any(
            _may_mark(rule.expressions)
            for table in self.tables
            for chain in table.chains.values()
            for rule in chain.rules
        )


def _may_mark(expressions: Iterable[Expression]) -> bool:
    return any(
        isinstance(item, Doubt)
        or (isinstance(item, Assign) and item.what == "ct mark")
        or (isinstance(item, Group | Not) and _may_mark(item.inner))
        for item in expressions
    )
