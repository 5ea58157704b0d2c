"""A stock libvirtd 11.3 on a lab host: the peer that ours is compared with.

Where the machine does not have this version, Debian's packages of it are fetched once to a cache
folder and unpacked there.  Nothing is installed: in the lab host's own mounts they lie over the
machine's /usr, /etc and /var, so every program and every path is the stock one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Literal

from tests.lab.host import Host, HostProcess
from tests.lab.layers import lay_over
from tests.lab.packages import Unavailable, unpacked
from tests.lab.wait import wait_for

__all__ = [
    "StockLibvirtd",
    "qemu_root",
    "qemu_skip_reason",
    "skip_reason",
    "use_qemu",
    "use_stock_programs",
]

VERSION = "11.3"
URI = "network:///system"
SOCKET = "/run/libvirt/libvirt-sock"
CACHE = f"libvirt-{VERSION}"
PACKAGES = (
    "libvirt-daemon",
    "libvirt-daemon-driver-network",
    "libvirt-clients",
    "python3-libvirt",
    "iptables",
)
#: With libvirt's QEMU driver and QEMU: some 30 MB more, so they are kept apart.
QEMU_CACHE = f"{CACHE}-qemu"
QEMU_PACKAGES = (*PACKAGES, "libvirt-daemon-driver-qemu", "qemu-system-x86")
#: Stock otherwise: there is no polkit in a lab host.
LIBVIRTD_CONF = 'auth_unix_rw = "none"\nauth_unix_ro = "none"\n'


@functools.cache
def skip_reason() -> str | None:
    """Return why no stock libvirtd can be had on this machine, or ``None`` when one is there.

    The first call may fetch some megabytes.
    """
    try:
        _unpacked()
    except Unavailable as error:
        return f"no stock libvirtd {VERSION}: {error}"
    return None


@functools.cache
def qemu_skip_reason() -> str | None:
    """Return why libvirt's QEMU driver cannot be had here, or ``None``; fetches it if need be."""
    try:
        qemu_root()
    except Unavailable as error:
        return f"no QEMU driver of libvirt {VERSION}: {error}"
    return None


class StockLibvirtd:
    """libvirtd on a lab host, until the ``with`` ends.

    ``backend`` is its firewall backend; the stock one (nftables) refuses NAT networks where the
    kernel has no tc csum action.  ``writable`` is a folder of the machine that takes what libvirtd
    writes below /etc and /var; without it that goes to the host's tmpfs.

    Raises ``AssertionError`` when it does not start, and ``Unavailable`` when there is none.
    """

    uri = URI

    def __init__(
        self,
        host: Host,
        *,
        backend: Literal["iptables", "nftables"] = "iptables",
        writable: Path | None = None,
    ) -> None:
        """Start it and wait until it answers."""
        self.host = host
        self._log = host.file("/run/lab/libvirtd.log")
        self._lay_over(writable)
        settings = host.file("/etc/libvirt")
        settings.mkdir(exist_ok=True)
        (settings / "libvirtd.conf").write_text(LIBVIRTD_CONF)
        (settings / "network.conf").write_text(f'firewall_backend = "{backend}"\n')
        self.process: HostProcess
        self.start()

    def _lay_over(self, writable: Path | None) -> None:
        """Give the host its programs."""
        lay_over(self.host, _unpacked(), writable)

    def start(self) -> None:
        """Start libvirtd (again) and wait until it answers."""
        with self._log.open("a") as log:
            self.process = self.host.start(["libvirtd"], stdout=log, stderr=log)

        def answers() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"libvirtd ended:\n{self.log_text()}")
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
                client.connect(str(self.host.file(SOCKET)))
                return True
            return False

        wait_for(answers, 30, "libvirtd to answer")
        # With a hundred networks it is busy for half a minute.
        self.virsh("net-list", timeout=180)

    def virsh(
        self,
        *arguments: str,
        check: bool = True,
        input: str | None = None,
        timeout: float = 60,
    ) -> str:
        """Return what ``virsh ARGUMENTS`` prints; raises ``CommandFailed`` unless ``check``."""
        return self.host.run(
            ["virsh", "-q", "-c", self.uri, *arguments], check=check, input=input, timeout=timeout
        ).stdout.strip()

    def define(self, document: str) -> None:
        """Define a network from its document."""
        path = self.host.file("/run/lab/libvirt-document.xml")
        path.write_text(document)
        self.virsh("net-define", "/run/lab/libvirt-document.xml")

    def log_text(self) -> str:
        """Return what libvirtd has written."""
        return self._log.read_text()

    def stop(self) -> None:
        """End libvirtd; its networks stay, as they do when its service stops."""
        self.process.stop(60)

    def __enter__(self) -> StockLibvirtd:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()


def use_stock_programs(host: Host) -> None:
    """Give a host the virsh and python3-libvirt of this version, without a daemon of libvirt."""
    lay_over(host, _unpacked(), None)


def qemu_root() -> Path:
    """Return where libvirt's QEMU driver and QEMU are unpacked; fetches them if need be."""
    return unpacked(QEMU_CACHE, QEMU_PACKAGES, finish=_link_alternatives)


def use_qemu(host: Host) -> None:
    """Give a host libvirt's QEMU driver, QEMU, and the users that both want."""
    lay_over(host, qemu_root(), None)
    # The machine may have a QEMU of its own: another version's modules end this one.
    modules = "/usr/lib/x86_64-linux-gnu/qemu"
    host.run(["sh", "-c", f"[ ! -d {modules} ] || mount -t tmpfs none {modules}"])
    with host.file("/etc/passwd").open("a") as users:
        users.write("libvirt-qemu:x:64055:64055::/:/bin/false\n")
    with host.file("/etc/group").open("a") as groups:
        groups.write("libvirt-qemu:x:64055:\nkvm:x:64056:\n")


@functools.cache
def _unpacked() -> Path | None:
    """Return the folder of the unpacked packages, ``None`` where the machine's own will do."""
    if _own_version().startswith(f"{VERSION}."):
        return None
    return unpacked(CACHE, PACKAGES, finish=_link_alternatives)


def _link_alternatives(root: Path) -> None:
    """Give iptables the names that installing it would give it."""
    for name in ("iptables", "ip6tables"):
        link = root / "usr/sbin" / name
        if link.with_name(f"{name}-nft").exists():
            link.unlink(missing_ok=True)
            link.symlink_to(f"{name}-nft")


def _own_version() -> str:
    """Return the version of the machine's libvirtd; empty when it has none."""
    program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.rpartition(" ")[2].strip()
