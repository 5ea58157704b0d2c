"""Write the libvirt dialect: the only one that leaves by a libvirt socket.

What libvirt knows is written byte for byte as libvirt writes it; what it does not know is
written where its parser ignores it, so that what it does read stays true:

- a managed bridge lists its uplinks in ``<bridge><uplinks>``, because libvirt refuses a bridge's
  name beside an ``<interface>``;
- further uplinks of a routed network are ``<uplink>``, because libvirt takes one ``<interface>``;
- SUBNET is ``mode='route'`` with a ``<proxy>``.
"""

from __future__ import annotations

from collections.abc import Mapping

from jackfield.document.forward import write_forward
from jackfield.document.uplink import write_uplinks
from jackfield.document.writer import write_document
from jackfield.document.xml import escape
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.uplink import DeviceUplink, Uplink

__all__ = ["write_network"]

_MODES: dict[Mode, str] = {
    Mode.NAT: "nat",
    Mode.ROUTE: "route",
    Mode.OPEN: "open",
    Mode.SUBNET: "route",
    Mode.BRIDGE: "bridge",
    Mode.MACVTAP_BRIDGE: "bridge",
    Mode.VEPA: "vepa",
    Mode.PRIVATE: "private",
    Mode.PASSTHROUGH: "passthrough",
    Mode.HOSTDEV: "hostdev",
}


def write_network(
    network: Network,
    *,
    inactive: bool = True,
    connections: Mapping[Uplink, int] | None = None,
) -> str:
    """Return ``network`` in the libvirt dialect.

    A live document (not ``inactive``) also shows the number of ports, of the network and of
    each uplink in ``connections``, and the public key of its tunnel.
    """
    used = None if inactive else connections
    return write_document(network, _forward(network, used), _bridge(network), inactive=inactive)


def _forward(network: Network, connections: Mapping[Uplink, int] | None) -> str:
    mode = network.mode
    if mode is Mode.ISOLATED:
        return ""
    uplinks = () if mode is Mode.BRIDGE else network.uplinks
    head = "  <forward"
    if uplinks and isinstance(uplinks[0], DeviceUplink):
        head += f" dev='{uplinks[0].dev}'"
    head += f" mode='{_MODES[mode]}'"
    out: list[str] = []
    if mode.is_routed:
        write_uplinks(out, "    ", uplinks[:1], connections)
        for uplink in uplinks[1:]:
            # Only devices can be uplinks of a routed network (``rules.check``).
            assert isinstance(uplink, DeviceUplink)
            out.append(f"    <uplink dev='{uplink.dev}'/>\n")
    else:
        write_uplinks(out, "    ", uplinks, connections)
    return write_forward(head, network, out, proxy=mode is Mode.SUBNET)


def routed_bridge(bridge: Bridge | None) -> str:
    """Return the ``<bridge>`` of a routed network, the same in both dialects."""
    bridge = bridge or Bridge()
    name = bridge_name(bridge)
    zone = "" if bridge.zone is None else f" zone='{escape(bridge.zone)}'"
    stp = "on" if bridge.stp else "off"
    return f"  <bridge{name}{zone} stp='{stp}' delay='{bridge.delay}'{manager(bridge)}/>\n"


def bridge_name(bridge: Bridge | None) -> str:
    """Return the attribute ``name`` of ``bridge``: its name, or what one is to be made of."""
    name = None if bridge is None else bridge.name or bridge.template
    return "" if name is None else f" name='{name}'"


def manager(bridge: Bridge | None) -> str:
    """Return the attribute ``macTableManager`` of ``bridge``, if it has one."""
    if bridge is None or bridge.mac_table_manager is None:
        return ""
    return f" macTableManager='{bridge.mac_table_manager.value}'"


def _bridge(network: Network) -> str:
    if network.mode.is_routed:
        return routed_bridge(network.bridge)
    if network.mode is not Mode.BRIDGE:
        return ""
    bridge = network.bridge
    if bridge is None and not network.uplinks:
        return ""
    head = f"  <bridge{bridge_name(bridge)}{manager(bridge)}"
    if not network.uplinks:
        return f"{head}/>\n"
    mtu = "" if bridge is None or bridge.uplinks_mtu is None else f" mtu='{bridge.uplinks_mtu}'"
    out = [f"{head}>\n    <uplinks{mtu}>\n"]
    write_uplinks(out, "      ", network.uplinks)
    out.append("    </uplinks>\n  </bridge>\n")
    return "".join(out)
