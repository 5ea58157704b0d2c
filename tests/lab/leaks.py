"""What a run of tests must not leave behind on the machine."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import uuid
from pathlib import Path

from tests.lab.namespace import open_namespaces

__all__ = ["Machine", "mark_run", "processes_of_run"]

#: Every process that a run starts has this variable in its environment.
VARIABLE = "JACKFIELD_TEST_RUN"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Links and named namespaces of the machine's own namespace, and mounts."""

    links: frozenset[str]
    namespaces: frozenset[str]
    mounts: frozenset[str]

    @classmethod
    def observe(cls) -> Machine:
        """Return what is there now."""
        listed = subprocess.run(
            ["ip", "-j", "link", "show"], capture_output=True, text=True, check=True
        )
        named = Path("/run/netns")
        namespaces = [path.name for path in named.iterdir()] if named.is_dir() else []
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return cls(
            links=frozenset(link["ifname"] for link in json.loads(listed.stdout)),
            namespaces=frozenset(namespaces),
            mounts=frozenset(line.split()[4] for line in mounts),
        )

    def added_since(self, before: Machine) -> list[str]:
        """Return a phrase for each thing that was not there ``before``."""
        return [
            *(f"link {name}" for name in sorted(self.links - before.links)),
            *(f"namespace {name}" for name in sorted(self.namespaces - before.namespaces)),
            *(f"mount {path}" for path in sorted(self.mounts - before.mounts)),
        ]


def mark_run() -> str:
    """Mark all processes that are started from now on; return the mark."""
    mark = str(uuid.uuid4())
    os.environ[VARIABLE] = mark
    return mark


def processes_of_run(mark: str) -> list[str]:
    """Return the command lines of living processes with this mark, the own one excepted."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit() and int(directory.name) != os.getpid():
            try:
                if wanted in (directory / "environ").read_bytes().split(b"\0"):
                    command = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(f"process {directory.name}: {os.fsdecode(command).strip()}")
            except OSError:
                continue
    return found


def unclosed() -> list[str]:
    """Return a phrase for each namespace that a test made and did not close."""
    return [f"unclosed {type(one).__name__} {one.name}" for one in open_namespaces]
