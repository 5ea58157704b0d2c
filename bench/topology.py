"""A guest on a network, and a machine outside, for benchmarks with packets.

::

    guest ──veth── virbrN (host under test) ──veth── outside 192.0.2.1
    10.x.y.2       10.x.y.1       192.0.2.10
"""

from __future__ import annotations

import contextlib
import socket
import sys

from bench.hosts import ENVIRONMENT, Jackfield, Libvirt
from bench.networks import gateway
from bench.packets import PORT
from bench.worker import Worker
from tests.lab.flow import EchoServer
from tests.lab.namespace import Namespace, NetworkNamespace
from tests.lab.switch import add_address

__all__ = ["OUTSIDE", "Guest"]

OUTSIDE = "192.0.2.1"


class Guest:
    """A guest of network ``number`` that can reach the machine outside, until ``close``."""

    def __init__(self, host: Jackfield | Libvirt, number: int) -> None:
        """Plug the host into the outside, and the guest into its network, which runs."""
        self._parts = contextlib.ExitStack()
        self.outside = self._parts.enter_context(NetworkNamespace("outside"))
        _cable(host.host, "eth0", "192.0.2.10/24", self.outside, f"{OUTSIDE}/24")
        self._parts.enter_context(EchoServer(self.outside))
        # What the flood sends is thrown away here, and answered by nobody.
        sink = self._parts.enter_context(self.outside.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sink.bind((OUTSIDE, PORT))
        guest = host.host.guest("guest")
        router = gateway(number)
        address = f"{router.rpartition('.')[0]}.2/24"
        if isinstance(host, Jackfield):
            host.client.request(
                "POST",
                f"/v1/networks/bench-{number}/ports",
                {"netns": "guest", "ifname": "eth0"},
            )
        else:
            bridge = host.daemon.virsh("net-info", f"bench-{number}").rpartition(" ")[2]
            host.host.run(
                [
                    *("ip", "link", "add", "guest", "type", "veth"),
                    *("peer", "name", "eth0", "netns", "guest"),
                ]
            )
            host.host.run(["ip", "link", "set", "guest", "master", bridge, "up"])
        guest.run(["ip", "link", "set", "eth0", "up"])
        add_address(guest, "eth0", address)
        guest.run(["ip", "route", "add", "default", "via", router])
        argv = ["ip", "netns", "exec", "guest", sys.executable, "-m", "bench.packets"]
        self.worker = Worker(host.host, argv, ENVIRONMENT)

    def arrived(self) -> int:
        """Return how many packets have come to the machine outside (``ip -s``)."""
        (link,) = self.outside.ip("-s", "link", "show", "dev", "eth0")
        packets: int = link["stats64"]["rx"]["packets"]
        return packets

    def rate(self, seconds: float) -> float:
        """Return the packets per second that reach the outside while the guest floods it."""
        before = self.arrived()
        _, took = self.worker.call("flood", address=OUTSIDE, seconds=seconds)
        return (self.arrived() - before) / float(took)

    def close(self) -> None:
        """Take the outside away."""
        self._parts.close()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _cable(near: Namespace, name: str, near_address: str, far: Namespace, address: str) -> None:
    """Lay a cable from ``near`` to ``far``, whose end is ``eth0``."""
    # The far end's programs see the machine's processes, and so the host's namespace.
    far.run(
        [
            *("ip", "link", "add", "eth0", "type", "veth"),
            *("peer", "name", name, "netns", str(near.path)),
        ]
    )
    for where, ifname, own in ((near, name, near_address), (far, "eth0", address)):
        where.run(["ip", "link", "set", ifname, "up"])
        add_address(where, ifname, own)
