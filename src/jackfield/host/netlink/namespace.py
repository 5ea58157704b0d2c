"""Doing something in another network namespace, without leaving ours."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from jackfield.errors import KernelError
from jackfield.host.netlink.message import errno_text

__all__ = ["call_in_namespace"]

T = TypeVar("T")

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


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
