"""firewalld on a lab host, with the system bus that it speaks on.

Debian's packages are fetched once to a cache folder and lie over the machine's files in the lab
host's own mounts.
"""

from __future__ import annotations

import functools
from pathlib import Path

from tests.lab.bus import start_bus
from tests.lab.host import Host, HostProcess
from tests.lab.layers import lay_over
from tests.lab.packages import Unavailable, unpacked
from tests.lab.wait import wait_for

__all__ = ["Firewalld", "skip_reason"]

PACKAGES = ("firewalld", "dbus-daemon")


@functools.cache
def skip_reason() -> str | None:
    """Return why there is no firewalld for tests on this machine, or ``None``; may fetch it."""
    try:
        _unpacked()
    except Unavailable as error:
        return f"no firewalld: {error}"
    return None


class Firewalld:
    """firewalld with Debian's settings (default zone public), until it is stopped."""

    def __init__(self, host: Host) -> None:
        """Start the bus, and firewalld on it."""
        self.host = host
        self._log = host.file("/run/lab/firewalld.log")
        lay_over(host, _unpacked())
        start_bus(host)
        self.process: HostProcess
        self.start()

    def start(self) -> None:
        """Start firewalld (again) and wait until it runs."""
        with self._log.open("a") as log:
            self.process = self.host.start(
                ["firewalld", "--nofork", "--nopid"], stdout=log, stderr=log
            )

        def runs() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"firewalld ended:\n{self.log_text()}")
            return self.command("--state", check=False) == "running"

        wait_for(runs, 30, "firewalld to run")

    def command(self, *arguments: str, check: bool = True) -> str:
        """Return what ``firewall-cmd ARGUMENTS`` prints."""
        return self.host.run(["firewall-cmd", *arguments], check=check, timeout=60).stdout.strip()

    def log_text(self) -> str:
        """Return what it has written."""
        return self._log.read_text()

    def stop(self) -> None:
        """Stop firewalld, which takes its rules with it; the bus stays."""
        self.process.stop()


def _unpacked() -> Path:
    return unpacked("firewalld", PACKAGES)
