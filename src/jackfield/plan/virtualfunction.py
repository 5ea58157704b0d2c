"""A port on a virtual function of an SR-IOV card: what is set of the function while it has one.

A function given to a guest (``HostdevPlug``) is bound to a driver that passes it on; under a
macvtap in passthrough mode (``DirectPlug``) it keeps the driver it has.  Either way the card is
told through the physical function what the guest may do.  For ports of libvirt's QEMU driver all
of that is libvirt's work: they are allocated, and not planned.

A function under macvtaps of the other modes, or under a bridge, carries frames of several guests,
whoever makes their devices.  A card lets a function have one address, so it is told to trust this
one with more, and not to drop what has others; where a bridge is above it, each guest's address is
entered as one of its own, because many cards cannot let a function hear everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from jackfield.errors import HostError, UnsupportedConfiguration
from jackfield.model.network import Network
from jackfield.model.port import PASSTHROUGH, BridgePlug, DirectPlug, HostdevPlug, Plug, Port
from jackfield.model.uplink import PhysicalFunction
from jackfield.model.values import InterfaceName
from jackfield.state.facts import Facts, LinkFact
from jackfield.state.functions import (
    EchoGuard,
    FunctionAspect,
    FunctionCount,
    FunctionPlace,
    FunctionSetting,
    OwnAddress,
)
from jackfield.state.resources import Resource
from jackfield.state.settings import LinkAttribute, LinkSetting

__all__ = [
    "carrier_of",
    "check_function",
    "place_of",
    "plan_carrier",
    "plan_function",
    "plan_pools",
]

_VFIO = "vfio-pci"
_VLAN = "vlan"
_MEGABIT = 1_000_000
_MOST_MEGABITS = 0xFFFFFFFF


def plan_pools(network: Network, counts: Mapping[str, int]) -> list[Resource]:
    """Return what the physical functions of ``network`` must be so that it has ports to give.

    ``counts`` says of how many functions each one's pool is to be, where that is configured.
    """
    found: list[Resource] = []
    for uplink in dict.fromkeys(network.uplinks):
        if isinstance(uplink, PhysicalFunction) and counts.get(uplink.dev, 0):
            found += [
                _link_up(uplink.dev),
                FunctionCount(link=uplink.dev, value=str(counts[uplink.dev])),
            ]
    return found


def place_of(plug: Plug | None, facts: Facts) -> FunctionPlace | None:
    """Return the virtual function that a port has for itself; ``None`` where it has none.

    Raises ``HostError`` for a PCI function to be given to a guest that is no virtual one: there
    is nothing through which its address could be set.
    """
    if isinstance(plug, HostdevPlug):
        for _, place in _places(facts):
            if place.address == plug.address:
                return place
        raise HostError(
            f"{plug.address} is not a virtual function of a card on this host",
            hint="name virtual functions as uplinks, or their card with <pf dev='…'/>",
        )
    if isinstance(plug, DirectPlug) and plug.mode == PASSTHROUGH:
        return _place_of(plug.dev, facts)
    return None


def carrier_of(plug: Plug | None, facts: Facts) -> FunctionPlace | None:
    """Return the virtual function that carries a port's frames, and others'; or ``None``.

    Of several that are ports of one bridge, the first.
    """
    if isinstance(plug, DirectPlug) and plug.mode != PASSTHROUGH:
        return _place_below(facts.links.get(plug.dev), facts)
    if isinstance(plug, BridgePlug):
        for member in facts.members(plug.bridge) if facts.virtual_functions else ():
            place = _place_below(member, facts)
            if place is not None:
                return dataclasses.replace(place, way=InterfaceName(member.name))
    return None


def _place_below(link: LinkFact | None, facts: Facts) -> FunctionPlace | None:
    """Return the virtual function that a link is, or that is under a VLAN device."""
    if link is not None and link.kind == _VLAN:
        link = next((one for one in facts.links.values() if one.index == link.lower), None)
    return None if link is None else _place_of(link.name, facts)


def _place_of(link: str, facts: Facts) -> FunctionPlace | None:
    """Return the virtual function whose interface ``link`` is."""
    return next((place for dev, place in _places(facts) if dev == link), None)


def _places(facts: Facts) -> Iterator[tuple[InterfaceName | None, FunctionPlace]]:
    """Yield every virtual function with its interface here, if it has one."""
    for physical, functions in facts.virtual_functions.items():
        for one in functions:
            yield (
                one.dev,
                FunctionPlace(
                    address=one.address,
                    physical=InterfaceName(physical),
                    driver=one.driver,
                    count=len(functions),
                ),
            )


def check_function(port: Port) -> None:
    """Raise ``UnsupportedConfiguration`` for what no virtual function can give a port."""
    what = None
    if port.vlan is not None and (
        port.vlan.trunk or len(port.vlan.tags) != 1 or port.vlan.tags[0].native_mode is not None
    ):
        what = "a trunk: it can have one VLAN tag"
    elif port.bandwidth is not None and port.bandwidth.inbound is not None:
        what = "a limit of what the guest receives: only what it sends can be limited"
    elif port.virtualport is not None:
        what = "a virtualport"
    if what is not None:
        raise UnsupportedConfiguration(
            f"the port {port.uuid} is on a virtual function, which cannot have {what}",
            hint="change the network's document, or attach to another portgroup",
        )


def plan_function(port: Port, place: FunctionPlace) -> list[Resource]:
    """Return what a ``port`` on the virtual function at ``place`` wants set of it."""
    assert port.mac is not None
    values: list[tuple[FunctionAspect, str]] = []
    if isinstance(port.plug, HostdevPlug):
        if port.plug.managed:
            driver = _guest_driver(port.plug)
            values += [(FunctionAspect.OVERRIDE, driver), (FunctionAspect.DRIVER, driver)]
        values.append((FunctionAspect.MAC, str(port.mac)))
    else:
        if place.driver is not None:
            values.append((FunctionAspect.DRIVER, place.driver))
        values += [(FunctionAspect.MAC, str(port.mac)), (FunctionAspect.OWN_MAC, str(port.mac))]
    if port.vlan is not None:
        values.append((FunctionAspect.VLAN, f"{port.vlan.tags[0].id} 0"))
    trusted = port.trust_guest_rx_filters
    if trusted is not None:
        values.append((FunctionAspect.TRUST, "on" if trusted else "off"))
    # A guest that may take other addresses sends from them, too.
    values.append((FunctionAspect.SPOOF_CHECK, "off" if trusted else "on"))
    rate = _rate(port)
    if rate is not None:
        values.append((FunctionAspect.RATE, f"0 {rate}"))
    return [
        *_of_the_card(place),
        *(
            FunctionSetting(
                address=place.address,
                aspect=aspect,
                value=value,
                # Nobody asked for it: it is what a card that has it should do.
                optional=aspect is FunctionAspect.SPOOF_CHECK,
            )
            for aspect, value in values
        ),
    ]


def plan_carrier(port: Port, place: FunctionPlace) -> list[Resource]:
    """Return what a ``port`` wants of the virtual function at ``place``, which carries its frames.

    A macvtap enters its address by itself.
    """
    assert port.mac is not None
    resources: list[Resource] = _of_the_card(place)
    resources += (
        # A card without these lets its functions do as they like.
        FunctionSetting(address=place.address, aspect=aspect, value=value, optional=True)
        for aspect, value in ((FunctionAspect.TRUST, "on"), (FunctionAspect.SPOOF_CHECK, "off"))
    )
    if place.way is not None:
        resources += (
            OwnAddress(link=place.way, mac=port.mac),
            EchoGuard(link=place.way, mac=port.mac),
        )
    return resources


def _of_the_card(place: FunctionPlace) -> list[Resource]:
    return [
        _link_up(place.physical),
        # They stay as long as a port has one of them.
        FunctionCount(link=place.physical, value=str(place.count)),
    ]


def _link_up(link: InterfaceName) -> LinkSetting:
    """Return that a physical function is up: without it its virtual ones have no carrier."""
    return LinkSetting(link=link, attribute=LinkAttribute.STATE, value="up")


def _guest_driver(plug: HostdevPlug) -> str:
    """Return the driver that passes a function on: ``<driver name='vfio' model='…'/>``."""
    if plug.driver not in (None, "vfio"):
        raise UnsupportedConfiguration(
            f"<driver name='{plug.driver}'/> is not a driver that gives PCI functions to guests",
            hint="leave it out, or say vfio",
        )
    return _VFIO if plug.model is None else str(plug.model)


def _rate(port: Port) -> int | None:
    """Return the limit of what a guest sends in Mbit/s, rounded up to what a card can be told."""
    outbound = None if port.bandwidth is None else port.bandwidth.outbound
    if outbound is None or outbound.average is None:
        return None
    return min(-(-outbound.average * 1024 * 8 // _MEGABIT), _MOST_MEGABITS)
