"""Initial RAM file systems for guests, made from the machine's busybox and Debian's modules."""

from __future__ import annotations

import gzip
import lzma
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["Initramfs", "module_files"]

#: Folders that every init wants.
FOLDERS = ("dev", "etc", "modules", "proc", "root", "run", "sys", "tmp")


class Initramfs:
    """What is in it; ``pack`` returns the archive, the same for the same content."""

    def __init__(self) -> None:
        """Begin with empty folders, busybox and its libraries."""
        self._files: dict[str, tuple[int, bytes]] = {}
        for name in FOLDERS:
            self._add_folder(name)
        self.add_program("/busybox/busybox", shutil.which("busybox") or "/usr/bin/busybox")

    def add(self, path: str, content: bytes, *, mode: int = 0o755) -> None:
        """Add a file at an absolute ``path``."""
        name = path.lstrip("/")
        for folder in reversed(list(Path(name).parents)[:-1]):
            self._add_folder(str(folder))
        self._files[name] = (stat.S_IFREG | mode, content)

    def add_program(self, path: str, source: str) -> None:
        """Add the machine's program ``source`` and the libraries that it is linked with."""
        self.add(path, Path(source).read_bytes())
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=False)
        for library in re.findall(r"(/\S+) \(0x", listed.stdout):
            self.add(library, Path(library).read_bytes())

    def add_modules(self, folder: Path, names: Sequence[str]) -> None:
        """Add kernel modules of ``folder`` and those they need, to be loaded in name order."""
        for number, path in enumerate(module_files(folder, names)):
            self.add(f"/modules/{number:03}-{module_name(path)}.ko", _read_module(path))

    def pack(self) -> bytes:
        """Return the archive: cpio's "newc" format (kernel's buffer-format.rst), compressed."""
        parts = []
        for number, (name, (mode, content)) in enumerate(self._files.items(), 1):
            parts += _entry(number, name, mode, content)
        parts += _entry(0, "TRAILER!!!", 0, b"")
        return gzip.compress(b"".join(parts), 1, mtime=0)

    def _add_folder(self, name: str) -> None:
        self._files.setdefault(name, (stat.S_IFDIR | 0o755, b""))


def module_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of kernel modules of ``folder`` and those they need, as they are loaded.

    What this kernel has built in is not among them.
    """
    found = {module_name(path): path for path in folder.rglob("*.ko*")}
    built_in = (folder / "modules.builtin").read_text().splitlines()
    wanted = {*names} - {module_name(Path(line)) for line in built_in}
    return [found[name] for name in _load_order(found, [name for name in names if name in wanted])]


def module_name(path: Path) -> str:
    """Return the name by which the kernel knows a module's file."""
    return path.name.partition(".ko")[0].replace("-", "_")


def _load_order(found: dict[str, Path], names: Iterable[str]) -> list[str]:
    """Return ``names`` and what they need, the needed before those who need them."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        if name not in found:
            raise LookupError(f"the kernel has no module {name}")
        needed = re.search(rb"\0depends=([^\0]*)\0", b"\0" + _read_module(found[name]))
        for other in (needed.group(1).decode() if needed else "").split(","):
            if other:
                visit(other.replace("-", "_"))
        order.append(name)

    for name in names:
        visit(name)
    return order


def _read_module(path: Path) -> bytes:
    content = path.read_bytes()
    return lzma.decompress(content) if path.suffix == ".xz" else content


def _entry(number: int, name: str, mode: int, content: bytes) -> list[bytes]:
    """Return a header, a name and a content, each padded to 4 bytes; all owned by root."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    return [header, b"\0" * (-len(header) % 4), content, b"\0" * (-len(content) % 4)]
