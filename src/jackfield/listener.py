"""Sockets that the doors listen at."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from jackfield.errors import ConfigurationError, WrongState

__all__ = ["listen"]

_LONGEST = 107  # bytes: sun_path of struct sockaddr_un (linux/un.h) without its end


def listen(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket of ``kind`` that listens at ``path``; one that was left there is replaced.

    Everybody may connect: what a caller may do is decided by who it is.  ``WrongState`` when
    somebody answers there: a daemon of another network namespace that shares the directory.
    ``ConfigurationError`` when there can be no socket, or something else is there.
    """
    if (length := len(os.fsencode(path))) > _LONGEST:
        raise ConfigurationError(
            f"{path} is {length} bytes long, and the path of a socket may have {_LONGEST}",
            hint="choose a shorter one: run_dir, libvirt_socket and libvirt_socket_ro say where",
        )
    try:
        return _listen(path, kind)
    except OSError as error:
        raise ConfigurationError(f"cannot listen at {path}: {error.strerror}") from error


def _listen(path: Path, kind: int) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(
                f"cannot listen at {path}: something is there that is no socket; it is left alone",
                hint="remove it, or choose another path",
            )
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.connect(os.fspath(path))
        raise WrongState(
            f"another daemon answers at {path}",
            hint="stop that one first (virtnetworkd with its sockets, where it is libvirt's), or "
            "give each a place of its own: --run-dir, or libvirt_socket in the configuration",
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
