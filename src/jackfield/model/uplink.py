"""Uplinks: what a network reaches the outside through."""

from __future__ import annotations

import re
from typing import Self

from jackfield.model.value import Value
from jackfield.model.values import InterfaceName

__all__ = [
    "DeviceUplink",
    "PciAddress",
    "PciUplink",
    "PhysicalFunction",
    "Uplink",
    "describe",
]

_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")


class PciAddress(str):
    """PCI address in the kernel's spelling, ``0000:01:10.0``."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Accept ``text`` in either case or raise ``ValueError``."""
        lowered = text.lower()
        if not _ADDRESS.fullmatch(lowered):
            raise ValueError(f"{text[:64]!r} is not a PCI address like 0000:01:10.0")
        return super().__new__(cls, lowered)

    @classmethod
    def of(cls, *, domain: int = 0, bus: int = 0, slot: int = 0, function: int = 0) -> Self:
        """Return the address with a domain of 16 bits, a bus of 8, a slot of 5, a function of 3."""
        return cls(f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}")

    @property
    def parts(self) -> tuple[int, int, int, int]:
        """Domain, bus, slot and function."""
        return int(self[:4], 16), int(self[5:7], 16), int(self[8:10], 16), int(self[11:], 16)


class DeviceUplink(Value, frozen=True, kw_only=True, tag_field="kind", tag="device"):
    """A host interface, libvirt's ``<interface dev='…'/>``."""

    dev: InterfaceName


class PciUplink(Value, frozen=True, kw_only=True, tag_field="kind", tag="pci"):
    """A PCI function, libvirt's ``<address type='pci' …/>``."""

    address: PciAddress


class PhysicalFunction(Value, frozen=True, kw_only=True, tag_field="kind", tag="pf"):
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
