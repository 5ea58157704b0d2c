"""Devices that went with their NIC: a macvtap or macvlan does not outlive what it is on.

When the NIC is back, or another one of its name, those that we make are made again.  Who had a
macvtap open has the old one, which leads nowhere, and has to open the new one.  What a client
made is the client's to make again, and what was set of a virtual function may have gone with it,
so that a port that has one waits for somebody to plug it in anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from jackfield.engine.records import PortRecord, nic_of
from jackfield.engine.workplace import Workplace
from jackfield.errors import JackfieldError
from jackfield.host.driver import Presence
from jackfield.state.hoststate import HostState
from jackfield.state.links import AnyLink

__all__ = ["are_missing", "made_again", "make_again", "problem_of"]


def are_missing(tools: Workplace, states: Sequence[HostState]) -> list[bool]:
    """Return of each port whether its device is gone; one that a client made is taken to be."""
    links = [[item for item in state.values() if isinstance(item, AnyLink)] for state in states]
    found = tools.applier.observe([item for items in links for item in items])
    return [all(found[item.key].presence is Presence.ABSENT for item in items) for items in links]


def make_again(tools: Workplace, port: PortRecord, state: HostState) -> str | None:
    """Make what a lost port wants of the host so; return why it could not be, or ``None``."""
    if port.device is not None and port.device.function is not None:
        return "what was set of its virtual function may have gone with it; attach it anew"
    try:
        _, foreign = tools.applier.mend(list(state.values()))
    except (JackfieldError, ExceptionGroup) as error:
        return str(error)
    return f"in the way, and not ours: {', '.join(foreign)}" if foreign else None


def problem_of(port: PortRecord, failure: str | None) -> str | None:
    """Return what is wrong with a port that was lost, now that its NIC is there."""
    nic = nic_of(port)
    if failure is not None:
        return f"its device went with NIC {nic}, and cannot be made again: {failure}"
    if port.device is None:
        return f"its device went with NIC {nic}: who made it has to make it again"
    if port.device.netns is not None:
        return None
    return (
        f"its device is another one since NIC {nic} is back: what had it open has to open it again"
    )


def made_again(ports: Sequence[PortRecord]) -> str:
    """Say whose devices were made again, and whose have to be opened again."""
    nics = ", ".join(sorted({str(nic_of(port)) for port in ports}))
    text = f"NIC {nics} is back; made again: {_owners(ports)}"
    taps = [port for port in ports if port.problem is not None]
    return f"{text}; to be opened again: {_owners(taps)}" if taps else text


def _owners(ports: Sequence[PortRecord]) -> str:
    owners = (port.port.owner for port in ports)
    return ", ".join(sorted(owner.name for owner in owners if owner is not None))
