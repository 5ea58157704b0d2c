"""The rtnetlink socket: verbs over the messages of links, addresses and routes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence

from jackfield.errors import JackfieldError, NotFound
from jackfield.host.netlink.address import AddressEntry, decode_address, dump_addresses
from jackfield.host.netlink.bridge import bridge_options, port_flags
from jackfield.host.netlink.bridgeport import (
    DEFAULT_VLANS,
    Entry,
    PortVlan,
    decode_entry,
    decode_vlans,
    dump_entries,
    dump_vlans,
    vlans_to_model,
)
from jackfield.host.netlink.link import (
    Link,
    decode_link,
    delete_group,
    delete_link,
    dump_links,
    get_link,
    get_link_at,
    random_group,
    set_link,
    wears_group,
)
from jackfield.host.netlink.message import (
    NLM_F_ACK,
    Message,
    attribute_u32,
    attributes,
)
from jackfield.host.netlink.routing import RouteEntry, decode_route, dump_routes
from jackfield.host.netlink.socket import NETLINK_ROUTE, NetlinkSocket, Refusal
from jackfield.host.netlink.vlan import ask_vlan_filtering
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.state.resources import BridgePort

__all__ = ["ONE_BY_ONE_LIMIT", "RouteSocket"]

ONE_BY_ONE_LIMIT = 50
"""Up to so many links are asked for by name; for more, one dump of all is cheaper."""

_RTM_GETNSID = 90
_NETNSA_NSID = 1
_NETNSA_FD = 3
_SIOCGIFINDEX = 0x8933
_IFREQ = struct.Struct("=16si20x")
_S32 = struct.Struct("=i")

# The kernel queues every answer of a send before we can read the first.
_MESSAGES_A_SEND = 512
_GROUP_ATTEMPTS = 3


class RouteSocket(NetlinkSocket):
    """rtnetlink in the network namespace of the thread that opens it."""

    def __init__(self) -> None:
        """Open the socket."""
        super().__init__(NETLINK_ROUTE)
        # All links by name during one look, empty until they are asked for; else None.
        self._look: dict[str, Link] | None = None
        self._control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        """Close the socket; doing it again changes nothing."""
        super().close()
        self._control.close()

    def try_all(self, messages: Sequence[Message]) -> list[Refusal]:
        """Send the messages in as few sends as possible; return what was refused, in order.

        The kernel goes on after a refusal; ``Refusal.index`` counts through all messages.
        """
        refusals: list[Refusal] = []
        for start in range(0, len(messages), _MESSAGES_A_SEND):
            part = list(messages[start : start + _MESSAGES_A_SEND])
            part[-1] = part[-1]._replace(flags=part[-1].flags | NLM_F_ACK)
            for refusal in self.batch(part):
                refusal.index += start
                refusals.append(refusal)
        return refusals

    def send(self, messages: Sequence[Message]) -> None:
        """Send the messages in as few sends as possible; raise the first refusal."""
        refusals = self.try_all(messages)
        if refusals:
            raise refusals[0]

    def index(self, name: str) -> int | None:
        """Return a link's index, or ``None``; the cheapest question there is."""
        request = _IFREQ.pack(name.encode(), 0)
        try:
            answer = fcntl.ioctl(self._control, _SIOCGIFINDEX, request)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return int(_IFREQ.unpack(answer)[1])

    def require_index(self, name: str, what: str) -> int:
        """Return a link's index, or raise ``NotFound`` that says what could not be done."""
        index = self.index(name)
        if index is None:
            raise NotFound(f"cannot {what}: there is no link {name}")
        return index

    def link(self, name: str) -> Link | None:
        """Return one link, or ``None``."""
        return self._link(get_link(name))

    def link_at(self, index: int) -> Link | None:
        """Return the link with that index, or ``None``."""
        return self._link(get_link_at(index))

    def _link(self, question: Message) -> Link | None:
        try:
            replies = self.request(question)
        except Refusal as refusal:
            if refusal.errno == errno.ENODEV:
                return None
            raise
        return decode_link(replies[0].body)

    def links(self, names: Collection[str] | None = None) -> dict[str, Link]:
        """Return links by name: those of ``names`` that exist, or all."""
        if names is not None and len(names) <= ONE_BY_ONE_LIMIT:
            # What does not exist is found out without the lock that a question takes.
            found = (self.link(name) for name in names if self.index(name) is not None)
            return {link.name: link for link in found if link is not None}
        every = self._look or {link.name: link for link in self._decode_links(dump_links())}
        if self._look is not None:
            self._look = every
        if names is None:
            return dict(every)
        return {name: every[name] for name in names if name in every}

    @contextlib.contextmanager
    def one_look(self) -> Iterator[None]:
        """Have all questions about many links in the block answered from one dump."""
        self._look = {}
        try:
            yield
        finally:
            self._look = None

    def _decode_links(self, request: Message) -> list[Link]:
        links = (decode_link(reply.body) for reply in self.dump(request))
        return [link for link in links if link is not None]

    def ports(self, master: int) -> list[Link]:
        """Return the links whose master is the link with index ``master``, by index."""
        links = self._decode_links(dump_links(master=master))
        # A kernel without strict checking ignores the filter.
        found = [link for link in links if link.master == master]
        return sorted(found, key=lambda link: link.index)

    def bridge_ports(self, bridge: InterfaceName) -> list[tuple[int, BridgePort]]:
        """Return the ports of ``bridge`` with their links' indexes; none if it does not exist."""
        master = self.index(bridge)
        if master is None:
            return []
        found = []
        links = self.ports(master)
        options = self.link(bridge)
        filters = options is not None and bridge_options(options.data).vlan_filtering
        vlans = self.vlans() if filters else {}
        entries: list[Entry] = []
        # What was heard is heard again; what was entered because nobody listens is not.
        if not all(port_flags(link.port_data)[1:] == (True, True) for link in links):
            replies = self.dump(dump_entries(master))
            entries = [item for reply in replies if (item := decode_entry(reply.body)) is not None]
        for link in links:
            isolated, learning, unicast_flood = port_flags(link.port_data)
            entered = {
                MacAddress(entry.mac.hex(":"))
                for entry in entries
                if entry.index == link.index and (entry.static or not learning) and not entry.own
            }
            own = vlans.get(link.index)
            port = BridgePort(
                link=InterfaceName(link.name),
                bridge=bridge,
                isolated=isolated,
                learning=learning,
                unicast_flood=unicast_flood,
                addresses=tuple(sorted(entered)),
                vlan=None if own in (None, DEFAULT_VLANS) else vlans_to_model(own),
                up=link.up,
            )
            found.append((link.index, port))
        return found

    def filters_vlans(self) -> bool | None:
        """Return whether this kernel's bridges can filter VLANs; makes nothing.

        ``None`` where it has not loaded what bridges need yet.
        """
        known, protocol = ask_vlan_filtering()
        if self._refused(known) == errno.EEXIST:
            return None
        return self._refused(protocol) == errno.EPROTONOSUPPORT

    def _refused(self, message: Message) -> int:
        """Return the number of the error that a request is refused with."""
        try:
            self.request(message)
        except Refusal as refusal:
            return refusal.errno
        return 0

    def vlan_devices(self) -> list[Link]:
        """Return the VLAN devices whose lower link is here as well."""
        links = self._decode_links(dump_links(kind="vlan"))
        return [link for link in links if link.kind == "vlan" and link.lower_netns is None]

    def vlans(self) -> dict[int, frozenset[PortVlan]]:
        """Return the VLANs of all bridges' ports by the index of the link."""
        return dict(decode_vlans(reply.body) for reply in self.dump(dump_vlans()))

    def addresses(self, index: int = 0) -> list[AddressEntry]:
        """Return the addresses of one link, or of all (0)."""
        entries = (decode_address(reply.body) for reply in self.dump(dump_addresses(index)))
        return [item for item in entries if item and (not index or item.index == index)]

    def routes(self, version: int, index: int = 0) -> list[RouteEntry]:
        """Return the main table's routes of IP ``version`` through one link, or all (0)."""
        try:
            replies = self.dump(dump_routes(version, index))
        except Refusal as refusal:
            # The table is made with the first route, and IPv6 may be missing altogether.
            if refusal.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                return []
            raise
        entries = (decode_route(reply.body) for reply in replies)
        return [
            item
            for item in entries
            if item and item.destination.version == version and index in (0, item.index)
        ]

    def netns_id(self, descriptor: int) -> int | None:
        """Return the id by which we know the namespace of a file, ``None`` if we do not."""
        body = bytes(4) + attribute_u32(_NETNSA_FD, descriptor)
        replies = self.request(Message(_RTM_GETNSID, 0, body, "identify a network namespace"))
        payload = attributes(replies[0].body, 4)[_NETNSA_NSID]
        number = int.from_bytes(
            payload, "little" if struct.pack("=H", 1)[0] else "big", signed=True
        )
        return None if number < 0 else number

    def delete_links(self, indexes: Iterable[int]) -> None:
        """Delete links; those that do not exist are passed over.

        Two or more are deleted by link group, because each single deletion waits for a grace
        period of the kernel (16 ms measured): they get a random group, and when a dump shows
        that nobody else wears it, one request deletes the group.  Otherwise one by one, going
        on after a failure; raises an ``ExceptionGroup`` at the end.
        """
        pending = list(dict.fromkeys(indexes))
        if len(pending) > 1 and self._delete_by_group(pending):
            return
        failures: list[JackfieldError] = []
        for refusal in self.try_all([delete_link(index) for index in pending]):
            if refusal.errno != errno.ENODEV:
                # Who reads it knows links by their names.
                link = self.link_at(pending[refusal.index])
                known = "" if link is None else f"{link.kind or 'link'} {link.name}"
                failures.append(refusal.with_context(known) if known else refusal)
        if failures:
            raise ExceptionGroup("could not delete every link", failures)

    def _delete_by_group(self, indexes: Sequence[int]) -> bool:
        """Delete the links in one request; return whether that was possible."""
        allowed = frozenset(indexes)
        for _ in range(_GROUP_ATTEMPTS):
            group = random_group()
            refusals = self.try_all(
                [set_link(index, "put a link into a group", group=group) for index in indexes]
            )
            if any(refusal.errno != errno.ENODEV for refusal in refusals):
                return False
            if len(refusals) == len(indexes):
                return True
            bodies = (reply.body for reply in self.dump(dump_links()))
            members = {wears_group(body, group) for body in bodies} - {None}
            if members <= allowed:
                return not self.try_all([delete_group(group, len(members))])
        return False
