"""A port right on an uplink: a macvtap, or for a namespace a macvlan of the same mode.

The uplink is somebody else's and goes on being theirs: that it is up and, in passthrough mode,
that it has the guest's address is recorded and taken back with the last port that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from jackfield.errors import MissingFeature
from jackfield.model.port import PASSTHROUGH, DirectPlug, Port
from jackfield.model.virtualport import VirtualPortType
from jackfield.plan.virtualfunction import plan_carrier, plan_function
from jackfield.state.association import SwitchAssociation
from jackfield.state.hoststate import HostState
from jackfield.state.links import MacvlanLink, MacvtapLink, OwnerKind, alias_of
from jackfield.state.resources import LinkUp, Resource, TapNode
from jackfield.state.settings import LinkAttribute, LinkSetting, Setting
from jackfield.state.traffic import Policing, Shaping

if TYPE_CHECKING:
    from jackfield.plan.port import PortDevice

__all__ = ["plan_association", "plan_direct"]


def plan_direct(port: Port, plug: DirectPlug, device: PortDevice) -> HostState:
    """Return the host state that a port over ``plug.dev`` wants."""
    assert port.uuid is not None
    assert port.mac is not None
    alias = alias_of(OwnerKind.PORT, port.uuid)
    resources: list[Resource] = [
        LinkSetting(link=plug.dev, attribute=LinkAttribute.STATE, value="up")
    ]
    # Whether a virtual function is this port's alone, and limited by its card.
    alone = device.function is not None and plug.mode == PASSTHROUGH
    if device.function is not None:
        plan = plan_function if alone else plan_carrier
        resources += plan(port, device.function)
    elif plug.mode == PASSTHROUGH:
        # The macvtap of this mode takes the uplink's address when it is made.
        resources.append(
            LinkSetting(link=plug.dev, attribute=LinkAttribute.ADDRESS, value=str(port.mac))
        )
    if device.netns is not None and device.ifname is not None:
        if port.bandwidth is not None and not alone:
            raise MissingFeature(
                f"cannot limit {device.ifname} in {device.netns}: a macvlan inside a guest's "
                "namespace is the guest's, and has no end here where its traffic could be limited",
                hint="attach a tap, or to a portgroup without bandwidth",
            )
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
        return HostState([*resources, *plan_association(port)])
    resources += [
        MacvtapLink(
            name=device.name,
            alias=alias,
            mac=port.mac,
            lower=plug.dev,
            mode=plug.mode,
            mtu=device.mtu,
            # Which groups its guest is in, only the guest's hypervisor knows.
            all_multicast=bool(port.trust_guest_rx_filters),
        ),
        *(() if alone else _limits(port, device)),
        # The host would answer the guest's neighbours with the guest's own address.
        Setting(name=f"net/ipv6/conf/{device.name}/disable_ipv6", value="1", link=device.name),
        LinkUp(link=device.name),
    ]
    if device.node is not None:
        resources.append(TapNode(link=device.name, path=device.node, owner=device.owner))
    return HostState([*resources, *plan_association(port)])


def plan_association(port: Port) -> list[SwitchAssociation]:
    """Return what the switch at the uplink is told of a port whose virtualport is one of VEPA's.

    Allocation has made sure that all of its parameters are there.
    """
    given, plug = port.virtualport, port.plug
    if given is None or given.type is not VirtualPortType.VEPA or not isinstance(plug, DirectPlug):
        return []
    assert port.mac is not None
    assert given.instance_id is not None
    assert given.manager_id is not None
    assert given.type_id is not None
    assert given.type_id_version is not None
    return [
        SwitchAssociation(
            link=plug.dev,
            mac=port.mac,
            instance=given.instance_id,
            manager=given.manager_id,
            type_id=given.type_id,
            type_version=given.type_id_version,
        )
    ]


def _limits(port: Port, device: PortDevice) -> list[Resource]:
    """Return what limits a macvtap, whose host's end faces the wire.

    What the guest sends leaves by the device as if the host had sent it, and what it gets comes
    in by it: the reverse of a device on a bridge.
    """
    if port.bandwidth is None:
        return []
    inbound, outbound = port.bandwidth.inbound, port.bandwidth.outbound
    found: list[Resource] = []
    if outbound is not None:
        found.append(Shaping(link=device.name, rate=outbound))
    if inbound is not None and inbound.average is not None:
        found.append(Policing(link=device.name, rate=msgspec.structs.replace(inbound, floor=None)))
    return found
