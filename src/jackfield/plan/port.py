"""What a port needs of the host, when Jackfield makes its device."""

from __future__ import annotations

import dataclasses
from uuid import UUID

from jackfield.model.network import Network
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.plan.network import bridge_of
from jackfield.state.hoststate import HostState
from jackfield.state.resources import (
    BridgePort,
    OwnerKind,
    Setting,
    TapLink,
    VethLink,
    alias_of,
)

__all__ = ["PortDevice", "device_name", "host_mac", "plan_port"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortDevice:
    """The device of a port of ours: a veth into ``netns``, or a tap where ``netns`` is ``None``.

    ``netns`` is the path of a namespace file; ``owner`` a numeric user id; ``mtu`` ``None`` is
    the kernel's choice.
    """

    name: InterfaceName
    netns: str | None = None
    ifname: InterfaceName | None = None
    owner: int | None = None
    queues: int = 1
    mtu: int | None = None


def device_name(uuid: UUID) -> InterfaceName:
    """Return the name of the host's end of a port's veth: ``jf`` and ten digits of its uuid."""
    return InterfaceName(f"jf{uuid.hex[:10]}")


def host_mac(mac: MacAddress) -> MacAddress:
    """Return the host end's address: the guest's with ``fe`` in front, as libvirt makes it.

    The highest possible address never becomes the bridge's own.
    """
    return MacAddress("fe" + mac[2:])


def plan_port(
    network: Network,
    uuid: UUID,
    mac: MacAddress,
    device: PortDevice,
    *,
    isolated: bool = False,
) -> HostState:
    """Return the host state that a port with this ``device`` on ``network`` wants."""
    bridge = bridge_of(network)
    alias = alias_of(OwnerKind.PORT, uuid)
    made: VethLink | TapLink
    if device.netns is not None and device.ifname is not None:
        made = VethLink(
            name=device.name,
            alias=alias,
            mac=host_mac(mac),
            peer_name=device.ifname,
            peer_netns=device.netns,
            peer_mac=mac,
            mtu=device.mtu,
        )
    else:
        made = TapLink(
            name=device.name,
            alias=alias,
            mac=host_mac(mac),
            mtu=device.mtu,
            owner=device.owner,
            queues=device.queues,
        )
    return HostState(
        (
            made,
            # The host must not speak on the guest's wire: its neighbour discovery would move
            # the guest's address in the tables of switches.
            Setting(name=f"net/ipv6/conf/{device.name}/disable_ipv6", value="1", link=device.name),
            BridgePort(link=device.name, bridge=bridge, isolated=isolated),
        )
    )
