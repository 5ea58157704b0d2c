"""A guest in a guest: functions that ``inside.py`` runs there, for tests outside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.guests.shell import Shell

__all__ = ["end", "run", "start"]

FOLDER = Path("/run/guest")

_guest: tuple[subprocess.Popen[bytes], Shell] | None = None


def start(command: Sequence[str], environment: Mapping[str, str], timeout: float) -> None:
    """Start a guest that boots, whose shell is ``FOLDER/shell``, and wait until it answers."""
    global _guest
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def check_alive() -> None:
        assert process.poll() is None, (FOLDER / "output").read_text()

    _guest = process, Shell(FOLDER / "shell", check_alive)
    _guest[1].wait_booted(timeout)


def run(command: str, timeout: float) -> str:
    """Run one line of shell in the guest; return what it said."""
    assert _guest is not None
    return _guest[1].run(command, timeout=timeout)


def end() -> None:
    """End the guest at once."""
    global _guest
    if _guest is not None:
        process, shell = _guest
        _guest = None
        shell.close()
        process.kill()
        process.wait()
