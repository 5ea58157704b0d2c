"""Fill in what a definition leaves to us: once, when it is defined.

``complete`` is pure; the engine stores its result, so that what was generated stays the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container
from uuid import UUID

import msgspec

from jackfield.document.rules import check, check_definition, makes_bridge
from jackfield.errors import AlreadyExists, HostError
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network, Portgroup
from jackfield.model.values import InterfaceName, MacAddress, NameTemplate, Text

__all__ = ["Taken", "complete"]

_MAX_NUMBER = 0xFFFFFF
_BRIDGE = NameTemplate("virbr%d")
_TUNNEL = NameTemplate("wg%d")


def _nobody(_name: str) -> None:
    return None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Names of devices that are not free.

    ``claimant`` says of a name which other network it belongs to: to ask for such a one is an
    error.  So it is of a routed or isolated network to ask for the name of a bridge that others
    use and expect somebody else to make; ``user`` says which one does.  ``present`` exist on the
    host: a generated name avoids them, but a document may ask for one, and whether that works is
    found out when the network starts.
    """

    claimant: Callable[[str], str | None] = _nobody
    user: Callable[[str], str | None] = _nobody
    present: Container[str] = ()

    def is_taken(self, name: str) -> bool:
        """Whether a name is one that nobody may be given."""
        taken = self.claimant(name) is not None or self.user(name) is not None
        return taken or name in self.present

    def lowest_free(self, template: NameTemplate) -> InterfaceName:
        """Return ``template`` with the lowest number that makes a free name."""
        for number in range(_MAX_NUMBER):
            try:
                name = template.numbered(number)
            except ValueError:
                break
            if not self.is_taken(name):
                return name
        raise HostError(f"every device name from {template.numbered(0)} on is taken")


def complete(
    network: Network,
    taken: Taken,
    random_bytes: Callable[[int], bytes],
    previous: Network | None = None,
) -> Network:
    """Return ``network`` with uuid, device names and MAC filled in, ready to be defined.

    ``previous`` is the definition it replaces: what the new one leaves out stays as it was.
    ``random_bytes(n)`` gives ``n`` random bytes.  Raises :class:`AlreadyExists` for a device
    that another network claims, :class:`DocumentError` and :class:`UnsupportedConfiguration`
    for what cannot be defined.
    """
    check(network)
    check_definition(network)
    changes: dict[str, object] = {}
    if network.uuid is None:
        known = None if previous is None else previous.uuid
        changes["uuid"] = known or UUID(bytes=random_bytes(16), version=4)
    if makes_bridge(network):
        changes["bridge"] = _complete_bridge(network, taken, previous)
    if network.mode.is_routed and network.mac is None:
        kept = None if previous is None else previous.mac
        tail = ":".join(f"{octet:02x}" for octet in random_bytes(3)) if kept is None else ""
        changes["mac"] = kept or MacAddress(f"52:54:00:{tail}")
    if network.mode is Mode.HOSTDEV and network.managed is None:
        changes["managed"] = False
    if any(not group.name for group in network.portgroups):
        changes["portgroups"] = _name_portgroups(network.portgroups)
    if network.vpn is not None:
        dev = network.vpn.dev
        if dev is None and previous is not None and previous.vpn is not None:
            dev = previous.vpn.dev
        dev = dev or taken.lowest_free(_TUNNEL)
        _refuse_claimed(network, "tunnel", dev, taken)
        changes["vpn"] = msgspec.structs.replace(network.vpn, dev=dev, public_key=None)
    if network.connections is not None:
        changes["connections"] = None
    return msgspec.structs.replace(network, **changes)


def _complete_bridge(network: Network, taken: Taken, previous: Network | None) -> Bridge:
    bridge = network.bridge or Bridge()
    own = None
    if previous is not None and makes_bridge(previous) and previous.bridge is not None:
        own = previous.bridge.name
    template = bridge.template
    name = bridge.name
    if name is None and own is not None and (template is None or template.makes(own)):
        name = own
    name = name or taken.lowest_free(template or _BRIDGE)
    _refuse_claimed(network, "bridge", name, taken)
    user = taken.user(name)
    if network.mode.is_routed and name != own and user is not None:
        raise AlreadyExists(
            f"network '{network.name}' cannot make the bridge '{name}': network '{user}' uses one "
            "of that name, which somebody else makes",
            hint="choose another name, or leave it out to get a free one",
        ).in_libvirt(f"bridge name '{name}' already in use.", code=1)
    named = bridge
    if name != bridge.name or template is not None:
        named = msgspec.structs.replace(bridge, name=name, template=None)
    if len(network.uplinks) > 1:
        for one in msgspec.structs.replace(network, bridge=named).managed_bridges[1:]:
            _refuse_claimed(network, "bridge", one, taken)
    return named


def _refuse_claimed(network: Network, what: str, name: str, taken: Taken) -> None:
    claimant = taken.claimant(name)
    if claimant is not None:
        raise AlreadyExists(
            f"network '{network.name}' cannot have the {what} '{name}': network '{claimant}' has "
            "it",
            hint="choose another name, or leave it out to get a free one",
        ).in_libvirt(f"{what} name '{name}' already in use.", code=1)


def _name_portgroups(groups: tuple[Portgroup, ...]) -> tuple[Portgroup, ...]:
    names = {group.name for group in groups}
    named = []
    number = 0
    for group in groups:
        if not group.name:
            while f"portgroup{number}" in names:
                number += 1
            group = msgspec.structs.replace(group, name=Text(f"portgroup{number}"))
            number += 1
        named.append(group)
    return tuple(named)
