"""Stand-ins: networks of libvirt's that have the names of ours and plug guests into our bridges.

A monolithic libvirtd asks nobody but itself for networks.  With a stand-in its guests come to the
bridge that we made; it counts them and limits them by itself, and we forward for them.
"""

from __future__ import annotations

from jackfield.errors import UnsupportedConfiguration
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network

__all__ = ["stand_in", "stands_in"]


def stand_in(network: Network) -> Network:
    """Return the network that libvirt is to have under the name and uuid of ``network``.

    Raises ``UnsupportedConfiguration`` for one whose guests are not plugged into one bridge.
    """
    bridge = None if network.bridge is None else network.bridge.name
    bridged = network.mode.is_routed or network.mode is Mode.BRIDGE
    if not bridged or bridge is None or len(network.managed_bridges) > 1:
        raise UnsupportedConfiguration(
            "its guests are not plugged into one bridge, which is all that a stand-in can name",
            hint="start them with `jackfield run`, or by a libvirt that asks Jackfield",
        )
    return Network(
        name=network.name,
        uuid=network.uuid,
        mode=Mode.BRIDGE,
        title=network.title,
        description=network.description,
        metadata=network.metadata,
        trust_guest_rx_filters=network.trust_guest_rx_filters,
        bridge=Bridge(name=bridge),
        # An older libvirt than 11.0 refuses guests with a VLAN on a Linux bridge; better so than
        # to plug them into another one.
        vlan=network.vlan,
        virtualport=network.virtualport,
        portgroups=network.portgroups,
        isolated=network.isolated,
        anti_spoofing=network.anti_spoofing,
        guest_addresses=network.guest_addresses,
    )


def stands_in(theirs: Network, ours: Network) -> bool:
    """Whether ``theirs`` is what libvirt has for ``ours``, and no network of its own."""
    return (
        theirs.uuid == ours.uuid
        and theirs.mode is Mode.BRIDGE
        and (ours.mode.is_routed or bool(ours.managed_bridges))
        and theirs.bridge is not None
        and ours.bridge is not None
        and theirs.bridge.name == ours.bridge.name
    )
