"""What keeps a guest of mode private from the others of its network, whoever makes its device."""

from __future__ import annotations

from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import DirectPlug, Port
from jackfield.state.private import PrivateGuard

__all__ = ["plan_privacy"]


def plan_privacy(network: Network, port: Port) -> list[PrivateGuard]:
    """Return the guard of a ``port`` over an uplink in mode private; nothing for other ports."""
    if not isinstance(port.plug, DirectPlug) or port.plug.mode != Mode.PRIVATE.value:
        return []
    assert network.uuid is not None
    assert port.mac is not None
    return [PrivateGuard(network=network.uuid, link=port.plug.dev, mac=port.mac)]
