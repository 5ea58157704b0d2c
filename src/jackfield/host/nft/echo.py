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

from collections.abc import Collection, Mapping, Sequence

from jackfield.host.driver import Observed
from jackfield.host.kernel import Kernel
from jackfield.host.nft.bridgetable import (
    HOOK_PREROUTING,
    IFNAME_SIZE,
    TYPE_ETHER,
    TYPE_IFNAME,
    BridgeTable,
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


class EchoGuardDriver:
    """Enters guests' addresses by the links they must not come in by, and strikes them."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[EchoGuard],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return which are entered; none are while the rule is not as it should be."""
        return _TABLE.observe(kernel.nft, {item: _element(item) for item in resources})

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[EchoGuard],
        replaced: Mapping[str, EchoGuard],
    ) -> None:
        """Have the echoes dropped."""
        _TABLE.enter(
            kernel.nft, {_element(item): f"{item.mac} by {item.link}" for item in resources}
        )

    def remove(self, kernel: Kernel, resources: Sequence[EchoGuard]) -> None:
        """Drop them no more; the last one takes the table with it."""
        _TABLE.strike(kernel.nft, [_element(item) for item in resources])


def _element(guard: EchoGuard) -> bytes:
    address = guard.mac.packed.ljust(_PADDED_ADDRESS, b"\0")
    return guard.link.encode().ljust(IFNAME_SIZE, b"\0") + address
