"""What becomes of a packet in everybody else's rules, without sending one.

Each chain that the kernel calls is gone through in its order.  What is accepted in one goes on to
the next; what is dropped is dropped.  Where a rule's match cannot be told, both ways are followed.
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Iterator

from jackfield.diagnosis.bits import Bits, known, unknown
from jackfield.diagnosis.packet import ESTABLISHED, INVALID, NEW, Device, Sample, Visit
from jackfield.diagnosis.registers import NotThere, Registers
from jackfield.state.ruleset import (
    Base,
    Fib,
    ForeignChain,
    ForeignRule,
    ForeignSet,
    ForeignTable,
    Payload,
    Ruleset,
    Verdict,
    VerdictKind,
)

__all__ = ["Outcome", "Place", "Verdicts", "judge"]

_DEPTH = 16  # NFT_JUMP_STACK_SIZE

# enum nf_ip_hook_priorities
_CONNTRACK, _DESTINATION_NAT = -200, -100
_TRACKED_FROM = {"prerouting": _CONNTRACK, "output": _CONNTRACK}

_NFPROTO = {"ip": 2, "ip6": 10, "arp": 3, "bridge": 7, "netdev": 5}
_OF_VERSION = {4: 2, 6: 10}
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}
_ETHERNET = 1
_REPLY_SEEN = 2

_JUMPS = (VerdictKind.JUMP, VerdictKind.GOTO)
_LEAVING = (VerdictKind.RETURN, VerdictKind.GOTO)


class Outcome(enum.IntEnum):
    """What becomes of a packet, the worst last."""

    PASSES = 0
    PERHAPS = 1
    DROPPED = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A rule of a chain, or its policy where ``rule`` is ``None``; ``base`` is where it began."""

    table: ForeignTable = dataclasses.field(compare=False, hash=False)
    base: str
    chain: str
    rule: ForeignRule | None = dataclasses.field(compare=False, hash=False)
    identity: tuple[str, str, int] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Work out what it is known by."""
        handle = -1 if self.rule is None else self.rule.handle
        object.__setattr__(self, "identity", (self.table.family, self.table.name, handle))


@dataclasses.dataclass(frozen=True, slots=True)
class Verdicts:
    """The outcome, where the packet is dropped, and the rules that it depends on."""

    outcome: Outcome
    place: Place | None = None
    doubts: tuple[Place, ...] = ()


@dataclasses.dataclass(slots=True)
class _Ends:
    """How a chain may be left."""

    accepts: bool = False
    falls: bool = False
    drops: list[Place] = dataclasses.field(default_factory=list)
    doubts: list[Place] = dataclasses.field(default_factory=list)

    def add(self, other: _Ends) -> None:
        self.accepts |= other.accepts
        self.drops += other.drops
        self.doubts += other.doubts


def judge(ruleset: Ruleset, sample: Sample) -> Verdicts:
    """Return what becomes of ``sample`` in the rules of others."""
    marks: dict[str, Bits] = {"mark": known(bytes(4))}
    first = sample.visits[0].packet if sample.visits else None
    # A connection that is there has the mark that it was given, if anybody gives any.
    unmarked = (first is not None and first.state == NEW) or not ruleset.may_mark_connections
    marks["ct mark"] = known(bytes(4)) if unmarked else unknown(4)
    found = Verdicts(Outcome.PASSES)
    for visit in sample.visits:
        for table, chain in _chains(ruleset, visit):
            walk = _Walk(table, chain, visit, marks)
            verdicts = walk.verdicts()
            if verdicts.outcome is Outcome.DROPPED:
                return verdicts
            found = max(found, verdicts, key=lambda item: item.outcome)
    return found


def _chains(ruleset: Ruleset, visit: Visit) -> Iterator[tuple[ForeignTable, ForeignChain]]:
    """Yield the chains that are called, in their order."""
    called = []
    for table in ruleset.tables:
        if table.family not in visit.families:
            continue
        for chain in table.chains.values():
            if chain.hook is None or chain.hook.name != visit.hook:
                continue
            # Addresses are translated for the first packet of a connection only.
            if chain.hook.type == "nat" and visit.packet.state != NEW:
                continue
            devices = chain.hook.devices
            device = visit.packet.oif if visit.hook == "egress" else visit.packet.iif
            if devices and device.name not in devices:
                continue
            called.append((chain.hook.priority, table, chain))
    called.sort(key=lambda item: item[0])
    for _, table, chain in called:
        yield table, chain


class _Walk:
    """One packet's way through one chain that the kernel calls."""

    def __init__(
        self, table: ForeignTable, base: ForeignChain, visit: Visit, marks: dict[str, Bits]
    ) -> None:
        assert base.hook is not None
        self._table = table
        self._base = base
        self._hook = base.hook
        self._marks = marks
        back = visit.hook == "prerouting" and base.hook.priority > _DESTINATION_NAT
        self._packet = visit.translated if back and visit.translated else visit.packet
        tracked = _TRACKED_FROM.get(visit.hook)
        here = visit.hook not in {"ingress", "egress"}
        self._tracked = here and (tracked is None or base.hook.priority > tracked)
        self._certain = True

    def verdicts(self) -> Verdicts:
        """Return what becomes of the packet here."""
        ends = self._chain(self._base, 0)
        if ends.falls:
            if self._hook.drops:
                ends.drops.append(self._place(self._base, None))
            else:
                ends.accepts = True
        if not ends.drops:
            return Verdicts(Outcome.PASSES)
        outcome = Outcome.PERHAPS if ends.accepts else Outcome.DROPPED
        doubts = tuple(dict.fromkeys(ends.doubts)) if ends.accepts else ()
        return Verdicts(outcome, ends.drops[0], doubts)

    def _place(self, chain: ForeignChain, rule: ForeignRule | None) -> Place:
        return Place(self._table, self._base.name, chain.name, rule)

    def _chain(self, chain: ForeignChain, depth: int) -> _Ends:
        ends = _Ends()
        for rule in chain.rules:
            registers = Registers(self)
            holds = registers.run(rule.expressions)
            if holds is False:
                continue
            ways = [
                (verdict, self._verdict(chain, rule, verdict, depth, certain=holds is True))
                for verdict in registers.verdicts
            ]
            for verdict, here in ways:
                left = not here.falls or verdict.kind in _LEAVING
                if holds is None and (left or here.drops or here.accepts):
                    ends.doubts.append(self._place(chain, rule))
                ends.add(here)
                # Who leaves this chain so goes on where it was called.
                ends.falls |= here.falls and verdict.kind in _LEAVING
                if holds and left:
                    return ends
        ends.falls = True
        return ends

    def _verdict(
        self, chain: ForeignChain, rule: ForeignRule, verdict: Verdict, depth: int, *, certain: bool
    ) -> _Ends:
        kind = verdict.kind
        if kind is VerdictKind.ACCEPT:
            return _Ends(accepts=True)
        if kind is VerdictKind.DROP:
            return _Ends(drops=[self._place(chain, rule)])
        if kind is VerdictKind.ELSEWHERE:
            place = self._place(chain, rule)
            return _Ends(accepts=True, drops=[place], doubts=[place])
        if kind in _JUMPS and depth < _DEPTH and verdict.chain in self._table.chains:
            before = self._certain
            self._certain = before and certain
            ends = self._chain(self._table.chains[verdict.chain], depth + 1)
            self._certain = before
            return ends
        return _Ends(falls=True)

    # What is loaded

    def load(self, what: str | Payload | Fib) -> Bits:
        """Return what a rule asks for, ``NotThere`` where there is no such thing."""
        if isinstance(what, Payload):
            part = self._layer(what.base).part(what.offset, what.length)
            return unknown(what.length) if part is None else part
        if isinstance(what, Fib):
            return self._fib(what)
        if what.startswith("ct ") and self._table.family == "bridge":
            return unknown(4)
        if what.startswith("ct ") and not self._tracked:
            if what == "ct state":
                return known(struct.pack("=I", INVALID))
            raise NotThere
        found = self._named(what)
        return unknown(4) if found is None else found

    def change(self, what: str, value: Bits, *, certain: bool) -> None:
        """Keep a mark that is set; one that perhaps is set is not known any more."""
        if what in self._marks:
            self._marks[what] = value if certain and self._certain else unknown(4)

    def set_of(self, name: str) -> ForeignSet | None:
        """Return a set of the table."""
        return self._table.sets.get(name)

    def _layer(self, base: Base) -> Bits:
        packet = self._packet
        layers = {Base.LINK: packet.link, Base.NETWORK: packet.network}
        return layers.get(base, packet.transport)

    def _named(self, what: str) -> Bits | None:
        packet = self._packet
        if what in self._marks:
            return self._marks[what]
        if what in _OF_DEVICES:
            device = packet.iif if what.startswith("i") else packet.oif
            return _OF_DEVICES[what](device)
        if what in _OF_SOCKETS and packet.is_forwarded and self._table.family != "bridge":
            if what == "socket":
                return known(b"\0")
            raise NotThere
        reply = bool(packet.state & ESTABLISHED)
        values: dict[str, bytes] = {
            "l4proto": bytes([packet.protocol]),
            "nfproto": bytes([_NFPROTO.get(self._table.family, _OF_VERSION[packet.version])]),
            "protocol": struct.pack("!H", packet.ethertype or _ETHERTYPES[packet.version]),
            "pkttype": bytes([packet.kind]),
            "secpath": b"\0",
            "bridged": bytes([packet.bridged]),
            "iiftype": struct.pack("=H", _ETHERNET),
            "oiftype": struct.pack("=H", _ETHERNET),
            "ct state": struct.pack("=I", packet.state),
            "ct direction": bytes([reply]),
            "ct l3proto": bytes([_OF_VERSION[packet.version]]),
            "ct protocol": bytes([packet.protocol]),
            "ct zone": bytes(2),
        }
        if what == "ct status":
            # Nothing that a guest needs is sent to another than it is for (IPS_DST_NAT).
            value = struct.pack("=I", _REPLY_SEEN if reply else 0)
            return Bits(value, struct.pack("=I", 1 << 5 | _REPLY_SEEN))
        value = values.get(what, b"")
        return known(value) if value else None

    def _fib(self, what: Fib) -> Bits:
        packet = self._packet
        flags = what.flags
        if what.result == "type":
            kind = packet.source_type if "saddr" in flags else packet.target_type
            return unknown(4) if kind is None else known(struct.pack("=I", kind))
        length = 1 if "present" in flags else 16 if what.result == "oifname" else 4
        if "saddr" not in flags or "iif" not in flags or packet.back is None:
            return unknown(length)
        if "present" in flags:
            return known(bytes([packet.back]))
        if not packet.back:
            return known(bytes(length))
        return _OF_DEVICES["iifname" if what.result == "oifname" else "iif"](packet.iif)


def _name(device: Device) -> Bits:
    if device.name is None:
        return unknown(16)
    return known(device.name.encode().ljust(16, b"\0"))


def _index(device: Device) -> Bits:
    return unknown(4) if device.index is None else known(struct.pack("=I", device.index))


_OF_SOCKETS = frozenset({"socket", "skuid", "skgid", "cgroup"})
_OF_DEVICES = {"iifname": _name, "oifname": _name, "iif": _index, "oif": _index}
