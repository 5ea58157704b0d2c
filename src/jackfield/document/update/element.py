"""Updates of whole elements, which libvirt lists and does not implement."""

from __future__ import annotations

import msgspec

from jackfield.document.address import read_subnet
from jackfield.document.libvirt import write_network
from jackfield.document.reader import read_network
from jackfield.document.update.request import Command, Update
from jackfield.document.update.uplink import refuse_used
from jackfield.document.xml import parse, serialise
from jackfield.errors import DocumentError
from jackfield.model.network import Network

__all__ = ["update_element", "update_ip"]


def update_ip(update: Update) -> Network:
    """Update an ``<ip>``, which its address tells."""
    subnets = update.network.subnets
    subnet = read_subnet(update.element)
    places = [
        place
        for place, one in enumerate(subnets)
        if one.address is not None and one.address == subnet.address
    ]
    if update.command.adds:
        if places:
            update.refuse(f"it has the address {subnet.address} already")
        return msgspec.structs.replace(update.network, subnets=update.added(subnets, subnet))
    if update.command is Command.MODIFY and update.parent_index >= 0:
        if update.parent_index >= len(subnets):
            update.refuse(f"there is no <ip> with index {update.parent_index}")
        places = [update.parent_index]
    if not places:
        update.refuse(f"there is no <ip> with the address {subnet.address}")
    middle = (subnet,) if update.command is Command.MODIFY else ()
    changed = subnets[: places[0]] + middle + subnets[places[0] + 1 :]
    return msgspec.structs.replace(update.network, subnets=changed)


def update_element(update: Update) -> Network:
    """Replace, add or remove ``<forward>`` or ``<bridge>`` in the network's own document."""
    network = update.network
    name = update.element.tag
    root = parse(write_network(network))
    old = root.find(name)
    if update.command is Command.DELETE:
        if old is None:
            update.refuse(f"there is no <{name}>")
        if name == "bridge" and network.mode.is_routed:
            update.refuse(f"a network of mode {network.mode.value} always has a bridge")
        if name == "forward":
            for uplink in network.uplinks:
                refuse_used(update, uplink)
        root.remove(old)
        return _reread(update, serialise(root))
    if update.command.adds and old is not None:
        update.refuse(f"there is a <{name}> already", hint="modify it")
    if update.command is Command.MODIFY and old is None:
        update.refuse(f"there is no <{name}> to modify", hint="add it")
    bridge = network.bridge
    if name == "bridge" and bridge is not None and bridge.name and not update.element.get("name"):
        update.element.set("name", bridge.name)
    if old is None:
        root.append(update.element)
    else:
        root.replace(old, update.element)
    changed = _reread(update, serialise(root))
    for uplink in network.uplinks:
        if uplink not in changed.uplinks:
            refuse_used(update, uplink)
    return changed


def _reread(update: Update, text: str) -> Network:
    try:
        changed = read_network(text)
    except DocumentError as error:
        # The line is of a text that the caller never saw.
        prefix = "" if error.line is None else f"line {error.line}: "
        raise DocumentError(error.message.removeprefix(prefix), hint=error.hint) from None
    return msgspec.structs.replace(changed, connections=update.network.connections)
