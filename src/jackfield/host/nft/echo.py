"""What guests send does not come back to them by their bridge's way out.

A card's own switch, or one that is told to reflect, may send a broadcast back to the virtual
function that it came from.  A bridge learns from it that its guest is outside, and drops what comes
for the guest from there.  One set and one rule, before the bridge looks at the frame::

    table bridge jackfield-echoes {
        set guests { type ifname . ether_addr; elements = { eth1 . 52:54:00:00:00:01 } }
        chain arrive {
            type filter hook prerouting priority -300; policy accept;
            iifname . ether saddr @guests counter drop
        }
    }
"""

from __future__ import annotations

from jackfield.host.nft.bridgetable import (
    HOOK_PREROUTING,
    IFNAME_SIZE,
    TYPE_ETHER,
    TYPE_IFNAME,
    BridgeTable,
    BridgeTableDriver,
    drop_counted,
    load_address,
    load_name,
    look_up,
)
from jackfield.state.functions import EchoGuard

__all__ = ["TABLE_NAME", "EchoGuardDriver"]

TABLE_NAME = "jackfield-echoes"
_SET = "guests"
_META_IIFNAME = 6
_SOURCE = 6
# A register has 16 bytes, and what is concatenated lies in one after the other.
_REG_1, _REG_2 = 1, 2
_PADDED_ADDRESS = 8

_TABLE = BridgeTable(
    name=TABLE_NAME,
    set_name=_SET,
    key_types=(TYPE_IFNAME, TYPE_ETHER),
    key_size=IFNAME_SIZE + _PADDED_ADDRESS,
    chain="arrive",
    hook=HOOK_PREROUTING,
    priority=-300,  # NF_BR_PRI_NAT_DST_BRIDGED
    rules=(
        b"".join(
            (
                load_name(_META_IIFNAME, _REG_1),
                load_address(_SOURCE, _REG_2),
                look_up(_SET, _REG_1),
                drop_counted(),
            )
        ),
    ),
)


class EchoGuardDriver(BridgeTableDriver[EchoGuard]):
    """Enters guests' addresses by the links they must not come in by, and strikes them."""

    table = _TABLE

    def _element(self, item: EchoGuard) -> bytes:
        address = item.mac.packed.ljust(_PADDED_ADDRESS, b"\0")
        return item.link.encode().ljust(IFNAME_SIZE, b"\0") + address

    def _words(self, item: EchoGuard) -> str:
        return f"{item.mac} by {item.link}"
