"""Virtualports: ``<virtualport>`` of networks, portgroups, ports and guest interfaces."""

from __future__ import annotations

from uuid import UUID

from jackfield.document.xml import Element, choice, escape, fail, number, typed
from jackfield.model.values import Text
from jackfield.model.virtualport import PARAMETERS, VirtualPort, VirtualPortType

__all__ = ["parse_uuid", "read_uuid", "read_virtualport", "write_virtualport"]

_TYPES = {kind.value: kind for kind in VirtualPortType}


def parse_uuid(text: str) -> UUID:
    """Parse a UUID as libvirt accepts it: 32 hexadecimal digits, dashes anywhere between."""
    digits = text.strip().replace("-", "")
    if len(digits) != 32 or not digits.isalnum():
        raise ValueError("this is not a UUID")
    try:
        return UUID(int=int(digits, 16))
    except ValueError:
        raise ValueError("this is not a UUID") from None


def read_uuid(element: Element) -> UUID:
    """Return the UUID that an element holds."""
    text = element.text or ""
    try:
        return parse_uuid(text)
    except ValueError:
        fail(element, f"holds '{text[:64]}', which is not a UUID")


def _profile(text: str) -> Text:
    if len(text.encode()) > 39:
        raise ValueError("at most 39 bytes are allowed")
    return Text(text)


def read_virtualport(element: Element, *, need_type: bool = False) -> VirtualPort | None:
    """Read a ``<virtualport>``; one without a type and without parameters says nothing."""
    kind = choice(element, "type", _TYPES)
    if kind is None and need_type:
        fail(element, f"lacks its attribute 'type': allowed are {', '.join(map(repr, _TYPES))}")
    parameters = element.find("parameters")
    if parameters is None:
        return None if kind is None else VirtualPort(type=kind)
    if kind is not None:
        for name, (_, kinds) in PARAMETERS.items():
            if kind not in kinds and name in parameters.attrib:
                known = [other for other, (_, ok) in PARAMETERS.items() if kind in ok]
                fail(
                    parameters,
                    f"has {name}='{parameters.get(name)}' in a virtualport of type "
                    f"'{kind.value}': allowed are {', '.join(map(repr, known))}",
                )
    virtualport = VirtualPort(
        type=kind,
        manager_id=number(parameters, "managerid", 0xFF),
        type_id=number(parameters, "typeid", 0xFFFFFF),
        type_id_version=number(parameters, "typeidversion", 0xFF),
        instance_id=typed(parameters, "instanceid", parse_uuid),
        interface_id=typed(parameters, "interfaceid", parse_uuid),
        profile_id=typed(parameters, "profileid", _profile),
    )
    return None if virtualport == VirtualPort() else virtualport


def write_virtualport(out: list[str], indent: str, virtualport: VirtualPort) -> None:
    """Append the ``<virtualport>`` of ``virtualport``."""
    kind = virtualport.type
    head = f"{indent}<virtualport"
    if kind is not None:
        head += f" type='{kind.value}'"
    parameters = "".join(
        f" {name}='{escape(str(value))}'"
        for name, (field, kinds) in PARAMETERS.items()
        if (value := getattr(virtualport, field)) is not None and (kind is None or kind in kinds)
    )
    if parameters:
        out.append(f"{head}>\n{indent}  <parameters{parameters}/>\n{indent}</virtualport>\n")
    elif kind is not None:
        out.append(f"{head}/>\n")
