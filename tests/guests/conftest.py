"""What tests with real guests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.guests import qemu


@pytest.fixture(scope="session", autouse=True)
def _available() -> None:
    """Skip where there can be no guests."""
    reason = qemu.skip_reason()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture
def guests() -> Iterator[contextlib.ExitStack]:
    """Give what ends guests, and closes descriptors, at the end of the test."""
    with contextlib.ExitStack() as stack:
        yield stack
