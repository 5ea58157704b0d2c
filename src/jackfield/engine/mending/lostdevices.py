"""Devices of ports that are gone.

A macvtap or macvlan does not outlive the NIC that it is on.  When that is back, or another one of
its name, those that we make are made again.  Who had a macvtap open has the old one, which leads
nowhere, and has to open the new one.  What a client made is the client's to make again, and what
was set of a virtual function may have gone with it, so that a port that has one waits for somebody
to plug it in anew.  One whose NIC got another name goes on, and says so.

A device that somebody deletes, at its guest's end perhaps, may be meant to go, and a new one would
have none of the guest's addresses: it is told of, and made again when its network is applied or
started.  One whose namespace was deleted has nowhere to be until there is one again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from jackfield.engine.records import PortRecord, nic_of
from jackfield.engine.store import ledger
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError, shell_word
from jackfield.host.applier import is_astray
from jackfield.host.driver import Presence
from jackfield.host.netlink.link import Link
from jackfield.host.netlink.namespace import is_namespace, open_namespace
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.state.hoststate import Change, HostState
from jackfield.state.links import AnyLink

__all__ = [
    "Device",
    "are_back",
    "gone_alone",
    "is_inside",
    "look_at",
    "made_again",
    "make_again",
    "problem_of",
    "without_namespace",
]


class Device(enum.Enum):
    """What became of a port's device: gone, on a NIC that is not called so any more, or neither."""

    GONE = enum.auto()
    ASTRAY = enum.auto()
    WELL = enum.auto()


def look_at(
    tools: Workplace, ports: Sequence[PortRecord], states: Sequence[HostState]
) -> list[Device]:
    """Return what became of the device of each of ``ports``, which wants the one of ``states``."""
    links = [[item for item in state.values() if isinstance(item, AnyLink)] for state in states]
    found = tools.applier.observe([item for items in links for item in items])
    clients = any(port.device is None for port in ports)
    every = list(tools.kernel.route.links().values()) if clients else []
    return [
        _of_client(tools, port, every)
        if port.device is None
        else Device.GONE
        if all(found[item.key].presence is Presence.ABSENT for item in items)
        else Device.ASTRAY
        if any(is_astray(item, found[item.key]) for item in items)
        else Device.WELL
        for port, items in zip(ports, links, strict=True)
    ]


def is_inside(port: PortRecord) -> bool:
    """Tell whether a port's device is a macvlan, which is in its guest's namespace alone."""
    return port.device is not None and port.device.netns is not None and nic_of(port) is not None


def has_where_to_be(port: PortRecord) -> bool:
    """Tell whether the namespace that a port's device belongs to is there, if it has one."""
    netns = None if port.device is None else port.device.netns
    return netns is None or is_namespace(netns)


def without_namespace(tools: Workplace, ports: Iterable[PortRecord]) -> list[PortRecord]:
    """Return those of ``ports``, all inside, whose namespace is gone, or another one now.

    What was moved from here has given its namespace a number here, which a new one has not.
    """
    found = []
    for port in ports:
        assert port.device is not None
        assert port.device.netns is not None
        try:
            with open_namespace(port.device.netns, "look into a namespace") as descriptor:
                number = tools.kernel.route.netns_id(descriptor)
        except JackfieldError:
            number = None
        if number is None:
            found.append(port)
    return found


def _of_client(tools: Workplace, port: PortRecord, links: Iterable[Link]) -> Device:
    """Return what became of a client's macvtap, which is known by its address."""
    own = [link for link in links if link.kind == "macvtap" and link.mac_text == port.port.mac]
    if not own:
        return Device.GONE
    nic = tools.kernel.route.index(nic_of(port) or "")
    return Device.WELL if any(link.lower == nic for link in own) else Device.ASTRAY


def make_again(tools: Workplace, port: PortRecord, state: HostState) -> tuple[Change, str | None]:
    """Make what a lost port wants of the host so; return what that took, and why it failed."""
    if _waits_for_a_new_attach(port):
        failure = "what was set of its virtual function may have gone with it; attach it anew"
        return Change(), failure
    try:
        with tools.store.transaction():
            # The NIC may be another one of that name, with values of its own.
            ledger.acquire(tools.store, tools.applier, port.uuid, state.values())
        change, foreign = tools.applier.mend(list(state.values()))
    except (JackfieldError, ExceptionGroup) as error:
        return Change(), str(error)
    return change, f"in the way, and not ours: {', '.join(foreign)}" if foreign else None


def _waits_for_a_new_attach(port: PortRecord) -> bool:
    """Tell whether a virtual function was set for the device, and may have gone."""
    # Behind a bridge the function is not the device's, and is still there.
    on_nic = nic_of(port) is not None
    return on_nic and port.device is not None and port.device.function is not None


def gone_alone(port: PortRecord, network: NetworkName) -> str:
    """Return what is wrong with a port of ours whose device is gone, and nothing below it."""
    assert port.device is not None
    name, netns = port.device.name, port.device.netns
    free = f"jackfield detach {name}"
    if not has_where_to_be(port):
        return f"its device went with namespace {netns}, which is not there; free it with: {free}"
    apply = f"`jackfield apply {shell_word(network)}`"
    again = "" if _waits_for_a_new_attach(port) else f"{apply} makes it again, "
    return f"its device {name} was deleted or taken away: {again}`{free}` frees the port"


def problem_of(port: PortRecord, nic: InterfaceName | None, failure: str | None) -> str | None:
    """Return what is wrong with a port that was lost, with ``nic`` if that went and is back."""
    if failure is not None:
        went = "is gone" if nic is None else f"went with NIC {nic}"
        return f"its device {went}, and cannot be made again: {failure}"
    if port.device is None:
        return f"its device went with NIC {nic}: who made it has to make it again"
    if port.device.netns is not None:
        return None
    since = "it was made again" if nic is None else f"NIC {nic} is back"
    return f"its device is another one since {since}: what had it open has to open it again"


def made_again(ports: Sequence[PortRecord], nics: Iterable[InterfaceName | None]) -> str:
    """Say whose devices were made again, and whose have to be opened again; ``nics`` are back."""
    names = ", ".join(sorted({nic for nic in nics if nic is not None}))
    text = f"{f'NIC {names} is back; ' if names else ''}made again: {_owners(ports)}"
    taps = [port for port in ports if port.problem is not None]
    return f"{text}; to be opened again: {_owners(taps)}" if taps else text


def are_back(ports: Sequence[PortRecord]) -> str:
    """Say whose devices are back, by somebody else's doing."""
    return f"the devices are back: {_owners(ports)}"


def _owners(ports: Sequence[PortRecord]) -> str:
    owners = (port.port.owner for port in ports)
    return ", ".join(sorted(owner.name for owner in owners if owner is not None))
