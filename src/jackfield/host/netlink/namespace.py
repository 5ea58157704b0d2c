"""Doing something in another network namespace, without leaving ours."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jackfield.errors import KernelError, NotFound
from jackfield.host.netlink.message import errno_text

__all__ = ["call_in_namespace", "is_namespace", "open_namespace"]

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def is_namespace(path: str) -> bool:
    """Tell whether a namespace is at ``path``.

    What one was mounted on may be left when it is gone: a plain file that nobody may open.
    """
    try:
        return Path(path).stat().st_dev == _namespaces()
    except OSError:
        return False


@functools.cache
def _namespaces() -> int:
    """Return the device of nsfs, on which all namespace files are."""
    return Path("/proc/self/ns/net").stat().st_dev


@contextlib.contextmanager
def open_namespace(path: str, what: str) -> Iterator[int]:
    """Open a namespace file; ``what`` continues "cannot" when that fails."""
    if not is_namespace(path):
        raise NotFound(
            f"cannot {what}: there is no network namespace {path}",
            hint=f"only a file was left of it: rm {path}"
            if Path(path).exists()
            else "`ip netns list` shows the named ones",
        )
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        number = error.errno or 0
        raise KernelError(
            f"cannot {what}: cannot open {path}: {errno_text(number)}", errno=number
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def call_in_namespace(descriptor: int, function: Callable[[], T]) -> T:
    """Return ``function()``, called in the network namespace of an open namespace file.

    A namespace belongs to a thread, so the call is made on a thread that ends with it: the
    caller's never changes, not even after an error.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def enter_and_call() -> None:
        try:
            if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
                number = ctypes.get_errno()
                where = Path(f"/proc/self/fd/{descriptor}").readlink()
                raise KernelError(
                    f"cannot enter the network namespace {where}: {errno_text(number)}",
                    errno=number,
                )
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_call, name="namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
