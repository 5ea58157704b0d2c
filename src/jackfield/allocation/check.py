"""Say what a guest would get here and now, without allocating anything.

``check_guest(guest, networks, facts, usage) -> tuple[Verdict, ...]`` gives one verdict for each
interface of a :class:`~jackfield.model.guest.Guest` (``document.guest.read_guest``): the
allocation, or the error that says why there is none.  ``networks`` are the networks of this host
by name.  An interface counts for those after it, as it will when the guest starts.

``verdict_lines(verdict) -> list[str]`` shows one to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec

from jackfield.allocation.allocate import allocate, usage_key
from jackfield.allocation.request import Allocation, Request
from jackfield.allocation.usage import Usage
from jackfield.errors import JackfieldError, NetworkNotFound, UnsupportedConfiguration
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.guest import Guest, GuestInterface
from jackfield.model.network import Network
from jackfield.model.port import DirectPlug, HostdevPlug, Owner, Plug, VdePlug
from jackfield.model.uplink import describe
from jackfield.model.values import MacAddress, Text
from jackfield.model.virtualport import PARAMETERS, VirtualPort
from jackfield.model.vlan import Vlan
from jackfield.state.facts import Facts

__all__ = ["Verdict", "check_guest", "verdict_lines"]

# Stands in for what a guest is given only when it is defined.
_SOME_MAC = MacAddress("52:54:00:00:00:00")
_NOT_YET_IDENTIFIED = (
    "the document gives no uuid or no MAC address, so identifiers in the virtualport are examples"
)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one interface gets: exactly one of ``allocation`` and ``error``."""

    interface: GuestInterface
    allocation: Allocation | None = None
    error: JackfieldError | None = None


def check_guest(
    guest: Guest, networks: Mapping[str, Network], facts: Facts, usage: Usage
) -> tuple[Verdict, ...]:
    """Return a verdict for each interface of ``guest``, in the order of the document."""
    owner = Owner(name=guest.name or Text("guest"), uuid=guest.uuid or UUID(int=0))
    verdicts = []
    for interface in guest.interfaces:
        try:
            network = _network(interface, networks)
            request = Request.from_interface(interface, owner)
            if interface.mac is None:
                request = msgspec.structs.replace(request, mac=_SOME_MAC)
            allocation = allocate(network, facts, usage, request)
        except JackfieldError as error:
            verdicts.append(Verdict(interface=interface, error=error))
            continue
        usage = usage.with_port(usage_key(network), allocation.port)
        if allocation.port.virtualport is not None and (
            guest.uuid is None or interface.mac is None
        ):
            allocation = msgspec.structs.replace(
                allocation, notes=(*allocation.notes, _NOT_YET_IDENTIFIED)
            )
        verdicts.append(Verdict(interface=interface, allocation=allocation))
    return tuple(verdicts)


def _network(interface: GuestInterface, networks: Mapping[str, Network]) -> Network:
    if interface.network is None:
        raise UnsupportedConfiguration(
            f"an interface of type '{interface.kind}' is tied to its host",
            hint="jackfield convert makes a network of it and an interface of type 'network'",
        )
    network = networks.get(interface.network)
    if network is None:
        raise NetworkNotFound(
            f"there is no network '{interface.network}' on this host",
            hint="define one: each host says in its own <network> how it makes it",
        )
    return network


def verdict_lines(verdict: Verdict) -> list[str]:
    """Return ``verdict`` as lines for people: network, then what the port would be."""
    interface = verdict.interface
    named = interface.network or f"(type {interface.kind})"
    mac = "" if interface.mac is None else f" {interface.mac}"
    if verdict.error is not None:
        lines = [f"network {named}{mac}: no: {verdict.error.message}"]
        return lines if verdict.error.hint is None else [*lines, f"  hint: {verdict.error.hint}"]
    allocation = verdict.allocation
    assert allocation is not None
    port = allocation.port
    lines = [f"network {named}{mac}: yes"]
    if port.group is not None:
        lines.append(f"  portgroup: {port.group}")
    if allocation.uplink is not None:
        down = "" if allocation.bring_up is None else f" ({allocation.bring_up} is brought up)"
        lines.append(f"  uplink: {describe(allocation.uplink)}{down}")
    if port.plug is not None:
        lines.append(f"  plug: {_plug(port.plug)}")
    if port.virtualport is not None:
        lines.append(f"  virtualport: {_virtualport(port.virtualport)}")
    if port.vlan is not None:
        lines.append(f"  vlan: {_vlan(port.vlan)}")
    if port.bandwidth is not None:
        lines.append(f"  bandwidth: {_bandwidth(port.bandwidth)}")
    return lines + [f"  note: {note}" for note in allocation.notes]


def _plug(plug: Plug) -> str:
    if isinstance(plug, DirectPlug):
        return f"macvtap over {plug.dev}, mode {plug.mode}"
    if isinstance(plug, HostdevPlug):
        return f"PCI function {plug.address}"
    if isinstance(plug, VdePlug):
        return f"VDE switch {plug.path}"
    return f"bridge {plug.bridge}"


def _virtualport(virtualport: VirtualPort) -> str:
    words = [] if virtualport.type is None else [virtualport.type.value]
    for name, (field, _) in PARAMETERS.items():
        value = getattr(virtualport, field)
        if value is not None:
            words.append(f"{name}={value}")
    return " ".join(words)


def _vlan(vlan: Vlan) -> str:
    tags = ", ".join(
        str(tag.id) if tag.native_mode is None else f"{tag.id} (native {tag.native_mode.value})"
        for tag in vlan.tags
    )
    return f"trunk {tags}" if vlan.trunk else tags


def _bandwidth(bandwidth: Bandwidth) -> str:
    directions = []
    for name, rate in (("inbound", bandwidth.inbound), ("outbound", bandwidth.outbound)):
        if rate is None:
            continue
        values = (("average", rate.average), ("peak", rate.peak), ("floor", rate.floor))
        words = [f"{word} {value} KiB/s" for word, value in values if value is not None]
        if rate.burst is not None:
            words.append(f"burst {rate.burst} KiB")
        directions.append(f"{name} {', '.join(words)}")
    return "; ".join(directions)
