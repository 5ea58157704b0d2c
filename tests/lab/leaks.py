"""What a run of tests must not leave behind on the machine.

``python -m tests.lab.leaks remember FILE`` notes what is there, ``… compare FILE`` fails for what
has been added since: links and named namespaces of the machine, mounts, nodes of macvtaps, network
namespaces that any process is in, and processes of ours.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.lab.namespace import open_namespaces

__all__ = ["Machine", "mark_run", "mend_null_device", "processes_of_run", "unclosed"]

#: Every process that a run starts has this variable in its environment.
VARIABLE = "JACKFIELD_TEST_RUN"
ROOT = Path(__file__).parents[2]
#: Seconds that the kernel is given to take things down in the background.
PATIENCE = 10.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is; ``namespaces`` are the names of ``ip netns``.

    ``inodes`` are the network namespaces of all processes, ``processes`` those whose executable
    or command line is of this checkout or names jackfield: both are looked at only when the
    machine runs nothing else of that kind, so not while several checkouts are tested at once.
    """

    links: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]
    nodes: frozenset[str] = frozenset()
    inodes: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()

    @classmethod
    def observe(cls, *, everything: bool = False) -> Machine:
        """Return what is there now; with ``everything`` also inodes and processes."""
        listed = subprocess.run(
            ["ip", "-j", "link", "show"], capture_output=True, text=True, check=True
        )
        named = Path("/run/netns")
        namespaces = [path.name for path in named.iterdir()] if named.is_dir() else []
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        nodes = Path("/dev/jackfield")
        return cls(
            links=frozenset(link["ifname"] for link in json.loads(listed.stdout)),
            namespaces=frozenset(namespaces),
            mounts=frozenset(line.split()[4] for line in mounts),
            nodes=frozenset(path.name for path in nodes.iterdir())
            if nodes.is_dir()
            else frozenset(),
            inodes=frozenset(_network_namespaces()) if everything else frozenset(),
            processes=frozenset(_processes_of_ours()) if everything else frozenset(),
        )

    def added_since(self, before: Machine) -> list[str]:
        """Return a phrase for each thing that was not there ``before``."""
        return [
            *(f"link {name}" for name in sorted(self.links - before.links)),
            *(f"namespace {name}" for name in sorted(self.namespaces - before.namespaces)),
            *(f"mount {path}" for path in sorted(self.mounts - before.mounts)),
            *(f"node {name} of a macvtap" for name in sorted(self.nodes - before.nodes)),
            *(f"network namespace {inode}" for inode in sorted(self.inodes - before.inodes)),
            *(f"process {told}" for told in sorted(self.processes - before.processes)),
        ]


def mark_run() -> str:
    """Mark all processes that are started from now on; return the mark."""
    mark = str(uuid.uuid4())
    os.environ[VARIABLE] = mark
    return mark


def processes_of_run(mark: str) -> list[str]:
    """Return a phrase for each living process with this mark, the own one excepted."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for directory in _processes():
        try:
            marked = wanted in (directory / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marked:
            found.append(f"process {directory.name} {_command(directory)}")
    return found


def mend_null_device() -> bool:
    """Make /dev/null again when it is no device any more; return whether that was needed."""
    null = Path("/dev/null")
    if null.is_char_device() or os.geteuid() != 0:
        return False
    fresh = Path(f"/dev/null.{os.getpid()}")
    os.mknod(fresh, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    fresh.chmod(0o666)
    fresh.replace(null)
    return True


def unclosed() -> list[str]:
    """Return a phrase for each namespace that a test made and did not close."""
    return [f"unclosed {type(one).__name__} {one.name}" for one in open_namespaces]


def _processes() -> Iterator[Path]:
    """Yield the folder below /proc of every process but the own one and those that led to it."""
    own = set()
    pid = os.getpid()
    while pid > 1:
        own.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) not in own:
            yield directory


def _command(directory: Path) -> str:
    """Return the command line of a process; empty when it has gone."""
    try:
        return os.fsdecode((directory / "cmdline").read_bytes().replace(b"\0", b" ")).strip()
    except OSError:
        return ""


def _network_namespaces() -> Iterator[str]:
    for directory in _processes():
        try:
            yield str((directory / "ns" / "net").readlink())
        except OSError:
            continue


def _processes_of_ours() -> Iterator[str]:
    for directory in _processes():
        command = _command(directory)
        try:
            executable = str((directory / "exe").readlink())
        except OSError:
            continue
        if any(word in f"{executable} {command}" for word in ("jackfield", str(ROOT))):
            yield f"{directory.name} {command}"


def main(verb: str, file: Path) -> int:
    """Do what the module's title says; return the exit status."""
    if verb == "remember":
        there = dataclasses.asdict(Machine.observe(everything=True))
        file.write_text(json.dumps({key: sorted(value) for key, value in there.items()}))
        return 0
    noted = json.loads(file.read_text())
    before = Machine(**{key: frozenset(value) for key, value in noted.items()})
    end = time.monotonic() + PATIENCE
    while True:
        added = Machine.observe(everything=True).added_since(before)
        if not added or time.monotonic() > end:
            break
        time.sleep(0.2)
    for told in added[:50]:
        print(f"left behind: {told}", file=sys.stderr)
    if len(added) > 50:
        print(f"left behind: {len(added) - 50} more", file=sys.stderr)
    return 1 if added else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
