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
    DNS) and before it drops privileges.
    """

    program = "dnsmasq"
    sign = "pid"

    def is_ready(self) -> bool:
        """Whether its sockets are bound."""
        try:
            return (self.directory / "pid").read_text().strip() == str(self.pid)
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
    while not process.is_ready() and process.is_alive() and time.monotonic() < limit:
        time.sleep(0.001)
    if process.is_ready():
        send_signal(process, signal.SIGHUP)
