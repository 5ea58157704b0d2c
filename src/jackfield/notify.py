"""What a service manager is told and hands over (``sd_notify(3)``, ``sd_listen_fds(3)``)."""

from __future__ import annotations

import os
import socket

__all__ = ["listen_fds", "ready", "send", "status", "stopping", "watchdog", "watchdog_interval"]

_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START


def send(*assignments: str) -> bool:
    """Send ``KEY=value`` lines to the service manager; return whether there is one.

    A manager that does not answer is no reason to fail, so errors are passed over.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_UNIX, flags) as connection:
        try:
            connection.connect(address)
            connection.sendall("\n".join(assignments).encode())
        except OSError:
            return False
    return True


def ready(text: str) -> bool:
    """Say that the daemon serves, and in one line what."""
    return send("READY=1", f"STATUS={text}")


def status(text: str) -> bool:
    """Say in one line what the daemon is doing."""
    return send(f"STATUS={text}")


def stopping() -> bool:
    """Say that the daemon is going."""
    return send("STOPPING=1")


def watchdog() -> bool:
    """Say that the daemon is alive."""
    return send("WATCHDOG=1")


def watchdog_interval() -> float | None:
    """Return every how many seconds ``watchdog`` is due: half of what is asked, or ``None``."""
    asked = os.environ.get("WATCHDOG_USEC", "")
    addressee = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not asked.isascii() or not asked.isdigit() or addressee != str(os.getpid()):
        return None
    return int(asked) / 2_000_000 or None


def listen_fds() -> list[socket.socket]:
    """Return the listening sockets that were handed over, and forget them in the environment.

    They are not for our children, so they become close-on-exec.
    """
    addressee = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if addressee != str(os.getpid()) or not count.isascii() or not count.isdigit():
        return []
    sockets = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        os.set_inheritable(descriptor, False)
        sockets.append(socket.socket(fileno=descriptor))
    return sockets
