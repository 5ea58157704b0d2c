"""The raw cost: the leanest code of ours that leaves the same things in the kernel.

Run on a lab host as ``python -m bench.raw``; speaks JSON lines (``bench.worker``).  What is to be
made is worked out before the clock starts.  There is no plan, no check for foreign things, no
journal, no verification and no HTTP: messages, one nftables batch, and a dnsmasq whose start is
waited for.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import msgspec

from bench.networks import nat_network
from bench.worker import serve
from jackfield.document.reader import read_network
from jackfield.host.netlink.address import add_address
from jackfield.host.netlink.bridge import create_bridge
from jackfield.host.netlink.link import delete_link, set_link
from jackfield.host.netlink.message import NLM_F_ACK, Message
from jackfield.host.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from jackfield.host.nft.base import base_messages
from jackfield.host.nft.keeper import ConnectionKeeper
from jackfield.host.nft.message import add_elements, delete_table
from jackfield.host.nft.socket import NftSocket
from jackfield.model.address import IpInterface
from jackfield.model.network import Bridge
from jackfield.model.values import InterfaceName, MacAddress
from jackfield.plan.dnsmasq import dnsmasq_service
from jackfield.plan.rules import network_rules
from jackfield.state.resources import NetworkRules
from jackfield.state.rules import Element, NamedSet

BRIDGE = InterfaceName("virbr0")
MAC = MacAddress("52:54:00:00:00:01")
DIRECTORY = Path("/run/lab/raw")
PROTOCOL = 74
TAP = "bench-tap"

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one network needs, worked out; ``config`` is dnsmasq's, empty without one."""

    interface: IpInterface
    rules: NetworkRules
    config: str


class Raw:
    """Makes and removes one network, timed."""

    def __init__(self) -> None:
        """Open the sockets, and work everything out."""
        self.route = NetlinkSocket(NETLINK_ROUTE)
        self.nft = NftSocket()
        self.connections = ConnectionKeeper()
        self.dnsmasq = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"
        DIRECTORY.mkdir(exist_ok=True)
        DIRECTORY.chmod(0o755)
        self.works = {services: work_out(services=services) for services in (True, False)}
        self.pid: int | None = None

    def start(self, services: bool) -> float:
        """Make the network and the tables that the first one brings; return the seconds it took.

        What is waited for is that it serves.
        """
        work = self.works[services]
        begin = time.perf_counter()
        self.route.request(create_bridge(BRIDGE, MAC.packed, stp=False, forward_delay=0))
        write(f"/proc/sys/net/ipv6/conf/{BRIDGE}/disable_ipv6", b"1")
        write("/proc/sys/net/ipv4/ip_forward", b"1")
        index = socket.if_nametoindex(BRIDGE)
        address = add_address(index, work.interface, PROTOCOL, "add the address")
        up = set_link(index, "set the bridge up", up=True)
        self.route.batch([address, up._replace(flags=up.flags | NLM_F_ACK)])
        self.nft.commit([*self.connections.missing, *rule_messages(work.rules)])
        self.connections.held()
        if work.config:
            self.pid = self._serve(work.config)
        seconds = time.perf_counter() - begin
        if work.config and not has_dhcp_socket():
            raise AssertionError("dnsmasq says it has started, and UDP/67 is not bound")
        return seconds

    def stop(self) -> float:
        """Remove the network and the tables; return the seconds until all of it is gone."""
        begin = time.perf_counter()
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)
            os.waitpid(self.pid, 0)
            self.pid = None
        self.nft.commit([delete_table()])
        self.connections.release(self.nft)
        self.route.request(delete_link(socket.if_nametoindex(BRIDGE)))
        return time.perf_counter() - begin

    def port(self) -> float:
        """Make a persistent tap on the bridge and delete it; return the seconds it took."""
        bridge = socket.if_nametoindex(BRIDGE)
        begin = time.perf_counter()
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        request = struct.pack("16sH22x", TAP.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
        fcntl.ioctl(descriptor, TUNSETIFF, request)
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
        os.close(descriptor)
        index = socket.if_nametoindex(TAP)
        self.route.request(set_link(index, "plug the tap in", master=bridge, up=True))
        self.route.request(delete_link(index))
        return time.perf_counter() - begin

    def _serve(self, config: str) -> int:
        """Start dnsmasq and wait until it says that it has started: its sockets are bound."""
        file = DIRECTORY / "config"
        file.write_text(config)
        reader, writer = os.pipe()
        pid = os.posix_spawn(
            self.dnsmasq,
            [self.dnsmasq, "--keep-in-foreground", f"--conf-file={file}"],
            {"PATH": "/usr/sbin:/usr/bin"},
            file_actions=[(os.POSIX_SPAWN_DUP2, writer, 2), (os.POSIX_SPAWN_CLOSE, reader)],
        )
        os.close(writer)
        said = b""
        while b" started, " not in said:
            piece = os.read(reader, 4096)
            if not piece:
                raise AssertionError(f"dnsmasq ended: {said.decode()}")
            said += piece
        os.close(reader)
        return pid


def work_out(*, services: bool) -> Work:
    """Return what network 0 needs."""
    network = msgspec.structs.replace(
        read_network(nat_network(0, services=services)),
        uuid=UUID(int=1),
        bridge=Bridge(name=BRIDGE, stp=False),
    )
    rules = network_rules(network, BRIDGE)
    interface = network.subnets[0].interface
    assert rules is not None
    assert interface is not None
    service = dnsmasq_service(network, BRIDGE, user="nobody")
    config = ""
    if service is not None:
        config = service.config.replace("@DIR@", str(DIRECTORY)).replace("@STATE@", str(DIRECTORY))
        for name in ("hosts", "options", "names", "servers"):
            (DIRECTORY / name).write_text("")
    return Work(interface, rules, config)


def rule_messages(rules: NetworkRules) -> list[Message]:
    """Return the batch that makes a network's rules, and the table."""
    sets: dict[NamedSet, list[Element]] = {}
    for element in rules.elements:
        sets.setdefault(element.place, []).append(element)
    elements = [add_elements(*item) for item in sets.items()]
    return [*base_messages(frozenset(sets)), *elements]


def write(path: str, value: bytes) -> None:
    """Write a sysctl."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(descriptor, value)
    os.close(descriptor)


def has_dhcp_socket() -> bool:
    """Return whether a socket of this namespace is bound to UDP port 67 (proc(5), net/udp)."""
    lines = Path("/proc/thread-self/net/udp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(":0043") for line in lines)


if __name__ == "__main__":
    raw = Raw()
    operations: dict[str, Callable[..., object]] = {
        "start": raw.start,
        "stop": raw.stop,
        "port": raw.port,
    }
    serve(operations)
