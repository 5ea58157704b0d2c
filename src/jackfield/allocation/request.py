"""What a guest interface asks for, and what it is given."""

from __future__ import annotations

from uuid import UUID

import msgspec

from jackfield.model.bandwidth import Bandwidth
from jackfield.model.guest import GuestInterface
from jackfield.model.port import Owner, Port
from jackfield.model.uplink import Uplink
from jackfield.model.values import InterfaceName, MacAddress, Text
from jackfield.model.virtualport import VirtualPort
from jackfield.model.vlan import Vlan

__all__ = ["Allocation", "Request"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A wish for one port; ``vde`` is a VDE switch's directory, when the port is to be there.

    ``owner`` and ``mac`` are needed where identifiers are generated for a switch.
    """

    uuid: UUID | None = None
    owner: Owner | None = None
    mac: MacAddress | None = None
    portgroup: Text | None = None
    virtualport: VirtualPort | None = None
    bandwidth: Bandwidth | None = None
    vlan: Vlan | None = None
    isolated: bool | None = None
    trust_guest_rx_filters: bool | None = None
    vde: Text | None = None

    @classmethod
    def from_port(cls, port: Port) -> Request:
        """Return the wish that a ``<networkport>`` without a plug expresses."""
        return cls(
            uuid=port.uuid,
            owner=port.owner,
            mac=port.mac,
            portgroup=port.group,
            virtualport=port.virtualport,
            bandwidth=port.bandwidth,
            vlan=port.vlan,
            isolated=port.isolated,
            trust_guest_rx_filters=port.trust_guest_rx_filters,
        )

    @classmethod
    def from_interface(cls, interface: GuestInterface, owner: Owner | None) -> Request:
        """Return the wish that a guest's ``<interface type='network'>`` expresses."""
        return cls(
            owner=owner,
            mac=interface.mac,
            portgroup=interface.portgroup,
            virtualport=interface.virtualport,
            bandwidth=interface.bandwidth,
            vlan=interface.vlan,
            isolated=interface.isolated,
            trust_guest_rx_filters=interface.trust_guest_rx_filters,
        )


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """The port, and what else its making needs to know.

    ``uplink`` is the uplink of the network that was chosen; ``bring_up`` a device that is down
    and must be brought up (and put back); ``notes`` say what of the wish was ignored, and why.
    """

    port: Port
    uplink: Uplink | None = None
    bring_up: InterfaceName | None = None
    notes: tuple[str, ...] = ()
