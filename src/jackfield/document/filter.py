"""What guests may send: ``<filterref filter='clean-traffic'>`` on a network or portgroup.

The element is that of a guest's interface (https://libvirt.org/formatnwfilter.html); on a network
libvirt passes over it.  ``antiSpoofing='yes'`` says the same in short, and ``'no'`` exempts a
portgroup from its network's filter.
"""

from __future__ import annotations

from collections.abc import Iterable

from jackfield.document.address import address_text, parse_address
from jackfield.document.xml import Element, choice, fail, required, yes_no
from jackfield.model.address import Address

__all__ = ["read_filter", "write_exemption", "write_filter"]

_FILTERS = {"clean-traffic": True}
_PARAMETERS = {"IP": 4, "IPV6": 6}


def read_filter(element: Element) -> tuple[bool | None, tuple[Address, ...]]:
    """Read whether ports of a network or portgroup are guarded, and their own addresses."""
    wanted = yes_no(element, "antiSpoofing")
    filterref = element.find("filterref")
    if filterref is None:
        return wanted, ()
    required(filterref, "filter")
    choice(filterref, "filter", _FILTERS)
    if wanted is False:
        fail(
            filterref,
            f"contradicts antiSpoofing='no' of its <{element.tag}>",
            hint="keep one of them",
        )
    return True, tuple(dict.fromkeys(map(_read_address, filterref.iterfind("parameter"))))


def _read_address(parameter: Element) -> Address:
    required(parameter, "name")
    version = choice(parameter, "name", _PARAMETERS)
    text = required(parameter, "value")
    try:
        address = parse_address(text)
    except ValueError as error:
        fail(parameter, f"has value='{text[:64]}': {error}")
    if address.version != version:
        fail(
            parameter,
            f"has name='{parameter.get('name')}' and value='{address}', which is IPv"
            f"{address.version}",
            hint="IP is for IPv4 addresses and IPV6 for IPv6",
        )
    return address


def write_exemption(anti_spoofing: bool | None) -> str:
    """Return the attribute of a network or portgroup whose ports are not guarded."""
    return " antiSpoofing='no'" if anti_spoofing is False else ""


def write_filter(
    out: list[str], indent: str, anti_spoofing: bool | None, addresses: Iterable[Address]
) -> None:
    """Append the ``<filterref>`` of a network or portgroup whose ports are guarded."""
    if not anti_spoofing:
        return
    names = {version: name for name, version in _PARAMETERS.items()}
    parameters = [
        f"{indent}  <parameter name='{names[address.version]}' value='{address_text(address)}'/>\n"
        for address in addresses
    ]
    head = f"{indent}<filterref filter='clean-traffic'"
    if not parameters:
        out.append(f"{head}/>\n")
        return
    out.extend([f"{head}>\n", *parameters, f"{indent}</filterref>\n"])
