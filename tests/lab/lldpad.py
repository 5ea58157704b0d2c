"""A stock lldpad on a lab host.

Where the machine does not have it, Debian's package is fetched once to a cache folder and unpacked
there; installed it would start a service.
"""

from __future__ import annotations

import functools
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.host import Host, HostProcess
from tests.lab.packages import Unavailable, unpacked
from tests.lab.wait import wait_for

__all__ = ["PROGRAM", "Lldpad", "configuration", "root", "skip_reason"]

PROGRAM = "usr/sbin/lldpad"
_CONFIGURATION = "/run/lab/lldpad.conf"

#: What docs/ports.md tells an administrator to write for an uplink.
_UPLINK = """
    {name} :
    {{
      adminStatus = 3;
      tlvid001b3f00 :
      {{
        enableTx = true;
        fmode = "reflectiverelay";
        capabilities = "rte,ecp,vdp";
      }};
      vdp :
      {{
        enableTx = true;
        role = "station";
      }};
    }};
"""


@functools.cache
def root() -> Path:
    """Return the folder below which the program is; fetches it if need be."""
    return Path("/") if Path("/", PROGRAM).exists() else unpacked("lldpad", ("lldpad",))


@functools.cache
def skip_reason() -> str | None:
    """Return why there can be no lldpad here, or ``None``; the first call may fetch it."""
    try:
        root()
    except Unavailable as error:
        return f"no lldpad: {error}"
    return None


def configuration(*uplinks: str) -> str:
    """Return an lldpad.conf that enables VDP at these NICs."""
    blocks = "".join(_UPLINK.format(name=name) for name in uplinks)
    return f"nearest_customer_bridge :\n{{{blocks}}};\n"


class Lldpad:
    """lldpad on a host, with VDP enabled for some of its NICs, until the ``with`` ends."""

    def __init__(self, host: Host, *uplinks: str) -> None:
        """Configure and start it."""
        self._host = host
        # It takes another's shared memory for a sign that it runs already.
        host.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"])
        host.file(_CONFIGURATION).write_text(configuration(*uplinks))
        self.start()

    @property
    def pid_file(self) -> Path:
        """Its pid file as the test process finds it."""
        return self._host.file("/run/lldpad.pid")

    def start(self) -> None:
        """Start it and wait until it listens."""
        libraries = sorted((root() / "usr/lib").glob("*-linux-gnu"))
        variables = {} if root() == Path("/") else {"LD_LIBRARY_PATH": str(libraries[0])}
        self.pid_file.unlink(missing_ok=True)
        self.process: HostProcess = self._host.start(
            [str(root() / PROGRAM), "-f", _CONFIGURATION], env=variables
        )
        wait_for(self._listens, 10, "lldpad to listen")

    def _listens(self) -> bool:
        """Tell whether its process id is a port of rtnetlink's, which is where it is asked."""
        assert self.process.poll() is None, "lldpad has ended"
        try:
            pid = self.pid_file.read_text().strip(" \0\n")
        except FileNotFoundError:
            return False
        # Columns: sk Eth Pid …; the second of protocol 0 is NETLINK_ROUTE.
        table = self._host.run(["cat", "/proc/net/netlink"]).stdout.splitlines()
        return any(line.split()[1:3] == ["0", pid] for line in table)

    def stop(self) -> None:
        """End it."""
        self.process.stop()

    def restart(self) -> None:
        """End it and start it anew, which makes it forget everything."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop()
