"""What a port needs of the host, when Jackfield makes its device."""

from __future__ import annotations

import dataclasses
from uuid import UUID

import msgspec

from jackfield.errors import InternalError
from jackfield.model.network import MacTableManager, Network
from jackfield.model.port import BridgePlug, DirectPlug, HostdevPlug, NetworkPlug, Port
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.model.virtualport import is_openvswitch
from jackfield.plan.macvtap import plan_direct
from jackfield.plan.managedbridge import check_vlan, plan_port_vlans
from jackfield.plan.openvswitch import plan_ovs_port
from jackfield.plan.private import plan_privacy
from jackfield.plan.virtualfunction import plan_carrier, plan_function
from jackfield.state.functions import FunctionPlace
from jackfield.state.hoststate import NOTHING, HostState
from jackfield.state.links import LEAST_IPV6_MTU, OwnerKind, TapLink, VethLink, alias_of
from jackfield.state.resources import BridgePort, Resource
from jackfield.state.settings import Setting
from jackfield.state.traffic import Guarantee, Policing, Shaping

__all__ = [
    "PortDevice",
    "bridge_of_plug",
    "device_name",
    "host_mac",
    "plan_clients_place",
    "plan_guarantee",
    "plan_port",
]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PortDevice:
    """The device of a port of ours: in the namespace ``netns``, or here where that is ``None``.

    ``netns`` is the path of a namespace file and ``ifname`` the interface's name in there;
    ``node`` the path of a macvtap's device node; ``owner`` a numeric user id; ``mtu`` ``None``
    is the kernel's choice.  ``function`` is the virtual function that the device is on, alone or
    with others, by a bridge or not, or that it is, where it is ``passed_on`` to a guest and no
    link here.
    """

    name: InterfaceName
    netns: str | None = None
    ifname: InterfaceName | None = None
    node: str | None = None
    owner: int | None = None
    queues: int = 1
    mtu: int | None = None
    function: FunctionPlace | None = None
    passed_on: bool = False

    @property
    def link(self) -> InterfaceName | None:
        """The name of the link that this is, ``None`` for a function that is passed on."""
        return None if self.passed_on else self.name


def device_name(uuid: UUID) -> InterfaceName:
    """Return the name of a port's device here: ``jf`` and ten digits of the port's uuid."""
    return InterfaceName(f"jf{uuid.hex[:10]}")


def host_mac(mac: MacAddress) -> MacAddress:
    """Return the host end's address: the guest's with ``fe`` in front, as libvirt makes it.

    The highest possible address never becomes the bridge's own.
    """
    return MacAddress("fe" + mac[2:])


def plan_port(network: Network, port: Port, device: PortDevice) -> HostState:
    """Return the host state that a ``port`` of ``network`` with this ``device`` wants."""
    if isinstance(port.plug, DirectPlug):
        direct = plan_direct(port, port.plug, device)
        return HostState([*plan_privacy(network, port), *direct.values()])
    if isinstance(port.plug, HostdevPlug) and device.function is not None:
        return HostState(plan_function(port, device.function))
    if isinstance(port.plug, NetworkPlug | BridgePlug):
        return _plan_bridged(network, port, port.plug, device)
    raise InternalError(f"a port with the plug {port.plug} has no device of ours")


def _plan_bridged(
    network: Network, port: Port, plug: NetworkPlug | BridgePlug, device: PortDevice
) -> HostState:
    bridge = bridge_of_plug(network, plug)
    place: list[Resource] = (
        [plan_ovs_port(port, bridge, device)]
        if is_openvswitch(port.virtualport)
        else [
            *plan_port_vlans(network, port),
            _plan_place(network, port, bridge, device.name, plug),
            *_limits(port, device),
            *plan_guarantee(network, port).values(),
        ]
    )
    # The host must not speak on the guest's wire: its neighbour discovery would move the guest's
    # address in the tables of switches.
    silence = Setting(name=f"net/ipv6/conf/{device.name}/disable_ipv6", value="1", link=device.name)
    has_ipv6 = device.mtu is None or device.mtu >= LEAST_IPV6_MTU
    resources: list[Resource] = [
        _pair_or_tap(port, device),
        *([silence] if has_ipv6 else []),
        *([] if device.function is None else plan_carrier(port, device.function)),
        *place,
    ]
    return HostState(resources)


def bridge_of_plug(network: Network, plug: NetworkPlug | BridgePlug) -> InterfaceName:
    """Return the bridge that a port is on, or was on, if its network has none any more.

    That is so of a port that outlived another definition of a stopped network.
    """
    if network.bridge is None or network.bridge.name is None:
        return plug.bridge
    return plug.bridge if plug.bridge in network.managed_bridges else network.bridge.name


def plan_clients_place(network: Network, port: Port, link: InterfaceName) -> BridgePort | None:
    """Return the place on its Linux bridge of the device ``link`` that a client made for ``port``.

    ``None`` for one that has no such place.
    """
    plug = port.plug
    if not isinstance(plug, NetworkPlug | BridgePlug) or is_openvswitch(port.virtualport):
        return None
    return _plan_place(network, port, bridge_of_plug(network, plug), link, plug)


def _plan_place(
    network: Network,
    port: Port,
    bridge: InterfaceName,
    link: InterfaceName,
    plug: NetworkPlug | BridgePlug,
) -> BridgePort:
    """Return a port's place on a Linux bridge, where addresses are entered or learned."""
    assert port.mac is not None
    isolated = bool(port.isolated)
    entered = plug.mac_table_manager is MacTableManager.LIBVIRT
    if port.vlan is not None:
        check_vlan(network, port.vlan)
    return BridgePort(
        link=link,
        bridge=bridge,
        isolated=isolated,
        learning=not entered,
        # What nobody is known to want is none of theirs.
        unicast_flood=not (entered or isolated),
        # Without flooding, a guest that has not spoken yet must be known all the same.
        addresses=(port.mac,) if entered or isolated else (),
        vlan=port.vlan,
    )


def _limits(port: Port, device: PortDevice) -> list[Resource]:
    """Return what limits a device whose host's end is a port: the guest gets what leaves by it."""
    if port.bandwidth is None:
        return []
    inbound, outbound = port.bandwidth.inbound, port.bandwidth.outbound
    found: list[Resource] = []
    if inbound is not None and inbound.average is not None:
        found.append(Shaping(link=device.name, rate=msgspec.structs.replace(inbound, floor=None)))
    if outbound is not None:
        found.append(Policing(link=device.name, rate=outbound))
    return found


def plan_guarantee(network: Network, port: Port) -> HostState:
    """Return what a port wants of its network's bridge, whoever makes its device.

    Nothing where the network has no rate, or not any more, of which it could have a part.
    """
    bandwidth, whole = port.bandwidth, network.bandwidth
    if bandwidth is None or bandwidth.inbound is None or whole is None or whole.inbound is None:
        return NOTHING
    floor, average = bandwidth.inbound.floor, whole.inbound.average
    if not floor or not average or bandwidth.class_id is None or port.mac is None:
        return NOTHING
    if network.bridge is None or network.bridge.name is None:
        return NOTHING
    guarantee = Guarantee(
        link=network.bridge.name,
        number=bandwidth.class_id,
        mac=port.mac,
        floor=floor,
        ceiling=max(whole.inbound.peak or 0, average),
    )
    return HostState([guarantee])


def _pair_or_tap(port: Port, device: PortDevice) -> VethLink | TapLink:
    assert port.uuid is not None
    assert port.mac is not None
    alias = alias_of(OwnerKind.PORT, port.uuid)
    if device.netns is not None and device.ifname is not None:
        return VethLink(
            name=device.name,
            alias=alias,
            mac=host_mac(port.mac),
            peer_name=device.ifname,
            peer_netns=device.netns,
            peer_mac=port.mac,
            mtu=device.mtu,
        )
    return TapLink(
        name=device.name,
        alias=alias,
        mac=host_mac(port.mac),
        mtu=device.mtu,
        owner=device.owner,
        queues=device.queues,
    )
