"""Several clients that want the same at the same time: one of them gets it."""

from __future__ import annotations

import contextlib
import threading

import pytest

from jackfield.client import Client
from jackfield.errors import ForeignObject
from tests.lab.daemon import Daemon
from tests.lab.host import Host

pytestmark = pytest.mark.lab

DOCUMENT = """
<network>
  <name>{0}</name><bridge name='{0}0' stp='off'/><ip address='10.{1}.0.1' prefix='24'/>
</network>
"""


def test_a_subnet_that_two_networks_change_to(host: Host, daemon: Daemon) -> None:
    """One of them has it, also while the host does not show it yet; the other is as before."""
    client = Client(daemon.api_socket.parent)
    names = ("red", "blue")
    for number in range(20):
        for index, name in enumerate(names):
            client.request("PUT", f"/v1/networks/{name}", DOCUMENT.format(name, index))
        changed: list[str] = []
        together = threading.Barrier(len(names))

        def change(name: str, subnet: int, changed: list[str], together: threading.Barrier) -> None:
            together.wait()
            with contextlib.suppress(ForeignObject):
                client.request("PUT", f"/v1/networks/{name}", DOCUMENT.format(name, subnet))
                changed.append(name)

        threads = [
            threading.Thread(target=change, args=(name, 2 + number, changed, together))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 == len(changed)
        routes = [route for route in host.ip("route") if route["dst"] == f"10.{2 + number}.0.0/24"]
        assert [f"{changed[0]}0"] == [route["dev"] for route in routes]
