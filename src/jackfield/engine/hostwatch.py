"""The host as the event loop knows it: the mirror, read up to now when somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from jackfield.engine.workplace import Workplace
from jackfield.host.ipv6 import with_ipv6
from jackfield.host.mirror import LinkCallback, Mirror, RouteCallback
from jackfield.host.sriov.facts import with_functions, with_functions_below
from jackfield.host.thread import KernelThread
from jackfield.model.address import IpInterface
from jackfield.model.mode import Mode
from jackfield.model.network import Network
from jackfield.state.facts import Facts, LinkFact

__all__ = ["HostWatch"]

_PAUSE = 0.001
"""Seconds between two readings, in which others have their turn."""


class HostWatch:
    """Gives facts that include what our own kernel thread has just done."""

    def __init__(self, thread: KernelThread[Workplace]) -> None:
        """Take whole looks at the host through ``thread``."""
        self._thread = thread
        self._mirror = Mirror()

    async def open(self) -> None:
        """Begin to listen, and take a first look."""
        loop = asyncio.get_running_loop()
        await self._mirror.open(loop, self._thread, lambda tools: tools.kernel.route)

    def close(self) -> None:
        """Stop listening."""
        self._mirror.close()

    def on_link(self, callback: LinkCallback) -> None:
        """Call ``callback`` at every change of a link."""
        self._mirror.on_link(callback)

    def on_forwarding(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the host may have begun to forward, or have ceased to."""
        self._mirror.on_forwarding(callback)

    def on_route(self, callback: RouteCallback) -> None:
        """Call ``callback`` at every change of a route of the main table."""
        self._mirror.on_route(callback)

    def on_namespace_gone(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when a namespace with links to ours may have been deleted."""
        self._mirror.on_namespace_gone(callback)

    def on_missed(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when changes were missed: also of what has come and gone meanwhile."""
        self._mirror.on_missed(callback)

    def on_told_again(self, callback: Callable[[LinkFact], None]) -> None:
        """Call ``callback`` when a link is as it was, and what is on it may not be."""
        self._mirror.on_told_again(callback)

    async def settle(self) -> None:
        """Return when the mirror shows everything that was done before, by us or others.

        One reading takes a few milliseconds at most; after a storm of changes it takes several.
        """
        self._mirror.catch_up()
        while self._mirror.behind:
            await asyncio.sleep(_PAUSE)
            self._mirror.catch_up()

    def links(self) -> Mapping[str, LinkFact]:
        """Return the links of the host as they are now."""
        self._mirror.catch_up()
        return self._mirror.facts().links

    async def addresses(self, index: int) -> tuple[IpInterface, ...]:
        """Return the addresses that a link has now, also those that are not told of yet."""
        found = await self._thread.run(lambda tools: tools.kernel.route.addresses(index))
        return tuple(entry.interface for entry in found)

    def links_and_routes(self) -> Facts:
        """Return the links and routes of the host as they are now, and nothing else of it."""
        self._mirror.catch_up()
        return self._mirror.facts()

    def link(self, index: int) -> LinkFact | None:
        """Return the link with an index, as far as its last change has been told."""
        return self._mirror.link(index)

    def all_facts(self) -> Facts:
        """Return the host as it is now, whatever the network."""
        self._mirror.catch_up()
        return with_functions(self._mirror.facts())

    def facts(self, network: Network) -> Facts:
        """Return the host as it is now, as far as ``network`` depends on it."""
        self._mirror.catch_up()
        facts = self._mirror.facts()
        if network.mode.is_macvtap or network.mode is Mode.HOSTDEV:
            return with_functions(facts)
        if network.mode is Mode.BRIDGE and network.bridge is not None:
            name = network.bridge.name
            bridges = {*network.managed_bridges, *(() if name is None else (name,))}
            return with_functions_below(facts, bridges)
        has_ipv6 = any(subnet.address and subnet.address.version == 6 for subnet in network.subnets)
        return with_ipv6(facts) if has_ipv6 else facts
