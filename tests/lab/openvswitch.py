"""Open vSwitch in a namespace: its database and its switch, stock programs of Debian.

Where the machine does not have them, the packages are fetched once to a cache folder and unpacked
there; installed they would start a service.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.namespace import Namespace
from tests.lab.packages import Unavailable, unpacked
from tests.lab.wait import wait_for

__all__ = ["OUT", "PLACE", "OpenVSwitch", "skip_reason"]

PLACE = Path("/run/openvswitch")
"""Where the programs have their files on a lab host."""
OUT = """
<network>
  <name>out</name>
  <forward mode='bridge'/>
  <bridge name='ovs-out'><uplinks mtu='1450'><interface dev='eth0'/></uplinks></bridge>
  <virtualport type='openvswitch'/>
</network>
"""
"""A network that makes its bridge, over eth0."""

#: Where each program and the schema are below the packages' root.
PLACES = {
    "ovsdb-server": "usr/sbin/ovsdb-server",
    "ovsdb-tool": "usr/bin/ovsdb-tool",
    "ovs-vsctl": "usr/bin/ovs-vsctl",
    "ovs-vswitchd": "usr/lib/openvswitch-switch/ovs-vswitchd",
    "schema": "usr/share/openvswitch/vswitch.ovsschema",
}


@functools.cache
def root() -> Path:
    """Return the folder below which the programs are; fetches them if need be."""
    if all(Path("/", place).exists() for place in PLACES.values()):
        return Path("/")
    return unpacked("openvswitch", ("openvswitch-switch",))


@functools.cache
def skip_reason() -> str | None:
    """Return why there can be no Open vSwitch here, or ``None``; the first call may fetch it."""
    try:
        root()
    except Unavailable as error:
        return f"no Open vSwitch: {error}"
    return None


class OpenVSwitch:
    """ovsdb-server and ovs-vswitchd of one namespace, until the ``with`` ends.

    ``directory`` is where programs of the namespace find their files, ``seen`` where the test
    process does: a lab host has a /run of its own.
    """

    def __init__(self, where: Namespace, directory: Path, seen: Path | None = None) -> None:
        """Make an empty database and start both programs."""
        self.where = where
        self.directory = directory
        self.seen = directory if seen is None else seen
        self.seen.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.make_database()
        self.start_database()
        self.vsctl("--no-wait", "init")
        self.start_switch()

    @property
    def socket(self) -> Path:
        """The database's socket as programs of the namespace find it."""
        return self.directory / "db.sock"

    @property
    def environment(self) -> dict[str, str]:
        """What the programs need in their environment."""
        variables = {
            "OVS_RUNDIR": str(self.directory),
            "OVS_DBDIR": str(self.directory),
            "OVS_LOGDIR": str(self.directory),
        }
        libraries = sorted((root() / "usr/lib").glob("*-linux-gnu")) if root() != Path("/") else []
        if libraries:
            variables["LD_LIBRARY_PATH"] = ":".join(map(str, libraries))
        return variables

    def make_database(self) -> None:
        """Make an empty database, in place of the one there may be."""
        (self.seen / "conf.db").unlink(missing_ok=True)
        self._run(
            "ovsdb-tool", "create", f"{self.directory}/conf.db", str(root() / PLACES["schema"])
        )

    def start_database(self) -> None:
        """Start ovsdb-server and wait until it answers."""
        self._start(
            "ovsdb-server",
            f"{self.directory}/conf.db",
            f"--remote=punix:{self.socket}",
            f"--unixctl={self.directory}/ovsdb-server.ctl",
        )
        wait_for(
            lambda: self.vsctl("--no-wait", "list-br", check=False) is not None, 10, "ovsdb-server"
        )

    def start_switch(self) -> None:
        """Start ovs-vswitchd and wait until it has done what the database says."""
        self._start(
            "ovs-vswitchd",
            f"unix:{self.socket}",
            f"--unixctl={self.directory}/ovs-vswitchd.ctl",
        )
        # Without --no-wait this returns when the switch has taken the configuration.
        self.vsctl("set", "Open_vSwitch", ".", "external_ids:lab=up")

    def stop(self, program: str) -> None:
        """End a program at once, as a crash would."""
        pids = self.pids(program)
        process = self._running.pop(program)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        # nsenter(1) ends when it has collected the program.  Without it that would be left to
        # process 1 of the machine, which may take its time, and the host's end waits for it.
        # It has stopped itself if the program was stopped.
        process.send_signal(signal.SIGCONT)
        process.wait(10)
        if process.stderr is not None:
            process.stderr.close()

    def pids(self, program: str) -> list[str]:
        """Return the process ids of a program, as the test process sees them."""
        process = self._running[program]
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return children or [str(process.pid)]

    def vsctl(self, *arguments: str, check: bool = True) -> str | None:
        """Return what ``ovs-vsctl ARGUMENTS`` prints; ``None`` when it fails without ``check``."""
        return self._run("ovs-vsctl", f"--db=unix:{self.socket}", *arguments, check=check)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the rows of a table as ``ovs-vsctl --format=json list`` shows them."""
        text = self.vsctl("--format=json", "list", table)
        listed = json.loads(text or "{}")
        return [
            {name: _plain(value) for name, value in zip(listed["headings"], row, strict=True)}
            for row in listed["data"]
        ]

    def row(self, table: str, name: str) -> dict[str, Any] | None:
        """Return the row of that name, or ``None``."""
        return next((row for row in self.rows(table) if row["name"] == name), None)

    def ports(self, bridge: str) -> set[str]:
        """Return the names of a bridge's ports, but its own."""
        return set((self.vsctl("list-ports", bridge) or "").split())

    def give_vsctl(self, path: Path) -> None:
        """Put ovs-vsctl at ``path`` (of the test process), for programs of the namespace."""
        settings = " ".join(f"{name}={value}" for name, value in self.environment.items())
        program = root() / PLACES["ovs-vsctl"]
        path.write_text(f'#!/bin/sh\nexec env {settings} {program} "$@"\n')
        path.chmod(0o755)

    def close(self) -> None:
        """End both programs."""
        for program in list(self._running):
            self.stop(program)

    def __enter__(self) -> OpenVSwitch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, program: str, *arguments: str) -> None:
        self._running[program] = self.where.popen(
            self._command(
                program,
                *arguments,
                "-vconsole:off",
                f"--log-file={self.directory}/{program}.log",
            ),
            env=self.environment,
        )

    def _run(self, program: str, *arguments: str, check: bool = True) -> str | None:
        result = self.where.run(
            self._command(program, *arguments), env=self.environment, check=check, timeout=20
        )
        return result.stdout.strip() if result.returncode == 0 else None

    def _command(self, program: str, *arguments: str) -> Sequence[str]:
        pdeathsig = shutil.which("setpriv") or "/usr/bin/setpriv"
        limit = ["--timeout=10"] if program == "ovs-vsctl" else []
        return [
            *(pdeathsig, "--pdeathsig", "KILL"),
            str(root() / PLACES[program]),
            *limit,
            *arguments,
        ]


def _plain(value: Any) -> Any:
    """Return a column's value without the words of RFC 7047: sets as lists, maps as mappings."""
    match value:
        case ["set", items]:
            return [_plain(item) for item in items]
        case ["map", items]:
            found: Mapping[Any, Any] = {key: _plain(item) for key, item in items}
            return found
        case ["uuid", uuid]:
            return uuid
    return value
