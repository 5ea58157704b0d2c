"""Free a guest from its host: ``<interface type='bridge|direct'>`` becomes two documents.

What names the host (bridge, device, mode, the switch's parameters) moves into a network; what
stays is ``<interface type='network'>``, which works on every host with a network of that name.
"""

from __future__ import annotations

import re

import msgspec
from lxml import etree

from jackfield.document.guest import read_interface
from jackfield.document.legacy import SOURCE_MODES
from jackfield.document.rules import check
from jackfield.document.virtualport import read_virtualport, write_virtualport
from jackfield.document.vlan import read_vlan
from jackfield.document.xml import Element, choice, fail, parse, required, typed
from jackfield.model.mode import Mode
from jackfield.model.network import Bridge, Network
from jackfield.model.uplink import DeviceUplink
from jackfield.model.values import InterfaceName, NetworkName
from jackfield.model.virtualport import VirtualPort

__all__ = ["unbind"]

_OF_THE_HOST = ("source", "actual", "backend", "virtualport", "target", "script")


def unbind(root: Element) -> tuple[list[Network], str]:
    """Return the networks that ``root`` (an interface or a domain) needs, and its new text."""
    found: dict[str, Network] = {}
    interfaces = [root] if root.tag == "interface" else root.findall("devices/interface")
    for interface in interfaces:
        if interface.get("type") not in ("bridge", "direct"):
            read_interface(interface)
            continue
        network = _network(interface)
        found.setdefault(network.name, network)
        if found[network.name] != network:
            network = _rename(network, found)
        _rewrite(interface, network)
    text = str(etree.tostring(root, pretty_print=True, encoding="unicode"))
    return list(found.values()), text.replace('"', "'") if _plain(text) else text


def _plain(text: str) -> bool:
    """Whether double quotes stand around attributes only."""
    return "'" not in text and re.search(r'>[^<]*"', text) is None


def _rename(network: Network, found: dict[str, Network]) -> Network:
    """Return ``network``, which differs from its namesake in ``found``, under a name of its own."""
    number = 2
    while True:
        renamed = msgspec.structs.replace(network, name=NetworkName(f"{network.name}-{number}"))
        if found.setdefault(renamed.name, renamed) == renamed:
            return renamed
        number += 1


def _network(interface: Element) -> Network:
    source = interface.find("source")
    if source is None:
        fail(interface, "has no <source>")
    element = interface.find("virtualport")
    virtualport = None if element is None else read_virtualport(element)
    if virtualport is not None:
        # What identifies the one guest stays with it.
        virtualport = msgspec.structs.replace(virtualport, instance_id=None, interface_id=None)
        if virtualport == VirtualPort():
            virtualport = None
    attribute = "bridge" if interface.get("type") == "bridge" else "dev"
    required(source, attribute)
    device = typed(source, attribute, InterfaceName)
    assert device is not None
    if attribute == "bridge":
        network = Network(
            name=NetworkName(f"bridge-{device}"),
            mode=Mode.BRIDGE,
            bridge=Bridge(name=device),
            virtualport=virtualport,
        )
    else:
        mode = choice(source, "mode", SOURCE_MODES) or Mode.VEPA
        network = Network(
            name=NetworkName(f"direct-{device}-{source.get('mode') or 'vepa'}"),
            mode=mode,
            uplinks=(DeviceUplink(dev=device),),
            virtualport=virtualport,
        )
    vlan = interface.find("vlan")
    if vlan is not None:
        read_vlan(vlan)
    check(network)
    return network


def _rewrite(interface: Element, network: Network) -> None:
    """Turn ``interface`` into one of type ``network``."""
    element = interface.find("virtualport")
    virtualport = None if element is None else read_virtualport(element)
    for name in _OF_THE_HOST:
        for part in interface.findall(name):
            interface.remove(part)
    interface.set("type", "network")
    source = etree.Element("source", network=network.name)
    mac = interface.find("mac")
    interface.insert(0 if mac is None else interface.index(mac) + 1, source)
    if virtualport is not None:
        own = VirtualPort(
            instance_id=virtualport.instance_id, interface_id=virtualport.interface_id
        )
        if own != VirtualPort():
            text: list[str] = []
            write_virtualport(text, "", own)
            interface.insert(interface.index(source) + 1, parse("".join(text)))
