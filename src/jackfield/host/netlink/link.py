"""Links in rtnetlink: what the kernel tells about one, and the requests about it.

Layouts and numbers are those of ``linux/rtnetlink.h`` and ``linux/if_link.h``.  A request names
its link by index, or by name in ``IFLA_IFNAME`` with index 0.
"""

from __future__ import annotations

import dataclasses
import random
import struct

from jackfield.errors import counted
from jackfield.host.netlink.message import (
    Message,
    attribute,
    attribute_text,
    attribute_u32,
    attributes,
    nested,
    text,
)

__all__ = [
    "AF_UNSPEC_LINK",
    "IFF_UP",
    "RTM_DELLINK",
    "RTM_NEWLINK",
    "Link",
    "decode_link",
    "delete_group",
    "delete_link",
    "dump_links",
    "get_link",
    "get_link_at",
    "mark_group",
    "random_group",
    "set_link",
    "wears_group",
]

RTM_NEWLINK = 16
RTM_DELLINK = 17
RTM_GETLINK = 18
RTM_SETLINK = 19

IFF_UP = 1
_IFF_PROMISC = 0x100
_IFF_ALLMULTI = 0x200
AF_UNSPEC_LINK = 0

_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MTU = 4
_IFLA_LINK = 5
_IFLA_MASTER = 10
_IFLA_OPERSTATE = 16
_IFLA_LINKINFO = 18
_IFLA_IFALIAS = 20
_IFLA_GROUP = 27
_IFLA_NET_NS_FD = 28
_IFLA_EXT_MASK = 29
_IFLA_LINK_NETNSID = 37

_IFLA_INFO_KIND = 1
_IFLA_INFO_DATA = 2
_IFLA_INFO_SLAVE_DATA = 5


_RTEXT_FILTER_SKIP_STATS = 8

_OPERSTATE_UNKNOWN = 0
_OPERSTATE_UP = 6

_HEADER = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_U32 = struct.Struct("=I")
_S32 = struct.Struct("=i")
_GROUP = struct.Struct("=HHI")

_NLA_F_NESTED = 0x8000
_WANTED = frozenset(
    {
        _IFLA_ADDRESS,
        _IFLA_IFNAME,
        _IFLA_MTU,
        _IFLA_LINK,
        _IFLA_MASTER,
        _IFLA_OPERSTATE,
        _IFLA_LINKINFO,
        _IFLA_LINKINFO | _NLA_F_NESTED,
        _IFLA_IFALIAS,
        _IFLA_LINK_NETNSID,
    }
)
_SKIP_STATS = attribute_u32(_IFLA_EXT_MASK, _RTEXT_FILTER_SKIP_STATS)


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One link as the kernel tells it.

    ``kind`` is ``IFLA_INFO_KIND`` (empty for a NIC), ``data`` and ``port_data`` its undecoded
    options as a device and as the port of its ``master``.  ``lower`` is ``IFLA_LINK``, in the
    namespace ``lower_netns`` (an id; ``None`` is this one).  ``carrier`` is ``None`` while the
    link is down or the driver does not say.
    """

    index: int
    name: str
    flags: int
    kind: str
    mac: bytes
    mtu: int
    master: int | None
    alias: str
    lower: int | None
    lower_netns: int | None
    carrier: bool | None
    data: bytes
    port_data: bytes

    @property
    def up(self) -> bool:
        """Whether the link is administratively up."""
        return bool(self.flags & IFF_UP)

    @property
    def promiscuous(self) -> bool:
        """Whether the link takes every frame, as somebody has set it."""
        return bool(self.flags & _IFF_PROMISC)

    @property
    def all_multicast(self) -> bool:
        """Whether the link takes every multicast frame."""
        return bool(self.flags & _IFF_ALLMULTI)

    @property
    def mac_text(self) -> str:
        """The address as ``aa:bb:cc:dd:ee:ff``."""
        return self.mac.hex(":")

    def describe(self) -> str:
        """Return the link for people: kind, name, index, and whose it says it is."""
        words = f"{self.kind or 'link'} {self.name}, index {self.index}"
        if self.alias:
            words += f", alias {self.alias!r}"
        if self.master is not None:
            words += f", port of the link with index {self.master}"
        return words


def decode_link(body: bytes) -> Link | None:
    """Return the link that an ``RTM_NEWLINK`` or ``RTM_DELLINK`` body is about.

    ``None`` for a message that is not about the link itself: a bridge's about a port
    (``AF_BRIDGE``; its ``RTM_DELLINK`` means "left the bridge"), or a wireless event.
    """
    family, _, index, flags, _ = _HEADER.unpack_from(body)
    if family != AF_UNSPEC_LINK:
        return None
    # Only offsets are kept: this runs for every link of a dump, and most attributes are not ours.
    found: dict[int, int] = {}
    offset, size = 16, len(body)
    unpack, wanted = _ATTRIBUTE.unpack_from, _WANTED
    while offset < size:
        length, kind = unpack(body, offset)
        if length < 4:
            break
        if kind in wanted:
            found[kind & 0x3FFF] = offset + 4
        offset += length + 3 & -4
    if _IFLA_IFNAME not in found:
        return None
    kind = ""
    data = port_data = b""
    if _IFLA_LINKINFO in found:
        start = found[_IFLA_LINKINFO]
        info = attributes(body[start : start - 4 + unpack(body, start - 4)[0]])
        kind = text(info.get(_IFLA_INFO_KIND, b""))
        data = info.get(_IFLA_INFO_DATA, b"")
        port_data = info.get(_IFLA_INFO_SLAVE_DATA, b"")
    mac = b""
    if _IFLA_ADDRESS in found:
        start = found[_IFLA_ADDRESS]
        mac = body[start : start - 4 + unpack(body, start - 4)[0]]
    operstate = body[found[_IFLA_OPERSTATE]] if _IFLA_OPERSTATE in found else _OPERSTATE_UNKNOWN
    unknown = not flags & IFF_UP or operstate == _OPERSTATE_UNKNOWN
    return Link(
        index,
        _string(body, found[_IFLA_IFNAME]),
        flags,
        kind,
        mac,
        _U32.unpack_from(body, found[_IFLA_MTU])[0] if _IFLA_MTU in found else 0,
        _U32.unpack_from(body, found[_IFLA_MASTER])[0] if _IFLA_MASTER in found else None,
        _string(body, found[_IFLA_IFALIAS]) if _IFLA_IFALIAS in found else "",
        _U32.unpack_from(body, found[_IFLA_LINK])[0] if _IFLA_LINK in found else None,
        _S32.unpack_from(body, found[_IFLA_LINK_NETNSID])[0]
        if _IFLA_LINK_NETNSID in found
        else None,
        None if unknown else operstate == _OPERSTATE_UP,
        data,
        port_data,
    )


def _string(body: bytes, start: int) -> str:
    return body[start : body.index(0, start)].decode("utf-8", "backslashreplace")


def get_link(name: str) -> Message:
    """Return the request for one link by name."""
    body = _HEADER.pack(0, 0, 0, 0, 0) + attribute_text(_IFLA_IFNAME, name) + _SKIP_STATS
    return Message(RTM_GETLINK, 0, body, f"look at link {name}")


def get_link_at(index: int) -> Message:
    """Return the request for one link by index."""
    body = _HEADER.pack(0, 0, index, 0, 0) + _SKIP_STATS
    return Message(RTM_GETLINK, 0, body, f"look at the link with index {index}")


def dump_links(*, master: int | None = None, kind: str | None = None) -> Message:
    """Return the dump request for all links, the ports of ``master`` (an index), or a kind's."""
    body = _HEADER.pack(0, 0, 0, 0, 0) + _SKIP_STATS
    if master is not None:
        body += attribute_u32(_IFLA_MASTER, master)
    if kind is not None:
        body += nested(_IFLA_LINKINFO, attribute_text(_IFLA_INFO_KIND, kind))
    return Message(RTM_GETLINK, 0, body, "list the links")


def random_group() -> int:
    """Return a number for a link group that, in all likelihood, nobody uses."""
    return random.randrange(1 << 30, 1 << 31)


def mark_group(group: int, alias: str, what: str) -> Message:
    """Return the request that gives the links of a group an alias; none is no error.

    It follows the creation of a link in the same send, so that no crash comes between them (the
    kernel ignores an alias in the creation itself).  By its group, and not by its name, because
    after a refused creation the link of that name is somebody else's.
    """
    body = (
        _HEADER.pack(0, 0, 0, 0, 0)
        + attribute_u32(_IFLA_GROUP, group)
        + attribute_text(_IFLA_IFALIAS, alias)
    )
    return Message(RTM_NEWLINK, 0, body, what)


def set_link(
    link: int | str,
    what: str,
    *,
    up: bool | None = None,
    mac: bytes | None = None,
    mtu: int | None = None,
    alias: str | None = None,
    master: int | None = None,
    group: int | None = None,
    all_multicast: bool | None = None,
    name: str | None = None,
) -> Message:
    """Return the request that changes a link (index or name); ``None`` leaves a thing as it is.

    A new ``name`` is for a link given by its index.  ``master`` 0 takes the link out of its bridge;
    an empty ``alias`` removes it.
    """
    index, body = (link, b"") if isinstance(link, int) else (0, attribute_text(_IFLA_IFNAME, link))
    if name is not None:
        body += attribute_text(_IFLA_IFNAME, name)
    if mac is not None:
        body += attribute(_IFLA_ADDRESS, mac)
    if mtu is not None:
        body += attribute_u32(_IFLA_MTU, mtu)
    if alias is not None:
        body += attribute_text(_IFLA_IFALIAS, alias)
    if master is not None:
        body += attribute_u32(_IFLA_MASTER, master)
    if group is not None:
        body += attribute_u32(_IFLA_GROUP, group)
    change = (0 if up is None else IFF_UP) | (0 if all_multicast is None else _IFF_ALLMULTI)
    flags = (IFF_UP if up else 0) | (_IFF_ALLMULTI if all_multicast else 0)
    header = _HEADER.pack(0, 0, index, flags, change)
    return Message(RTM_SETLINK, 0, header + body, what)


def delete_link(index: int) -> Message:
    """Return the request that deletes one link."""
    body = _HEADER.pack(0, 0, index, 0, 0)
    return Message(RTM_DELLINK, 0, body, f"delete the link with index {index}")


def delete_group(group: int, count: int) -> Message:
    """Return the request that deletes every link of a link group, ``count`` of them."""
    body = _HEADER.pack(0, 0, 0, 0, 0) + attribute_u32(_IFLA_GROUP, group)
    return Message(RTM_DELLINK, 0, body, f"delete {counted(count, 'link')} at once")


def wears_group(body: bytes, group: int) -> int | None:
    """Return the index of the link that ``body`` is about if it is in ``group``, else ``None``."""
    needle = _GROUP.pack(8, _IFLA_GROUP, group)
    # A search of bytes is 30 times faster than reading the attributes, and enough: what looks
    # like the attribute inside another one makes a foreign link a member, which is the safe side.
    return int(_S32.unpack_from(body, 4)[0]) if needle in body else None
