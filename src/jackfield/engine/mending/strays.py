"""Devices of ports that lost their bridge, because somebody removed or renamed it, or their name.

A client puts its device on the bridge once, when it makes it.  Where the bridge is made anew,
whoever made it, nobody else would bring the device back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from uuid import UUID

from jackfield.engine.records import PortRecord
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.netlink.link import set_link
from jackfield.host.removal import send_removals
from jackfield.host.renamed import LinkHere
from jackfield.model.network import Network
from jackfield.model.port import BridgePlug, NetworkPlug, Port
from jackfield.model.values import InterfaceName
from jackfield.plan.port import host_mac, plan_clients_place
from jackfield.state.facts import LinkFact
from jackfield.state.hoststate import Change, HostState
from jackfield.state.links import BridgeLink, port_of

__all__ = [
    "bridges_made",
    "device_indexes",
    "devices_left",
    "leave_former_bridge",
    "leave_other_bridges",
    "put_strays_back",
    "renamed_devices",
]

log = logging.getLogger(__name__)

_TAP = "tun"


def bridges_made(change: Change) -> set[InterfaceName]:
    """Return the bridges that a change made, and had not been there before."""
    made = (item for item in change.ensure if item.key not in change.replaced)
    return {item.name for item in made if isinstance(item, BridgeLink)}


def leave_former_bridge(
    tools: Workplace,
    ports: Iterable[PortRecord],
    bridge: InterfaceName,
    former: int | None,
) -> None:
    """Take the devices of ``ports`` off what ``bridge`` was before another one got its name.

    That is the bridge with the index ``former``, if it is known, and what a device of ours is on.
    """
    links = tools.kernel.route.links()
    own = {port.uuid for port in ports if port.device is not None}
    clients = {item for item in map(_client_mac, ports) if item is not None}
    ours = [link for link in links.values() if port_of(link.alias) in own]
    theirs = [link for link in links.values() if link.kind == _TAP and link.mac in clients]
    others = {former, *(link.master for link in ours)} - {None, tools.kernel.route.index(bridge)}
    messages = [
        set_link(link.index, f"take {link.name} off the former bridge {bridge}", master=0)
        for link in (*ours, *theirs)
        if link.master in others
    ]
    send_removals(tools.kernel, messages, "could not take every link off its former bridge")


def leave_other_bridges(tools: Workplace, left: Iterable[tuple[Port, InterfaceName]]) -> None:
    """Take the taps of clients' ports off the bridges that their network had before.

    Those are somebody else's: one of ours goes with its network, and is nobody's place any more.
    """
    indexes = {
        host_mac(port.mac).packed: tools.kernel.route.index(bridge)
        for port, bridge in left
        if port.mac is not None
    }
    messages = [
        set_link(link.index, f"take {link.name} off its network's former bridge", master=0)
        for link in (tools.kernel.route.links().values() if indexes else ())
        if link.kind == _TAP and link.master is not None and link.master == indexes.get(link.mac)
    ]
    send_removals(tools.kernel, messages, "could not take every link off its former bridge")


def _client_mac(port: PortRecord) -> bytes | None:
    """Return the address that the tap of a client's port has."""
    if port.device is not None or port.port.mac is None:
        return None
    return host_mac(port.port.mac).packed


def put_strays_back(
    tools: Workplace,
    network: Network,
    ports: Iterable[PortRecord],
    bridges: Collection[InterfaceName],
) -> None:
    """Put the taps of those clients' ``ports`` whose plug is one of ``bridges`` back on it.

    A client's tap has the address of its port, and one that is on no bridge has lost its own.
    """
    missed = {
        mac: port.port
        for port in ports
        if (mac := _client_mac(port)) is not None
        and isinstance(port.port.plug, NetworkPlug | BridgePlug)
        and port.port.plug.bridge in bridges
    }
    if not missed:
        return
    for link in tools.kernel.route.links().values():
        port = missed.get(link.mac)
        if port is None or link.kind != _TAP or link.master is not None:
            continue
        place = plan_clients_place(network, port, InterfaceName(link.name))
        if place is None:
            continue
        try:
            tools.applier.mend([place])
        except (JackfieldError, ExceptionGroup) as error:
            log.warning("%s cannot be put back on %s: %s", link.name, place.bridge, error)
        else:
            log.warning("%s is back on %s, which is another one now", link.name, place.bridge)


def renamed_devices(
    ports: Sequence[PortRecord], states: Sequence[HostState], links: Mapping[str, LinkFact]
) -> list[LinkHere]:
    """Return the devices of ``ports``, which want ``states``, that are here by another name.

    One is given its name back as soon as nobody changes its network; where the kernel or somebody
    does not let it have that, never.
    """
    missing = [
        (port.uuid, state)
        for port, state in zip(ports, states, strict=True)
        if port.device is not None
        and port.device.link is not None
        and port.device.link not in links
    ]
    if not missing:
        return []
    # Most are simply gone, with their guest.
    marked = {port_of(link.alias) for link in links.values()}
    return [
        item
        for uuid, state in missing
        if uuid in marked
        for item in state.values()
        if isinstance(item, LinkHere)
    ]


def device_indexes(ports: Iterable[PortRecord], links: Mapping[str, LinkFact]) -> dict[UUID, int]:
    """Return by which index the device of each port is known, of those that are here."""
    named = ((port, links.get(port.device.link or "")) for port in ports if port.device is not None)
    return {port.uuid: link.index for port, link in named if link is not None}


def devices_left(
    ports: Sequence[PortRecord],
    states: Sequence[HostState],
    indexes: Mapping[UUID, int],
    link_now: Callable[[int], LinkFact | None],
) -> list[LinkHere]:
    """Return the devices of ``ports`` that are still there after they were removed by name.

    Somebody has renamed them since their ``indexes`` were looked up.
    """
    found = []
    for port, state in zip(ports, states, strict=True):
        index = indexes.get(port.uuid)
        link = None if index is None else link_now(index)
        if link is not None and port_of(link.alias) == port.uuid:
            found += [item for item in state.values() if isinstance(item, LinkHere)]
    return found
