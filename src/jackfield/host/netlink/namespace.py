"""Doing something in another network namespace, without leaving ours."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from jackfield.errors import KernelError, NotFound
from jackfield.host.netlink.message import errno_text

__all__ = ["call_in_namespace", "open_namespace"]

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def open_namespace(path: str, what: str) -> Iterator[int]:
    """Open a namespace file; ``what`` continues "cannot" when that fails."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NotFound(
            f"cannot {what}: there is no network namespace {path}",
            hint="`ip netns list` shows the named ones",
        ) from error
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
