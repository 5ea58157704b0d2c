"""A link's place: port of a bridge, and administratively up."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence

from jackfield.errors import JackfieldError
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.link import Link, change_port, port_flags, set_link
from jackfield.host.netlink.message import Message
from jackfield.host.ownership import is_marked
from jackfield.state.resources import BridgePort, LinkUp

__all__ = ["BridgePortDriver", "LinkUpDriver"]


class BridgePortDriver:
    """Makes links ports of bridges, sets their flags and brings them up."""

    def observe(
        self,
        kernel: Kernel,
        resources: Sequence[BridgePort],
        claimed: Collection[str] = frozenset(),
    ) -> dict[str, Observed]:
        """Return whose port each link is: no bridge's is absent, another's is foreign."""
        links = kernel.route.links([port.link for port in resources])
        bridges = {port.bridge for port in resources}
        indexes = {bridge: kernel.route.index(bridge) for bridge in bridges}
        return {
            port.key: _observed(port, links.get(port.link), indexes[port.bridge])
            for port in resources
        }

    def ensure(
        self,
        kernel: Kernel,
        resources: Sequence[BridgePort],
        replaced: Mapping[str, BridgePort],
    ) -> None:
        """Put the links on their bridges, with the flags set before they come up."""
        indexes: dict[str, int] = {}
        messages: list[Message] = []
        for port in resources:
            what = f"make {port.link} a port of {port.bridge}"
            if port.bridge not in indexes:
                indexes[port.bridge] = kernel.route.require_index(port.bridge, what)
            if port.key not in replaced:
                messages.append(set_link(port.link, what, master=indexes[port.bridge]))
            messages.append(
                change_port(
                    port.link,
                    what,
                    isolated=port.isolated,
                    learning=port.learning,
                    unicast_flood=port.unicast_flood,
                )
            )
        kernel.route.send(messages)

    def remove(self, kernel: Kernel, resources: Sequence[BridgePort]) -> None:
        """Take the links off, each only if it is a port of the bridge that is named."""
        links = kernel.route.links([port.link for port in resources])
        messages = []
        for port in resources:
            link = links.get(port.link)
            if link is None or link.master is None:
                continue
            if link.master == kernel.route.index(port.bridge):
                what = f"take {port.link} off {port.bridge}"
                messages.append(set_link(link.index, what, master=0))
        raise_refusals(kernel, messages, "could not take every link off its bridge")


def _observed(port: BridgePort, link: Link | None, bridge: int | None) -> Observed:
    if link is None or link.master is None:
        return ABSENT
    if link.master != bridge:
        return Observed(presence=Presence.FOREIGN, description=link.describe())
    isolated, learning, unicast_flood = port_flags(link.port_data)
    found = BridgePort(
        link=port.link,
        bridge=port.bridge,
        isolated=isolated,
        learning=learning,
        unicast_flood=unicast_flood,
        up=link.up,
    )
    return Observed(presence=Presence.OURS, resource=found)


class LinkUpDriver:
    """Brings links up and down."""

    def observe(
        self, kernel: Kernel, resources: Sequence[LinkUp], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return which links are up; one that is down is absent."""
        links = kernel.route.links([item.link for item in resources])
        return {
            item.key: Observed(presence=Presence.OURS, resource=item)
            if item.link in links and links[item.link].up
            else ABSENT
            for item in resources
        }

    def ensure(
        self, kernel: Kernel, resources: Sequence[LinkUp], replaced: Mapping[str, LinkUp]
    ) -> None:
        """Bring the links up."""
        kernel.route.send(
            [set_link(item.link, f"bring {item.link} up", up=True) for item in resources]
        )

    def remove(self, kernel: Kernel, resources: Sequence[LinkUp]) -> None:
        """Bring the links down that are marked as ours."""
        links = kernel.route.links([item.link for item in resources])
        messages = [
            set_link(links[item.link].index, f"bring {item.link} down", up=False)
            for item in resources
            if item.link in links and is_marked(links[item.link].alias)
        ]
        raise_refusals(kernel, messages, "could not bring every link down")


def raise_refusals(
    kernel: Kernel,
    messages: Sequence[Message],
    what: str,
    passed_over: Collection[int] = (errno.ENODEV,),
) -> None:
    """Send removals and raise what was refused as an ``ExceptionGroup`` named ``what``.

    The errnos ``passed_over`` say that the thing is gone already.
    """
    failures: list[JackfieldError] = [
        refusal for refusal in kernel.route.try_all(messages) if refusal.errno not in passed_over
    ]
    if failures:
        raise ExceptionGroup(what, failures)
