"""Who else configures an interface: found out from files and processes, without asking anybody.

NetworkManager and systemd-networkd say in ``/run`` what they manage, by the interface's index; of
DHCP clients the command line tells.  Only programs of the calling thread's network namespace
count.  Reads a file or two of every process: not for the event loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from jackfield.state.facts import UplinkFact

__all__ = ["find_managers", "look_at_uplink"]

_NETWORKD = "/run/systemd/netif/links"
_NETWORK_MANAGER = "/run/NetworkManager/devices"
_NOT_MANAGED = ("", "unmanaged", "linger")
_UNDECIDED = ("pending", "initialized")
_CLIENTS = frozenset({"dhclient", "dhcpcd", "udhcpc", "udhcpc6", "dhcp6c", "odhcp6c"})
_OF_ALL = {"connmand": "ConnMan", "wickedd": "wicked", "netifd": "netifd"}
_WORDS = re.compile(r"[\0\s]+")

_SIOCGIWNAME = 0x8B01  # linux/wireless.h: only wireless interfaces answer it
_IFREQ = struct.Struct("=16s24x")


def look_at_uplink(name: str, index: int, names: Collection[str]) -> UplinkFact:
    """Return who manages the interface, and whether it is wireless.

    ``names`` are those of all interfaces: a DHCP client that names none of them is for every one.
    """
    return UplinkFact(manager=_manager(name, index, names), wireless=_is_wireless(name))


def find_managers(links: Mapping[str, int]) -> dict[str, str]:
    """Return whom NetworkManager or systemd-networkd configures of ``links``: names to indexes.

    What they have no word of, or have not made up their mind about, is nobody's.
    """
    programs = {program for program, _ in _programs()}
    others = (*_NOT_MANAGED, *_UNDECIDED)
    found = {name: _service(index, programs, others) for name, index in links.items()}
    return {name: service for name, service in found.items() if service is not None}


def _manager(name: str, index: int, names: Collection[str]) -> str | None:
    running = list(_programs())
    service = _service(index, {program for program, _ in running})
    if service is not None:
        return service
    for program, words in running:
        if program in _OF_ALL:
            return _OF_ALL[program]
        if program in _CLIENTS:
            named = {word.removeprefix("-i") for word in words} | set(words)
            if name in named or not named & set(names):
                return f"the DHCP client {program}"
    return None


def _service(
    index: int, programs: Collection[str], not_managed: Collection[str] = _NOT_MANAGED
) -> str | None:
    """Return which of the two services, if it runs, configures an interface."""
    # The kernel cuts a program's name at 15 characters.
    if "systemd-network" in programs:
        state = _entry(f"{_NETWORKD}/{index}", "ADMIN_STATE")
        if state not in not_managed:
            return f"systemd-networkd ({state})"
    if "NetworkManager" in programs:
        path = f"{_NETWORK_MANAGER}/{index}"
        if _entry(path, "managed") == "true" or _entry(path, "connection-uuid"):
            return "NetworkManager"
    return None


def _programs() -> Iterator[tuple[str, list[str]]]:
    """Yield name and words of the command line of each process of this network namespace."""
    here = Path("/proc/thread-self/ns/net").stat()
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            program = (directory / "comm").read_text().strip()
            if not _is_of_interest(program) or not os.path.samestat(
                here, (directory / "ns/net").stat()
            ):
                continue
            line = (directory / "cmdline").read_bytes().decode(errors="replace")
            words = [word for word in _WORDS.split(line) if word]
            if program == "busybox" and len(words) > 1:
                program = words[1]
            yield program, words


def _is_of_interest(program: str) -> bool:
    return program in _CLIENTS or program in _OF_ALL or program in _OTHERS


_OTHERS = frozenset({"NetworkManager", "systemd-network", "busybox"})


def _entry(path: str, key: str) -> str:
    """Return the value of ``key=`` in a file of such lines; empty without one."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in Path(path).read_text().splitlines():
            found, _, value = line.partition("=")
            if found.strip() == key:
                return value.strip()
    return ""


def _is_wireless(name: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        try:
            fcntl.ioctl(control, _SIOCGIWNAME, _IFREQ.pack(name.encode()))
        except OSError:
            return False
        return True
