"""Why a dnsmasq ended: its own last words, and who has the port it wanted."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from jackfield.errors import ServiceError
from jackfield.host.service.process import Process

__all__ = ["is_bound", "port_holder", "why_ended"]

_LISTENING = re.compile(r"listening socket for (\S+): Address already in use")
_LINE = re.compile(r"at line (\d+) of (/\S+)$")
_PORTS = {"DHCP server socket": 67, "DHCPv6 server socket": 547}
_TABLES = ("udp", "udp6", "tcp", "tcp6")


def why_ended(process: Process) -> ServiceError:
    """Return the error that says why ``process`` ended, with the port's holder if it was that.

    Must be called in the network namespace of the process.
    """
    words = process.reason()
    hint = None
    if (port := _wanted_port(words)) is not None and "in use" in words:
        match = _LISTENING.search(words)
        holder = port_holder(port, None if match is None else match[1])
        words += f" (port {port}, held by {holder or 'an unknown process'})"
        hint = "let that program listen on other addresses only, or give the network another one"
    elif (not words or "Permission denied" in words) and (profile := _enforced(process.pid)):
        # Its log is denied to it as well, so it may have said nothing there.
        words = f"{words or 'it could not say why'}; AppArmor confines it (profile {profile})"
        hint = (
            "see what was denied with: journalctl -k -g DENIED; "
            "our files are allowed by packaging/apparmor/usr.sbin.dnsmasq"
        )
    elif (line := _line(words)) is not None:
        # The file goes with the network where this keeps it from starting.
        words += f", which is: {line}"
        hint = "jackfield plan -v FILE shows the whole configuration of a document"
    return process.ended(words, hint)


def port_holder(port: int, address: str | None) -> str | None:
    """Return who is bound to ``port`` here (``NAME, pid N``), or ``None`` if that is unknown.

    With ``address`` only sockets of that address or of all count.  Sockets are those of the
    calling thread's network namespace (``/proc/thread-self/net``, ``proc(5)``).
    """
    inodes = set(_bound(port, address))
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted & _descriptors(process):
                return f"{(process / 'comm').read_text().strip()}, pid {process.name}"
    return None


def is_bound(port: int, address: str) -> bool:
    """Tell whether somebody here listens at ``port`` of ``address``, or of all addresses."""
    return any(True for _ in _bound(port, address))


def _enforced(pid: int) -> str | None:
    """Return the profile by which AppArmor confines a process, which may have ended."""
    # /proc/PID/attr/current is that of whichever security module is the first.
    for name in ("apparmor/current", "current"):
        with contextlib.suppress(OSError):
            profile, mode, _ = Path(f"/proc/{pid}/attr/{name}").read_text().partition(" (enforce)")
            return profile if mode else None
    return None


def _line(words: str) -> str | None:
    """Return the line of a file that dnsmasq's last words name."""
    match = _LINE.search(words)
    if match is None:
        return None
    with contextlib.suppress(OSError, IndexError, ValueError):
        return Path(match[2]).read_text().splitlines()[int(match[1]) - 1]
    return None


def _wanted_port(words: str) -> int | None:
    if _LISTENING.search(words):
        return 53
    return next((port for what, port in _PORTS.items() if what in words), None)


def _bound(port: int, address: str | None) -> Iterator[str]:
    """Yield the inodes of sockets bound to ``port`` of ``address`` or of all addresses."""
    for table in _TABLES:
        try:
            lines = Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            packed, _, number = fields[1].partition(":")
            if int(number, 16) != port:
                continue
            local = _address(packed)
            if address is None or local in {address, "0.0.0.0", "::"}:
                yield fields[9]


def _descriptors(process: Path) -> set[str]:
    """Return what the descriptors of ``/proc/PID`` lead to."""
    found: set[str] = set()
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(str(descriptor.readlink()))
    return found


def _address(text: str) -> str:
    """Return an address of ``/proc/net``: words of 32 bits, each in the host's byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words))
