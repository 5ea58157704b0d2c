"""What a new definition may not do to the ports there are: take away what they are made for.

A portgroup's count may fall below what is used; it then admits no new port.
"""

from __future__ import annotations

from collections.abc import Iterable

from jackfield.allocation.allocate import DIRECT_MODES
from jackfield.allocation.candidates import every_candidate
from jackfield.allocation.usage import uplink_key
from jackfield.errors import Conflict, counted
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, DirectPlug, HostdevPlug, NetworkPlug, Port, VdePlug
from jackfield.model.uplink import Uplink, describe
from jackfield.model.virtualport import is_openvswitch
from jackfield.state.facts import Facts

__all__ = ["check_change", "check_kind", "uplinks_in_use"]


def uplinks_in_use(network: Network, ports: Iterable[Port], facts: Facts) -> dict[Uplink, int]:
    """Return how many of ``ports``, those of ``network``, each of its uplinks carries.

    Virtual functions count for the physical one that is listed.
    """
    candidates = every_candidate(network, facts)
    owners = dict(zip(candidates.keys, candidates.uplinks, strict=True))
    for uplink in network.uplinks:
        for function in facts.virtual_functions.get(getattr(uplink, "dev", ""), ()):
            names = (str(function.address), "" if function.dev is None else str(function.dev))
            owners.update((name, uplink) for name in names if name in owners)
    counts: dict[Uplink, int] = {}
    for port in ports:
        key = uplink_key(port)
        owner = None if key is None else owners.get(key)
        if owner is not None:
            counts[owner] = counts.get(owner, 0) + 1
    return counts


def check_change(old: Network, new: Network, ports: Iterable[Port], facts: Facts) -> None:
    """Raise :class:`Conflict` if ``new`` lacks an uplink of ``old`` that ``ports`` use."""
    for uplink, count in uplinks_in_use(old, ports, facts).items():
        if uplink not in new.uplinks:
            raise Conflict(
                f"network '{old.name}' cannot lose the uplink {describe(uplink)}: it has "
                f"{counted(count, 'port')}",
                hint="detach them first, or keep the uplink",
            )


def check_kind(network: Network, ports: Iterable[Port]) -> None:
    """Raise :class:`Conflict` if a port was made for another kind of network than this.

    ``ports`` are those whose devices are there: a tap on a bridge is no macvtap, nor is one of
    Open vSwitch one of the kernel's bridge.
    """
    others = [port for port in ports if not _fits(network, port)]
    if others:
        names = sorted(str(port.owner.name if port.owner else port.uuid) for port in others)
        raise Conflict(
            f"network '{network.name}', as it is defined now (mode {network.mode.value}), cannot "
            f"have {len(names)} of its ports ({', '.join(names)}): they were made for another "
            "kind of network",
            hint="detach them first (jackfield detach PORT), or define it as it was",
        )


def _fits(network: Network, port: Port) -> bool:
    """Whether the device that a port has can be a port of the network as it is defined now."""
    match port.plug:
        case NetworkPlug() | BridgePlug():
            if not (network.mode.is_routed or network.mode is Mode.BRIDGE):
                return False
            if is_openvswitch(port.virtualport):
                groups = (group.virtualport for group in network.portgroups)
                return any(is_openvswitch(item) for item in (network.virtualport, *groups))
            return not is_openvswitch(network.virtualport)
        case DirectPlug(mode=mode):
            return DIRECT_MODES.get(network.mode) == mode
        case HostdevPlug():
            return network.mode is Mode.HOSTDEV
        case VdePlug():
            return network.vde is not None
    return True
