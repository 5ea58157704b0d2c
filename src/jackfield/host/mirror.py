"""The facts mirror: links, addresses and main routes of this namespace, kept from rtnetlink.

The kernel multicasts every change.  The event loop reads them (``read``, a few milliseconds at
a time).  What must be read whole, at the start and after an overflow, is dumped and compared on
the kernel thread (``take``) while the changes wait in the socket, and then put in place
(``install``)::

    loop thread      read ─ read ─ overflow!              install ─ tell ─ tell ─ read
    kernel thread                      └─ drain ─ dump ─ compare ─┘

so the loop never does work that grows with the number of links in one go.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TypeVar

from jackfield.errors import JackfieldError
from jackfield.host.linktable import LinkChange, LinkTable
from jackfield.host.netlink.address import (
    RTM_DELADDR,
    RTM_NEWADDR,
    AddressEntry,
    decode_address,
)
from jackfield.host.netlink.link import RTM_DELLINK, RTM_NEWLINK, Link, decode_link
from jackfield.host.netlink.message import NLM_F_REPLACE, Reply
from jackfield.host.netlink.netconf import RTM_NEWNETCONF, is_about_all
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.netlink.routing import RTM_DELROUTE, RTM_NEWROUTE, decode_route
from jackfield.host.netlink.socket import NETLINK_ROUTE, MessagesLost, NetlinkSocket
from jackfield.host.routetable import RouteTable
from jackfield.host.thread import KernelThread
from jackfield.model.address import IpNetwork
from jackfield.state.facts import Facts, LinkFact

__all__ = ["HostReading", "LinkCallback", "Mirror", "RouteCallback"]

LinkCallback = Callable[[LinkFact | None, LinkFact | None], None]
"""Called with a link as it was and as it is; ``None`` where it was not, or is not any more."""

RouteCallback = Callable[[IpNetwork, int], None]
"""Called with the destination of a route that came or went, and the index of its link."""

T = TypeVar("T")

# linux/rtnetlink.h: RTNLGRP_LINK, IPv4's _IFADDR and _ROUTE, IPv6's, their _NETCONF, and _NSID.
_GROUPS = (1, 5, 7, 9, 11, 24, 25, 28)
# A namespace to which something here led is gone.
_RTM_DELNSID = 89

# A notification of a link is about 2 KiB in the buffer: room for some ten thousand.
_RECEIVE_BUFFER = 16 << 20
# How long one step may keep the event loop.
_SLICE_SECONDS = 0.005
_RETRY_SECONDS = 1.0
# A network's start is a dozen notices: one wake-up for all of them leaves the interpreter to the
# kernel thread meanwhile.
_GATHER_SECONDS = 0.02

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class HostReading:
    """Everything as a dump found it, and which links and routes that changes in the mirror."""

    links: LinkTable
    routes: RouteTable
    changes: list[LinkChange]
    rerouted: list[tuple[IpNetwork, int]]


class Mirror:
    """What the host looks like, in the network namespace of the thread that opens it.

    In a daemon ``open`` does everything.  Without an event loop: ``listen``, then ``install``
    of what ``take`` returns, then ``read`` as often as wanted; when that returns false, from
    ``take`` again.
    """

    def __init__(self, *, receive_buffer: int = _RECEIVE_BUFFER) -> None:
        """Open nothing yet; ``receive_buffer`` is the socket's, in bytes."""
        self._receive_buffer = receive_buffer
        self._socket: NetlinkSocket | None = None
        self._links = LinkTable((), ())
        self._routes = RouteTable((), {})
        self._callbacks: list[LinkCallback] = []
        self._route_changed: RouteCallback = lambda _destination, _index: None
        self._forwarding_changed: Callable[[], None] = lambda: None
        self._namespace_gone: Callable[[], None] = lambda: None
        self._missed: Callable[[], None] = lambda: None
        self._told_again: Callable[[LinkFact], None] = lambda _: None
        self._untold: collections.deque[Callable[[], None]] = collections.deque()
        self._stale = True
        self._facts: Facts | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resync: Callable[[], Coroutine[None, None, None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._more = False

    async def open(
        self,
        loop: asyncio.AbstractEventLoop,
        thread: KernelThread[T],
        route_of: Callable[[T], RouteSocket],
    ) -> None:
        """Listen, read everything once, and go on by readers of ``loop`` until ``close``.

        Dumps run on ``thread``, through the socket that ``route_of`` finds among its tools.
        """
        self.listen()
        self._loop = loop

        async def resync() -> None:
            self.install(await thread.run(lambda tools: self.take(route_of(tools))))
            self._tell_and_listen()

        self._resync = resync
        await resync()

    def _tell_and_listen(self) -> None:
        """Pass a reading's changes on, slice by slice, and then go on reading."""
        assert self._loop is not None
        if self._socket is None:
            return
        if self.tell():
            self._loop.add_reader(self._socket.fileno(), self._noticed)
        else:
            self._loop.call_soon(self._tell_and_listen)

    def catch_up(self) -> None:
        """Apply what the kernel has sent so far, without waiting for the loop to notice it.

        The kernel queues its notice of a change before it answers the request for it, so who
        asks after its own request has been answered finds it done.
        """
        if not self._stale:
            self._read_or_resync()

    @property
    def behind(self) -> bool:
        """Whether the last reading ended before everything was read, for lack of time."""
        return self._stale or self._more

    def _noticed(self) -> None:
        """Let more come before any of it is read: whoever cannot wait catches up."""
        assert self._loop is not None
        assert self._socket is not None
        self._loop.remove_reader(self._socket.fileno())
        self._timer = self._loop.call_later(_GATHER_SECONDS, self._gathered)

    def _gathered(self) -> None:
        """Read slice by slice until nothing is left, and go back to waiting."""
        assert self._loop is not None
        if self._socket is None or self._stale:
            return
        if not self._read_or_resync():
            return
        if self._more:
            self._timer = self._loop.call_later(0, self._gathered)
        else:
            self._loop.add_reader(self._socket.fileno(), self._noticed)

    def _read_or_resync(self) -> bool:
        """Read; after an overflow stop listening until everything is read anew.

        Returns false then.
        """
        assert self._loop is not None
        assert self._socket is not None
        complete = self.read()
        if not complete:
            _logger.warning("changes of the host's network were missed; reading all of it anew")
            self._loop.remove_reader(self._socket.fileno())
            self._task = self._loop.create_task(self._resync_until_done())
        return complete

    async def _resync_until_done(self) -> None:
        assert self._resync is not None
        while True:
            try:
                await self._resync()
            except JackfieldError as error:
                _logger.warning("reading the host's network anew failed: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def listen(self) -> None:
        """Open the socket; changes from now on are not missed."""
        self._socket = NetlinkSocket(NETLINK_ROUTE, receive_buffer=self._receive_buffer)
        self._socket.subscribe(*_GROUPS)

    def close(self) -> None:
        """Stop listening; doing it again changes nothing."""
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._socket is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    @property
    def stale(self) -> bool:
        """Whether changes were missed, so that a ``HostReading`` must be taken and installed."""
        return self._stale

    def on_link(self, callback: LinkCallback) -> None:
        """Call ``callback`` at every change of a link, its addresses included."""
        self._callbacks.append(callback)

    def on_route(self, callback: RouteCallback) -> None:
        """Call ``callback`` at every change of a route of the main table."""
        self._route_changed = callback

    def on_told_again(self, callback: Callable[[LinkFact], None]) -> None:
        """Call ``callback`` when the kernel tells of a link that is as it was.

        It does so when what is on a link goes, be it in a namespace that nothing is seen of here
        (``NETDEV_CHANGEUPPER`` in the kernel's ``rtnetlink_event``).
        """
        self._told_again = callback

    def on_forwarding(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the host may have begun to forward, or have ceased to."""
        self._forwarding_changed = callback

    def on_namespace_gone(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when a namespace with links to ours may have been deleted."""
        self._namespace_gone = callback

    def on_missed(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when changes were missed: also of what has come and gone meanwhile."""
        self._missed = callback

    def read(self) -> bool:
        """Apply what the kernel has sent, for a few milliseconds at most.

        Returns false when changes were missed; nothing is read then before ``install``.  The
        socket stays readable while there is more.
        """
        assert self._socket is not None
        deadline = time.monotonic() + _SLICE_SECONDS
        self._more = True
        try:
            while not self._stale and time.monotonic() < deadline:
                replies = self._socket.poll()
                if not replies:
                    self._more = False
                    break
                for reply in replies:
                    self.apply(reply)
        except MessagesLost:
            self._stale = True
        return not self._stale

    def take(self, route: RouteSocket) -> HostReading:
        """Dump everything and compare it with the mirror; for the kernel thread.

        Called only while the mirror is stale: then the loop's thread neither reads the socket
        nor changes anything here.  What waits in the socket is thrown away first, because it is
        older than the dump and what followed it may be lost; what comes later is applied after
        the reading, and ends in the same state even where the dump had seen it already.
        """
        assert self._socket is not None
        drained = False
        while not drained:
            try:
                drained = not self._socket.poll()
            except MessagesLost:
                continue
        addresses = route.addresses()
        routes = [entry for version in (4, 6) for entry in route.routes(version)]
        links = LinkTable(route.links().values(), addresses)
        table = RouteTable(routes, links.by_index)
        changes = self._links.changes_to(links)
        return HostReading(links, table, changes, self._routes.changes_to(table))

    def install(self, reading: HostReading) -> None:
        """Put a reading in place; ``tell`` passes on what it changed."""
        self._links = reading.links
        self._routes = reading.routes
        partial = functools.partial
        self._untold += [partial(self._tell, old, new) for old, new in reading.changes]
        self._untold += [partial(self._route_changed, *route) for route in reading.rerouted]
        self._facts = None
        self._stale = False
        self._forwarding_changed()
        self._missed()

    def tell(self) -> bool:
        """Tell the subscribers what a reading changed, for a few milliseconds at most.

        Returns whether nothing is left to tell.
        """
        deadline = time.monotonic() + _SLICE_SECONDS
        while self._untold and time.monotonic() < deadline:
            self._untold.popleft()()
        return not self._untold

    def apply(self, message: Reply) -> None:
        """Apply one notification."""
        if message.type in (RTM_NEWLINK, RTM_DELLINK):
            link = decode_link(message.body)
            if link is not None:
                self._apply_link(link, gone=message.type == RTM_DELLINK)
        elif message.type in (RTM_NEWADDR, RTM_DELADDR):
            entry = decode_address(message.body)
            if entry is not None:
                self._apply_address(entry, gone=message.type == RTM_DELADDR)
        elif message.type in (RTM_NEWROUTE, RTM_DELROUTE):
            route = decode_route(message.body)
            if route is not None:
                self._facts = None
                if message.type == RTM_DELROUTE:
                    self._routes.remove(route)
                else:
                    self._routes.add(route, replaces=bool(message.flags & NLM_F_REPLACE))
                self._route_changed(route.destination, route.index)
        elif message.type == RTM_NEWNETCONF and is_about_all(message.body):
            self._forwarding_changed()
        elif message.type == _RTM_DELNSID:
            self._namespace_gone()

    def _apply_link(self, link: Link, *, gone: bool) -> None:
        if gone or not link.up:
            # The kernel does not tell of the IPv4 routes that go with a link.
            self._drop_routes(link.index, None)
        if gone:
            self._changed(self._links.drop(link.index))
            return
        old, new = self._links.put(link)
        if new != old:
            self._changed((old, new))
        else:
            self._told_again(new)

    def _apply_address(self, entry: AddressEntry, *, gone: bool) -> None:
        if gone:
            # Nor does it tell of those that had the address as their source.
            self._drop_routes(entry.index, entry.interface.ip.packed)
            self._changed(self._links.drop_address(entry))
        else:
            self._changed(self._links.put_address(entry))

    def _drop_routes(self, index: int, source: bytes | None) -> None:
        for destination in self._routes.drop_ipv4(index, source):
            self._facts = None
            self._route_changed(destination, index)

    def _changed(self, change: LinkChange | None) -> None:
        if change is None:
            return
        self._facts = None
        old, new = change
        named = new or old
        if named is not None and (old is None or new is None or old.name != new.name):
            self._routes.renamed(named.index)
        self._tell(old, new)

    def _tell(self, old: LinkFact | None, new: LinkFact | None) -> None:
        for callback in self._callbacks:
            callback(old, new)

    def facts(self) -> Facts:
        """Return the host as a plan sees it: values of now, which do not change any more.

        ``ipv6``, ``ra_interfaces`` and ``ipv6_forwarding`` are left at their defaults:
        ``ipv6.with_ipv6`` reads those.
        """
        if self._facts is None:
            self._facts = Facts(
                links=self._links.by_name.copy(),
                routes=self._routes.facts(self._links.by_index),
            )
        return self._facts

    def link(self, index: int) -> LinkFact | None:
        """Return the link with an index."""
        return self._links.by_index.get(index)
