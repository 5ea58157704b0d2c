"""What a network's definition gives its ports, and a port that follows another definition.

A port of ours has no wishes of its own: it has what its portgroup, else its network says, and has
something else when that does.  Of a client's, its client has merged in what its guest wants.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from jackfield.allocation.allocate import check_isolation
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, NetworkPlug, Port, VdePlug
from jackfield.model.vlan import Vlan

__all__ = ["PORTGROUP", "Given", "follow", "former_settings", "given_to", "placed"]

PORTGROUP = "portgroup"
"""Among former settings: the portgroup that gave them is no more."""


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a port that its definition gives."""

    vlan: Vlan | None
    bandwidth: Bandwidth | None
    isolated: bool | None
    trust_guest_rx_filters: bool | None


def given_to(network: Network, port: Port) -> Given | None:
    """Return what ``network`` gives a port; ``None`` where its portgroup is no more."""
    group = next((one for one in network.portgroups if one.name == port.group), None)
    if group is None and port.group is not None:
        return None
    return Given(
        vlan=(group and group.vlan) or network.vlan,
        bandwidth=None if group is None else group.bandwidth,
        isolated=_first(None if group is None else group.isolated, network.isolated),
        trust_guest_rx_filters=_first(
            None if group is None else group.trust_guest_rx_filters,
            network.trust_guest_rx_filters,
        ),
    )


def follow(network: Network, port: Port, *, limited: bool) -> Port:
    """Return a port of ours as ``network`` gives it to be, with its place and identity.

    One that was ``limited`` by itself keeps its bandwidth.  Raises what ``allocate`` raises for
    settings that the port cannot have.
    """
    given = given_to(network, port)
    if given is None or isinstance(port.plug, VdePlug):
        return port
    check_isolation(network, given.isolated, port.virtualport)
    return msgspec.structs.replace(
        port,
        vlan=given.vlan,
        # No definition promises a rate, so there is no class to be had.
        bandwidth=port.bandwidth if limited else given.bandwidth,
        isolated=given.isolated,
        trust_guest_rx_filters=given.trust_guest_rx_filters,
    )


def placed(network: Network, port: Port) -> Port:
    """Return a port with the bridge that its network has now: it may have had another one."""
    plug = port.plug
    bridge = None if network.bridge is None else network.bridge.name
    if (
        bridge is None
        or not isinstance(plug, NetworkPlug | BridgePlug)
        or plug.bridge in (bridge, *network.managed_bridges)
    ):
        return port
    kind = BridgePlug if network.mode is Mode.BRIDGE else NetworkPlug
    return msgspec.structs.replace(
        port, plug=kind(bridge=bridge, mac_table_manager=plug.mac_table_manager)
    )


def former_settings(
    former: Network, network: Network, port: Port, known: Collection[str] = ()
) -> frozenset[str]:
    """Return which settings a port has from ``former`` that ``network`` gives otherwise.

    Those ``known`` are from a definition before that.  Where its portgroup is no more, it is all
    that gave it, and the portgroup.
    """
    old, new = given_to(former, port), given_to(network, port)
    if new is None:
        had = () if old is None else msgspec.structs.asdict(old).items()
        held = {name for name, value in had if value is not None and value == getattr(port, name)}
        return frozenset({PORTGROUP, *known, *held})
    return frozenset(
        name
        for name in Given.__struct_fields__
        if (has := getattr(port, name)) != getattr(new, name)
        and (name in known or (old is not None and has == getattr(old, name)))
    )


def _first(*values: bool | None) -> bool | None:
    return next((value for value in values if value is not None), None)
