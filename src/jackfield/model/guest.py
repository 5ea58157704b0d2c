"""The guest's side: interfaces that name a network and nothing of the host."""

from __future__ import annotations

from uuid import UUID

from jackfield.model.bandwidth import Bandwidth
from jackfield.model.value import Value
from jackfield.model.values import MacAddress, NetworkName, Text
from jackfield.model.virtualport import VirtualPort
from jackfield.model.vlan import Vlan

__all__ = ["Guest", "GuestInterface"]


class GuestInterface(Value, frozen=True, kw_only=True):
    """One ``<interface>``; ``network`` is ``None`` when its ``kind`` is not ``network``."""

    kind: str = "network"
    network: NetworkName | None = None
    portgroup: Text | None = None
    mac: MacAddress | None = None
    virtualport: VirtualPort | None = None
    vlan: Vlan | None = None
    bandwidth: Bandwidth | None = None
    trust_guest_rx_filters: bool | None = None
    isolated: bool | None = None


class Guest(Value, frozen=True, kw_only=True):
    """A guest, or a lone interface (then without ``name`` and ``uuid``)."""

    name: Text | None = None
    uuid: UUID | None = None
    interfaces: tuple[GuestInterface, ...] = ()
