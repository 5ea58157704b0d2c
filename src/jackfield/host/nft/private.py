"""Guests of mode private do not hear each other: ``table netdev jackfield-private``.

The kernel keeps macvlans of this mode from each other on one NIC, and drops their broadcasts that
come back.  What a switch sends back for a known address it lets in, and what guests over another
NIC send comes in as from anybody.  So what a guest has sent is dropped at the ingress of every
uplink that has guests of its network, which comes before the macvlans.  The host itself may be
spoken to::

    table netdev jackfield-private {
        set guests-6a1c0f6e-… {
            type ether_addr
            elements = { 52:54:00:00:00:01 comment "eth1", 52:54:00:00:00:02 comment "eth2" }
        }
        chain eth1 {
            type filter hook ingress device "eth1" priority filter; policy accept;
            ether saddr @guests-6a1c0f6e-… meta pkttype != host counter drop
        }
        chain eth2 { … }
    }

A set for each network and a chain for each uplink, with a rule for each network that has guests
there.  An element's comment says over which uplink its guest is, or uplinks, where several have
the address: that tells which chains are needed, and one more guest is one more element.  Numbers
are those of ``linux/netfilter/nf_tables.h``.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from uuid import UUID

from jackfield.errors import KernelError, MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    attribute,
    attribute_list,
    attribute_text,
    attributes,
    nested,
    text,
)
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.bridgetable import (
    TYPE_ETHER,
    drop_counted,
    load_address,
    load_name,
    look_up,
    only,
)
from jackfield.host.nft.expression import attribute_be32, expression
from jackfield.host.nft.mark import foreign_words
from jackfield.host.nft.netdevtable import ACCEPT, NFPROTO_NETDEV, NetdevTable, has_family
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.state.private import PrivateGuard

__all__ = ["PRIVATE_TABLE", "PrivateGuardDriver"]

PRIVATE_TABLE = "jackfield-private"
"""The table's name, in the family netdev."""

_TABLE = NetdevTable(PRIVATE_TABLE, ACCEPT)
_PREFIX = "guests-"

_DELTABLE = 2
_NEWRULE, _GETRULE = 6, 7
_NEWSET, _GETSET, _DELSET = 9, 10, 11
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14
_RULE_CHAIN, _RULE_EXPRESSIONS = 2, 4
_SET_NAME = 2
_ELEMENT_KEY, _ELEMENT_USERDATA = 1, 6
_COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT
_ADDRESS_SIZE = 6
_SOURCE = 6
_REG_1 = 1
_META_IIFTYPE, _META_PKTTYPE = 8, 19
_ETHERNET = struct.pack("=H", 1)  # linux/if_arp.h
_PACKET_HOST = b"\0"  # linux/if_packet.h
_CMP_NEQ = 1
_EXPRESSIONS = ["meta", "cmp", "payload", "lookup", "meta", "cmp", "counter", "immediate"]
_LOOKUP = _EXPRESSIONS.index("lookup")

_Guests = dict[str, dict[bytes, set[str]]]
"""By set: the addresses of guests, each with its uplinks."""
_Chains = dict[str, tuple[str, ...] | None]
"""By uplink: the sets that its chain looks up; ``None`` where it does something else as well."""


class PrivateGuardDriver:
    """Enters guests' addresses in their network's set, and strikes them."""

    def __init__(self) -> None:
        """Ask the kernel nothing yet."""
        self._can_guard: bool | None = None

    def refuse_impossible(self, kernel: Kernel, resources: Sequence[PrivateGuard]) -> None:
        """Raise ``MissingFeature`` if the kernel has no rules for single devices."""
        if not resources:
            return
        if self._can_guard is None:
            self._can_guard = has_family(kernel.nft)
        if not self._can_guard:
            raise MissingFeature(
                f"cannot keep guests over {resources[0].link} from each other, as mode private "
                "has it: the kernel has no nftables rules for single devices",
                hint="it needs the family netdev (CONFIG_NF_TABLES_NETDEV); mode vepa leaves it "
                "to the switch",
            )

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[PrivateGuard],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return which are guarded: entered, and looked up at their uplink, if that is there."""
        ours = _TABLE.is_ours(kernel.nft)
        if ours is False:
            foreign = Observed(presence=Presence.FOREIGN, description=foreign_words(_TABLE.words))
            return {item.key: foreign for item in resources}
        if ours is None:
            return {item.key: ABSENT for item in resources}
        guests = _guests(kernel.nft, {_set_of(item.network) for item in resources})
        chains = _chains(kernel.nft)
        away = {item.link for item in resources if kernel.route.index(item.link) is None}

        def is_guarded(item: PrivateGuard) -> bool:
            name = _set_of(item.network)
            looked_up = item.link in away or name in (chains.get(item.link) or ())
            return looked_up and item.link in guests.get(name, {}).get(item.mac.packed, ())

        return {
            item.key: Observed(presence=Presence.OURS, resource=item)
            if is_guarded(item)
            else ABSENT
            for item in resources
        }

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[PrivateGuard],
        replaced: Mapping[str, PrivateGuard],
    ) -> None:
        """Guard all of these or none; where an uplink is away, there is nobody to be guarded."""
        if resources:
            _TABLE.refuse_foreign(kernel.nft)
            try:
                _commit(kernel.nft, lambda: _messages_to_ensure(kernel, resources, {}))
            except Refusal as refusal:
                if refusal.errno != errno.EEXIST:
                    raise
                # Some are entered already, over the same uplink or another one.
                _commit(
                    kernel.nft,
                    lambda: _messages_to_ensure(kernel, resources, _guests(kernel.nft)),
                )

    def remove(self, kernel: Kernel, resources: Sequence[PrivateGuard]) -> None:
        """Guard them no more; the last one takes the table with it."""
        if not _TABLE.is_ours(kernel.nft):
            return
        try:
            _commit(kernel.nft, lambda: _messages_to_remove(kernel.nft, resources))
        except KernelError as error:
            raise ExceptionGroup(f"could not strike all of {_TABLE.words}", [error]) from error


def _commit(nft: NftSocket, messages: Callable[[], list[Message]]) -> None:
    """Make ``messages`` so, with a second look where a device has gone after the first one."""
    try:
        nft.commit(messages())
    except Refusal as refusal:
        if refusal.errno != errno.ENOENT:
            raise
        nft.commit(messages())


def _messages_to_ensure(
    kernel: Kernel, resources: Sequence[PrivateGuard], known: _Guests
) -> list[Message]:
    """Return what enters ``resources``, where ``known`` are entered before."""
    wanted: _Guests = {}
    for item in resources:
        guests = wanted.setdefault(_set_of(item.network), {})
        guests.setdefault(item.mac.packed, set()).add(item.link)
    messages = [_TABLE.add()]
    for name, guests in sorted(wanted.items()):
        messages.append(_add_set(name))
        for mac, links in guests.items():
            messages += _enter(name, mac, known.get(name, {}).get(mac, set()), links)
    chains = _chains(kernel.nft)
    lacking: dict[str, set[str]] = {}
    for item in resources:
        name = _set_of(item.network)
        if name not in (chains.get(item.link) or ()) and kernel.route.index(item.link) is not None:
            lacking.setdefault(item.link, set()).add(name)
    entered = _guests(kernel.nft) if lacking else {}
    for link, names in sorted(lacking.items()):
        messages += [
            _TABLE.add_chain(link),
            *_fill_chain(link, names | _sets_at(link, entered)),
        ]
    return messages


def _messages_to_remove(nft: NftSocket, resources: Sequence[PrivateGuard]) -> list[Message]:
    going = {(_set_of(item.network), item.mac.packed, str(item.link)) for item in resources}
    entered = _guests(nft)
    staying = {
        name: {
            mac: left
            for mac, links in guests.items()
            if (left := {link for link in links if (name, mac, link) not in going})
        }
        for name, guests in entered.items()
    }
    if not any(staying.values()):
        return [_TABLE.message(_DELTABLE, 0, f"delete {_TABLE.words}")]
    messages: list[Message] = []
    for link, present in sorted(_chains(nft).items()):
        names = _sets_at(link, staying)
        if not names:
            messages.append(_TABLE.delete_chain(link))
        elif present is None or names != set(present):
            messages += _fill_chain(link, names)
    for name, guests in sorted(staying.items()):
        if not guests:
            what = f"delete set {name} of {_TABLE.words}"
            messages.append(_TABLE.message(_DELSET, 0, what, attribute_text(_SET_NAME, name)))
        else:
            for mac, links in sorted(entered[name].items()):
                left = guests.get(mac, set())
                if left != links:
                    messages.append(_element(_DELSETELEM, name, mac))
                    messages += _enter(name, mac, set(), left)
    return messages


def _enter(name: str, mac: bytes, known: set[str], links: set[str]) -> list[Message]:
    """Enter an address over ``links`` that is entered over those ``known``; at once, or not."""
    if links <= known:
        return []
    former = [_element(_DELSETELEM, name, mac)] if known else []
    return [*former, _element(_NEWSETELEM, name, mac, known | links)]


def _sets_at(link: str, guests: _Guests) -> set[str]:
    """Return the sets with a guest over ``link``."""
    return {
        name for name, entered in guests.items() if any(link in links for links in entered.values())
    }


def _set_of(network: UUID) -> str:
    return f"{_PREFIX}{network}"


def _add_set(name: str) -> Message:
    return _TABLE.message(
        *(_NEWSET, NLM_F_CREATE, f"add set {name} to {_TABLE.words}"),
        attribute_text(_SET_NAME, name),
        *(attribute_be32(3, 0), attribute_be32(4, TYPE_ETHER)),
        *(attribute_be32(5, _ADDRESS_SIZE), attribute_be32(10, 1)),
    )


def _element(kind: int, name: str, mac: bytes, uplinks: Collection[str] = ()) -> Message:
    comment = " ".join(sorted(uplinks)).encode() + b"\0"
    parts = nested(_ELEMENT_KEY, attribute(1, mac))
    if uplinks:
        parts += attribute(_ELEMENT_USERDATA, bytes([_COMMENT, len(comment)]) + comment)
    return _TABLE.message(
        *(kind, NLM_F_CREATE | NLM_F_EXCL if kind == _NEWSETELEM else 0),
        f"enter or strike {mac.hex(':')} in set {name} of {_TABLE.words}",
        attribute_text(_SET_NAME, name),
        nested(3, nested(1, parts)),
    )


def _fill_chain(link: str, names: Iterable[str]) -> list[Message]:
    """Have the chain of an uplink look up exactly these sets."""
    return [
        _TABLE.flush_chain(link),
        *(
            _TABLE.message(
                *(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, f"add a rule to chain {link}"),
                attribute_text(_RULE_CHAIN, link),
                nested(
                    _RULE_EXPRESSIONS,
                    # nft asks, and shows an address as one, only where there is Ethernet.
                    load_name(_META_IIFTYPE, _REG_1),
                    only(_ETHERNET, _REG_1),
                    load_address(_SOURCE, _REG_1),
                    look_up(name, _REG_1),
                    load_name(_META_PKTTYPE, _REG_1),
                    _unless(_PACKET_HOST, _REG_1),
                    drop_counted(),
                ),
            )
            for name in sorted(names)
        ),
    ]


def _unless(value: bytes, register: int) -> bytes:
    """Return the expression that goes on only where ``register`` does not hold ``value``."""
    return expression(
        1,
        "cmp",
        *(attribute_be32(1, register), attribute_be32(2, _CMP_NEQ)),
        nested(3, attribute(1, value)),
    )


def _listed(nft: NftSocket, kind: int, what: str, *parts: bytes) -> list[dict[int, bytes]]:
    """Return what the kernel lists of something in the table; nothing where that is not there."""
    try:
        replies = nft.dump(_TABLE.message(kind, 0, what, *parts))
    except Refusal as refusal:
        if refusal.errno == errno.ENOENT:
            return []
        raise
    return [object_attributes(reply) for reply in replies if reply.body[0] == NFPROTO_NETDEV]


def _guests(nft: NftSocket, names: Collection[str] | None = None) -> _Guests:
    """Return who is entered in the sets of these ``names``, or in all."""
    if names is None:
        sets = _listed(nft, _GETSET, f"list the sets of {_TABLE.words}")
        names = [text(one.get(_SET_NAME, b"")) for one in sets]
    return {name: _entered(nft, name) for name in names}


def _entered(nft: NftSocket, name: str) -> dict[bytes, set[str]]:
    what = f"list set {name} of {_TABLE.words}"
    found: dict[bytes, set[str]] = {}
    for reply in _listed(nft, _GETSETELEM, what, attribute_text(_SET_NAME, name)):
        for _, item in attribute_list(reply.get(3, b"")):
            element = attributes(item)
            comment = element.get(_ELEMENT_USERDATA, b"")
            found[attributes(element[_ELEMENT_KEY])[1]] = set(text(comment[2:]).split())
    return found


def _chains(nft: NftSocket) -> _Chains:
    """Return what the chain of each uplink looks up; one without rules is not among them."""
    found: _Chains = {}
    for rule in _listed(nft, _GETRULE, f"list the rules of {_TABLE.words}"):
        chain, name = text(rule.get(_RULE_CHAIN, b"")), _set_looked_up(rule)
        known = found.get(chain, ())
        found[chain] = None if name is None or known is None else (*known, name)
    return found


def _set_looked_up(rule: dict[int, bytes]) -> str | None:
    """Return the set that a rule of ours looks up; ``None`` for a rule of another kind."""
    items = attribute_list(rule.get(_RULE_EXPRESSIONS, b""))
    parts = [attributes(data) for _, data in items]
    if [text(part.get(1, b"")) for part in parts] != _EXPRESSIONS:
        return None
    return text(attributes(parts[_LOOKUP].get(2, b"")).get(1, b""))
