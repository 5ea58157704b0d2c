"""Write the layered dialect: the two-level form, in which every mode has a name of its own."""

from __future__ import annotations

from jackfield.document.forward import write_forward
from jackfield.document.libvirt import bridge_name, manager, routed_bridge
from jackfield.document.uplink import write_uplinks
from jackfield.document.writer import write_document
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink

__all__ = ["write_layered"]

_MODES: dict[Mode, str] = {
    Mode.NAT: "nat",
    Mode.ROUTE: "route",
    Mode.OPEN: "open",
    Mode.SUBNET: "subnet",
    Mode.BRIDGE: "bridge-brctl",
    Mode.MACVTAP_BRIDGE: "bridge-macvtap",
    Mode.VEPA: "vepa",
    Mode.PRIVATE: "private",
    Mode.PASSTHROUGH: "passthru",
    Mode.HOSTDEV: "hostdev",
}


def write_layered(network: Network, *, inactive: bool = True) -> str:
    """Return ``network`` in the layered dialect."""
    return write_document(network, _forward(network), _bridge(network), inactive=inactive)


def _forward(network: Network) -> str:
    mode = network.mode
    if mode is Mode.ISOLATED:
        return ""
    head = f"  <forward layer='{mode.layer.value}' mode='{_MODES[mode]}'"
    if network.uplinks and isinstance(network.uplinks[0], DeviceUplink):
        head += f" dev='{network.uplinks[0].dev}'"
    uplinks: list[str] = []
    write_uplinks(uplinks, "    ", network.uplinks)
    proxy = mode is Mode.SUBNET and not (network.proxy_arp and network.proxy_ndp)
    return write_forward(head, network, uplinks, proxy=proxy)


def _bridge(network: Network) -> str:
    if network.mode.is_routed:
        return routed_bridge(network.bridge)
    bridge = network.bridge
    if network.mode is not Mode.BRIDGE or bridge is None:
        return ""
    head = f"  <bridge{bridge_name(bridge)}{manager(bridge)}"
    if bridge.uplinks_mtu is None:
        return f"{head}/>\n"
    return f"{head}>\n    <uplinks mtu='{bridge.uplinks_mtu}'/>\n  </bridge>\n"
