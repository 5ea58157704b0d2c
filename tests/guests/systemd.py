"""systemd as process 1 of a namespace in a whole Linux, which runs our unit as an installed one.

Namespaces that somebody makes beside it are seen by its services, as on a host: mounts are shared.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.guests.fullkernel import Site
from tests.guests.machine import ROOT, bytecode
from tests.lab.wait import wait_for

__all__ = ["PROGRAM", "Systemd"]

PROGRAM = Path("/usr/lib/systemd/systemd")
_UNITS = "/etc/systemd/system"
_LOG = "/run/jackfieldd.log"
#: A start returns when the daemon is ready, which in an emulated machine takes a while.
_PATIENCE = 180
_INIT = f"mount --make-rshared /; exec {PROGRAM} --system --log-target=console --show-status=0"
#: What a host has and this machine does without.
_LEFT_OUT = (
    *("systemd-udevd", "systemd-udev-trigger", "systemd-tmpfiles-setup", "systemd-logind"),
    *("systemd-tmpfiles-setup-dev", "systemd-update-utmp", "systemd-random-seed"),
    *("systemd-journald", "systemd-journal-flush", "systemd-sysusers", "systemd-sysctl"),
)
_TARGET = "[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n"


class Systemd:
    """The process, in the machine of a site; it ends with ``close``."""

    def __init__(self, site: Site) -> None:
        """Install our unit from the checkout, and start systemd."""
        self._site = site
        daemon = f"[Service]\\nExecStart=\\nExecStart={ROOT}/.venv/bin/jackfieldd\\n"
        settings = f"Environment={bytecode()}\\nStandardError=append:{_LOG}\\n"
        links = " ".join(f"{_UNITS}/{name}.service" for name in _LEFT_OUT)
        for line in (
            f"mkdir -p {_UNITS}/jackfieldd.service.d /var/lib /tmp",
            f"for link in {links}; do ln -sf /dev/null $link; done",
            f"printf '{_TARGET}' >{_UNITS}/default.target",
            f"cp {shlex.quote(str(ROOT))}/packaging/jackfieldd.service {_UNITS}",
            f"printf '{daemon}{settings}' >{_UNITS}/jackfieldd.service.d/lab.conf",
            "echo 5d1f1a3e6c1c4d8e9d0b1a2b3c4d5e6f >/etc/machine-id",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
            "/usr/bin/mount --make-rshared /",
            (
                "container=lab /usr/bin/unshare --pid --fork --mount --propagation shared "
                f"--mount-proc --cgroup sh -c {shlex.quote(_INIT)} >/run/systemd.log 2>&1 & "
                "echo $! >/run/systemd.pid"
            ),
        ):
            site.run(line)
        wait_for(self._is_up, 60, "systemd")

    def control(self, *words: str) -> str:
        """Run systemctl; return what it prints, also when it fails."""
        inside = "/usr/bin/nsenter -t $(pgrep -P $(cat /run/systemd.pid)) -p -m"
        command = f"SYSTEMD_COLORS=0 {inside} /usr/bin/systemctl --no-pager {shlex.join(words)}"
        return self._site.run(f"{command} 2>&1 || true", timeout=_PATIENCE)

    def show(self, name: str) -> str:
        """Return a property of our service."""
        return self.control("show", "-p", name, "--value", "jackfieldd").strip()

    def log(self) -> str:
        """Return what our daemon has logged."""
        return self._site.run(f"cat {_LOG} || true")

    def close(self) -> None:
        """End systemd, and all that it has started."""
        # It is a child of the machine's shell, whose reading of our next line its end would
        # cut in two.
        ended = "while kill -0 $(cat /run/systemd.pid) 2>/dev/null; do sleep 0.1; done"
        self._site.run(
            f"kill -9 $(pgrep -P $(cat /run/systemd.pid)); {ended}; umount -l /sys/fs/cgroup"
        )
        self._site.run("/usr/bin/mount --make-rprivate /")

    def _is_up(self) -> bool:
        return "active" in self.control("is-active", "basic.target").split()
