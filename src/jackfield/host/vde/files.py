"""The files of a network's switch.

They are::

    RUN_DIR/vde/UUID/              made by the switch: its control socket and those of its ports
    RUN_DIR/vde-switch/UUID/settings     what it was started with
                            process      its pid and start time
                            console      what it answered when it began to serve
                            log          what it says

The first is what guests' programs are given.  It belongs to the switch's user, and to the group
that may use it; whoever is in that may add a socket and take away no other's.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from uuid import UUID

from jackfield.errors import ServiceError
from jackfield.host.service.files import ServiceFiles
from jackfield.host.vde.identity import Identity, acting_as, remove_tree
from jackfield.host.vde.process import SwitchProcess
from jackfield.model.values import InterfaceName, Text
from jackfield.state.services import VdeSwitch

__all__ = ["SwitchFiles", "control_socket", "has_control_socket", "socket_directory"]

_LONGEST_PATH = 107
"""Bytes of a socket's path, without the zero at its end (``unix(7)``)."""

_LONGEST_NAME = len("/.4194304-00000")
"""What libvdeplug calls its end, from its process id and a number."""


def socket_directory(run_dir: Path, network: UUID) -> Path:
    """Return where the switch of ``network`` is to be plugged into."""
    return run_dir / "vde" / str(network)


def control_socket(directory: Path) -> Path:
    """Return what programs connect to in a switch's socket directory."""
    return directory / "ctl"


def has_control_socket(directory: Path) -> bool:
    """Return whether that is there, as far as it can be seen.

    The directory is the switch's own, and a daemon that systemd confines cannot look into it.
    """
    try:
        return control_socket(directory).exists()
    except PermissionError:
        return True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SwitchFiles(ServiceFiles):
    """The files of one network's switch; ``socket`` is its socket directory."""

    socket: Path

    @classmethod
    def of(cls, run_dir: Path, network: UUID) -> SwitchFiles:
        """Return the files of ``network``."""
        return cls(
            network=network,
            directory=run_dir / "vde-switch" / str(network),
            socket=socket_directory(run_dir, network),
        )

    @property
    def mark(self) -> str:
        """The argument that names its start-up commands: a file in our folder, which is not there.

        Its socket directory is no mark: programs that plug in name that as well.
        """
        return f"--rcfile={self.directory}/commands"

    @property
    def console(self) -> Path:
        """Where it answers."""
        return self.directory / "console"

    def process_of(self, pid: int, start_time: int | None) -> SwitchProcess:
        """Return the process ``pid`` as this network's switch."""
        return SwitchProcess(
            network=self.network,
            pid=pid,
            start_time=start_time,
            directory=self.directory,
            mark=self.mark,
        )

    def make(self, service: VdeSwitch, identity: Identity) -> None:
        """Make the folder, and the place where the switch makes its socket directory itself.

        What an ended one left there is removed.  Raises ``ServiceError`` when a socket's path
        would be too long.
        """
        if len(os.fsencode(self.socket)) + _LONGEST_NAME > _LONGEST_PATH:
            raise ServiceError(
                f"the sockets of a switch in {self.socket} would have longer paths than "
                f"the {_LONGEST_PATH} bytes that a socket may have",
                hint="choose a run directory with a shorter path",
            )
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_tree(self.socket)
        place = self.socket.parent
        # The switch's own group writes here; without it, only an owner's group can be given.
        with acting_as(os.geteuid(), identity.own_group):
            place.mkdir(exist_ok=True)
            os.chown(place, -1, identity.own_group)
            place.chmod(0o1771)
        self.console.unlink(missing_ok=True)
        self.write(
            "settings",
            json.dumps({"tap": service.tap, "group": service.group, "user": service.user}),
        )

    def observe(self, *, running: bool) -> VdeSwitch:
        """Return the switch that the files describe."""
        try:
            settings = json.loads(self.read("settings") or "{}")
        except ValueError:
            settings = {}
        group = settings.get("group")
        return VdeSwitch(
            network=self.network,
            tap=InterfaceName(settings.get("tap", "none")),
            group=None if group is None else Text(group),
            user=settings.get("user"),
            running=running,
            reachable=not running or self.is_reachable,
        )

    @property
    def is_reachable(self) -> bool:
        """Whether a running switch still has what programs plug into; somebody may remove it.

        One that has not answered yet is only just making it.
        """
        return has_control_socket(self.socket) or not self.read(self.console.name)

    def remove(self) -> None:
        """Remove both directories; raises ``HostError`` when something stays."""
        remove_tree(self.socket)
        ServiceFiles.remove(self)
