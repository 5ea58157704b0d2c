"""Macvtaps of ours, and the device nodes through which they are opened."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jackfield.errors import HostError, JackfieldError, KernelError, MissingFeature
from jackfield.host.driver import ABSENT, Observed, Presence
from jackfield.host.kernel import Kernel
from jackfield.host.links import LinkDriver, found_mac, found_mtu, identity, make_each
from jackfield.host.netlink.link import Link, mark_group, random_group, set_link
from jackfield.host.netlink.macvlan import change_macvlan, create_macvlan, macvlan_mode
from jackfield.host.netlink.message import errno_text
from jackfield.model.values import InterfaceName
from jackfield.state.links import MacvlanLink, MacvtapLink
from jackfield.state.resources import TapNode

__all__ = ["MacvtapDriver", "TapNodeDriver", "found_lower", "make_over", "node_directory"]

_SYS_NET = Path("/sys/class/net")
_DEVICES = Path("/dev/jackfield")


class MacvtapDriver(LinkDriver[MacvtapLink]):
    """Makes, looks at and removes macvtaps."""

    info_kind = "macvtap"

    def _as_found(self, kernel: Kernel, wanted: MacvtapLink, link: Link) -> MacvtapLink:
        return MacvtapLink(
            name=InterfaceName(link.name),
            alias=link.alias,
            mac=found_mac(wanted.mac, link),
            lower=found_lower(kernel, wanted.lower, link),
            mode=macvlan_mode(link.data),
            mtu=found_mtu(wanted.mtu, link),
            all_multicast=link.all_multicast,
        )

    def _create(
        self, kernel: Kernel, resources: Sequence[MacvtapLink]
    ) -> list[tuple[KernelError, MacvtapLink]]:
        return make_each(resources, lambda link: _make(kernel, link))

    def _change(self, kernel: Kernel, wanted: MacvtapLink, present: MacvtapLink) -> None:
        what = f"change macvtap {wanted.name}"
        index = kernel.route.require_index(wanted.name, what)
        if present.mode != wanted.mode:
            # Whoever has it open goes on.
            kernel.route.send([change_macvlan(index, self.info_kind, wanted.mode, what)])
        changes = identity(wanted, present)
        if present.all_multicast != wanted.all_multicast:
            changes["all_multicast"] = wanted.all_multicast
        if changes:
            kernel.route.send([set_link(index, what, **changes)])


def found_lower(kernel: Kernel, wanted: InterfaceName, link: Link) -> InterfaceName:
    """Return ``wanted`` where that is what ``link`` is over, else a name that no link has."""
    if link.lower == kernel.route.index(wanted):
        return wanted
    return InterfaceName(f"index{link.lower}")


def _make(kernel: Kernel, link: MacvtapLink) -> None:
    make_over(kernel, link, MacvtapDriver.info_kind)
    if link.all_multicast:
        what = f"let all multicast into macvtap {link.name}"
        kernel.route.send([set_link(link.name, what, all_multicast=True)])


def make_over(kernel: Kernel, link: MacvtapLink | MacvlanLink, kind: str) -> None:
    """Make a marked link of ``kind`` over its uplink, down; raise ``KernelError`` with a hint."""
    lower = kernel.route.require_index(link.lower, f"create {kind} {link.name} over {link.lower}")
    group = random_group()
    mac = None if link.mac is None else link.mac.packed
    creation = create_macvlan(kind, link.name, lower, link.mode, mac=mac, mtu=link.mtu, group=group)
    try:
        kernel.route.send([creation, mark_group(group, link.alias, f"mark {kind} {link.name}")])
    except KernelError as error:
        error.hint = error.hint or _hint(link, error.errno)
        raise
    kernel.route.send([set_link(link.name, f"finish {kind} {link.name}", group=0)])


def _hint(link: MacvtapLink | MacvlanLink, number: int | None) -> str | None:
    if number == errno.EBUSY:
        return f"{link.lower} may be a port of a bridge: a device is one's or the other's"
    if number == errno.EINVAL:
        return (
            f"{link.lower} may have a macvtap or macvlan already: one of mode passthrough has a "
            "device for itself"
        )
    if number == errno.EOPNOTSUPP:
        return "load the kernel modules macvlan and macvtap"
    return None


def node_directory(run_dir: Path) -> Path:
    """Return where device nodes of ours are: below ``run_dir`` where its mount allows devices.

    systemd mounts /run without them; /dev always has them.
    """
    if os.statvfs(run_dir).f_flag & os.ST_NODEV:
        return _DEVICES
    return run_dir / "dev"


class TapNodeDriver:
    """Makes device nodes of macvtaps, in a directory of ours.

    The kernel's own ``/dev/tapINDEX`` is no use: its name does not tell network namespaces apart,
    so it may open somebody else's device.
    """

    def observe(
        self, kernel: Kernel, resources: Sequence[TapNode], claimed: Collection[str] = frozenset()
    ) -> dict[str, Observed]:
        """Return which nodes are there and lead to their macvtap; a wrong one is absent."""
        return {node.key: _observed(kernel, node) for node in resources}

    def ensure(
        self, kernel: Kernel, resources: Sequence[TapNode], replaced: Mapping[str, TapNode]
    ) -> None:
        """Make the nodes, each whole from the moment it has its name."""
        for node in resources:
            number = _device_number(kernel, node.link)
            path = Path(node.path)
            draft = _draft(path)
            try:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                draft.unlink(missing_ok=True)
                os.mknod(draft, stat.S_IFCHR | 0o600, number)
                if node.owner is not None:
                    os.chown(draft, node.owner, -1)
                draft.replace(path)
            except OSError as error:
                with contextlib.suppress(OSError):
                    draft.unlink()
                raise HostError(
                    f"cannot make the device node {path} of {node.link}: {error.strerror}",
                    hint="the daemon needs CAP_MKNOD, and to be allowed devices of type macvtap",
                ) from error

    def remove(self, kernel: Kernel, resources: Sequence[TapNode]) -> None:
        """Remove the nodes."""
        failures: list[JackfieldError] = []
        for node in resources:
            path = Path(node.path)
            try:
                path.unlink(missing_ok=True)
                _draft(path).unlink(missing_ok=True)
            except OSError as error:
                failures.append(
                    HostError(f"cannot remove the device node {node.path}: {error.strerror}")
                )
        if failures:
            raise ExceptionGroup("could not remove every device node", failures)


def _draft(path: Path) -> Path:
    """Return what a node is called until it is whole."""
    return path.with_name(f".{path.name}")


def _observed(kernel: Kernel, node: TapNode) -> Observed:
    try:
        found = Path(node.path).lstat()
        number = _device_number(kernel, node.link)
    except (OSError, JackfieldError):
        return ABSENT
    owner = found.st_uid == (node.owner or 0)
    if not (stat.S_ISCHR(found.st_mode) and found.st_rdev == number and owner):
        return ABSENT
    return Observed(presence=Presence.OURS, resource=node)


def _device_number(kernel: Kernel, name: InterfaceName) -> int:
    """Return the device number of a macvtap, which only sysfs tells.

    A sysfs shows the network namespace that it was mounted in, so the index there must be the
    kernel's answer here.
    """
    index = kernel.route.require_index(name, f"open macvtap {name}")
    folder = _SYS_NET / name
    try:
        shown = int((folder / "ifindex").read_text())
        text = (folder / "macvtap" / f"tap{index}" / "dev").read_text()
    except OSError as error:
        raise MissingFeature(
            f"cannot open macvtap {name}: {folder}: {errno_text(error.errno or 0)}",
            hint="/sys must be mounted in the network namespace of the daemon",
        ) from error
    if shown != index:
        raise MissingFeature(
            f"cannot open macvtap {name}: /sys shows another network namespace",
            hint="mount a sysfs in the network namespace of the daemon",
        )
    major, _, minor = text.strip().partition(":")
    return os.makedev(int(major), int(minor))
