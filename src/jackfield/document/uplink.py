"""Uplinks: ``<interface dev>``, ``<address type='pci'>`` and ``<pf dev>``."""

from __future__ import annotations

from collections.abc import Mapping

from jackfield.document.xml import Element, fail, number, required, typed
from jackfield.model.uplink import (
    DeviceUplink,
    PciAddress,
    PciUplink,
    PhysicalFunction,
    Uplink,
    describe,
)
from jackfield.model.values import InterfaceName

__all__ = ["pci_attributes", "read_pci_address", "read_uplink", "read_uplinks", "write_uplinks"]


def device(element: Element) -> InterfaceName:
    """Return the attribute ``dev``, which must be there."""
    required(element, "dev")
    name = typed(element, "dev", InterfaceName)
    assert name is not None
    return name


def read_pci_address(element: Element) -> PciAddress:
    """Read domain, bus, slot and function of an ``<address>``."""
    return PciAddress.of(
        domain=number(element, "domain", 0xFFFF) or 0,
        bus=number(element, "bus", 0xFF) or 0,
        slot=number(element, "slot", 0x1F) or 0,
        function=number(element, "function", 7) or 0,
    )


def read_uplink(element: Element) -> Uplink:
    """Read an ``<interface>``, ``<address>`` or ``<pf>``."""
    if element.tag == "interface":
        return DeviceUplink(dev=device(element))
    if element.tag == "pf":
        return PhysicalFunction(dev=device(element))
    kind = element.get("type")
    if kind != "pci":
        fail(element, f"has type='{kind or ''}': allowed is 'pci'")
    return PciUplink(address=read_pci_address(element))


def read_uplinks(parent: Element, names: tuple[str, ...]) -> tuple[Uplink, ...]:
    """Read those children of ``parent`` that are uplinks called ``names``, each only once."""
    found: dict[Uplink, None] = {}
    for element in parent:
        if element.tag in names:
            uplink = read_uplink(element)
            if uplink in found:
                fail(element, f"lists the uplink {describe(uplink)} a second time")
            found[uplink] = None
    return tuple(found)


def pci_attributes(address: PciAddress) -> str:
    """Return the attributes of an ``<address>`` as libvirt writes them."""
    domain, bus, slot, function = address.parts
    return (
        f" domain='0x{domain:04x}' bus='0x{bus:02x}' slot='0x{slot:02x}' function='0x{function:x}'"
    )


def write_uplinks(
    out: list[str],
    indent: str,
    uplinks: tuple[Uplink, ...],
    connections: Mapping[Uplink, int] | None = None,
) -> None:
    """Append one element for each of ``uplinks``, with how many ports use it where known."""
    for uplink in uplinks:
        count = connections.get(uplink, 0) if connections else 0
        used = f" connections='{count}'" if count else ""
        if isinstance(uplink, DeviceUplink):
            out.append(f"{indent}<interface dev='{uplink.dev}'{used}/>\n")
        elif isinstance(uplink, PhysicalFunction):
            out.append(f"{indent}<pf dev='{uplink.dev}'/>\n")
        else:
            attributes = pci_attributes(uplink.address)
            out.append(f"{indent}<address type='pci'{attributes}{used}/>\n")
