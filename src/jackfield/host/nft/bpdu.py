"""Spanning tree frames of guests do not leave by uplinks: ``table bridge jackfield-uplinks``.

A bridge without spanning tree passes such frames on, as the standard wants of a wire, and a
switch that guards its ports closes the one where it hears them.  What the LAN says stays to be
heard by the guests.  One set of uplinks and two rules, however many there are::

    table bridge jackfield-uplinks {
        set uplinks { type ifname; elements = { eth0 } }
        chain leave {
            type filter hook forward priority -200; policy accept;
            oifname @uplinks ether daddr 01:80:c2:00:00:00 counter drop
            oifname @uplinks ether daddr 01:00:0c:cc:cc:cd counter drop
        }
    }
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import ForeignObject, KernelError
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
    text,
)
from jackfield.host.netlink.socket import Refusal
from jackfield.host.nft.base import COMMENT
from jackfield.host.nft.expression import attribute_be32
from jackfield.host.nft.socket import NftSocket, object_attributes
from jackfield.state.resources import BpduGuard

__all__ = ["TABLE_NAME", "BpduGuardDriver"]

TABLE_NAME = "jackfield-uplinks"
_TABLE = f"table bridge {TABLE_NAME}"
_SET = "uplinks"
_CHAIN = "leave"

# IEEE 802.1D's bridge group address, and that of Cisco's spanning tree for each VLAN.
_GROUPS = (bytes.fromhex("0180c2000000"), bytes.fromhex("01000ccccccd"))

_NFPROTO_BRIDGE = 7
_SUBSYSTEM = 10 << 8
_NEWTABLE, _GETTABLE, _DELTABLE = 0, 1, 2
_NEWCHAIN = 3
_NEWRULE, _GETRULE, _DELRULE = 6, 7, 8
_NEWSET = 9
_NEWSETELEM, _GETSETELEM, _DELSETELEM = 12, 13, 14
_HEADER = struct.pack("!BBH", _NFPROTO_BRIDGE, 0, 0)
_HEADER_SIZE = 4
_OF_TABLE = attribute_text(1, TABLE_NAME)
_TABLE_USERDATA = 6
_HOOK_FORWARD = 2
_PRIORITY = -200  # NF_BR_PRI_FILTER_BRIDGED
_TYPE_IFNAME = 41
_IFNAMSIZ = 16
_BYTE_ORDER = struct.Struct("=BBI").pack(0, 4, 1)

_REG_VERDICT, _REG_1 = 0, 1
_META_OIFNAME = 7
_LINK_HEADER = 0
_CMP_EQ = 0
_NF_DROP = 0


def _message(kind: int, flags: int, what: str, *parts: bytes) -> Message:
    return Message(_SUBSYSTEM | kind, flags, _HEADER + _OF_TABLE + b"".join(parts), what)


def _expression(name: str, *data: bytes) -> bytes:
    return nested(1, attribute_text(1, name), nested(2, *data))


def _rule(group: bytes) -> bytes:
    """Return the expressions of ``oifname @uplinks ether daddr GROUP counter drop``."""
    return b"".join(
        (
            _expression("meta", attribute_be32(2, _META_OIFNAME), attribute_be32(1, _REG_1)),
            _expression("lookup", attribute_text(1, _SET), attribute_be32(2, _REG_1)),
            _expression(
                "payload",
                *(attribute_be32(1, _REG_1), attribute_be32(2, _LINK_HEADER)),
                *(attribute_be32(3, 0), attribute_be32(4, len(group))),
            ),
            _expression(
                "cmp",
                *(attribute_be32(1, _REG_1), attribute_be32(2, _CMP_EQ)),
                nested(3, attribute(1, group)),
            ),
            _expression("counter"),
            _expression(
                "immediate",
                attribute_be32(1, _REG_VERDICT),
                nested(2, nested(2, attribute_be32(1, _NF_DROP))),
            ),
        )
    )


def _shared() -> list[Message]:
    """Return what makes, or mends, table, set and chain with its rules."""
    comment = COMMENT.encode() + b"\0"
    return [
        _message(
            *(_NEWTABLE, NLM_F_CREATE, f"add {_TABLE}"),
            attribute_be32(2, 0),
            attribute(_TABLE_USERDATA, bytes([0, len(comment)]) + comment),
        ),
        _message(
            *(_NEWSET, NLM_F_CREATE, f"add set {_SET} to {_TABLE}"),
            attribute_text(2, _SET),
            *(attribute_be32(3, 0), attribute_be32(4, _TYPE_IFNAME), attribute_be32(5, _IFNAMSIZ)),
            attribute_be32(10, 1),
            attribute(13, _BYTE_ORDER),
        ),
        _message(
            *(_NEWCHAIN, NLM_F_CREATE, f"add base chain {_CHAIN} to {_TABLE}"),
            attribute_text(3, _CHAIN),
            nested(4, attribute_be32(1, _HOOK_FORWARD), attribute_be32(2, _PRIORITY)),
            attribute_be32(5, 1),
            attribute_text(7, "filter"),
        ),
        _message(_DELRULE, 0, f"flush chain {_CHAIN} of {_TABLE}", attribute_text(2, _CHAIN)),
        *(
            _message(
                *(_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, f"add a rule to {_TABLE}"),
                attribute_text(2, _CHAIN),
                nested(4, _rule(group)),
            )
            for group in _GROUPS
        ),
    ]


def _element(kind: int, flags: int, link: str) -> Message:
    return _message(
        *(kind, flags, f"enter or strike {link} in set {_SET} of {_TABLE}"),
        attribute_text(2, _SET),
        nested(3, nested(1, nested(1, attribute(1, link.encode().ljust(_IFNAMSIZ, b"\0"))))),
    )


class BpduGuardDriver:
    """Enters uplinks in the set, and strikes them; the table is there as long as there are any."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[BpduGuard],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return which uplinks are guarded; none are while the rules are not as they should be."""
        ours = _is_ours(kernel.nft)
        if ours is False:
            foreign = Observed(presence=Presence.FOREIGN, description=_foreign())
            return {item.key: foreign for item in resources}
        links = _links(kernel.nft) if ours and _rules(kernel.nft) == len(_GROUPS) else set()
        return {
            item.key: Observed(presence=Presence.OURS, resource=item)
            if item.link in links
            else ABSENT
            for item in resources
        }

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[BpduGuard],
        replaced: Mapping[str, BpduGuard],
    ) -> None:
        """Have the uplinks guarded."""
        if _is_ours(kernel.nft) is False:
            raise ForeignObject(
                f"{_foreign()} is in the way and is not ours; it is left alone",
                hint=f"rename or delete it (`nft delete {_TABLE}`)",
            )
        elements = [_element(_NEWSETELEM, NLM_F_CREATE, item.link) for item in resources]
        try:
            kernel.nft.commit([*_shared(), *elements])
        except Refusal as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOENT, errno.EAFNOSUPPORT):
                error.hint = "the kernel may lack nftables for bridges: CONFIG_NF_TABLES_BRIDGE"
            raise

    def remove(self, kernel: Kernel, resources: Sequence[BpduGuard]) -> None:
        """Guard the uplinks no more; the last one takes the table with it."""
        if not _is_ours(kernel.nft):
            return
        links = _links(kernel.nft)
        going = {item.link for item in resources} & links
        if links <= going:
            messages = [_message(_DELTABLE, 0, f"delete {_TABLE}")]
        else:
            messages = [_element(_DELSETELEM, 0, link) for link in sorted(going)]
        try:
            kernel.nft.commit(messages)
        except KernelError as error:
            raise ExceptionGroup("could not remove every guard", [error]) from error


def _foreign() -> str:
    return f"{_TABLE} without the comment that marks ours"


def _is_ours(nft: NftSocket) -> bool | None:
    """Return whether the table is ours; ``None`` when there is none."""
    found = nft.get(_message(_GETTABLE, 0, f"look at {_TABLE}"))
    return None if found is None else COMMENT.encode() in found.get(_TABLE_USERDATA, b"")


def _rules(nft: NftSocket) -> int:
    question = _message(_GETRULE, 0, f"list the rules of {_TABLE}", attribute_text(2, _CHAIN))
    return len(nft.dump(question))


def _links(nft: NftSocket) -> set[str]:
    """Return the uplinks in the set."""
    question = _message(_GETSETELEM, 0, f"list set {_SET} of {_TABLE}", attribute_text(2, _SET))
    try:
        replies = nft.dump(question)
    except Refusal as error:
        if error.errno == errno.ENOENT:
            return set()
        raise
    return {
        text(attributes(attributes(element)[1])[1])
        for reply in replies
        for _, element in attribute_list(object_attributes(reply).get(3, b""))
    }
