"""Networks on Open vSwitch: bridges of ours over uplinks, and ports.

An uplink of a bridge of ours is a plain port: in this version a host's own addresses do not move
to the bridge, so an uplink that has any is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jackfield.errors import Conflict, UnsupportedConfiguration, WrongState
from jackfield.model.bandwidth import Rate
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.uplink import DeviceUplink, describe
from jackfield.model.values import InterfaceName
from jackfield.model.virtualport import is_openvswitch
from jackfield.model.vlan import Vlan
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.links import OwnerKind, alias_of
from jackfield.state.openvswitch import OvsBridge, OvsPort, OvsVlan
from jackfield.state.resources import Resource
from jackfield.state.settings import LinkAttribute, LinkSetting

if TYPE_CHECKING:
    from jackfield.plan.port import PortDevice

__all__ = [
    "check_kind_of_bridge",
    "check_uplinks",
    "plan_ovs_bridges",
    "plan_ovs_port",
    "uses_openvswitch",
]


def uses_openvswitch(network: Network) -> bool:
    """Whether the network's bridge is one of Open vSwitch: it, or a portgroup, says so."""
    return is_openvswitch(network.virtualport) or any(
        is_openvswitch(group.virtualport) for group in network.portgroups
    )


def plan_ovs_bridges(network: Network) -> list[Resource]:
    """Return the bridges that ``network`` wants over its uplinks; none where it has none."""
    assert network.uuid is not None
    alias = alias_of(OwnerKind.NETWORK, network.uuid)
    mtu = None if network.bridge is None else network.bridge.uplinks_mtu
    resources: list[Resource] = []
    for uplink, bridge in zip(network.uplinks, network.managed_bridges, strict=True):
        if not isinstance(uplink, DeviceUplink):
            raise UnsupportedConfiguration(
                f"network {network.name!r} has the uplink {describe(uplink)}, but an uplink of an "
                "Open vSwitch bridge is a device",
                hint="use <interface dev='…'/>",
            )
        if mtu is not None:
            resources.append(
                LinkSetting(link=uplink.dev, attribute=LinkAttribute.MTU, value=str(mtu))
            )
        resources += [
            LinkSetting(link=uplink.dev, attribute=LinkAttribute.STATE, value="up"),
            OvsBridge(name=bridge, alias=alias, uplink=uplink.dev),
            OvsPort(link=uplink.dev, bridge=bridge, alias=alias),
        ]
    return resources


def check_uplinks(network: Network, facts: Facts) -> None:
    """Refuse uplinks that are missing, and those with addresses, which would have to move."""
    for uplink in network.uplinks:
        if not isinstance(uplink, DeviceUplink):
            continue
        link = facts.links.get(uplink.dev)
        if link is None:
            raise WrongState(
                f"network {network.name!r}: its uplink {uplink.dev} does not exist on this host"
            )
        for address in link.addresses:
            if not address.is_link_local:
                raise Conflict(
                    f"network {network.name!r}: its uplink {uplink.dev} has the address {address}, "
                    "which would have to move to the Open vSwitch bridge; this version does not "
                    "move addresses there",
                    hint="use an uplink without addresses, or make the bridge yourself and name "
                    "it without uplinks",
                )


def check_kind_of_bridge(network: Network, link: LinkFact | None) -> None:
    """Refuse a bridge of somebody else that no port of ``network`` could be on.

    Raises ``WrongState``.  One that is not there may come later.  With its datapath in user space
    a bridge of Open vSwitch is a tap.
    """
    if link is None or (link.kind == "bridge") is not uses_openvswitch(network):
        return
    if link.kind == "bridge":
        raise WrongState(
            f"network {network.name!r} is one of Open vSwitch, and {link.name} is a Linux bridge",
            hint="take <virtualport type='openvswitch'/> out of the network, or name a bridge "
            "that ovs-vsctl add-br has made",
        )
    what = {"": "a NIC", "openvswitch": "a bridge of Open vSwitch"}.get(link.kind, link.kind)
    raise WrongState(
        f"network {network.name!r} needs a Linux bridge, and {link.name} is {what}",
        hint="name a Linux bridge, or add <virtualport type='openvswitch'/> where "
        f"`ovs-vsctl list-br` shows {link.name}",
    )


def plan_ovs_port(port: Port, bridge: InterfaceName, device: PortDevice) -> OvsPort:
    """Return the row that a ``port`` with this ``device`` wants on ``bridge``."""
    assert port.uuid is not None
    bandwidth = port.bandwidth
    return OvsPort(
        link=device.name,
        bridge=bridge,
        alias=alias_of(OwnerKind.PORT, port.uuid),
        identity=_identity(port, device.name),
        vlan=None if port.vlan is None else _vlan(port.vlan),
        inbound=None if bandwidth is None else _limit(bandwidth.inbound),
        outbound=None if bandwidth is None else _limit(bandwidth.outbound),
        guest_netns=device.netns,
        guest_ifname=None if device.netns is None else device.ifname,
    )


def _identity(port: Port, name: InterfaceName) -> tuple[tuple[str, str], ...]:
    """Return what libvirt, too, says of a port (``virNetDevOpenvswitchAddPort``), by key."""
    virtualport = port.virtualport
    said = {
        "attached-mac": port.mac,
        "iface-id": None if virtualport is None else virtualport.interface_id,
        "iface-status": "active",
        "ifname": name,
        "port-profile": None if virtualport is None else virtualport.profile_id,
        "vm-id": None if port.owner is None else port.owner.uuid,
    }
    return tuple((key, str(value)) for key, value in said.items() if value is not None)


def _vlan(vlan: Vlan) -> OvsVlan:
    """Return a port's VLANs; the native one is among those of its trunk, as libvirt has it."""
    tags = tuple(sorted({tag.id for tag in vlan.tags}))
    for tag in vlan.tags:
        if tag.native_mode is not None:
            return OvsVlan(mode=f"native-{tag.native_mode.value}", tag=tag.id, trunks=tags)
    if vlan.trunk:
        return OvsVlan(mode="trunk", trunks=tags)
    return OvsVlan(mode="access", tag=tags[0])


def _limit(rate: Rate | None) -> Rate | None:
    """Return a limit; a guarantee alone is none."""
    return None if rate is None or rate.average is None else rate
