"""Routers that the host does not listen to any more, because a network has it forward IPv6.

While an interface forwards, the kernel passes over router advertisements there, unless its
``accept_ra`` is 2: the host gets no default route by them, and keeps no address.  One that it has
already is found before a network starts (``plan.network.check_host``); what comes later, as after
a boot, is heard here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine, Iterable

from jackfield.engine.hostwatch import HostWatch
from jackfield.engine.registry import Registry
from jackfield.engine.tidings import Tidings
from jackfield.host.advertisements import heard, listen_for_routers
from jackfield.host.settings import IPV6_FORWARDING, ignores_routers
from jackfield.state.links import network_of, port_of
from jackfield.state.resources import Resource
from jackfield.state.settings import Setting

__all__ = ["RouterWatch"]

log = logging.getLogger(__name__)

_PAUSE = 0.2
"""Seconds after which more is heard: anybody on a link may send any number of advertisements."""
_AT_ONCE = 64


class RouterWatch:
    """Has networks say that the host passes over what its routers tell it."""

    def __init__(
        self,
        registry: Registry,
        host: HostWatch,
        tidings: Tidings,
        later: Callable[[Coroutine[None, None, None]], object],
    ) -> None:
        """Watch for the networks of ``registry``; ``later`` runs a coroutine as a task."""
        self._registry = registry
        self._host = host
        self._tidings = tidings
        self._later = later
        self._socket: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Listen from here on, where that can be."""
        try:
            self._socket = listen_for_routers()
        except OSError as error:
            log.info("router advertisements are not heard: %s", error.strerror)
        else:
            self._listen()

    def close(self) -> None:
        """Hear nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def _listen(self) -> None:
        assert self._socket is not None
        self._timer = None
        asyncio.get_running_loop().add_reader(self._socket, self._heard)

    def _heard(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._timer = loop.call_later(_PAUSE, self._listen)
        for index in heard(self._socket, _AT_ONCE):
            link = self._host.link(index)
            if link is not None and network_of(link.alias) is None and port_of(link.alias) is None:
                self._judge(link.name)

    def _judge(self, link: str) -> None:
        """Tell whether what a router has said on a link is lost."""
        words = f"{link} hears a router that the host does not listen to"
        problem = None
        if ignores_routers(link) and not self._has_default():
            problem = (
                f"{words}, because it forwards IPv6 for this network: the host has no IPv6 default "
                f"route. sysctl -w net.ipv6.conf.{link.replace('.', '/')}.accept_ra=2 has it listen"
            )
        for record in list(self._registry.networks.values()):
            if not record.active:
                continue
            known = record.problem
            if problem is None and (known or "").startswith(words):
                record.problem = None
            elif problem is not None and known is None and _forwards(record.present.values()):
                self._later(self._tidings.problem(record, problem))

    def _has_default(self) -> bool:
        return any(
            route.destination.version == 6 and not route.destination.prefixlen
            for route in self._host.links_and_routes().routes
        )


def _forwards(present: Iterable[Resource]) -> bool:
    return any(isinstance(item, Setting) and item.name == IPV6_FORWARDING for item in present)
