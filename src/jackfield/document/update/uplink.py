"""Updates of where a network goes: its uplinks and portgroups."""

from __future__ import annotations

import msgspec

from jackfield.document.portgroup import read_portgroup
from jackfield.document.update.request import Command, Update
from jackfield.document.uplink import read_uplink
from jackfield.errors import counted
from jackfield.model.network import Network
from jackfield.model.uplink import PhysicalFunction, Uplink, describe

__all__ = ["refuse_used", "update_portgroup", "update_uplink"]


def update_uplink(update: Update) -> Network:
    """Update one of the uplinks; in BRIDGE they are those of the managed bridge."""
    network = update.network
    wanted = read_uplink(update.element)
    shown = describe(wanted)
    uplinks = network.uplinks
    if update.command is Command.MODIFY:
        if not isinstance(wanted, PhysicalFunction):
            update.unsupported("uplinks", "forward interface entries")
        old = [one for one in uplinks if isinstance(one, PhysicalFunction)]
        if not old:
            update.refuse("there is no <pf> to modify")
        refuse_used(update, old[0])
        return _replace_uplink(network, old[0], wanted)
    if update.command.adds:
        if wanted in uplinks:
            update.refuse(
                f"the uplink {shown} is there already",
                libvirt=f"there is an existing interface entry in network '{network.name}' "
                f"that matches \"<interface dev='{shown}'>\"",
            )
        if uplinks and (
            isinstance(wanted, PhysicalFunction) or type(uplinks[0]) is not type(wanted)
        ):
            update.refuse(
                f"the uplink {shown} cannot stand beside {describe(uplinks[0])}",
                hint="<interface>, <address> and <pf> exclude each other; one <pf> is the most",
            )
        return msgspec.structs.replace(network, uplinks=update.added(uplinks, wanted))
    if wanted not in uplinks:
        update.refuse(
            f"the uplink {shown} is not there",
            libvirt=f"couldn't find an interface entry in network '{network.name}' "
            f"matching <interface dev='{shown}'>",
        )
    refuse_used(update, wanted)
    users = [group.name for group in network.portgroups if wanted in group.uplinks]
    if users:
        update.refuse(f"the uplink {shown} belongs to portgroup '{users[0]}'")
    return msgspec.structs.replace(network, uplinks=tuple(one for one in uplinks if one != wanted))


def refuse_used(update: Update, uplink: Uplink) -> None:
    """Raise ``Conflict`` if ports use the uplink."""
    count = update.in_use.get(uplink, 0)
    if count:
        update.refuse(
            f"the uplink {describe(uplink)} is used by {counted(count, 'port')}",
            hint="detach them first",
            libvirt=f"unable to delete interface '{describe(uplink)}' in network "
            f"'{update.network.name}'. It is currently being used by {count} domains.",
        )


def _replace_uplink(network: Network, old: Uplink, new: Uplink) -> Network:
    def swap(uplinks: tuple[Uplink, ...]) -> tuple[Uplink, ...]:
        return tuple(new if one == old else one for one in uplinks)

    groups = tuple(
        msgspec.structs.replace(one, uplinks=swap(one.uplinks)) for one in network.portgroups
    )
    return msgspec.structs.replace(network, uplinks=swap(network.uplinks), portgroups=groups)


def update_portgroup(update: Update) -> Network:
    """Update a portgroup, which its name tells."""
    groups, name = update.network.portgroups, update.network.name
    group = read_portgroup(update.element)
    places = [place for place, one in enumerate(groups) if one.name == group.name]
    others = [one.name for one in groups if one.default and one.name != group.name]
    if update.command is not Command.DELETE and group.default and others:
        update.refuse(
            f"portgroup '{others[0]}' is the default already",
            libvirt=f"a different portgroup entry in network '{name}' is already set as the "
            "default. Only one default is allowed.",
        )
    if update.command.adds:
        if places:
            update.refuse(
                f"portgroup '{group.name}' is there already",
                libvirt=f"there is an existing portgroup entry in network '{name}' that matches "
                f"\"<portgroup name='{group.name}'>\"",
            )
        return msgspec.structs.replace(update.network, portgroups=update.added(groups, group))
    if not places:
        update.refuse(
            f"portgroup '{group.name}' is not there",
            libvirt=f"couldn't find a portgroup entry in network '{name}' matching "
            f"<portgroup name='{group.name}'>",
        )
    middle = (group,) if update.command is Command.MODIFY else ()
    changed = groups[: places[0]] + middle + groups[places[0] + 1 :]
    return msgspec.structs.replace(update.network, portgroups=changed)
