"""What a port must be to be let onto a network, before anything of it is made.

Whether there is room for it is ``allocation``'s to say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from jackfield.engine.records import NetworkRecord, PortRecord
from jackfield.engine.registry import Registry
from jackfield.errors import (
    AlreadyExists,
    UnsupportedConfiguration,
    WrongState,
    shell_word,
)
from jackfield.host.vde.files import control_socket, has_control_socket, socket_directory
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import Port, VdePlug
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.model.virtualport import is_openvswitch
from jackfield.plan.macvtap import plan_association
from jackfield.plan.network import bridge_of, check_bridge
from jackfield.plan.openvswitch import uses_openvswitch
from jackfield.plan.port import PortDevice
from jackfield.state.facts import LinkFact

__all__ = [
    "check_place",
    "check_switch",
    "refuse_same_end",
    "refuse_same_instance",
    "refuse_same_mac",
    "refuse_same_tap",
    "refuse_unrealised",
]


def check_place(network: Network, links: Mapping[str, LinkFact]) -> LinkFact | None:
    """Return the bridge of devices on the network, ``None`` for those that are on an uplink.

    Raises an error when the network cannot have devices of ours, or not now.
    """
    if network.mode.is_macvtap or network.mode is Mode.HOSTDEV:
        return None
    if not network.mode.is_routed and network.mode is not Mode.BRIDGE:
        raise UnsupportedConfiguration(
            f"network {network.name!r} has mode {network.mode.value}, whose devices this "
            "version does not make"
        )
    if uses_openvswitch(network):
        # Its device here is of any kind, and there need not be one.
        return links.get(bridge_of(network))
    return check_bridge(network, links)


def check_switch(network: Network, run_dir: Path) -> None:
    """Refuse a port at a VDE switch that there is not, or that nobody can plug into."""
    if network.vde is None:
        raise UnsupportedConfiguration(
            f"network {network.name!r} has no VDE switch",
            hint="add <vde group='GROUP'/> to its document, and apply it",
        )
    assert network.uuid is not None
    directory = socket_directory(run_dir, network.uuid)
    if not has_control_socket(directory):
        raise WrongState(
            f"nobody can plug into the VDE switch of network {network.name!r}: its socket "
            f"{control_socket(directory)} is not there",
            hint=f"`jackfield apply {shell_word(network.name)}` starts the switch anew; what "
            "is plugged in has to plug in again",
        )


def refuse_same_mac(registry: Registry, record: NetworkRecord, mac: MacAddress) -> None:
    """Refuse the MAC of another port of the network."""
    for other in registry.ports_of(record.uuid):
        if other.port.mac == mac:
            raise AlreadyExists(
                f"port {other.uuid} of network {record.name!r} has the address {mac} already",
                hint="leave --mac out to get a free one",
            )


def refuse_same_tap(registry: Registry, tap: InterfaceName | None) -> None:
    """Refuse the tap of another port, of whatever network."""
    for other in registry.ports.values() if tap is not None else ():
        if other.device is not None and other.device.name == tap:
            network = registry.networks[other.network].name
            raise AlreadyExists(
                f"port {other.uuid} of network {network!r} has the tap {tap} already",
                hint=f"choose another name, or free it with: jackfield detach {tap}",
            )


def refuse_same_end(registry: Registry, port: PortRecord) -> None:
    """Name the port that has the interface which was in the way of another's, if it is one."""
    other = _same_end(port.device, registry.ports.values())
    if other is not None and port.device is not None:
        network = registry.networks[other.network].name
        raise AlreadyExists(
            f"port {other.uuid} of network {network!r} has the interface {port.device.ifname} "
            f"in network namespace {port.device.netns} already",
            hint="choose another name in there (--ifname NAME), or free it with: "
            f"jackfield detach {other.uuid}",
        )


def _same_end(device: PortDevice | None, others: Iterable[PortRecord]) -> PortRecord | None:
    """Return the port among ``others`` whose interface has the name and namespace of a device's."""
    if device is None or device.netns is None:
        return None
    for other in others:
        theirs = other.device
        if theirs is not None and theirs.netns is not None and theirs.ifname == device.ifname:
            with contextlib.suppress(OSError):
                if Path(theirs.netns).samefile(device.netns):
                    return other
    return None


def refuse_same_instance(registry: Registry, port: Port) -> None:
    """Refuse what a switch would take for another guest's interface."""
    instance = None if port.virtualport is None else port.virtualport.instance_id
    if instance is None:
        return
    for other in registry.ports.values():
        theirs = other.port.virtualport
        if theirs is not None and theirs.instance_id == instance:
            raise AlreadyExists(
                f"port {other.uuid} is VSI instance {instance} already, and no two can be one",
                hint="leave instanceid out of the virtualport: then each port has its own",
            )


def refuse_unrealised(network: Network, port: Port) -> None:
    """Refuse what the port was allocated and this version cannot give it."""
    if is_openvswitch(port.virtualport):
        return
    on_switch = isinstance(port.plug, VdePlug)
    given = port.virtualport
    switch = (
        "virtualport"
        if given is None or given.type is None
        else f"virtualport of type {given.type.value!r}"
    )
    what = {
        # A switch of VDE's forwards among all of its guests, as fast as it can.
        "port isolation": bool(port.isolated) and on_switch,
        "bandwidth": port.bandwidth is not None and on_switch,
        "vlan": port.vlan is not None and on_switch,
        switch: given is not None and not plan_association(port),
    }
    missing = [name for name, wanted in what.items() if wanted]
    if missing:
        group = "" if port.group is None else f", portgroup {port.group!r}"
        raise UnsupportedConfiguration(
            f"network {network.name!r}{group} gives its ports a {missing[0]}, which this version "
            "cannot set on what it makes",
            hint="attach to a portgroup without it",
        )
