"""Removals that go on after a failure, and tell of all that failed at the end."""

from __future__ import annotations

import errno
from collections.abc import Collection, Sequence

from jackfield.errors import JackfieldError
from jackfield.host.kernel import Kernel
from jackfield.host.netlink.message import Message

__all__ = ["send_removals"]


def send_removals(
    kernel: Kernel,
    messages: Sequence[Message],
    what: str,
    passed_over: Collection[int] = (errno.ENODEV,),
) -> None:
    """Send removals and raise what was refused as an ``ExceptionGroup`` named ``what``.

    The errnos ``passed_over`` say that the thing is gone already.
    """
    failures: list[JackfieldError] = [
        refusal for refusal in kernel.route.try_all(messages) if refusal.errno not in passed_over
    ]
    if failures:
        raise ExceptionGroup(what, failures)
