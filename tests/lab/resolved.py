"""systemd-resolved on a lab host, with the system bus that it speaks on.

Debian's packages are fetched once to a cache folder and lie over the machine's files in the lab
host's own mounts.
"""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from tests.lab.bus import start_bus
from tests.lab.host import Host, HostProcess
from tests.lab.layers import lay_over
from tests.lab.packages import Unavailable, unpacked
from tests.lab.wait import wait_for

__all__ = ["Resolved", "skip_reason"]

PACKAGES = ("systemd-resolved", "dbus-daemon")
USER = "systemd-resolve:x:990:990::/:/bin/false"


@functools.cache
def skip_reason() -> str | None:
    """Return why there is no systemd-resolved on this machine, or ``None``; may fetch it."""
    try:
        _unpacked()
    except Unavailable as error:
        return f"no systemd-resolved: {error}"
    return None


class Resolved:
    """The bus, and the resolver once it is started."""

    def __init__(self, host: Host) -> None:
        """Start the bus alone."""
        self.host = host
        self._log = host.file("/run/lab/resolved.log")
        lay_over(host, _unpacked())
        for file, line in (("passwd", USER), ("group", "systemd-resolve:x:990:")):
            with host.file(f"/etc/{file}").open("a") as users:
                users.write(f"{line}\n")
        host.run(["install", "-d", "-o", "990", "-g", "990", "/run/systemd/resolve"])
        start_bus(host)
        self.process: HostProcess

    def start(self) -> None:
        """Start the resolver (again) and wait until it answers."""
        with self._log.open("a") as log:
            self.process = self.host.start(
                ["/usr/lib/systemd/systemd-resolved"], stdout=log, stderr=log
            )
        wait_for(lambda: not self._tool("status").returncode, 20, "systemd-resolved to answer")

    def addresses(self, name: str) -> set[str]:
        """Return the addresses that the host's resolver has for a name."""
        said = self._tool("query", "--legend=no", name).stdout
        return {word for line in said.splitlines() for word in line.split()[1:2]}

    def domains(self, link: str) -> str:
        """Return what ``resolvectl`` says of a link's domains."""
        return self._tool("domain", link).stdout.partition(":")[2].strip()

    def stop(self) -> None:
        """Stop the resolver."""
        self.process.stop()

    def _tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.host.run(["resolvectl", *arguments], check=False)


def _unpacked() -> Path:
    return unpacked("resolved", PACKAGES)
