"""Bridges of ours."""

from __future__ import annotations

from collections.abc import Sequence

from jackfield.errors import KernelError
from jackfield.host.kernel import Kernel
from jackfield.host.links import LinkDriver, found_mac, found_mtu, identity
from jackfield.host.netlink.bridge import bridge_options, change_bridge, create_bridge
from jackfield.host.netlink.link import Link, mark_group, random_group, set_link
from jackfield.host.netlink.message import Message
from jackfield.model.values import InterfaceName
from jackfield.state.links import BridgeLink

__all__ = ["BridgeDriver"]

# BR_MIN_FORWARD_DELAY and BR_MAX_FORWARD_DELAY in net/bridge/br_private_stp.h, in seconds: the
# kernel keeps a bridge with STP within them.
_STP_DELAY_MINIMUM = 2
_STP_DELAY_MAXIMUM = 30
# Without STP any will do that netlink has room for: 32 bits of hundredths.
_DELAY_MAXIMUM = 0xFFFF_FFFF // 100


def _possible_delay(wanted: BridgeLink) -> int:
    """Return the forward delay that the kernel can give, in seconds."""
    if not wanted.stp:
        return min(wanted.forward_delay, _DELAY_MAXIMUM)
    return max(_STP_DELAY_MINIMUM, min(wanted.forward_delay, _STP_DELAY_MAXIMUM))


class BridgeDriver(LinkDriver[BridgeLink]):
    """Makes, looks at and removes bridges."""

    info_kind = "bridge"

    def _as_found(self, kernel: Kernel, wanted: BridgeLink, link: Link) -> BridgeLink:
        options = bridge_options(link.data)
        delay = options.forward_delay
        if options.stp == wanted.stp and delay == _possible_delay(wanted):
            delay = wanted.forward_delay
        # Where it is left open, or cannot be, nothing is found to differ.
        filtering = None if wanted.vlan_filtering is None else options.vlan_filtering
        return BridgeLink(
            name=InterfaceName(link.name),
            alias=link.alias,
            mac=found_mac(wanted.mac, link),
            mtu=found_mtu(wanted.mtu, link),
            stp=options.stp,
            forward_delay=delay,
            vlan_filtering=wanted.vlan_filtering if filtering is None else filtering,
        )

    def _create(
        self, kernel: Kernel, resources: Sequence[BridgeLink]
    ) -> list[tuple[KernelError, BridgeLink]]:
        messages: list[Message] = []
        for bridge in resources:
            group = random_group()
            mac = bridge.mac.packed if bridge.mac is not None else None
            delay = _possible_delay(bridge)
            messages += (
                create_bridge(bridge.name, mac, stp=bridge.stp, forward_delay=delay, group=group),
                mark_group(group, bridge.alias, f"mark bridge {bridge.name}"),
            )
        refused: dict[int, KernelError] = {}
        for refusal in kernel.route.try_all(messages):
            refused.setdefault(refusal.index // 2, refusal)
        # An MTU that is set on a bridge, rather than created with it, stays when ports come.
        kernel.route.send(
            [
                set_link(bridge.name, f"finish bridge {bridge.name}", group=0, mtu=bridge.mtu)
                for number, bridge in enumerate(resources)
                if number not in refused
            ]
        )
        for number, bridge in enumerate(resources):
            if bridge.vlan_filtering and number not in refused:
                _filter_vlans(kernel, bridge)
        return [(refusal, resources[number]) for number, refusal in refused.items()]

    def _change(self, kernel: Kernel, wanted: BridgeLink, present: BridgeLink) -> None:
        what = f"change bridge {wanted.name}"
        index = kernel.route.require_index(wanted.name, what)
        messages: list[Message] = []
        changes = identity(wanted, present)
        if changes:
            messages.append(set_link(index, what, **changes))
        # STP first and in a message of its own: which delays are possible depends on it.
        if present.stp != wanted.stp:
            messages.append(change_bridge(index, wanted.name, stp=wanted.stp))
        if (present.stp, present.forward_delay) != (wanted.stp, wanted.forward_delay):
            messages.append(
                change_bridge(index, wanted.name, forward_delay=_possible_delay(wanted))
            )
        kernel.route.send(messages)
        if wanted.vlan_filtering not in (None, present.vlan_filtering):
            _filter_vlans(kernel, wanted)


def _filter_vlans(kernel: Kernel, bridge: BridgeLink) -> None:
    """Have a bridge keep VLANs apart, or not; a kernel that cannot is left alone.

    Its ports are in the bridge's default VLAN before and after, untagged.
    """
    link = kernel.route.link(bridge.name)
    if link is not None and bridge_options(link.data).vlan_filtering is not None:
        change = change_bridge(link.index, bridge.name, vlan_filtering=bridge.vlan_filtering)
        kernel.route.send([change])
