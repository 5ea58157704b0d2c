"""A machine with SR-IOV: Debian's full kernel under QEMU, with an emulated igb card.

It sees the checkout with its virtual environment, the interpreter, the machine's ``/usr`` and the
cache of packages, read-only; all else is in its memory.  ``call`` runs functions of ours in one
Python process there (``inside.py``), so that what is slow to import is imported once.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from tests.guests import qemu
from tests.guests.initramfs import Initramfs, module_files
from tests.guests.shell import Shell
from tests.lab.host import Host
from tests.lab.packages import cache_folder

__all__ = ["CARD", "FUNCTIONS", "ROOT", "SriovMachine", "bytecode"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CARD = "52:54:00:00:08:01"
"""The address of the card's physical function."""
FUNCTIONS = 7
"""How many virtual functions it can have."""
MODULES = (
    *("virtio_pci", "crc32c_generic", "igb", "igbvf", "vfio_pci", "vfio_iommu_type1"),
    *("9p", "9pnet_virtio"),
    *("macvtap", "macvlan", "veth", "bridge", "8021q", "tun", "nf_tables", "nft_chain_nat"),
    "nft_meta_bridge",
)
BOOT_SECONDS = 180
_CALL_SECONDS = 120


class SriovMachine:
    """The machine, on ``host``; its card is the host's tap ``card``.  It ends with ``close``."""

    def __init__(self, host: Host, *, suite: str | None = None) -> None:
        """Boot it, with the newest kernel or that of a suite; wait until Python runs there."""
        self.kernel = qemu.kernel(suite)
        self.checkout = ROOT
        self._open = contextlib.ExitStack()
        self._said = host.file("/run/lab/machine.output")
        self._console = host.file("/run/lab/machine.console")
        host.file("/run/lab/machine.initramfs").write_bytes(_initramfs(self.kernel))
        with self._said.open("w") as output:
            self.process = host.start(
                _command(self.kernel), env=qemu.environment(), stdout=output, stderr=output
            )
        try:
            self.shell = self._open.enter_context(
                contextlib.closing(Shell(host.file("/run/lab/machine.shell"), self._check_alive))
            )
            self.shell.wait_booted(BOOT_SECONDS)
            python = ROOT / ".venv/bin/python"
            self.run("mkfifo /run/asked /run/answered")
            self.run(
                f"cd {shlex.quote(str(ROOT))}; {shlex.quote(str(python))} -m tests.guests.inside"
                " /run/asked /run/answered >/run/inside.log 2>&1 &"
            )
            self.call("tests.guests.inside:ready")
        except BaseException:
            self.close()
            raise

    def run(self, command: str, *, timeout: float = 60) -> str:
        """Run one line of shell in the machine; return what it said (``Shell.run``)."""
        return self.shell.run(command, timeout=timeout)

    def ip(self, *arguments: str) -> list[dict[str, Any]]:
        """Return what ``ip -j ARGUMENTS`` says in the machine."""
        text = self.run(shlex.join(["/usr/sbin/ip", "-j", *arguments]))
        return [entry for entry in json.loads(text) if entry] if text else []

    def load(self, *modules: str) -> None:
        """Load modules of the kernel that are not loaded when the machine starts."""
        loaded = module_files(self.kernel.modules, MODULES)
        for path in module_files(self.kernel.modules, modules):
            if path not in loaded:
                read = "xz -dc" if path.suffix == ".xz" else "cat"
                self.run(f"{read} {path} >/run/module && insmod /run/module; rm /run/module")

    def call(self, function: str, *, patience: float = _CALL_SECONDS, **arguments: object) -> Any:
        """Return what the function ``module:name`` returns in the machine, as JSON has it.

        It may take ``patience`` seconds.  Raises ``AssertionError`` with the traceback when it
        raises.
        """
        question = json.dumps({"function": function, "arguments": arguments})
        answer = json.loads(
            self.run(
                f"echo {shlex.quote(question)} >/run/asked && cat /run/answered",
                timeout=patience,
            )
        )
        assert "error" not in answer, f"in the machine: {answer['error']}"
        return answer["result"]

    def close(self) -> None:
        """End it at once."""
        self._open.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill9()

    def _check_alive(self) -> None:
        status = self.process.poll()
        if status is not None:
            console = self._console.read_text() if self._console.exists() else ""
            raise AssertionError(
                f"the machine ended with {status}: {self._said.read_text()}\n{console[-2000:]}"
            )

    def __enter__(self) -> SriovMachine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shared() -> dict[str, str]:
    """Return the machine's folders that are seen inside, by the tag they are mounted by."""
    folders = {"checkout": str(ROOT), "usr": "/usr", "cache": str(cache_folder())}
    if not sys.base_prefix.startswith("/usr"):
        folders["python"] = sys.base_prefix
    return folders


def bytecode() -> str:
    """Return what tells Python there where bytecode is, which it cannot write.

    What a run has compiled before need not be compiled there, where it takes ten times as long.
    """
    prefix = os.environ.get("PYTHONPYCACHEPREFIX", "")
    if Path(prefix).is_relative_to(cache_folder()):
        return f"PYTHONPYCACHEPREFIX={shlex.quote(prefix)}"
    return "PYTHONDONTWRITEBYTECODE=1"


def _initramfs(kernel: qemu.Kernel) -> bytes:
    built = Initramfs()
    built.add("/init", (HERE / "init.sh").read_bytes())
    lines = [
        f"export PATH=/busybox:/usr/sbin:/usr/bin {bytecode()}",
        "ln -s usr/bin /bin",
        "ln -s usr/sbin /sbin",
    ]
    for tag, folder in _shared().items():
        path = shlex.quote(folder)
        options = "ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose"
        lines += [f"mkdir -p {path}", f"mount -t 9p -o {options} {tag} {path}"]
    built.add("/prepare", "\n".join([*lines, ""]).encode())
    for name in ("passwd", "group"):
        built.add(f"/etc/{name}", Path("/etc", name).read_bytes(), mode=0o644)
    built.add_modules(kernel.modules, MODULES)
    return built.pack()


def _command(kernel: qemu.Kernel) -> list[str]:
    shares = []
    for tag, folder in _shared().items():
        shares += [
            "-fsdev",
            f"local,id={tag},path={folder},security_model=none,readonly=on,multidevs=remap",
            "-device",
            f"virtio-9p-pci,fsdev={tag},mount_tag={tag}",
        ]
    return qemu.command(
        *("-machine", "q35", "-m", "1024"),
        *("-kernel", str(kernel.image), "-initrd", "/run/lab/machine.initramfs"),
        "-append",
        # Tests turn the card's own switch off behind its driver's back: iomem=relaxed.  When the
        # host is busy, the timer may be late for the kernel's check: no_timer_check.
        "console=ttyS0 quiet panic=-1 net.ifnames=0 intel_iommu=on iommu=pt iomem=relaxed"
        " no_timer_check",
        *("-serial", "file:/run/lab/machine.console"),
        *("-serial", "unix:/run/lab/machine.shell,server=on,wait=off"),
        *("-device", "intel-iommu,intremap=on,caching-mode=on"),
        *("-device", "pcie-root-port,id=root1,bus=pcie.0,chassis=1,slot=1"),
        *("-netdev", "tap,id=card,ifname=card,script=no,downscript=no"),
        *("-device", f"igb,netdev=card,bus=root1,mac={CARD},romfile="),
        *shares,
        accelerator=qemu.translator(cache=256),
        # A guest of this machine has KVM; without nested page tables it cannot boot.
        cpu="qemu64,+svm,+npt",
    )
