"""libvirt's own daemon: asked by virsh, at a socket that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Collection
from pathlib import Path

from jackfield.errors import HostError, MissingFeature

__all__ = ["LibvirtDaemon"]

_LIMIT = 60.0
"""Seconds that libvirt may take for one request."""

_NETWORKS = "virtnetworkd-sock"
_DRIVERS = ("qemu", "lxc", "xen", "vbox", "storage", "nodedev", "secret", "interface", "nwfilter")


def _is_one_of_several(path: Path) -> bool:
    """Whether drivers have daemons of their own, with sockets beside ``path``."""
    return any(path.with_name(f"virt{name}d-sock").exists() for name in _DRIVERS)


class LibvirtDaemon:
    """A daemon of libvirt's that answers at ``path``."""

    def __init__(self, path: Path) -> None:
        """Talk to who answers at the UNIX socket ``path``."""
        self.path = path

    @classmethod
    def find(cls, sockets: Collection[Path], own: Collection[Path]) -> LibvirtDaemon | None:
        """Return the daemon that answers at the first of ``sockets``; blocks for a moment.

        ``own`` are ours: we may have the place of one of libvirt's.  Where each driver has a
        daemon, virtproxyd at libvirtd's socket would hand on to us what is asked of networks.
        """
        ours = {os.path.realpath(path) for path in own}
        for path in sockets:
            is_ours_behind = os.path.realpath(path.with_name(_NETWORKS)) in ours
            if os.path.realpath(path) in ours or (is_ours_behind and _is_one_of_several(path)):
                continue
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.settimeout(5)
                probe.connect(os.fspath(path))
                return cls(path)
        return None

    @property
    def has_networks_inside(self) -> bool:
        """Whether it is a libvirtd, whose guests get the networks of its own driver alone.

        Where each driver has a daemon, virtproxyd answers at libvirtd's socket
        (https://libvirt.org/daemons.html).
        """
        return self.path.name == "libvirt-sock" and not _is_one_of_several(self.path)

    @staticmethod
    def client() -> str | None:
        """Return the path of virsh, or ``None`` where it is not installed."""
        return shutil.which("virsh", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")

    async def ask(self, *command: str, text: str = "") -> str:
        """Return what ``virsh COMMAND`` says; ``HostError`` when it fails or takes too long.

        ``text`` is its standard input, which a command reads as ``/dev/stdin``.
        """
        program = self.client()
        if program is None:
            raise MissingFeature(
                f"libvirt's daemon answers at {self.path}, but there is no virsh to ask it with",
                hint="install libvirt-clients, or stop libvirt's daemon",
            )
        process = await asyncio.create_subprocess_exec(
            program,
            "-q",
            "-c",
            f"network:///system?socket={self.path}",
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(process.communicate(text.encode()), _LIMIT)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise HostError(
                f"libvirt's daemon did not answer 'virsh {' '.join(command)}' in {_LIMIT:g} s"
            ) from None
        if process.returncode:
            said = errors.decode(errors="replace").strip().replace("\n", "; ")
            raise HostError(f"virsh {' '.join(command)}: {said}")
        return output.decode(errors="replace")
