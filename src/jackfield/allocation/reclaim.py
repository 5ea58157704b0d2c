"""Take back a port that was allocated once: its guest runs, and has its device already."""

from __future__ import annotations

from jackfield.allocation.candidates import every_candidate
from jackfield.allocation.usage import Usage, is_exclusive, uplink_key
from jackfield.errors import Conflict
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.port import DirectPlug, HostdevPlug, Port
from jackfield.state.facts import Facts

__all__ = ["check_reclaimed"]


def check_reclaimed(network: Network, facts: Facts, usage: Usage, port: Port) -> None:
    """Raise :class:`Conflict` where the port's uplink is not the network's, or is another's.

    ``usage`` is without the port.  Bridges are not asked for, nor by libvirt: there is room for
    all, and a port goes to its network's bridge of now when that starts.
    """
    plug, key = port.plug, uplink_key(port)
    if not isinstance(plug, DirectPlug | HostdevPlug) or key is None:
        return
    direct = isinstance(plug, DirectPlug)
    what = f"dev='{key}'" if direct else f"PCI device {key}"
    fits = network.mode.is_macvtap if direct else network.mode is Mode.HOSTDEV
    candidates = every_candidate(network, facts)
    # Functions that are not known now, as while their card is reset, may well be its.
    if not fits or (key not in candidates.keys and not candidates.problems):
        raise Conflict(
            f"the port {port.uuid} is plugged into {key}, which network '{network.name}' does not "
            "have",
            hint="plug the guest in anew",
        ).in_libvirt(
            f"network '{network.name}' doesn't have {what} in use by network port '{port.uuid}'",
            code=1,
        )
    if candidates.is_taken(key, usage) or (is_exclusive(port) and candidates.used(key, usage)):
        raise Conflict(
            f"the port {port.uuid} is plugged into {key} of network '{network.name}', which "
            "another port has by now",
            hint="`jackfield ports` shows which; one of the two guests has to be unplugged",
        ).in_libvirt(
            f"network '{network.name}' claims {what} is already in use by a different port", code=1
        )
