"""Links of ours that somebody renamed: rules and services know them by their names alone.

They are known by kind and mark.  Those that are in guests' namespaces are the guests' to rename.
"""

from __future__ import annotations

from collections.abc import Sequence

from jackfield.host.kernel import Kernel
from jackfield.host.netlink.link import Link, set_link
from jackfield.model.values import InterfaceName
from jackfield.state.links import BridgeLink, MacvtapLink, TapLink, VethLink

__all__ = ["LinkHere", "names_now", "remove_renamed", "take_names_back"]

LinkHere = BridgeLink | TapLink | VethLink | MacvtapLink
"""What stays in our own namespace."""

_KINDS = {BridgeLink: "bridge", TapLink: "tun", VethLink: "veth", MacvtapLink: "macvtap"}


def take_names_back(kernel: Kernel, wanted: Sequence[LinkHere]) -> list[LinkHere]:
    """Give links of ours that somebody renamed their names back; return those.

    ``wanted`` are all links of the networks and ports in question: which has whose name is clear
    only where one name of a network is missing, and one link of it has a name that is not its.
    """
    missing = [item for item in wanted if kernel.route.index(item.name) is None]
    if not missing:
        return []
    known = {item.name for item in wanted}
    strays: dict[tuple[str, str], list[Link]] = {}
    for link in kernel.route.links().values():
        if link.alias and link.name not in known:
            strays.setdefault((link.kind, link.alias), []).append(link)
    marks = [_mark(item) for item in missing]
    back = [
        item
        for item, mark in zip(missing, marks, strict=True)
        if marks.count(mark) == 1 and len(strays.get(mark, ())) == 1
    ]
    for item in back:
        (link,) = strays[_mark(item)]
        what = f"give {item.kind} {link.name} its name {item.name} back"
        kernel.route.send([set_link(link.index, what, name=item.name)])
    return back


def names_now(kernel: Kernel, wanted: Sequence[LinkHere]) -> dict[InterfaceName, InterfaceName]:
    """Return what links of ours are called now, by the names that they should have.

    ``wanted`` are all links of a network or port; what is not there, or cannot be told from
    another one of it, is left out.
    """
    found, missing = {}, []
    for item in wanted:
        link = kernel.route.link(item.name)
        if link is not None and (link.kind, link.alias) == _mark(item):
            found[item.name] = item.name
        else:
            missing.append(item)
    if missing:
        links = [link for link in kernel.route.links().values() if link.name not in found]
        for item in missing:
            marked = [link for link in links if (link.kind, link.alias) == _mark(item)]
            namesakes = [other for other in missing if _mark(other) == _mark(item)]
            if len(marked) == len(namesakes) == 1:
                found[item.name] = InterfaceName(marked[0].name)
    return found


def remove_renamed(kernel: Kernel, former: Sequence[LinkHere]) -> None:
    """Remove the links of networks and ports of which nothing is to be left, by any name.

    ``former`` are all links of those.
    """
    marks = {_mark(item) for item in former}
    kernel.route.delete_links(
        link.index
        for link in kernel.route.links().values()
        if link.alias and (link.kind, link.alias) in marks
    )


def _mark(item: LinkHere) -> tuple[str, str]:
    return _KINDS[type(item)], item.alias
