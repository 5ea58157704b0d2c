"""The host as the engine knows it, after more changes than one reading takes in."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import pytest

from jackfield.engine.hostwatch import HostWatch
from jackfield.host import mirror
from jackfield.host.netlink.route import RouteSocket
from jackfield.host.thread import KernelThread
from tests.lab.namespace import NetworkNamespace

LINKS = 40


@pytest.mark.kernel
def test_settling_reads_to_the_end(
    netns: NetworkNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little a reading takes in, what was done before is seen after settling."""
    made = {f"br{number}" for number in range(LINKS)}

    async def main() -> set[str]:
        thread: KernelThread[Any] = KernelThread(
            lambda: types.SimpleNamespace(kernel=types.SimpleNamespace(route=_route(netns)))
        )
        await thread.open()
        host = HostWatch(thread)
        await host.open()
        # From here on a reading is a few datagrams.
        monkeypatch.setattr(mirror, "_SLICE_SECONDS", 0.00005)
        batch = "".join(f"link add {name} type bridge\n" for name in sorted(made))
        netns.run(["ip", "-batch", "-"], input=batch)
        await host.settle()
        seen = set(host.links())
        host.close()
        await thread.close(lambda tools: tools.kernel.route.close())
        return seen

    with netns.entered():
        assert made <= asyncio.run(main())


def _route(netns: NetworkNamespace) -> RouteSocket:
    """Open a socket in the namespace from the kernel thread, which began in the machine's own."""
    with netns.entered():
        return RouteSocket()
