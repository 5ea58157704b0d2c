"""Give a guest interface its port: ``allocate(network, facts, usage, request) -> Allocation``.

Pure and deterministic: the same network, facts, usage and request give the same port.  The steps
are those of DESIGN section 4: portgroup, uplink, virtualport, then what is inherited.

- ``key`` names the network in :class:`Usage` (by default the network's uuid, else its name).
- Errors: :class:`InvalidRequest` (unknown portgroup), :class:`CapacityExhausted` (with every
  portgroup and uplink, used and limit), :class:`UnsupportedConfiguration` (virtualports that
  contradict each other, a vlan or isolation that the mode lacks).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from jackfield.allocation.candidates import Candidates, candidates_of, link_problem, pick
from jackfield.allocation.request import Allocation, Request
from jackfield.allocation.usage import Usage
from jackfield.allocation.virtualport import has_use_for_virtualport, merge_virtualport
from jackfield.errors import (
    CapacityExhausted,
    Conflict,
    HostError,
    InvalidRequest,
    UnsupportedConfiguration,
    UnsupportedOperation,
)
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.mode import Mode
from jackfield.model.network import Network, Portgroup
from jackfield.model.port import (
    BridgePlug,
    DirectPlug,
    HostdevPlug,
    NetworkPlug,
    Plug,
    Port,
    VdePlug,
)
from jackfield.model.uplink import PciAddress, Uplink
from jackfield.model.values import InterfaceName
from jackfield.model.virtualport import VirtualPort, VirtualPortType
from jackfield.state.facts import Facts

__all__ = ["allocate", "allocate_bandwidth", "check_isolation", "usage_key"]

DIRECT_MODES: dict[Mode, str] = {
    Mode.MACVTAP_BRIDGE: "bridge",
    Mode.VEPA: "vepa",
    Mode.PRIVATE: "private",
    Mode.PASSTHROUGH: "passthrough",
}
_TAGGED_MODES = frozenset({Mode.BRIDGE, Mode.PASSTHROUGH, Mode.HOSTDEV})
# libvirt's numbering of htb classes: 1 is the root, 2 the default class.
_FIRST_CLASS = 3
_LAST_CLASS = 0xFFFF


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a port goes: its portgroup, and its uplink where the mode has one."""

    group: Portgroup | None
    uplink: Uplink | None = None
    key: str | None = None


def usage_key(network: Network) -> str:
    """Return the key under which the ports of ``network`` are counted."""
    return str(network.uuid) if network.uuid is not None else network.name


def allocate(network: Network, facts: Facts, usage: Usage, request: Request) -> Allocation:
    """Return the port that ``request`` gets on ``network``, or raise why it gets none."""
    group = _named_group(network, request)
    place = _choose(network, facts, usage, request, group)
    group = place.group
    virtualport, notes = merge_virtualport(network, group, request)
    vlan = request.vlan or (group and group.vlan) or network.vlan
    if vlan is not None and not (network.mode.is_routed or network.mode in _TAGGED_MODES):
        raise UnsupportedConfiguration(
            f"network '{network.name}' has mode {network.mode.value}, which cannot tag frames, "
            "but the port is to have a vlan",
            hint="VLAN tags are for bridges, Open vSwitch and SR-IOV functions",
        )
    isolated = _inherited(request, group, network, "isolated")
    check_isolation(network, isolated, virtualport)
    port = Port(
        uuid=request.uuid,
        owner=request.owner,
        mac=request.mac,
        group=None if group is None else group.name,
        virtualport=virtualport,
        bandwidth=_bandwidth(network, usage, request, group),
        vlan=vlan,
        isolated=isolated,
        trust_guest_rx_filters=_inherited(request, group, network, "trust_guest_rx_filters"),
        plug=_plug(network, place, request, facts),
    )
    return Allocation(
        port=port,
        uplink=place.uplink,
        bring_up=_down(network, place, facts),
        notes=notes,
    )


def check_isolation(
    network: Network, isolated: bool | None, virtualport: VirtualPort | None
) -> None:
    """Raise :class:`UnsupportedConfiguration` for a port that is to be ``isolated`` and cannot."""
    if isolated and (virtualport is not None or not _has_bridge_ports(network)):
        raise UnsupportedConfiguration(
            f"network '{network.name}' cannot isolate ports: they are not ports of a Linux bridge",
            hint="remove <port isolated='yes'/>",
        )


def _inherited(
    request: Request, group: Portgroup | None, network: Network, name: str
) -> bool | None:
    """Return the guest's word, else the portgroup's, else the network's."""
    for source in (request, group, network):
        value: bool | None = None if source is None else getattr(source, name)
        if value is not None:
            return value
    return None


def _has_bridge_ports(network: Network) -> bool:
    return network.mode.is_routed or network.mode is Mode.BRIDGE


def _named_group(network: Network, request: Request) -> Portgroup | None:
    """Return the portgroup that the guest names, else the default one."""
    if request.portgroup is not None:
        for group in network.portgroups:
            if group.name == request.portgroup:
                return group
        known = ", ".join(f"'{group.name}'" for group in network.portgroups)
        raise InvalidRequest(
            f"network '{network.name}' has no portgroup '{request.portgroup}'",
            hint=f"it has {known}" if known else "it has none; leave the portgroup out",
        )
    for group in network.portgroups:
        if group.default:
            return group
    return None


def _has_room(group: Portgroup, used: Mapping[str, int]) -> bool:
    return group.count is None or used.get(group.name, 0) < group.count


def _choose(
    network: Network,
    facts: Facts,
    usage: Usage,
    request: Request,
    group: Portgroup | None,
) -> _Place:
    """Return the portgroup and the uplink; raises :class:`CapacityExhausted` without room."""
    used = usage.in_groups(usage_key(network)) if network.portgroups else {}
    if group is not None:
        groups: list[Portgroup | None] = [group] if _has_room(group, used) else []
    else:
        open_groups = [
            one
            for one in network.portgroups
            if one.uplinks
            and one.vlan is None
            and one.virtualport is None
            and one.bandwidth is None
            and _has_room(one, used)
        ]
        groups = [*open_groups] or [None]
    if not _needs_uplink(network):
        if groups:
            return _Place(group=groups[0])
        raise _full(network, facts, usage, group)
    best: tuple[int, _Place] | None = None
    for one in groups:
        candidates = candidates_of(network, one, facts)
        found = pick(
            candidates,
            network,
            usage,
            facts,
            exclusive=_wants_exclusive(network, one, request),
        )
        if found is not None and (best is None or found[1] < best[0]):
            index, ports = found
            place = _Place(group=one, uplink=candidates.uplinks[index], key=candidates.keys[index])
            best = (ports, place)
    if best is None:
        raise _full(network, facts, usage, group)
    return best[1]


def _needs_uplink(network: Network) -> bool:
    if network.mode is Mode.BRIDGE:
        return bool(network.managed_bridges)
    return not network.mode.is_routed


def _wants_exclusive(network: Network, group: Portgroup | None, request: Request) -> bool:
    """Whether the port would need its uplink for itself."""
    if network.mode in (Mode.PASSTHROUGH, Mode.HOSTDEV):
        return True
    if network.mode is not Mode.PRIVATE:
        return False
    sources = (network.virtualport, None if group is None else group.virtualport)
    kinds = [one.type for one in (*sources, request.virtualport) if one is not None]
    return VirtualPortType.VN_LINK in kinds


def _full(
    network: Network, facts: Facts, usage: Usage, asked: Portgroup | None
) -> CapacityExhausted:
    """Return the error that lists every portgroup and uplink with what is used and the limit."""
    lines: list[str] = []
    linkless: list[str] = []
    leading_nowhere: list[str] = []
    full = False
    exclusive = network.mode in (Mode.PASSTHROUGH, Mode.HOSTDEV)

    def uplinks(candidates: Candidates) -> list[str]:
        nonlocal full
        shown = list(candidates.problems)
        leading_nowhere.extend(candidates.problems)
        for key in candidates.keys:
            problem = link_problem(key, network.mode, facts)
            used = candidates.used(key, usage)
            if problem is not None and network.mode is not Mode.BRIDGE:
                shown.append(problem)
                linkless.append(problem)
                continue
            full = True
            taken = exclusive or candidates.is_taken(key, usage)
            shown.append(f"{key} {used}/1" if taken else f"{key} {used}")
        return shown

    in_groups = usage.in_groups(usage_key(network))
    for group in network.portgroups:
        used = in_groups.get(group.name, 0)
        limit = "no limit" if group.count is None else str(group.count)
        full = full or (group.count is not None and used >= group.count)
        own = uplinks(candidates_of(network, group, facts)) if group.uplinks else []
        shown = f" ({', '.join(own)})" if own else ""
        lines.append(f"portgroup '{group.name}' {used}/{limit}{shown}")
    if not any(group.uplinks for group in network.portgroups):
        lines += [f"uplink {one}" for one in uplinks(candidates_of(network, None, facts))]
    if not lines:
        lines.append("it has no uplinks")
    useless = linkless or leading_nowhere
    advice = ["detach a port, raise a count, or add an uplink"] if full or not useless else []
    if linkless:
        advice.append("`ip link` shows which NICs are there and have a carrier")
    if leading_nowhere:
        advice.append("[virtual_functions] in the daemon's configuration has functions made")
    where = "" if asked is None else f" for portgroup '{asked.name}'"
    return CapacityExhausted(
        f"network '{network.name}' has no free port{where}: {'; '.join(lines)}",
        hint="; ".join(advice) or None,
    )


def _bandwidth(
    network: Network,
    usage: Usage,
    request: Request,
    group: Portgroup | None,
) -> Bandwidth | None:
    """Return the port's limits: the guest's, else the portgroup's."""
    bandwidth = request.bandwidth or (None if group is None else group.bandwidth)
    if bandwidth is None:
        return None
    # It has had no class yet; libvirt passes over one that is asked for, too.
    return allocate_bandwidth(network, usage, msgspec.structs.replace(bandwidth, class_id=None))


def allocate_bandwidth(network: Network, usage: Usage, bandwidth: Bandwidth) -> Bandwidth:
    """Return the limits of a port with its traffic class, which it has for a guaranteed rate.

    It keeps the class it had where that is free, and can be one.  ``usage`` is without the port
    itself.

    Raises ``UnsupportedOperation`` where there is nothing to divide, ``Conflict`` where too much is
    promised already.
    """
    floor = None if bandwidth.inbound is None else bandwidth.inbound.floor
    if not floor:
        return msgspec.structs.replace(bandwidth, class_id=None)
    whole = None if network.bandwidth is None else network.bandwidth.inbound
    if whole is None or whole.average is None:
        raise UnsupportedOperation(
            f"network '{network.name}' has no inbound bandwidth of which a port could be "
            f"guaranteed floor='{floor}'",
            hint="give the network <bandwidth><inbound average='…'/></bandwidth>",
        )
    limit = whole.peak or whole.average
    key = usage_key(network)
    promised = usage.floors.get(key, 0)
    if promised + floor > limit:
        raise Conflict(
            f"network '{network.name}' cannot guarantee floor='{floor}': {promised} of its "
            f"{limit} KiB/s are promised already"
        )
    taken = usage.classes.get(key, frozenset())
    number = max(bandwidth.class_id or 0, _FIRST_CLASS)
    if number in taken or number > _LAST_CLASS:
        number = _FIRST_CLASS
    while number in taken:
        number += 1
    return msgspec.structs.replace(bandwidth, class_id=number)


def _plug(network: Network, place: _Place, request: Request, facts: Facts) -> Plug:
    mode = network.mode
    if mode is Mode.HOSTDEV:
        assert place.key is not None
        driver = network.driver
        return HostdevPlug(
            address=PciAddress(place.key),
            managed=bool(network.managed),
            driver=None if driver is None else driver.name,
            model=None if driver is None else driver.model,
        )
    if mode.is_macvtap:
        assert place.key is not None
        return DirectPlug(dev=InterfaceName(place.key), mode=DIRECT_MODES[mode])
    if request.vde is not None and network.vde is not None:
        return VdePlug(path=request.vde)
    name = place.key or (None if network.bridge is None else network.bridge.name)
    if name is None:
        raise UnsupportedConfiguration(
            f"network '{network.name}' of mode {mode.value} names no bridge",
            hint="add <bridge name='…'/>",
        )
    manager = None if network.bridge is None else network.bridge.mac_table_manager
    if mode is Mode.BRIDGE:
        made = bool(network.uplinks or network.vpn)
        if (
            not made
            and name not in facts.links
            and not has_use_for_virtualport(network, place.group)
        ):
            raise HostError(
                f"network '{network.name}' uses the bridge '{name}', which is not on this host",
                hint="create the bridge, or let Jackfield make it: <bridge><uplinks>…",
            )
        return BridgePlug(bridge=InterfaceName(name), mac_table_manager=manager)
    return NetworkPlug(bridge=InterfaceName(name), mac_table_manager=manager)


def _down(network: Network, place: _Place, facts: Facts) -> InterfaceName | None:
    """Return the chosen device if it must be brought up first."""
    if not network.mode.is_macvtap or place.key is None:
        return None
    link = facts.links.get(place.key)
    return None if link is None or link.up else InterfaceName(place.key)
