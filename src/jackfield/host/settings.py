"""Sysctls, through ``/proc/sys``, which shows those of the calling thread's namespace."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jackfield.errors import InternalError, JackfieldError, KernelError, NotFound
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import errno_text
from jackfield.state.settings import Setting

__all__ = [
    "IPV6_FORWARDING",
    "SettingDriver",
    "copy_settings",
    "count_neighbours",
    "ignores_routers",
    "learned_from_routers",
    "read_setting",
    "write_setting",
]

IPV6_FORWARDING = "net/ipv6/conf/all/forwarding"

_ROOT = "/proc/sys/"
_LONGEST = 4096
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_OF_A_LINK = ("net/ipv4/conf", "net/ipv6/conf", "net/ipv4/neigh", "net/ipv6/neigh")
_NOT_COPIED = frozenset({"disable_ipv6", "mtu", "stable_secret"})
_RTPROT_RA = 9
_NAME = re.compile(r"net(/[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*)+")


def count_neighbours() -> dict[int, int]:
    """Return how many neighbours the host knows, by IP version, as far as it can be known.

    The tables are the machine's; only its first network namespace shows how full they are.
    """
    counts = {}
    for version, name in ((4, "arp_cache"), (6, "ndisc_cache")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # A line of names, and one of numbers for each processor; the first is the table's.
            lines = Path("/proc/net/stat", name).read_text().splitlines()
            counts[version] = int(lines[1].split()[0], 16)
    return counts


def read_setting(name: str) -> str | None:
    """Return a sysctl's value with single spaces between its words; ``None`` without the file."""
    try:
        descriptor = os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return " ".join(os.read(descriptor, _LONGEST).decode().split())
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        number = error.errno or 0
        raise KernelError(
            f"cannot read the sysctl {name}: {errno_text(number)}", errno=number
        ) from error


def write_setting(name: str, value: str) -> None:
    """Write a sysctl; ``NotFound`` without it, ``KernelError`` where that fails."""
    path = _path(name)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise NotFound(f"cannot set {name} to {value}: this host has no such sysctl") from error
    except OSError as error:
        number = error.errno or 0
        raise KernelError(
            f"cannot set {name} to {value}: {errno_text(number)}",
            errno=number,
            hint=f"is {_ROOT} mounted read-only?" if number in _READ_ONLY else None,
        ) from error


def copy_settings(source: str, target: str) -> None:
    """Give link ``target`` the sysctls of link ``source``, as far as they can be read and set.

    But for its MTU, and whether it has IPv6 at all.
    """
    for folder in _OF_A_LINK:
        try:
            names = sorted(path.name for path in Path(_path(f"{folder}/{source}")).iterdir())
        except FileNotFoundError:
            continue
        for name in names:
            if name in _NOT_COPIED:
                continue
            with contextlib.suppress(KernelError, NotFound):
                value = read_setting(f"{folder}/{source}/{name}")
                if value is not None and value != read_setting(f"{folder}/{target}/{name}"):
                    write_setting(f"{folder}/{target}/{name}", value)


def ignores_routers(link: str) -> bool:
    """Return whether a link passes over router advertisements because it forwards."""
    conf = f"net/ipv6/conf/{link}"
    try:
        return "1" == read_setting(f"{conf}/accept_ra") == read_setting(f"{conf}/forwarding")
    except JackfieldError:
        return False


def learned_from_routers(protocol: int, link: str) -> bool:
    """Return whether forwarding would end a route of a ``protocol`` on a link.

    It is learned from router advertisements when its protocol says so; turning forwarding on loses
    it where ``accept_ra`` is 1 and not 2.
    """
    return protocol == _RTPROT_RA and read_setting(f"net/ipv6/conf/{link}/accept_ra") == "1"


def _path(name: str) -> str:
    """Return the file of a sysctl of the network namespace; any other name is our defect."""
    if not _NAME.fullmatch(name) or {".", ".."} & set(name.split("/")):
        raise InternalError(f"{name!r} is not the name of a network sysctl")
    return _ROOT + name


class SettingDriver:
    """Reads and writes sysctls.

    A sysctl is nobody's: what exists counts as ours, with its value.  Putting back the value
    that was there before is making *that* setting so; removal therefore does nothing.

    IPv6 forwarding that somebody has turned off is not mended while that would cost the host a
    default route that it has learned since.
    """

    def observe(
        self, kernel: Kernel, resources: Sequence[Setting], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return the present values; changes nothing."""
        found: dict[str, Observed] = {}
        for item in resources:
            value = read_setting(item.name)
            if value is None and _is_without_ipv6(kernel, item):
                value = item.value
            if value is None:
                found[item.key] = ABSENT
                continue
            present = Setting(name=item.name, value=value, shared=item.shared, link=item.link)
            found[item.key] = Observed(presence=Presence.OURS, resource=present)
            if item.name == IPV6_FORWARDING and value == "0" != item.value:
                losing = _links_losing_routes(kernel)
                if losing:
                    found[item.key] = Observed(
                        presence=Presence.FOREIGN,
                        resource=present,
                        description=f"the default route that {losing[0]} has from router "
                        "advertisements, which IPv6 forwarding would end ("
                        f"sysctl -w {_dotted(losing[0])}.accept_ra=2 keeps it)",
                    )
        return found

    def ensure(
        self, kernel: Kernel, resources: Sequence[Setting], replaced: Mapping[str, Setting]
    ) -> None:
        """Write the values."""
        for item in resources:
            try:
                write_setting(item.name, item.value)
            except NotFound:
                if not _is_without_ipv6(kernel, item):
                    raise

    def remove(self, kernel: Kernel, resources: Sequence[Setting]) -> None:
        """Do nothing: a setting goes with its link, or is put back by its previous value."""


def _is_without_ipv6(kernel: Kernel, item: Setting) -> bool:
    """Whether ``item`` keeps a link from having IPv6 that has none, and so no such sysctl either.

    A kernel that was started with ``ipv6.disable=1`` has none, nor has a link of a small MTU.
    """
    keeps = item.name.endswith("/disable_ipv6") and item.value == "1"
    return keeps and item.link is not None and kernel.route.index(item.link) is not None


def _links_losing_routes(kernel: Kernel) -> list[str]:
    """Return the links that would lose a route if the host forwarded IPv6."""
    links = {link.index: link.name for link in kernel.route.links().values()}
    routes = kernel.route.routes(6)
    found = {
        links[route.index]
        for route in routes
        if route.index in links
        and not route.destination.prefixlen
        and learned_from_routers(route.protocol, links[route.index])
    }
    return sorted(found)


def _dotted(link: str) -> str:
    return f"net.ipv6.conf.{link.replace('.', '/')}"
