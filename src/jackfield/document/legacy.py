"""The older forms of a network, understood by ``jackfield convert`` only.

    <network type='direct'>
      <name>red-network</name>
      <source mode='vepa'/>
      <pool>
        <interface name='eth0' maxConnect='10'/>
        <interface name='eth1'/>
      </pool>
    </network>

``type='bridge'`` names a bridge in ``<source bridge='br0'/>``, ``type='direct'`` an interface in
``<source dev='eth0'/>`` or several in ``<pool>``.  Each ``maxConnect`` becomes a portgroup with
that ``count``; the interfaces without it become one portgroup without a limit.
"""

from __future__ import annotations

from lxml import etree

from jackfield.document.reader import read_network_element
from jackfield.document.xml import Element, choice, fail, integer
from jackfield.model.mode import Mode
from jackfield.model.network import Network

__all__ = ["SOURCE_MODES", "read_legacy"]

SOURCE_MODES: dict[str, Mode] = {
    "vepa": Mode.VEPA,
    "private": Mode.PRIVATE,
    "bridge": Mode.MACVTAP_BRIDGE,
    "passthrough": Mode.PASSTHROUGH,
    "passthru": Mode.PASSTHROUGH,
}
"""Modes of a ``<source>`` of type ``direct``; libvirt's default is ``vepa``."""

_LAYERED = {
    Mode.VEPA: "vepa",
    Mode.PRIVATE: "private",
    Mode.MACVTAP_BRIDGE: "bridge-macvtap",
    Mode.PASSTHROUGH: "passthru",
}


def read_legacy(root: Element, text: str | bytes) -> Network:
    """Read the older form ``root`` of the document ``text``, by rewriting it as a new one."""
    kind = root.get("type")
    if kind not in ("bridge", "direct"):
        fail(root, f"has type='{kind}': allowed are 'bridge', 'direct'")
    for element in ("forward", "bridge"):
        if root.find(element) is not None:
            fail(root, f"has type='{kind}' and a <{element}>: use one of the two forms")
    source = root.find("source")
    if source is None:
        source = etree.SubElement(root, "source")
    devices = _devices(root, source)
    forward = etree.SubElement(root, "forward")
    for device, _ in devices:
        etree.SubElement(forward, "interface", dev=device)
    if kind == "bridge":
        name = source.get("bridge")
        if not name:
            fail(source, "lacks its attribute 'bridge'")
        forward.set("mode", "bridge-brctl")
        etree.SubElement(root, "bridge", name=name)
    else:
        mode = choice(source, "mode", SOURCE_MODES) or Mode.VEPA
        if not devices:
            fail(source, "names no interface", hint="use dev='eth0' or a <pool>")
        forward.set("mode", _LAYERED[mode])
    if root.find(".//pool") is not None:
        _add_portgroups(root, devices)
    return read_network_element(root, text)


def _devices(root: Element, source: Element) -> list[tuple[str, int | None]]:
    """Return name and limit of each interface."""
    found: list[tuple[str, int | None]] = []
    dev = source.get("dev")
    for pool in root.iter("pool"):
        for one in pool.iterchildren("interface"):
            name = one.get("name") or one.get("dev")
            if not name:
                fail(one, "lacks its attribute 'name'")
            found.append((name, integer(one, "maxConnect")))
    if dev and dev not in [name for name, _ in found]:
        found.insert(0, (dev, None))
    return found


def _add_portgroups(root: Element, devices: list[tuple[str, int | None]]) -> None:
    unlimited = [name for name, limit in devices if limit is None]
    for name, limit in devices:
        if limit is not None:
            group = etree.SubElement(root, "portgroup", count=str(limit))
            etree.SubElement(group, "interface", dev=name)
    if unlimited:
        group = etree.SubElement(root, "portgroup")
        for name in unlimited:
            etree.SubElement(group, "interface", dev=name)
