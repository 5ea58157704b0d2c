"""Ports of one network whose guests have one address: what is entered for it is there once.

Clients may have such ports, for a guest that is on its way from one to the other or by mistake.
What one of them shares with another stays until the last one goes.
"""

from __future__ import annotations

from collections.abc import Collection

from jackfield.engine.records import NetworkRecord, PortRecord, Registry, state_of_port
from jackfield.state.functions import EchoGuard
from jackfield.state.hoststate import HostState
from jackfield.state.private import PrivateGuard

__all__ = ["shared_with_others", "without"]

_ENTERED = PrivateGuard | EchoGuard


def shared_with_others(
    registry: Registry, record: NetworkRecord, ports: Collection[PortRecord]
) -> set[str]:
    """Return the keys of what ``ports`` of a network share with its other ports."""
    addresses = {port.port.mac for port in ports}
    uuids = {port.uuid for port in ports}
    return {
        key
        for other in registry.ports_of(record.uuid)
        if other.port.mac in addresses and other.uuid not in uuids
        for key, item in state_of_port(record.current, other).items()
        if isinstance(item, _ENTERED)
    }


def without(state: HostState, keys: Collection[str]) -> HostState:
    """Return a host state without these ``keys``."""
    return HostState(item for key, item in state.items() if key not in keys) if keys else state
