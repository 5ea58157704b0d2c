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

from jackfield.host.nft.bridgetable import (
    HOOK_FORWARD,
    IFNAME_SIZE,
    TYPE_IFNAME,
    BridgeTable,
    BridgeTableDriver,
    drop_counted,
    load_address,
    load_name,
    look_up,
    only,
)
from jackfield.state.resources import BpduGuard

__all__ = ["TABLE_NAME", "BpduGuardDriver"]

TABLE_NAME = "jackfield-uplinks"
_SET = "uplinks"

# IEEE 802.1D's bridge group address, and that of Cisco's spanning tree for each VLAN.
_GROUPS = (bytes.fromhex("0180c2000000"), bytes.fromhex("01000ccccccd"))
_META_OIFNAME = 7
_DESTINATION = 0
_REG_1 = 1


def _rule(group: bytes) -> bytes:
    """Return the expressions of ``oifname @uplinks ether daddr GROUP counter drop``."""
    return b"".join(
        (
            load_name(_META_OIFNAME, _REG_1),
            look_up(_SET, _REG_1),
            load_address(_DESTINATION, _REG_1),
            only(group, _REG_1),
            drop_counted(),
        )
    )


_TABLE = BridgeTable(
    name=TABLE_NAME,
    set_name=_SET,
    key_types=(TYPE_IFNAME,),
    key_size=IFNAME_SIZE,
    chain="leave",
    hook=HOOK_FORWARD,
    priority=-200,  # NF_BR_PRI_FILTER_BRIDGED
    rules=tuple(_rule(group) for group in _GROUPS),
)


class BpduGuardDriver(BridgeTableDriver[BpduGuard]):
    """Enters uplinks in the set, and strikes them; the table is there as long as there are any."""

    table = _TABLE

    def _element(self, item: BpduGuard) -> bytes:
        return item.link.encode().ljust(IFNAME_SIZE, b"\0")

    def _words(self, item: BpduGuard) -> str:
        return item.link
