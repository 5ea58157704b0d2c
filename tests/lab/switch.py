"""The world outside a host: an Ethernet switch and a machine on it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from tests.lab.host import Host
from tests.lab.namespace import Namespace, NetworkNamespace
from tests.lab.wait import wait_for

__all__ = ["Lan", "add_address", "wait_forwarding", "wait_usable"]

_IFA_F_TENTATIVE = 0x40


def add_address(where: Namespace, ifname: str, address: str) -> None:
    """Give a link an ``ADDRESS/PREFIX``; an IPv6 address is usable at once (no DAD)."""
    where.run(["ip", "addr", "add", address, "dev", ifname, *(["nodad"] if ":" in address else [])])


def wait_forwarding(where: Namespace) -> None:
    """Wait until every port of the bridges there forwards: a carrier is noticed a little later."""

    def forwards() -> bool:
        ports = json.loads(where.run(["bridge", "-j", "link", "show"]).stdout)
        return all(port["state"] == "forwarding" for port in ports)

    wait_for(forwards, 5, "the ports to forward")


def wait_usable(where: Namespace) -> None:
    """Wait until no IPv6 address there is being checked for duplicates any more."""

    def usable() -> bool:
        with where.entered():
            lines = Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
        return not any(int(line.split()[4], 16) & _IFA_F_TENTATIVE for line in lines)

    wait_for(usable, 10, "the addresses to be usable")


class Lan:
    """A switch: a bridge without spanning tree, in a namespace of its own."""

    def __init__(self) -> None:
        """Make the switch."""
        self.namespace = NetworkNamespace("lan")
        self._numbers = itertools.count()
        for name in ("all", "default"):
            # The switch itself says nothing on the wire.
            self.namespace.set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
        self.namespace.run(
            [
                *("ip", "link", "add", "lan", "up", "type", "bridge"),
                *("stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"),
            ]
        )

    def plug(
        self,
        where: Namespace,
        ifname: str,
        *addresses: str,
        mac: str | None = None,
        mtu: int | None = None,
    ) -> str:
        """Lay a cable from the switch to a new link ``ifname`` there; return the switch's end.

        ``addresses`` are ``ADDRESS/PREFIX`` of either family.
        """
        port = f"p{next(self._numbers)}"
        of_both = [] if mtu is None else ["mtu", str(mtu)]
        self.namespace.run(
            [
                *("ip", "link", "add", port, *of_both, "type", "veth", "peer", "name", ifname),
                *([] if mac is None else ["address", mac]),
                *(*of_both, "netns", str(where.path)),
            ]
        )
        self.namespace.run(["ip", "link", "set", port, "master", "lan", "up"])
        where.run(["ip", "link", "set", ifname, "up"])
        for address in addresses:
            add_address(where, ifname, address)
        return port

    def unplug(self, port: str) -> None:
        """Take a cable away by the switch's end; the link at the other end goes too."""
        self.namespace.run(["ip", "link", "del", port])

    def outside(self, *addresses: str, name: str = "outside") -> Host:
        """Return a new machine on the switch, with ``eth0`` of these addresses."""
        machine = Host(name)
        self.plug(machine, "eth0", *addresses)
        return machine

    def close(self) -> None:
        """Take the switch away, with all its cables."""
        self.namespace.close()

    def __enter__(self) -> Lan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
