"""QEMU and a kernel of Debian from the cache folder, and what all guests' machines have."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.lab import libvirtd
from tests.lab.packages import Unavailable, unpacked

__all__ = ["Kernel", "Qmp", "command", "environment", "kernel", "skip_reason", "translator"]

KERNEL_PACKAGES = ("linux-image-amd64",)


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel: its compressed ``image``, the folder of its ``modules``, its ``version``."""

    image: Path
    modules: Path
    version: str


@functools.cache
def skip_reason() -> str | None:
    """Return why there can be no real guests on this machine, or ``None``; fetches if need be."""
    try:
        libvirtd.qemu_root()
        kernel()
    except Unavailable as error:
        return f"no QEMU and kernel for guests: {error}"
    return None


@functools.cache
def kernel(suite: str | None = None) -> Kernel:
    """Return Debian's newest kernel of this release, backports included, or a suite's."""
    name = "linux" if suite is None else f"linux-{suite}"
    root = unpacked(name, KERNEL_PACKAGES, alone=True, suite=suite)
    (image,) = (root / "boot").glob("vmlinuz-*")
    version = image.name.removeprefix("vmlinuz-")
    return Kernel(image, root / "usr/lib/modules" / version, version)


def translator(cache: int = 32) -> str:
    """Return the accelerator for guests of this machine: QEMU's translation of their code.

    ``cache`` is for translated code, in MiB: what does not fit is translated again and again.
    Translation is faster and surer than nested virtualisation, of which some kinds cannot boot a
    stock kernel.
    """
    return f"tcg,tb-size={cache}"


def command(*arguments: str, accelerator: str, cpu: str = "qemu64") -> list[str]:
    """Return the command line of QEMU with ``arguments``, without devices of its own choice."""
    share = libvirtd.qemu_root() / "usr/share"
    return [
        str(libvirtd.qemu_root() / "usr/bin/qemu-system-x86_64"),
        *("-L", str(share / "qemu"), "-L", str(share / "seabios")),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-accel", accelerator, "-cpu", cpu, "-smp", "1"),
        *arguments,
    ]


def environment() -> Mapping[str, str]:
    """Return the variables that QEMU needs to run from its folder."""
    libraries = libvirtd.qemu_root() / "usr/lib/x86_64-linux-gnu"
    return {"LD_LIBRARY_PATH": str(libraries), "QEMU_MODULE_DIR": str(libraries / "qemu")}


class Qmp:
    """QEMU's monitor (QMP): one command after the other."""

    def __init__(self, path: Path) -> None:
        """Connect to the UNIX socket ``path``."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(os.fspath(path))
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, name: str, **arguments: object) -> Any:
        """Return what a command returns; raises ``AssertionError`` when QEMU refuses it."""
        self._socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self._lines.readline())
            assert "error" not in answer, f"QEMU refuses {name}: {answer}"
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        """Hang up."""
        self._lines.close()
        self._socket.close()
