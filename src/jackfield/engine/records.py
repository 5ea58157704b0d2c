"""Networks and ports as the event loop knows them, and what they want of the host."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from uuid import UUID

from jackfield.allocation.given import PORTGROUP
from jackfield.engine.ports.holders import Holder
from jackfield.engine.views import NetworkView
from jackfield.model.address import Address
from jackfield.model.network import Network
from jackfield.model.port import DirectPlug, Port
from jackfield.model.values import InterfaceName, MacAddress, NetworkName
from jackfield.plan.guard import plan_guard
from jackfield.plan.managedbridge import plan_port_vlans
from jackfield.plan.port import PortDevice, plan_guarantee, plan_port
from jackfield.plan.private import plan_privacy
from jackfield.plan.virtualfunction import plan_carrier
from jackfield.state.functions import EchoGuard, FunctionPlace, OwnAddress
from jackfield.state.hoststate import NOTHING, HostState
from jackfield.state.openvswitch import OvsPort
from jackfield.state.private import PrivateGuard
from jackfield.state.resources import BridgePort, LinkUp, TapNode
from jackfield.state.settings import LinkSetting
from jackfield.state.traffic import Guarantee, Policing, Shaping
from jackfield.state.vlans import UplinkVlan, VlanFiltering

__all__ = [
    "Leases",
    "NetworkRecord",
    "PortRecord",
    "Upkeep",
    "bridges_of",
    "former_problem",
    "nic_of",
    "state_of_port",
    "upkeep_of_port",
]

Upkeep = (
    BridgePort
    | OvsPort
    | Guarantee
    | Policing
    | Shaping
    | VlanFiltering
    | UplinkVlan
    | OwnAddress
    | EchoGuard
    | PrivateGuard
    | LinkSetting
    | LinkUp
    | TapNode
)
"""What of a port is mended with its network: its place there, its way out and its limits."""

_DEFINITIONS = frozenset({"live", "stored"})
_TOLD = frozenset({*_DEFINITIONS, "autostart", "settled", "problem"})
"""What the view of a network is made of, besides what does not change and its ports."""

_set = object.__setattr__


@dataclasses.dataclass(slots=True, eq=False)
class NetworkRecord:
    """One network: ``lock`` is held by whoever changes it or the host for it.

    ``live`` is set from the moment a start begins, so that others see its subnets and bridge;
    ``present`` is the host state that it wants.  Of one that is ``halted``, which is being stopped
    or whose stop has failed on the way, nothing is made anew before somebody asks for it.
    ``guarded_by`` is the definition by which the guards of its ports were made, ``followed`` the
    one by which they were given their settings.  ``view`` is what the doors are told, while it is
    true, and ``redefined`` is called with the record when it gets another definition.
    """

    uuid: UUID
    name: NetworkName
    redefined: Callable[[NetworkRecord], None] | None = None
    view: NetworkView | None = None
    stored: Network | None = None
    live: Network | None = None
    present: HostState = dataclasses.field(default_factory=HostState)
    guarded_by: Network | None = None
    followed: Network | None = None
    autostart: bool = False
    settled: bool = False
    halted: bool = False
    problem: str | None = None
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute; the view is made anew, and of a definition the registry is told."""
        _set(self, name, value)
        if name in _TOLD:
            _set(self, "view", None)
            if value is not None and name in _DEFINITIONS and self.redefined is not None:
                self.redefined(self)

    @property
    def current(self) -> Network:
        """The live definition, or the stored one."""
        network = self.live or self.stored
        assert network is not None
        return network

    @property
    def active(self) -> bool:
        """Whether the network runs."""
        return self.live is not None and self.settled


@dataclasses.dataclass(slots=True)
class PortRecord:
    """One port; ``device`` is ``None`` when a client makes it, ``holder`` when nobody keeps it.

    ``carrier`` is the virtual function that carries the frames of a client's; ``leases`` are what
    DHCP has given its MAC, as far as its guard knows.  One that is ``limited`` has a bandwidth that
    was set for it alone.  ``former`` are its settings that a former definition gave it, and the
    present one gives otherwise.  ``problem`` says what is wrong with its device.
    """

    uuid: UUID
    network: UUID
    port: Port
    realiser: str
    device: PortDevice | None = None
    holder: Holder | None = None
    carrier: FunctionPlace | None = None
    leases: tuple[Address, ...] = ()
    limited: bool = False
    former: frozenset[str] = frozenset()
    problem: str | None = None


def state_of_port(network: Network, port: PortRecord) -> HostState:
    """Return the host state of a port; of one whose device a client makes, what is around it."""
    if port.port.mac is None:
        return NOTHING
    if port.device is None:
        promised = plan_guarantee(network, port.port)
        vlans = plan_port_vlans(network, port.port)
        way = [] if port.carrier is None else plan_carrier(port.port, port.carrier)
        more = [*vlans, *way, *plan_privacy(network, port.port)]
        return HostState([*promised.values(), *more]) if more else promised
    planned = plan_port(network, port.port, port.device)
    guard = plan_guard(network, port.port, port.device.name, port.leases)
    return planned if guard is None else HostState([guard, *planned.values()])


Leases = Mapping[MacAddress, tuple[Address, ...]]
"""What DHCP has given to whom on one network."""


def upkeep_of_port(network: Network, port: PortRecord) -> list[Upkeep]:
    """Return what is mended of a port; where its device is gone, whoever had it has gone."""
    return [item for item in state_of_port(network, port).values() if isinstance(item, Upkeep)]


def nic_of(port: PortRecord) -> InterfaceName | None:
    """Return the NIC that a port's device is right on; ``None`` for any other port."""
    return port.port.plug.dev if isinstance(port.port.plug, DirectPlug) else None


def former_problem(port: PortRecord) -> str | None:
    """Return what is wrong with a port that keeps settings of a former definition."""
    if not port.former:
        return None
    names = ", ".join(sorted(name.replace("_", " ") for name in port.former))
    again = "its guest has the new ones when it is started anew"
    if PORTGROUP in port.former:
        names = f"its portgroup {port.port.group!r} is no more"
        again = f"{again}, if it does not name that one"
    if port.device is not None:
        again = f"jackfield detach {port.device.name}, and attach it anew"
    return f"keeps former settings ({names}): {again}"


def bridges_of(network: Network) -> set[str]:
    """Return the names of a network's bridges, whoever makes them."""
    if network.bridge is None or network.bridge.name is None:
        return set()
    return {network.bridge.name, *network.managed_bridges}
