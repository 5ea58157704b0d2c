"""Uplinks that bridges take over from: whether they may, and whether the LAN still answers.

A switch may close its port when it sees more addresses than it likes, and an administrator far
away could not undo it: so a gateway that answers before has to answer afterwards.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import socket
from collections.abc import Collection, Iterable, Sequence

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.workplace import Workplace
from jackfield.errors import HostError
from jackfield.host.gateway import Gateway, answers
from jackfield.host.managers import look_at_uplink
from jackfield.host.thread import KernelThread
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName
from jackfield.plan.managedbridge import check_uplinks, managed_uplinks
from jackfield.state.facts import UplinkFact
from jackfield.state.resources import ManagedUplink, Resource

__all__ = ["AnsweringGateway", "Uplinks"]

_FIRST_ANSWER = 1.0
"""Seconds in which a gateway must answer before anything is changed, for it to count."""

_SECOND_THOUGHT = 0.5
"""Seconds that a switch is given to change its mind."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringGateway:
    """A gateway that answers through ``uplink`` now, and must through ``bridge`` soon."""

    gateway: Gateway
    uplink: InterfaceName
    bridge: InterfaceName


class Uplinks:
    """Looks before a bridge takes over from an uplink, and after it."""

    def __init__(
        self,
        thread: KernelThread[Workplace],
        host: HostWatch,
        *,
        take_managed: bool,
        gateway_timeout: float,
    ) -> None:
        """Ask the kernel through ``thread``; ``gateway_timeout`` is in seconds, 0 asks nobody."""
        self._thread = thread
        self._host = host
        self._take_managed = take_managed
        self._gateway_timeout = gateway_timeout

    async def check(self, network: Network, former: Network | None = None) -> None:
        """Raise what forbids to make the network's bridges over its uplinks.

        What it runs as, ``former``, holds some of them already.
        """
        held = {} if former is None else managed_uplinks(former)
        uplinks = managed_uplinks(network).keys() - held
        if not uplinks:
            return
        facts = self._host.all_facts()
        found: dict[str, UplinkFact] = {
            uplink: await self._thread.run(
                _look, uplink, facts.links[uplink].index, frozenset(facts.links)
            )
            for uplink in uplinks
            if uplink in facts.links
        }
        check_uplinks(network, facts, found, take_managed=self._take_managed, held=held)

    async def gateways(self, wanted: Iterable[Resource]) -> list[AnsweringGateway]:
        """Return the gateways that answer through the uplinks among ``wanted``."""
        uplinks = [item for item in wanted if isinstance(item, ManagedUplink)]
        if not uplinks or not self._gateway_timeout:
            return []
        found = await self._thread.run(_gateways, uplinks)
        heard = await asyncio.gather(
            *(self._ask(item.gateway, item.uplink, _FIRST_ANSWER) for item in found)
        )
        return [item for item, answered in zip(found, heard, strict=True) if answered]

    async def expect(self, gateways: Sequence[AnsweringGateway]) -> None:
        """Return when all answer through the bridges; ``HostError`` when one does not.

        Each has to answer twice: a switch that minds what it hears shuts its port a moment later.
        """
        if not gateways:
            return
        await self._expect(gateways)
        await asyncio.sleep(_SECOND_THOUGHT)
        await self._expect(gateways)

    async def _expect(self, gateways: Sequence[AnsweringGateway]) -> None:
        heard = await asyncio.gather(
            *(self._ask(item.gateway, item.bridge, self._gateway_timeout) for item in gateways)
        )
        for item, answered in zip(gateways, heard, strict=True):
            if not answered:
                raise HostError(
                    f"the gateway {item.gateway.address} answered through {item.uplink}, but not "
                    f"through bridge {item.bridge} within {self._gateway_timeout:g} s; "
                    f"{item.uplink} gets everything back",
                    hint=(
                        "does the switch allow more than one address at its port? "
                        "gateway_timeout in the daemon's configuration says how long to wait"
                    ),
                )

    async def _ask(self, gateway: Gateway, link: InterfaceName, seconds: float) -> bool:
        return await answers(gateway, link, seconds, self._close)

    async def _close(self, asker: socket.socket) -> None:
        await self._thread.run(lambda _: asker.close())


def _look(_: Workplace, uplink: str, index: int, names: Collection[str]) -> UplinkFact:
    return look_at_uplink(uplink, index, names)


def _gateways(tools: Workplace, uplinks: Sequence[ManagedUplink]) -> list[AnsweringGateway]:
    """Return the next hops of the default routes through the uplinks."""
    found: dict[tuple[str, bytes], AnsweringGateway] = {}
    for item in uplinks:
        index = tools.kernel.route.index(item.link)
        if index is None:
            continue
        own = [entry.interface for entry in tools.kernel.route.addresses(index)]
        for version, size in ((4, 4), (6, 16)):
            for route in tools.kernel.route.routes(version, index):
                if route.destination.prefixlen or len(route.gateway) != size:
                    continue
                address = ipaddress.ip_address(route.gateway)
                sources = [one for one in own if isinstance(one, ipaddress.IPv4Interface)]
                # One of the gateway's own subnet, if there is one.
                sources.sort(key=lambda one: address not in one.network)
                found[item.link, route.gateway] = AnsweringGateway(
                    gateway=Gateway(address=address, source=sources[0].ip if sources else None),
                    uplink=item.link,
                    bridge=item.bridge,
                )
    return list(found.values())
