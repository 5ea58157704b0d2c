"""VLAN tags: ``<vlan>`` of networks, portgroups, ports and guest interfaces."""

from __future__ import annotations

from jackfield.document.xml import Element, choice, fail, integer, yes_no
from jackfield.model.vlan import NativeMode, Vlan, VlanTag

__all__ = ["read_vlan", "write_vlan"]

_NATIVE_MODES = {mode.value: mode for mode in NativeMode}


def read_vlan(element: Element) -> Vlan:
    """Read a ``<vlan>``: several tags, or a native mode, make it a trunk."""
    tags: list[VlanTag] = []
    for one in element.iterchildren("tag"):
        tag = integer(one, "id", 0, 4095)
        if tag is None:
            fail(one, "lacks its attribute 'id'")
        tags.append(VlanTag(id=tag, native_mode=choice(one, "nativeMode", _NATIVE_MODES)))
    if not tags:
        fail(element, "needs at least one <tag id='…'/>")
    natives = sum(tag.native_mode is not None for tag in tags)
    if natives > 1:
        fail(element, "has more than one tag with a nativeMode")
    trunk = yes_no(element, "trunk")
    if trunk is False and len(tags) > 1:
        fail(element, "has trunk='no' with more than one <tag>")
    if trunk is False and natives:
        fail(element, "has trunk='no' with a nativeMode")
    if trunk is None:
        trunk = len(tags) > 1
    return Vlan(tags=tuple(tags), trunk=trunk)


def write_vlan(out: list[str], indent: str, vlan: Vlan) -> None:
    """Append the ``<vlan>`` of ``vlan``."""
    trunk = " trunk='yes'" if vlan.trunk else ""
    out.append(f"{indent}<vlan{trunk}>\n")
    for tag in vlan.tags:
        native = "" if tag.native_mode is None else f" nativeMode='{tag.native_mode.value}'"
        out.append(f"{indent}  <tag id='{tag.id}'{native}/>\n")
    out.append(f"{indent}</vlan>\n")
