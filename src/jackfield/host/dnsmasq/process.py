"""dnsmasq processes: when one serves, and what it is told while it runs."""

from __future__ import annotations

import dataclasses
import signal
import time

from jackfield.errors import ServiceError
from jackfield.host.dnsmasq.diagnosis import why_ended
from jackfield.host.dnsmasq.quiet import unsubscribe
from jackfield.host.service.process import Process, send_signal

__all__ = ["DnsmasqProcess", "reload"]

_READY_LIMIT = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DnsmasqProcess(Process):
    """A dnsmasq of ours.

    It writes its pid file after it has bound every socket (DHCP, DHCPv6, router advertisements,
    DNS) and before it drops privileges; that it has started it says when it is through, its TFTP
    directory opened as well.
    """

    program = "dnsmasq"
    sign = "log"
    aftermath = ("FAILED to start up",)
    everyday = (
        *("started,", "compile time options", "using ", "read ", "reading ", "cleared cache"),
        *("DHCP", "IPv6 router", "RTR-", "SLAAC", "router advertisement", "sent ", "warning: "),
    )

    def is_ready(self) -> bool:
        """Whether it has said that it started."""
        if not _has_bound(self):
            return False
        said = f"dnsmasq[{self.pid}]: started,".encode()
        try:
            if said in self.log.read_bytes():
                return True
            # What was said long ago is trimmed, but not while nobody has seen that it serves.
            # Times of files do not tell that: the clock may have been set back since.
            return f"[{self.pid}]: ".encode() in self.log.with_name("log.old").read_bytes()
        except OSError:
            return False

    def why_ended(self) -> ServiceError:
        """Return the error that says why it ended, with who has its port if it was that."""
        return why_ended(self)

    def settle(self) -> None:
        """Spare it the changes of other networks from now on."""
        unsubscribe(self)


def reload(process: Process) -> None:
    """Tell ``process`` to read again what it reads on SIGHUP.

    SIGHUP ends a program that does not expect it yet, so this waits for one that just starts.
    """
    limit = time.monotonic() + _READY_LIMIT
    while not _has_bound(process) and process.is_alive() and time.monotonic() < limit:
        time.sleep(0.001)
    if _has_bound(process):
        send_signal(process, signal.SIGHUP)


def _has_bound(process: Process) -> bool:
    try:
        return (process.directory / "pid").read_text().strip() == str(process.pid)
    except OSError:
        return False
