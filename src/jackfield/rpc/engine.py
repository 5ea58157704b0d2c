"""The engine, as the libvirt door needs it.

``ref`` is a name or the text of a uuid; where it may be a ``UUID``, that is found at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import UUID

from jackfield.document.update.request import Command, Section
from jackfield.engine.metadata import MetadataType
from jackfield.engine.views import Event, LeaseView, NetworkView, PortView
from jackfield.model.bandwidth import Bandwidth
from jackfield.model.network import Network
from jackfield.model.port import Port
from jackfield.model.uplink import Uplink
from jackfield.model.values import NetworkName

__all__ = ["Engine", "EventLog"]


class EventLog(Protocol):
    """What happens."""

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` with each event from now on."""
        ...

    def unlisten(self, listener: Callable[[Event], None]) -> None:
        """Call ``listener`` no more."""
        ...


class Engine(Protocol):
    """Networks, ports and leases of this host."""

    @property
    def events(self) -> EventLog:
        """What happened."""
        ...

    def networks(self) -> list[NetworkView]:
        """Return every network."""
        ...

    def network(self, ref: str | UUID) -> NetworkView:
        """Return one network, or raise ``NetworkNotFound``."""
        ...

    def network_name(self, ref: str | UUID) -> NetworkName:
        """Return the name of one network, or raise ``NetworkNotFound``."""
        ...

    def port_uuids(self, network: UUID) -> list[UUID]:
        """Return the ports of a network."""
        ...

    async def define(self, network: Network) -> NetworkView:
        """Store a definition; a running network goes on as it is."""
        ...

    async def create(self, network: Network) -> NetworkView:
        """Start a network by a definition that is not stored."""
        ...

    async def undefine(self, ref: str | UUID, *, with_ports: bool = False) -> NetworkView | None:
        """Forget the definition."""
        ...

    async def start(self, ref: str | UUID) -> NetworkView:
        """Start a network."""
        ...

    async def stop(self, ref: str | UUID) -> NetworkView:
        """Stop a network."""
        ...

    async def set_autostart(self, ref: str | UUID, autostart: bool) -> NetworkView:
        """Say whether a network starts with the host."""
        ...

    async def update(
        self,
        ref: str | UUID,
        section: Section,
        command: Command,
        parent_index: int,
        text: str,
        *,
        live: bool,
        config: bool,
    ) -> NetworkView:
        """Change one entry of the running network, the stored one, or both."""
        ...

    async def set_metadata(
        self,
        ref: str | UUID,
        kind: MetadataType,
        text: str | None,
        *,
        key: str | None,
        uri: str | None,
        live: bool,
        config: bool,
    ) -> NetworkView:
        """Set or remove the title, the description or one element of the metadata."""
        ...

    def affected(self, ref: str | UUID, *, live: bool, config: bool) -> Network:
        """Return the running or the stored network, whichever is meant."""
        ...

    def connections(self, network: Network) -> Mapping[Uplink, int]:
        """Return how many ports use each uplink of ``network``."""
        ...

    def port(self, uuid: UUID) -> PortView:
        """Return one port, or raise ``PortNotFound``."""
        ...

    async def create_port(self, ref: str | UUID, port: Port, *, reclaim: bool) -> PortView:
        """Allocate a port whose device its client makes."""
        ...

    async def limit_port(self, uuid: UUID, bandwidth: Bandwidth | None) -> PortView:
        """Set the bandwidth of a port."""
        ...

    async def detach(self, port: str | UUID) -> None:
        """Remove a port."""
        ...

    async def leases(self, ref: str | UUID | None = None) -> list[LeaseView]:
        """Return the DHCP leases, of one network or of all."""
        ...
