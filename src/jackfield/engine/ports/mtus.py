"""The MTU of our own ports: their network's, also when that gets another one.

A frame that is longer than what a link of its way carries is dropped without a word.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence

from jackfield.document.rules import makes_bridge
from jackfield.engine.ports.rows import port_row
from jackfield.engine.records import NetworkRecord, PortRecord, nic_of, state_of_port
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.driver import Presence
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, NetworkPlug
from jackfield.plan.openvswitch import uses_openvswitch
from jackfield.plan.port import PortDevice, bridge_of_plug
from jackfield.state.facts import LinkFact
from jackfield.state.hoststate import Change
from jackfield.state.links import AnyLink, TapLink, VethLink
from jackfield.state.settings import Setting

__all__ = ["fit_ports", "has_other_mtu", "mtu_of_bridge", "restore_mtus", "unfit_ports"]

_KERNELS_CHOICE = 1500
"""The MTU of a bridge that is given none (``ETH_DATA_LEN``)."""

log = logging.getLogger(__name__)


def mtu_of_bridge(
    network: Network, bridge: LinkFact, ports: Iterable[PortRecord], links: Mapping[str, LinkFact]
) -> int:
    """Return the MTU of a network's bridge, or what it would be.

    One of ours without a fixed one has the least of its ports': where somebody else has given that
    to one of ``ports``, what that port was given counts.
    """
    if not makes_bridge(network) or uses_openvswitch(network):
        return bridge.mtu
    for port in ports:
        device = port.device
        if device is None or device.mtu in (None, bridge.mtu):
            continue
        link = links.get(device.name)
        if link is not None and (link.master, link.mtu) == (bridge.index, bridge.mtu):
            return device.mtu
    return bridge.mtu


def unfit_ports(
    network: Network,
    ports: Iterable[PortRecord],
    links: Mapping[str, LinkFact],
    former: Network | None = None,
) -> list[tuple[PortRecord, PortDevice]]:
    """Return those of ``ports`` whose devices of ours have another MTU, with the right device.

    Where no document says it, it is that of the bridge that we have made; of one that has what
    ``former`` says and will not any more, the kernel's choice.
    """
    found = []
    for port in ports:
        plug, device = port.port.plug, port.device
        if device is None or device.mtu is None or nic_of(port) is not None:
            continue
        mtu = _given_mtu(network)
        if mtu is None and makes_bridge(network) and not uses_openvswitch(network):
            bridge = None
            if isinstance(plug, NetworkPlug | BridgePlug):
                bridge = links.get(bridge_of_plug(network, plug))
            mtu = None if bridge is None else bridge.mtu
            if former is not None and former.mtu is not None:
                mtu = _KERNELS_CHOICE
        if mtu is not None and mtu != device.mtu:
            found.append((port, dataclasses.replace(device, mtu=mtu)))
    return found


def fit_ports(
    tools: Workplace, record: NetworkRecord, unfit: Sequence[tuple[PortRecord, PortDevice]]
) -> Change:
    """Give ports of a network the devices that fit it; what is gone is left to be made again.

    Returns what was done to devices.
    """
    fitted = [dataclasses.replace(port, device=device) for port, device in unfit]
    with tools.store.transaction():
        tools.store.put_ports(port_row(port) for port in fitted)
    return restore_mtus(tools, record, fitted)


def restore_mtus(tools: Workplace, record: NetworkRecord, ports: Iterable[PortRecord]) -> Change:
    """Give the devices of ports of a network the MTU that is theirs; return what that took."""
    change = Change()
    parts = {
        link: [item for item in state.values() if isinstance(item, AnyLink | Setting)]
        for state in (state_of_port(record.current, port) for port in ports)
        for link in state.values()
        if isinstance(link, TapLink | VethLink)
    }
    found = tools.applier.observe(parts)
    for link, items in parts.items():
        if found[link.key].presence is not Presence.OURS:
            continue
        try:
            # One by one: what a link has of IPv6 comes and goes with its MTU.
            for item in items:
                mended, _ = tools.applier.mend([item])
                former = mended.replaced if item == link else {}
                change += Change(ensure=mended.ensure, replaced=former)
        except (JackfieldError, ExceptionGroup) as error:
            log.warning("network %s: %s keeps its MTU: %s", record.name, link.name, error)
        else:
            log.info("network %s: %s has its MTU now: %d", record.name, link.name, link.mtu)
    return change


def has_other_mtu(port: PortRecord, links: Mapping[str, LinkFact]) -> bool:
    """Tell whether the device of a port of ours has another MTU than it was given."""
    if port.device is None or port.device.mtu is None:
        return False
    link = links.get(port.device.name)
    return link is not None and link.mtu != port.device.mtu


def _given_mtu(network: Network) -> int | None:
    """Return the MTU that a network's document gives its bridges and ports, if it does."""
    return network.mtu or (None if network.bridge is None else network.bridge.uplinks_mtu)
