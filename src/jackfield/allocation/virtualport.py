"""Merge the virtualports of guest, network and portgroup into the one that a port gets."""

from __future__ import annotations

import uuid

import msgspec

from jackfield.allocation.request import Request
from jackfield.errors import InvalidRequest, UnsupportedConfiguration
from jackfield.model.mode import Mode
from jackfield.model.network import Network, Portgroup
from jackfield.model.virtualport import (
    PARAMETERS,
    VirtualPort,
    VirtualPortType,
    virtualport_types,
)

__all__ = ["has_use_for_virtualport", "merge_virtualport"]

_REQUIRED: dict[VirtualPortType, tuple[str, ...]] = {
    VirtualPortType.VEPA: ("managerid", "typeid", "typeidversion"),
    VirtualPortType.VN_LINK: ("profileid",),
    VirtualPortType.OPENVSWITCH: (),
    VirtualPortType.MIDONET: (),
}
_GENERATED: dict[VirtualPortType, str] = {
    VirtualPortType.VEPA: "instance_id",
    VirtualPortType.OPENVSWITCH: "interface_id",
    VirtualPortType.MIDONET: "interface_id",
}


def has_use_for_virtualport(network: Network, portgroup: Portgroup | None) -> bool:
    """Whether ports of ``network`` have a switch that would read a virtualport.

    Routed networks have none, nor has a bridge that no virtualport of the host's calls virtual.
    """
    if network.mode is Mode.BRIDGE:
        own = (network.virtualport, None if portgroup is None else portgroup.virtualport)
        return any(one is not None and one.type is not None for one in own)
    return not network.mode.is_routed


def merge_virtualport(
    network: Network, portgroup: Portgroup | None, request: Request
) -> tuple[VirtualPort | None, tuple[str, ...]]:
    """Return the port's virtualport, complete, and notes on what was ignored.

    Raises :class:`UnsupportedConfiguration` when two of the three contradict each other, when a
    type does not fit, and when a required parameter is missing.
    """
    if not has_use_for_virtualport(network, portgroup):
        if request.virtualport is None:
            return None, ()
        note = (
            f"network '{network.name}' has mode {network.mode.value}, which has no use for a "
            "virtualport; the guest's is ignored"
        )
        return None, (note,)
    sources = [
        (place, virtualport)
        for place, virtualport in (
            ("the guest", request.virtualport),
            (f"network '{network.name}'", network.virtualport),
            (
                "" if portgroup is None else f"portgroup '{portgroup.name}'",
                None if portgroup is None else portgroup.virtualport,
            ),
        )
        if virtualport is not None
    ]
    kind = _merge_type(network, sources)
    if kind is None:
        return None, ()
    merged: dict[str, object] = {}
    for name, (field, kinds) in PARAMETERS.items():
        if kind not in kinds:
            continue
        said: tuple[str, object] | None = None
        for place, virtualport in sources:
            value = getattr(virtualport, field)
            if value is None:
                continue
            if said is not None and said[1] != value:
                raise UnsupportedConfiguration(
                    f"virtualport parameter {name} is '{value}' in {place} but '{said[1]}' in "
                    f"{said[0]}",
                    hint="leave it out of one of them, or make them agree",
                )
            said = said or (place, value)
        if said is not None:
            merged[field] = said[1]
    generated = _GENERATED.get(kind)
    if generated is not None and generated not in merged:
        merged[generated] = _identity(network, request)
    missing = [name for name in _REQUIRED[kind] if PARAMETERS[name][0] not in merged]
    if missing:
        raise UnsupportedConfiguration(
            f"the virtualport of type '{kind.value}' for network '{network.name}' lacks "
            f"{', '.join(missing)}",
            hint="the network, its portgroup or the guest must say it",
        )
    return msgspec.structs.replace(VirtualPort(type=kind), **merged), ()


def _merge_type(network: Network, sources: list[tuple[str, VirtualPort]]) -> VirtualPortType | None:
    """Return the effective type: what host and guest agree on."""
    # The host's word first, so that messages blame the guest for a difference.
    ordered = sources[1:] + sources[:1] if sources and sources[0][0] == "the guest" else sources
    said: tuple[str, VirtualPortType] | None = None
    for place, virtualport in ordered:
        if virtualport.type is None:
            continue
        if said is not None and said[1] is not virtualport.type:
            raise UnsupportedConfiguration(
                f"the virtualport has type '{virtualport.type.value}' in {place} but "
                f"'{said[1].value}' in {said[0]}",
                hint="a guest may leave the type out: then it fits any host",
            )
        said = said or (place, virtualport.type)
    if said is None:
        return None
    usable = virtualport_types(network.mode)
    if said[1] not in usable:
        allowed = ", ".join(sorted(repr(one.value) for one in usable))
        raise UnsupportedConfiguration(
            f"the virtualport of type '{said[1].value}' in {said[0]} does not fit network "
            f"'{network.name}' of mode {network.mode.value}",
            hint=f"types it can use: {allowed}",
        )
    return said[1]


def _identity(network: Network, request: Request) -> uuid.UUID:
    """Return the identifier of the guest's interface: the same on every host."""
    if request.owner is None or request.mac is None:
        raise InvalidRequest(
            f"network '{network.name}' needs the guest's uuid and the interface's MAC address "
            "to name the port to its switch"
        )
    return uuid.uuid5(request.owner.uuid, request.mac)
