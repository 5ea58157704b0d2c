"""VLANs of managed bridges: whether they filter them, and which their uplinks carry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import Conflict, ForeignObject, MissingFeature
from jackfield.host.driver import Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.bridge import bridge_options, change_bridge
from jackfield.host.netlink.bridgeport import PortVlan, add_vlans, delete_vlans
from jackfield.host.netlink.link import Link
from jackfield.host.netlink.message import Message
from jackfield.host.netlink.vlan import vlan_id
from jackfield.host.ownership import is_marked
from jackfield.state.vlans import OFF, ON, Membership, UplinkVlan, VlanFiltering

__all__ = ["UplinkVlanDriver", "VlanFilteringDriver"]

_MEMBERSHIPS = {
    Membership.TAGGED: (False, False),
    Membership.UNTAGGED: (False, True),
    Membership.NATIVE: (True, False),
    Membership.NATIVE_UNTAGGED: (True, True),
}
_NAMES = {flags: membership for membership, flags in _MEMBERSHIPS.items()}


class VlanFilteringDriver:
    """Has bridges of ours filter VLANs, or not; untagged frames pass before and after."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[VlanFiltering],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return which bridges filter; one that there is not does not."""
        links = kernel.route.links([item.link for item in resources])
        found = {}
        for item in resources:
            value = ON if _filters(links.get(item.link)) else OFF
            seen = VlanFiltering(link=item.link, value=value)
            found[item.key] = Observed(presence=Presence.OURS, resource=seen)
        return found

    def refuse_impossible(self, kernel: Kernel, resources: Sequence[VlanFiltering]) -> None:
        """Raise ``MissingFeature`` where a bridge is to filter VLANs and the kernel cannot."""
        wanted = [item.link for item in resources if item.value == ON]
        # What is not loaded yet is there once the bridge is; then ``ensure`` knows.
        if wanted and kernel.route.filters_vlans() is False:
            raise _cannot_filter(wanted[0])

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[VlanFiltering],
        replaced: Mapping[str, VlanFiltering],
    ) -> None:
        """Turn filtering on or off."""
        for item in resources:
            what = f"keep VLANs apart on bridge {item.link}"
            index = kernel.route.require_index(item.link, what)
            link = kernel.route.link(item.link)
            if link is None or not is_marked(link.alias):
                raise ForeignObject(f"cannot {what}: it is not ours, and left alone")
            filtering = bridge_options(link.data).vlan_filtering
            if bool(filtering) is (item.value == ON):
                continue
            if filtering is None:
                raise _cannot_filter(item.link)
            change = change_bridge(index, item.link, vlan_filtering=item.value == ON)
            kernel.route.send([change])

    def remove(self, kernel: Kernel, resources: Sequence[VlanFiltering]) -> None:
        """Do nothing: values are put back by whoever knows what they were."""


class UplinkVlanDriver:
    """Has uplinks carry VLANs to and from their bridges."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[UplinkVlan],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return which uplinks carry what."""
        ports = _ports_of_ours(kernel, resources)
        vlans = kernel.route.vlans() if ports else {}
        found = {}
        for item in resources:
            link = ports.get(item.link)
            present = frozenset() if link is None else vlans.get(link.index, frozenset())
            seen = UplinkVlan(link=item.link, vlan=item.vlan, value=_value(present, item.vlan))
            found[item.key] = Observed(presence=Presence.OURS, resource=seen)
        return found

    def refuse_impossible(self, kernel: Kernel, resources: Sequence[UplinkVlan]) -> None:
        """Raise ``Conflict`` where the host itself takes a VLAN's frames off the uplink.

        A VLAN device gets them before the bridge does, even while it is down
        (``vlan_do_receive`` in ``net/core/dev.c``).
        """
        if not resources:
            return
        uplinks = {item.link: kernel.route.index(item.link) for item in resources}
        taken = {(link.lower, vlan_id(link.data)): link for link in kernel.route.vlan_devices()}
        for item in resources:
            device = taken.get((uplinks[item.link], item.vlan))
            if device is not None:
                raise Conflict(
                    f"VLAN {item.vlan} of uplink {item.link} is the host's own {device.name}, "
                    "which gets its frames before any bridge does",
                    hint=f"make {device.name} an uplink itself, or delete it",
                )

    def ensure(
        self, kernel: Kernel, resources: Sequence[UplinkVlan], replaced: Mapping[str, UplinkVlan]
    ) -> None:
        """Put uplinks into VLANs and take them out; one that is away gets them when it is back."""
        ports = _ports_of_ours(kernel, resources)
        messages: list[Message] = []
        for item in resources:
            link = ports.get(item.link)
            if link is None:
                continue
            membership = Membership(item.value)
            what = f"set VLAN {item.vlan} of uplink {item.link} to {item.value}"
            if membership is Membership.NONE:
                messages += delete_vlans(link.index, [item.vlan], what)
                continue
            native, untagged = _MEMBERSHIPS[membership]
            messages += add_vlans(link.index, [PortVlan(item.vlan, native, untagged)], what)
        kernel.route.send(messages)

    def remove(self, kernel: Kernel, resources: Sequence[UplinkVlan]) -> None:
        """Do nothing: values are put back by whoever knows what they were."""


def _filters(link: Link | None) -> bool:
    return link is not None and bool(bridge_options(link.data).vlan_filtering)


def _cannot_filter(bridge: str) -> MissingFeature:
    return MissingFeature(
        f"cannot keep VLANs apart on bridge {bridge}: the kernel cannot filter VLANs on bridges",
        hint="it needs CONFIG_BRIDGE_VLAN_FILTERING",
    )


def _ports_of_ours(kernel: Kernel, resources: Sequence[UplinkVlan]) -> dict[str, Link]:
    """Return the uplinks that are ports of bridges of ours."""
    links = kernel.route.links({item.link for item in resources})
    masters = {link.master for link in links.values() if link.master is not None}
    bridges = (kernel.route.link_at(master) for master in masters)
    ours = {link.index for link in bridges if link is not None and is_marked(link.alias)}
    return {name: link for name, link in links.items() if link.master in ours}


def _value(present: Collection[PortVlan], number: int) -> str:
    for vlan in present:
        if vlan.id == number:
            return _NAMES[vlan.native, vlan.untagged].value
    return Membership.NONE.value
