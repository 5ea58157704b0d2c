"""The engine, as the HTTP door needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Protocol

from jackfield.allocation.check import Verdict
from jackfield.diagnosis.finding import Examination
from jackfield.engine.views import (
    AttachRequest,
    Event,
    LeaseView,
    MigrationStep,
    NetworkView,
    PortView,
)
from jackfield.model.guest import Guest
from jackfield.model.network import Network
from jackfield.state.plan import PlanStep

__all__ = ["Engine", "EventLog"]


class EventLog(Protocol):
    """What happened, numbered; older events than a bounded number of them are forgotten."""

    @property
    def last(self) -> int:
        """The number of the newest event, 0 before the first."""
        ...

    def since(self, number: int) -> list[Event]:
        """Return the events after ``number``; ``InvalidRequest`` when some are forgotten."""
        ...

    def follow(self, since: int | None = None) -> AsyncIterator[Event]:
        """Iterate over the events after ``since`` (``None``: the newest), then the coming."""
        ...


class Engine(Protocol):
    """Networks, ports and leases of this host.  ``ref`` is a name or the text of a uuid."""

    @property
    def events(self) -> EventLog:
        """What happened."""
        ...

    def networks(self) -> list[NetworkView]:
        """Return every network."""
        ...

    def network(self, ref: str) -> NetworkView:
        """Return one network, or raise ``NetworkNotFound``."""
        ...

    async def define(self, network: Network) -> NetworkView:
        """Store a definition; a running network goes on as it is."""
        ...

    async def hindrance(self, ref: str) -> str | None:
        """Return why a network that does not run cannot be started now, where a glance tells it."""
        ...

    async def apply(
        self, network: Network, *, transient: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make the stored and the running network so, and say what was done."""
        ...

    async def apply_stored(
        self, ref: str, *, live: bool = False
    ) -> tuple[NetworkView, list[PlanStep]]:
        """Make a network run as it is stored, or as it runs, and say what was done."""
        ...

    async def undefine(self, ref: str) -> NetworkView | None:
        """Forget the definition; return a network that runs on without one."""
        ...

    async def start(self, ref: str) -> NetworkView:
        """Start a network."""
        ...

    async def stop(self, ref: str) -> NetworkView:
        """Stop a network."""
        ...

    async def set_autostart(self, ref: str, autostart: bool) -> NetworkView:
        """Say whether a network starts with the host."""
        ...

    async def plan(self, ref: str, network: Network | None = None) -> list[PlanStep]:
        """Return what is to be done until the host is as the definition or ``network`` says."""
        ...

    async def examine(self, refs: Collection[str] = ()) -> Examination:
        """Return what keeps guests from networks, of those named or of all that run."""
        ...

    def check_guest(self, guest: Guest) -> tuple[Verdict, ...]:
        """Return what each interface of a guest would get here and now."""
        ...

    async def ports(self, ref: str | None = None) -> list[PortView]:
        """Return the ports, of one network or of all."""
        ...

    async def attach(self, ref: str, request: AttachRequest) -> PortView:
        """Plug something into a network."""
        ...

    async def open_port(self, port: str) -> list[int]:
        """Return open descriptors of a port's device, which the caller closes."""
        ...

    async def detach(self, port: str) -> None:
        """Unplug: ``port`` is a uuid, a device name, or an owner's name that has one port."""
        ...

    async def detach_all(self, ref: str) -> int:
        """Unplug everything that Jackfield plugged into a network; return how much that was."""
        ...

    async def leases(self, ref: str | None = None) -> list[LeaseView]:
        """Return the DHCP leases, of one network or of all."""
        ...

    async def import_libvirt(
        self, ref: str | None, *, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        """Take over libvirt's network ``ref``, or all; say what was done, or would be."""
        ...

    async def export_libvirt(
        self, ref: str | None, *, as_bridge: bool, dry_run: bool, own_sockets: Collection[Path]
    ) -> list[MigrationStep]:
        """Give the stored network ``ref``, or all, to libvirt; say what was done, or would be.

        With ``as_bridge`` libvirt gets networks of these names on our bridges.
        """
        ...
