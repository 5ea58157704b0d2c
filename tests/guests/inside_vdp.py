"""The switch's side of 802.1Qbg in a guest: functions that ``inside.py`` runs there."""

from __future__ import annotations

from pathlib import Path

from tests.lab.namespace import Namespace
from tests.lab.vdpswitch import VdpSwitch

__all__ = ["known", "start"]

_switches: list[VdpSwitch] = []


def start(namespace: str, port: str) -> None:
    """Serve the link ``port`` of a named namespace, as long as the machine runs."""
    where = Namespace()
    where.path = Path("/run/netns", namespace)
    _switches.append(VdpSwitch(where, port))


def known() -> list[list[tuple[str, int]]]:
    """Return the guests, by MAC address and VLAN, of what is associated."""
    return [list(vsi.guests) for vsi in _switches[-1].associated.values()]
