"""What goes with what: the rules of a network that concern more than one element.

``check`` holds what libvirt's parser refuses and what would make a document of ours ambiguous;
every network that is read or comes as JSON passes it.  ``check_definition`` holds what libvirt's
network driver and Jackfield refuse only when a network is defined
(https://libvirt.org/formatnetwork.html).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from jackfield.document.uplink import describe
from jackfield.errors import DocumentError, UnsupportedConfiguration
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.model.uplink import DeviceUplink, PciUplink, PhysicalFunction, Uplink
from jackfield.model.virtualport import VirtualPortType

__all__ = ["LineOf", "check", "check_definition"]

LineOf = Callable[[str, int], int | None]

_FORWARDING = frozenset({Mode.NAT, Mode.ROUTE, Mode.OPEN, Mode.SUBNET})


def _nowhere(_name: str, _index: int) -> int | None:
    return None


def check(network: Network, line_of: LineOf = _nowhere) -> None:
    """Refuse what no document may say; ``line_of(element, index)`` finds the line to name."""
    mode = network.mode

    def refuse(reason: str, element: str, index: int = 0, hint: str | None = None) -> NoReturn:
        raise DocumentError(
            f"network '{network.name}' {reason}", line=line_of(element, index), hint=hint
        )

    if mode in _FORWARDING and not network.subnets:
        refuse(
            f"has mode {mode.value} but no <ip>",
            "forward",
            hint="give the network a subnet, as <ip address='192.168.100.1' prefix='24'/>",
        )
    if mode in (Mode.OPEN, Mode.ISOLATED) and network.uplinks:
        refuse(f"has an uplink, which mode {mode.value} does not use", "forward")
    if mode is Mode.SUBNET and not network.uplinks:
        refuse("has mode subnet without an uplink", "forward", hint="name it, as dev='eth0'")
    if mode.is_routed:
        for uplink in network.uplinks:
            if not isinstance(uplink, DeviceUplink):
                refuse(
                    f"has the uplink {describe(uplink)}; mode {mode.value} needs a device",
                    "forward",
                )
    if network.mtu is not None and not mode.is_routed:
        refuse(f"has an <mtu>, which mode {mode.value} does not use", "mtu")
    if network.port_forwards and not mode.is_routed:
        refuse(f"has a <portForward>, which mode {mode.value} does not use", "forward")
    for forward in network.port_forwards:
        if forward.dev is not None and network.uplinks:
            if DeviceUplink(dev=forward.dev) not in network.uplinks:
                refuse(f"forwards ports of {forward.dev}, which is not an uplink", "forward")
    if (network.managed is not None or network.driver is not None) and mode is not Mode.HOSTDEV:
        if network.managed:
            refuse(f"has managed='yes', which mode {mode.value} does not use", "forward")
    _check_portgroups(network, refuse)


def _check_portgroups(network: Network, refuse: Callable[..., NoReturn]) -> None:
    listed = set(network.uplinks)
    expands = any(isinstance(uplink, PhysicalFunction) for uplink in listed)
    for index, group in enumerate(network.portgroups):
        if not group.name:
            refuse("has a <portgroup> without a name", "portgroup", index)
        for uplink in group.uplinks:
            if uplink in listed or (expands and isinstance(uplink, PciUplink)):
                continue
            refuse(
                f"has the portgroup '{group.name}' with the uplink {describe(uplink)}, which is "
                "not one of the network's",
                "portgroup",
                index,
                hint="list it under <forward> as well",
            )


def check_definition(network: Network) -> None:
    """Refuse a network that must not be defined; raises :class:`UnsupportedConfiguration`."""

    def refuse(reason: str, hint: str | None = None) -> NoReturn:
        raise UnsupportedConfiguration(f"network '{network.name}' {reason}", hint=hint)

    defaults = [group.name for group in network.portgroups if group.default]
    if len(defaults) > 1:
        refuse(f"has more than one default portgroup: {', '.join(map(repr, defaults))}")
    names = [group.name for group in network.portgroups]
    for name in names:
        if names.count(name) > 1:
            refuse(f"has two portgroups called '{name}'")
