"""DHCP leases: dnsmasq's lease files read, compared and watched.

dnsmasq writes its file in place and whole, so a reader may meet half of it: a line that is not
complete is left out, and the watch waits until the file has been quiet.  The lines are::

    EXPIRES MAC ADDRESS NAME CLIENT-ID          IPv4
    duid SERVER-DUID                            from here on IPv6
    EXPIRES IAID ADDRESS NAME CLIENT-DUID       IAID with a T before it: a temporary address

``EXPIRES`` is in seconds since the epoch, 0 for never; ``*`` stands for what is not known.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import UUID

from jackfield.engine.views import LeaseView
from jackfield.host.inotify import FileEvent, Inotify
from jackfield.model.address import Address, IpInterface
from jackfield.model.network import Network
from jackfield.model.values import InterfaceName, MacAddress

__all__ = [
    "LeaseChanges",
    "LeaseFile",
    "LeaseWatch",
    "compare_leases",
    "parse_leases",
    "read_leases",
]

_LATEST = 0xFFFF_FFFF_FFFF
"""Seconds since the epoch that a clock can show; only a damaged file has more."""

_SETTLE = 0.05
"""Seconds without a further write before a lease file counts as whole."""

_SUFFIX = ".leases"
_HARDWARE_TYPE = re.compile(r"[0-9a-f]{2}-", re.IGNORECASE)
# DUID-LLT and DUID-LL on Ethernet (RFC 8415 11.2, 11.4) end in the MAC address.
_DUID_MAC = re.compile(
    r"00:(?:01:00:01(?::[0-9a-f]{2}){4}|03:00:01):((?:[0-9a-f]{2}:){5}[0-9a-f]{2})"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseChanges:
    """What is in one reading and not in another."""

    added: tuple[LeaseView, ...] = ()
    removed: tuple[LeaseView, ...] = ()


class LeaseFile:
    """The lease file of one network, read again and again.

    dnsmasq writes all of it for each lease that it gives or renews, so a line that was there
    before is not taken apart again.  Threads may read at the same time.
    """

    def __init__(self, path: Path) -> None:
        """Read from ``path``; it may not be there yet."""
        self._path = path
        self._known: tuple[tuple[object, ...], dict[str, LeaseView | None]] = ((), {})

    def read(self, network: Network, device: InterfaceName, *, now: float = 0.0) -> list[LeaseView]:
        """Return the leases that have not expired at ``now``; none when there is no file."""
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            self._known = (), {}
            return []
        interfaces = network.interfaces
        about = (network.name, device, *interfaces)
        former = self._known[1] if self._known[0] == about else {}
        known = {}
        for line in _whole_lines(text):
            if line in former:
                known[line] = former[line]
            else:
                known[line] = _parse_line(line, network, device, interfaces)
        self._known = about, known
        return _valid(known.values(), now)


def parse_leases(
    text: str, network: Network, device: InterfaceName, *, now: float = 0.0
) -> list[LeaseView]:
    """Return the leases of a lease file that have not expired at ``now``, in the file's order.

    ``device`` is the network's bridge.  A lease's prefix is that of the subnet it lies in, or
    its address' full length.  The MAC address of an IPv6 lease is known where the client's
    DUID holds it.
    """
    interfaces = network.interfaces
    lines = _whole_lines(text)
    return _valid((_parse_line(line, network, device, interfaces) for line in lines), now)


def _valid(leases: Iterable[LeaseView | None], now: float) -> list[LeaseView]:
    return [
        lease
        for lease in leases
        if lease is not None and not 0 < lease.expires <= now and lease.expires <= _LATEST
    ]


def _parse_line(
    line: str, network: Network, device: InterfaceName, interfaces: Iterable[IpInterface]
) -> LeaseView | None:
    """Return the lease of a line; ``None`` where it holds none."""
    fields = line.split(" ")
    if len(fields) != 5 or not fields[0].isdecimal():
        return None
    expires, owner, address_text, name, client = fields
    try:
        address = ipaddress.ip_address(address_text)
        mac, iaid = _owner(address, owner, client)
    except ValueError:
        return None
    return LeaseView(
        network=network.name,
        device=device,
        mac=mac,
        address=address,
        prefix=next(
            (
                interface.network.prefixlen
                for interface in interfaces
                if address in interface.network
            ),
            address.max_prefixlen,
        ),
        expires=int(expires),
        hostname=None if name == "*" else name,
        client_id=None if client == "*" else client,
        iaid=iaid,
    )


def read_leases(
    path: Path, network: Network, device: InterfaceName, *, now: float = 0.0
) -> list[LeaseView]:
    """Return the leases of the file ``path``; none when there is no such file."""
    return LeaseFile(path).read(network, device, now=now)


def compare_leases(former: Iterable[LeaseView], present: Iterable[LeaseView]) -> LeaseChanges:
    """Return which leases came and went; a renewed lease, or a new name, is neither."""
    before = {_identity(lease): lease for lease in former}
    after = {_identity(lease): lease for lease in present}
    return LeaseChanges(
        added=tuple(lease for key, lease in after.items() if key not in before),
        removed=tuple(lease for key, lease in before.items() if key not in after),
    )


class LeaseWatch:
    """Tells which networks' lease files have been written, once they are quiet.

    One watch on the directory of all lease files serves every network.
    """

    def __init__(
        self,
        inotify: Inotify,
        directory: Path,
        changed: Callable[[UUID], None],
        *,
        settle: float = _SETTLE,
    ) -> None:
        """Call ``changed(network)`` some ``settle`` seconds after the last write.

        ``directory`` is made when it is not there.
        """
        self._loop = asyncio.get_running_loop()
        self._directory = directory
        self._changed = changed
        self._settle = settle
        self._pending: dict[UUID, asyncio.TimerHandle] = {}
        directory.mkdir(parents=True, exist_ok=True)
        mask = FileEvent.MODIFY | FileEvent.CREATE | FileEvent.DELETE | FileEvent.MOVED_TO
        self._watch = inotify.watch(directory, mask, self._seen)

    def close(self) -> None:
        """Stop watching; what is not settled is not told."""
        self._watch.close()
        for timer in self._pending.values():
            timer.cancel()
        self._pending.clear()

    def _seen(self, name: str) -> None:
        names = [name] if name else [path.name for path in self._directory.glob(f"*{_SUFFIX}")]
        for written in names:
            network = _network_of(written)
            if network is None:
                continue
            if (timer := self._pending.get(network)) is not None:
                timer.cancel()
            self._pending[network] = self._loop.call_later(self._settle, self._settled, network)

    def _settled(self, network: UUID) -> None:
        del self._pending[network]
        self._changed(network)


def _whole_lines(text: str) -> Iterator[str]:
    """Yield the lines that have their end."""
    lines = text.split("\n")
    yield from lines[:-1]


def _owner(address: Address, owner: str, client: str) -> tuple[MacAddress | None, str | None]:
    """Return the MAC address and the IAID of a lease; raises ``ValueError`` for neither."""
    if address.version == 4:
        # Other hardware than Ethernet has its ARP type before a dash.
        return (None if _HARDWARE_TYPE.match(owner) else MacAddress(owner)), None
    iaid = owner.removeprefix("T")
    if not iaid.isdecimal():
        raise ValueError(f"{owner!r} is not an IAID")
    match = _DUID_MAC.fullmatch(client.lower())
    return (None if match is None else MacAddress(match[1])), iaid


def _identity(lease: LeaseView) -> tuple[Address, str | None, str | None, str | None]:
    return lease.address, lease.mac, lease.client_id, lease.iaid


def _network_of(name: str) -> UUID | None:
    try:
        return UUID(name.removesuffix(_SUFFIX)) if name.endswith(_SUFFIX) else None
    except ValueError:
        return None
