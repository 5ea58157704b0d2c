"""Ports of one network whose guests have one address: what is entered for it is there once.

Clients may have such ports, for a guest that is on its way from one to the other or by mistake.
What one of them shares with another stays until the last one goes.
"""

from __future__ import annotations

from collections.abc import Sequence

from jackfield.engine.records import NetworkRecord, PortRecord, state_of_port
from jackfield.engine.registry import Registry
from jackfield.state.functions import EchoGuard
from jackfield.state.hoststate import NOTHING, HostState
from jackfield.state.private import PrivateGuard

__all__ = ["unshared_states"]

_ENTERED = PrivateGuard | EchoGuard


def unshared_states(
    registry: Registry, record: NetworkRecord, ports: Sequence[PortRecord]
) -> list[HostState]:
    """Return the host state of each of ``ports``, without what their network's others share.

    The others are looked at only where something is entered by address: there may be thousands.
    """
    network = record.current
    states = [state_of_port(network, port) for port in ports]
    if states == [NOTHING] or not any(
        isinstance(item, _ENTERED) for state in states for item in state.values()
    ):
        return states
    addresses = {port.port.mac for port in ports}
    uuids = {port.uuid for port in ports}
    shared = {
        key
        for other in registry.ports_of(record.uuid)
        if other.port.mac in addresses and other.uuid not in uuids
        for key, item in state_of_port(record.current, other).items()
        if isinstance(item, _ENTERED)
    }
    return [HostState(item for key, item in state.items() if key not in shared) for state in states]
