"""Write the layered dialect: the two-level form, in which every mode has a name of its own."""

from __future__ import annotations

from jackfield.document.forward import write_driver, write_nat, write_port_forward
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
    if mode is Mode.HOSTDEV:
        head += " managed='yes'" if network.managed else " managed='no'"
    out: list[str] = []
    if network.driver is not None:
        write_driver(out, "    ", network.driver)
    if network.nat is not None:
        write_nat(out, "    ", network.nat)
    write_uplinks(out, "    ", network.uplinks)
    if mode is Mode.SUBNET and not (network.proxy_arp and network.proxy_ndp):
        arp, ndp = ("yes" if on else "no" for on in (network.proxy_arp, network.proxy_ndp))
        out.append(f"    <proxy arp='{arp}' ndp='{ndp}'/>\n")
    for forward in network.port_forwards:
        write_port_forward(out, "    ", forward)
    if not out:
        return f"{head}/>\n"
    return f"{head}>\n{''.join(out)}  </forward>\n"


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
