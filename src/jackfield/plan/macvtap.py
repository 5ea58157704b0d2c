"""A port right on an uplink: a macvtap, or for a namespace a macvlan of the same mode.

The uplink is somebody else's and goes on being theirs: that it is up and, in passthrough mode,
that it has the guest's address is recorded and taken back with the last port that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jackfield.model.port import PASSTHROUGH, DirectPlug, Port
from jackfield.plan.virtualfunction import plan_function
from jackfield.state.hoststate import HostState
from jackfield.state.links import MacvlanLink, MacvtapLink, OwnerKind, alias_of
from jackfield.state.resources import (
    LinkAttribute,
    LinkSetting,
    LinkUp,
    Resource,
    Setting,
    TapNode,
)

if TYPE_CHECKING:
    from jackfield.plan.port import PortDevice

__all__ = ["plan_direct"]


def plan_direct(port: Port, plug: DirectPlug, device: PortDevice) -> HostState:
    """Return the host state that a port over ``plug.dev`` wants."""
    assert port.uuid is not None
    assert port.mac is not None
    alias = alias_of(OwnerKind.PORT, port.uuid)
    resources: list[Resource] = [
        LinkSetting(link=plug.dev, attribute=LinkAttribute.STATE, value="up")
    ]
    if device.function is not None:
        resources += plan_function(port, device.function)
    elif plug.mode == PASSTHROUGH:
        # The macvtap of this mode takes the uplink's address when it is made.
        resources.append(
            LinkSetting(link=plug.dev, attribute=LinkAttribute.ADDRESS, value=str(port.mac))
        )
    if device.netns is not None and device.ifname is not None:
        resources.append(
            MacvlanLink(
                name=device.name,
                alias=alias,
                mac=port.mac,
                lower=plug.dev,
                mode=plug.mode,
                netns=device.netns,
                ifname=device.ifname,
                mtu=device.mtu,
            )
        )
        return HostState(resources)
    resources += [
        MacvtapLink(
            name=device.name,
            alias=alias,
            mac=port.mac,
            lower=plug.dev,
            mode=plug.mode,
            mtu=device.mtu,
        ),
        # The host would answer the guest's neighbours with the guest's own address.
        Setting(name=f"net/ipv6/conf/{device.name}/disable_ipv6", value="1", link=device.name),
        LinkUp(link=device.name),
    ]
    if device.node is not None:
        resources.append(TapNode(link=device.name, path=device.node, owner=device.owner))
    return HostState(resources)
