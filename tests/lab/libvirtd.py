"""A stock libvirtd 11.3 on a lab host: the peer that ours is compared with.

Where the machine does not have this version, Debian's packages of it are fetched once to a cache
folder and unpacked there.  Nothing is installed: in the lab host's own mounts they lie over the
machine's /usr, /etc and /var, so every program and every path is the stock one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tests.lab.host import Host, HostProcess
from tests.lab.wait import wait_for

__all__ = ["StockLibvirtd", "qemu_skip_reason", "skip_reason", "use_qemu", "use_stock_programs"]

VERSION = "11.3"
URI = "network:///system"
SOCKET = "/run/libvirt/libvirt-sock"
CACHE = Path("~/.cache/jackfield/libvirt-11.3").expanduser()
PACKAGES = (
    "libvirt-daemon",
    "libvirt-daemon-driver-network",
    "libvirt-clients",
    "python3-libvirt",
    "iptables",
)
#: With libvirt's QEMU driver and QEMU: some 30 MB more, so they are kept apart.
QEMU_CACHE = CACHE.with_name(f"{CACHE.name}-qemu")
QEMU_PACKAGES = (*PACKAGES, "libvirt-daemon-driver-qemu", "qemu-system-x86")
#: The releases of Debian that have this version, and the suites it takes.
SUITES = {
    "bookworm": ("bookworm", "bookworm-updates", "bookworm-backports"),
    "trixie": ("trixie", "trixie-updates"),
}
#: Stock otherwise: there is no polkit in a lab host.
LIBVIRTD_CONF = 'auth_unix_rw = "none"\nauth_unix_ro = "none"\n'


class Unavailable(Exception):
    """There is no libvirtd of this version here, nor can there be; the text says why."""


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
        _unpacked_in(QEMU_CACHE, QEMU_PACKAGES)
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
        _lay_over(host, _unpacked(), writable)
        settings = host.file("/etc/libvirt")
        settings.mkdir(exist_ok=True)
        (settings / "libvirtd.conf").write_text(LIBVIRTD_CONF)
        (settings / "network.conf").write_text(f'firewall_backend = "{backend}"\n')
        self.process: HostProcess
        self.start()

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
        timeout: float = 30,
    ) -> str:
        """Return what ``virsh ARGUMENTS`` prints; raises ``CommandFailed`` unless ``check``."""
        return self.host.run(
            ["virsh", "-q", "-c", URI, *arguments], check=check, input=input, timeout=timeout
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
    _lay_over(host, _unpacked(), None)


def lay_clients_over(host: Host) -> None:
    """Give a lab host libvirt's clients (virsh, Debian's Python binding) without its daemon."""
    _lay_over(host, _unpacked(), None)


def use_qemu(host: Host) -> None:
    """Give a host libvirt's QEMU driver, QEMU, and the users that both want."""
    _lay_over(host, _unpacked_in(QEMU_CACHE, QEMU_PACKAGES), None)
    with host.file("/etc/passwd").open("a") as users:
        users.write("libvirt-qemu:x:64055:64055::/:/bin/false\n")
    with host.file("/etc/group").open("a") as groups:
        groups.write("libvirt-qemu:x:64055:\nkvm:x:64056:\n")


def _lay_over(host: Host, root: Path | None, writable: Path | None) -> None:
    """Mount the packages over the host's /usr, /etc and /var; writing goes to ``writable``."""
    upper = Path("/run/lab/libvirt-layers") if writable is None else writable
    commands = ["set -e"]
    for name in ("usr", "etc", "var"):
        over, work = upper / name, upper / f"{name}.work"
        commands.append(f"mkdir -p {over} {work}")
        lower = f"/{name}"
        if root is not None and (root / name).is_dir():
            lower = f"{root / name}:{lower}"
        options = f"lowerdir={lower},upperdir={over},workdir={work}"
        commands.append(f"mount -t overlay -o {options} overlay /{name}")
    # Hidden by the new /etc where it was.
    commands.append("mount --bind /run/lab/resolv.conf $(realpath /etc/resolv.conf)")
    host.run(["sh", "-c", "\n".join(commands)])


@functools.cache
def _unpacked() -> Path | None:
    """Return the folder of the unpacked packages, ``None`` where the machine's own will do."""
    if _own_version().startswith(f"{VERSION}."):
        return None
    return _unpacked_in(CACHE, PACKAGES)


@functools.cache
def _unpacked_in(cache: Path, packages: tuple[str, ...]) -> Path:
    """Return the folder of the unpacked packages, which are fetched unless they are there."""
    root, stamp = cache / "root", cache / "packages"
    wanted = "\n".join(packages)
    with _locked(cache):
        if not stamp.is_file() or stamp.read_text() != wanted:
            stamp.unlink(missing_ok=True)
            _fetch(root, cache, packages)
            stamp.write_text(wanted)
    return root


def _own_version() -> str:
    """Return the version of the machine's libvirtd; empty when it has none."""
    program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.rpartition(" ")[2].strip()


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the folder for one process at a time."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot make {directory}: {error.strerror}") from error
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fetch(root: Path, cache: Path, packages: tuple[str, ...]) -> None:
    """Download the packages, and what they need and this machine lacks, and unpack them."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise Unavailable(f"this machine has another version or none, and no {program}")
    apt = cache / "apt"
    for directory in (apt / "lists/partial", apt / "archives/partial"):
        directory.mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text(_sources())
    (apt / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{apt}/sources.list";\n'
        'Dir::Etc::SourceParts "-";\n'
        f'Dir::State::Lists "{apt}/lists";\n'
        f'Dir::Cache "{apt}";\n'
        f'Dir::Cache::Archives "{apt}/archives";\n'
        f'APT::Default-Release "{SUITES[_release()][-1]}";\n'
        'APT::Install-Recommends "false";\n'
        # Nothing of the machine's own is written, so there is nothing to guard.
        'Debug::NoLocking "true";\n'
        'APT::Sandbox::User "";\n'
        'Acquire::Languages "none";\n'
    )
    _apt_get(apt, "update")
    _apt_get(apt, "install", "--yes", "--download-only", *packages)
    shutil.rmtree(root, ignore_errors=True)
    for package in sorted((apt / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", package, root], check=True)
    for name in ("lib", "lib64", "bin", "sbin"):
        # These are links into /usr on a merged system, which is what hosts see.
        if (root / name).is_dir():
            shutil.copytree(root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
    # The names that installing iptables would link (its alternatives).
    programs = root / "usr/sbin"
    for name in ("iptables", "ip6tables"):
        link = programs / name
        if (programs / f"{name}-nft").exists():
            link.unlink(missing_ok=True)
            link.symlink_to(f"{name}-nft")
    shutil.rmtree(apt / "archives")


def _apt_get(apt: Path, *arguments: str) -> None:
    result = subprocess.run(
        ["apt-get", "-qq", *arguments],
        env={**os.environ, "APT_CONFIG": str(apt / "apt.conf"), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        raise Unavailable(f"apt-get {arguments[0]} failed: {result.stdout.strip()[-300:]}")


def _release() -> str:
    """Return the code name of this Debian; ``Unavailable`` for one that lacks the version."""
    with contextlib.suppress(FileNotFoundError):
        for line in Path("/etc/os-release").read_text().splitlines():
            name, _, value = line.partition("=")
            if name == "VERSION_CODENAME" and value.strip('"') in SUITES:
                return value.strip('"')
    raise Unavailable(f"this machine has another version or none, and is not {' or '.join(SUITES)}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """An archive of Debian that the machine uses; ``key`` is the value of Signed-By."""

    uri: str
    suites: tuple[str, ...]
    key: str | None


def _sources() -> str:
    """Return a sources.list of the suites needed, at the archive that the machine uses."""
    release = _release()
    for source in _machine_sources():
        if release in source.suites:
            option = f"[signed-by={source.key}] " if source.key else ""
            return "".join(f"deb {option}{source.uri} {suite} main\n" for suite in SUITES[release])
    raise Unavailable(f"apt's sources of this machine name no archive of {release}")


def _machine_sources() -> Iterator[_Source]:
    """Yield the archives in the machine's sources files of both formats (sources.list(5))."""
    directory = Path("/etc/apt")
    for path in [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]:
        if not path.is_file():
            continue
        text = path.read_text()
        if path.suffix == ".list":
            for found in re.finditer(
                r"^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", text, re.MULTILINE
            ):
                options, uri, suite = found.groups()
                key = re.search(r"signed-by=(\S+)", options or "")
                yield _Source(uri, (suite,), key.group(1) if key else None)
        elif path.suffix == ".sources":
            for stanza in re.split(r"\n\s*\n", text):
                fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(\S.*)$", stanza, re.MULTILINE))
                if "deb" in fields.get("Types", "").split() and "URIs" in fields:
                    suites = tuple(fields.get("Suites", "").split())
                    yield _Source(fields["URIs"].split()[0], suites, fields.get("Signed-By"))
