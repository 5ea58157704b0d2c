"""The driver of ``VdeSwitch`` resources; runs on the kernel thread.

A switch runs as a user of its own and without any capability: its tap is that user's, and the
group that may use the switch is one of its groups.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from jackfield.errors import HostError, ServiceError
from jackfield.host.service.driver import ServiceDriver
from jackfield.host.service.files import require_traversable, trim_log
from jackfield.host.service.process import Process, find_program, spawn, stop
from jackfield.host.vde.files import SwitchFiles
from jackfield.host.vde.identity import Identity
from jackfield.host.vde.process import QUESTION
from jackfield.state.services import VdeSwitch

if TYPE_CHECKING:
    from jackfield.host.kernel import Kernel

__all__ = ["VdeSwitchDriver"]

_TUN = Path("/dev/net/tun")
_PORTS = 1024
"""Guests that a switch takes, with its tap; its own default is 32."""


class VdeSwitchDriver(ServiceDriver[VdeSwitch, SwitchFiles]):
    """Makes, observes and removes the VDE switches of networks."""

    def files(self, kernel: Kernel, network: UUID) -> SwitchFiles:
        """Return the files of ``network``'s switch."""
        return SwitchFiles.of(kernel.run_dir, network)

    def _as_found(
        self, files: SwitchFiles, wanted: VdeSwitch, process: Process | None
    ) -> VdeSwitch:
        """Return the switch that was started, running or not."""
        return files.observe(running=process is not None)

    def prepare(self, kernel: Kernel, resources: Iterable[VdeSwitch]) -> None:
        """Raise what forbids a switch on this host, before anything is made for it."""
        for service in resources:
            _check(kernel, service)

    def ensure(
        self, kernel: Kernel, resources: Sequence[VdeSwitch], replaced: Mapping[str, VdeSwitch]
    ) -> None:
        """Make each network have its switch; one with other settings is started anew.

        Raises ``MissingFeature`` without vde_switch, ``NotFound`` for a group or a user that this
        host does not have, ``HostError`` when a file cannot be written.
        """
        restarted: list[tuple[SwitchFiles, VdeSwitch]] = []
        stopped: list[Process] = []
        for service in resources:
            files = self.files(kernel, service.network)
            process = self._running(files)
            if process is not None:
                if files.observe(running=True) == service:
                    continue
                stopped.append(process)
            restarted.append((files, service))
        checked = [_check(kernel, service) for _, service in restarted]
        stop(stopped)
        for (files, service), identity in zip(restarted, checked, strict=True):
            self._started[files.network] = _start(files, service, identity)


def _check(kernel: Kernel, service: VdeSwitch) -> Identity:
    """Return whom the switch is to run as; raise what is missing for it."""
    find_program("vde_switch", "vde2")
    identity = Identity.of(service)
    require_traversable(kernel.run_dir, "vde_switch")
    try:
        mode = _TUN.stat().st_mode
    except FileNotFoundError:
        # The driver of taps says so, and what to do.
        return identity
    if not mode & 0o006 == 0o006:
        raise ServiceError(
            f"vde_switch cannot use its tap: {_TUN} is closed to its user",
            hint=f"chmod 666 {_TUN}, as it is elsewhere: each tap has an owner of its own",
        )
    return identity


def _start(files: SwitchFiles, service: VdeSwitch, identity: Identity) -> int:
    """Start a switch and return its pid."""
    try:
        files.make(service, identity)
        trim_log(files.log)
    except OSError as error:
        raise HostError(
            f"cannot write the files of vde_switch in {files.directory}: {error.strerror}"
        ) from error
    setpriv = find_program("setpriv", "util-linux")
    group = [] if service.group is None else [f"--group={service.group}"]
    command = [
        setpriv,
        f"--reuid={identity.user}",
        f"--regid={identity.own_group}",
        "--clear-groups" if identity.group is None else f"--groups={identity.group}",
        "--inh-caps=-all",
        "--no-new-privs",
        find_program("vde_switch", "vde2"),
        files.mark,
        f"--sock={files.socket}",
        f"--tap={service.tap}",
        # Sticky, so that its users cannot take each other's sockets away.  Not set-group-ID, as it
        # would be by itself: our unit forbids that, and all sockets are given to the group anyway.
        *(("--mode=0600", "--dirmode=01700") if not group else ("--mode=0660", "--dirmode=01770")),
        *group,
        f"--numports={_PORTS}",
    ]
    # A switch in the foreground ends with its console.  This one never does: the switch itself
    # holds the end that would be written to, and nobody else has either.
    console, end = os.pipe()
    try:
        os.write(end, QUESTION)
        output = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        return spawn(
            command,
            files.log,
            (
                (os.POSIX_SPAWN_DUP2, console, 0),
                (os.POSIX_SPAWN_OPEN, 1, files.console, output, 0o644),
                (os.POSIX_SPAWN_DUP2, end, 3),
            ),
        )
    finally:
        os.close(console)
        os.close(end)
