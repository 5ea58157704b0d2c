"""Uplinks: what a network reaches the outside through."""

from __future__ import annotations

import dataclasses
import re
from typing import Self

from jackfield.model.values import InterfaceName

__all__ = [
    "DeviceUplink",
    "PciAddress",
    "PciUplink",
    "PhysicalFunction",
    "Uplink",
    "describe",
]

_ADDRESS = re.compile(r"([0-9a-f]{4}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PciAddress:
    """PCI address: domain 16 bit, bus 8 bit, slot 5 bit, function 3 bit."""

    domain: int = 0
    bus: int = 0
    slot: int = 0
    function: int = 0

    def __str__(self) -> str:
        """Return the kernel's spelling, ``0000:01:10.0``."""
        return f"{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function:x}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the kernel's spelling or raise ``ValueError``."""
        match = _ADDRESS.fullmatch(text.lower())
        if match is None:
            raise ValueError(f"{text[:64]!r} is not a PCI address like 0000:01:10.0")
        domain, bus, slot, function = (int(part, 16) for part in match.groups())
        return cls(domain=domain, bus=bus, slot=slot, function=function)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUplink:
    """A host interface, libvirt's ``<interface dev='…'/>``."""

    dev: InterfaceName


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PciUplink:
    """A PCI function, libvirt's ``<address type='pci' …/>``."""

    address: PciAddress


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PhysicalFunction:
    """An SR-IOV physical function, libvirt's ``<pf dev='…'/>``: stands for its functions."""

    dev: InterfaceName


Uplink = DeviceUplink | PciUplink | PhysicalFunction


def describe(uplink: Uplink) -> str:
    """Return how messages name ``uplink``: ``eth0``, ``0000:01:10.0``, ``pf eth0``."""
    if isinstance(uplink, DeviceUplink):
        return uplink.dev
    if isinstance(uplink, PciUplink):
        return str(uplink.address)
    return f"pf {uplink.dev}"
