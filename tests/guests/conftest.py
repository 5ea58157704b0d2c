"""What tests with real guests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.guests import qemu
from tests.guests.machine import SriovMachine
from tests.guests.site import CONFIGURATION, DAEMON, Site
from tests.lab.host import Host


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


@pytest.fixture(scope="module")
def machine() -> Iterator[Site]:
    """Give the machine with SR-IOV, whose daemon is to make three virtual functions.

    Its card is a port of the host's bridge ``lan``, on which the host has 192.0.2.1.
    """
    with Host() as host, SriovMachine(host) as booted:
        host.run(["ip", "link", "add", "lan", "type", "bridge"])
        host.run(["ip", "addr", "add", "192.0.2.1/24", "dev", "lan"])
        host.run(["ip", "link", "set", "card", "master", "lan"])
        for link in ("lan", "card"):
            host.run(["ip", "link", "set", link, "up"])
        booted.call(f"{DAEMON}:start", configuration=CONFIGURATION)
        yield Site(host, booted)
