"""Sockets that the doors listen at."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from jackfield.errors import WrongState

__all__ = ["listen"]


def listen(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket of ``kind`` that listens at ``path``; one that was left there is replaced.

    Everybody may connect: what a caller may do is decided by who it is.  ``WrongState`` when
    somebody answers there: a daemon of another network namespace that shares the directory.
    """
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.connect(os.fspath(path))
        raise WrongState(
            f"another daemon answers at {path}",
            hint="give each daemon a run directory of its own with --run-dir",
        )
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o666)
        listener.listen(1024)
    except BaseException:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
