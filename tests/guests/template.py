"""The warm template: the state of a tiny guest that has booted, to begin others from.

``CACHE/guests/KEY/`` holds the ``initramfs`` and the ``state`` that QEMU saved; the key is made of
everything that both depend on.  The template has no network card: a guest that begins from it gets
its own on the command line and finds it by looking at the PCI bus again, so each has its own
address, and the features that its own backend offers.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.guests import qemu
from tests.guests.initramfs import Initramfs
from tests.guests.shell import Shell
from tests.lab.packages import cache_folder, locked
from tests.lab.wait import wait_for

__all__ = ["booting", "machine", "warm_state"]

HERE = Path(__file__).parent
MODULES = ("virtio_net", "igbvf")
MEMORY = "96"
#: A folder that nobody has used for so long is removed.
KEPT_SECONDS = 30 * 86400
BOOT_SECONDS = 120


def machine(shell: str, console: str, *, accelerator: str | None = None) -> list[str]:
    """Return QEMU's command line for a tiny guest, the same for the template and all others.

    ``shell`` is the path of the shell's socket, ``console`` of the file with the kernel's words.
    """
    kernel = qemu.kernel()
    return qemu.command(
        *("-machine", "pc", "-m", MEMORY),
        *("-kernel", str(kernel.image), "-initrd", str(_folder() / "initramfs")),
        *("-append", "console=ttyS0 quiet panic=-1 net.ifnames=0"),
        *("-serial", f"file:{console}", "-serial", f"unix:{shell},server=on,wait=off"),
        accelerator=accelerator or qemu.translator(),
    )


def booting(shell: str, console: str) -> list[str]:
    """Return QEMU's command line for a tiny guest of an emulated machine (``machine.py``).

    Where one machine translates the code of another that translates, all takes five times as long
    as with KVM, which that machine's processor has.  KVM cannot begin from a template that was
    translated, so the guest boots.
    """
    warm_state()
    return machine(shell, console, accelerator="kvm")


@functools.cache
def warm_state() -> Path:
    """Return the file to begin from, for ``-incoming file:``; boots a guest for it if need be."""
    folder = _folder()
    state = folder / "state"
    with locked(folder):
        if not state.is_file():
            _remove_old(folder.parent)
            (folder / "initramfs").write_bytes(_initramfs())
            fresh = folder / "state.new"
            _boot_and_save(fresh)
            fresh.rename(state)
        os.utime(folder)
    return state


@functools.cache
def _initramfs() -> bytes:
    built = Initramfs()
    built.add("/init", (HERE / "init.sh").read_bytes())
    built.add("/prepare", b"ln -s busybox /bin\n")
    built.add("/lease", (HERE / "lease.sh").read_bytes())
    built.add_modules(qemu.kernel().modules, MODULES)
    return built.pack()


@functools.cache
def _folder() -> Path:
    """Return where the template is kept."""
    key = hashlib.sha256(_initramfs())
    version = subprocess.run(
        qemu.command("--version", accelerator=qemu.translator()),
        env={**os.environ, **qemu.environment()},
        capture_output=True,
        check=True,
    )
    key.update(version.stdout + qemu.kernel().version.encode())
    # The rest of the machine is said in these two.
    for name in ("qemu.py", "template.py"):
        key.update((HERE / name).read_bytes())
    return cache_folder() / "guests" / key.hexdigest()[:16]


def _boot_and_save(path: Path) -> None:
    """Boot a guest and have QEMU save it to ``path``."""
    with tempfile.TemporaryDirectory(prefix="jackfield-guest-") as name:
        folder = Path(name)
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),
                *machine(str(folder / "shell"), str(folder / "console")),
                *("-qmp", f"unix:{folder}/monitor,server=on,wait=off"),
            ],
            env={**os.environ, **qemu.environment()},
            stdin=subprocess.DEVNULL,
        )

        def check_alive() -> None:
            assert process.poll() is None, f"QEMU ended with {process.poll()}"

        try:
            shell = Shell(folder / "shell", check_alive)
            try:
                shell.wait_booted(BOOT_SECONDS)
                # The first run of a program translates it; what follows finds that done.
                shell.run("echo 3 > /proc/sys/vm/drop_caches")
            finally:
                shell.close()
            monitor = qemu.Qmp(folder / "monitor")
            monitor.execute("migrate", uri=f"file:{path}")
            wait_for(
                lambda: monitor.execute("query-migrate").get("status") == "completed",
                60,
                "the guest to be saved",
            )
            monitor.execute("quit")
            monitor.close()
            process.wait(10)
        finally:
            process.kill()
            process.wait()


def _remove_old(folder: Path) -> None:
    for other in folder.iterdir():
        if time.time() - other.stat().st_mtime > KEPT_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
