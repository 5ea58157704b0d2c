"""Which links are the devices of ports that clients made.

libvirt's QEMU driver tells nobody the name of the tap that it makes for a port, but gives it the
guest's MAC with ``fe`` for its first byte, and puts it on the bridge that the port's plug names.
A macvtap has the guest's MAC itself and lies over the plug's device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from jackfield.engine.views import PortView
from jackfield.model.port import BridgePlug, DirectPlug, NetworkPlug
from jackfield.model.values import InterfaceName
from jackfield.state.facts import LinkFact

__all__ = ["recognised"]


def recognised(views: Iterable[PortView], links: Mapping[str, LinkFact]) -> list[PortView]:
    """Return ``views`` with the devices of clients' ports, where the host has them.

    The links are looked through once, however many ports there are.
    """
    found = list(views)
    if all(view.device is not None for view in found):
        return found
    names: dict[tuple[int | None, str], str] = {
        (link.master if link.master is not None else link.lower, str(link.mac)): name
        for name, link in links.items()
        if link.mac is not None and (link.master is not None or link.lower is not None)
    }

    def device(view: PortView) -> InterfaceName | None:
        plug, mac = view.port.plug, view.port.mac
        if mac is None:
            return None
        if isinstance(plug, NetworkPlug | BridgePlug):
            base, address = links.get(plug.bridge), f"fe{mac[2:]}"
        elif isinstance(plug, DirectPlug):
            base, address = links.get(plug.dev), str(mac)
        else:
            return None
        name = None if base is None else names.get((base.index, address))
        return None if name is None else InterfaceName(name)

    def seen(view: PortView) -> PortView:
        name = device(view)
        # With one that its client has made again nothing is wrong any more.
        return view if name is None else msgspec.structs.replace(view, device=name, problem=None)

    return [view if view.device is not None else seen(view) for view in found]
