"""The blackout of a live migration: ours between unlike networks, and QEMU's own.

::

    first:  guest ── tap ── br0 ── eth1 ──┐
                                         LAN ── outside 192.0.2.1 (pings the guest)
    second: guest ── tap ── br0 ── eth1 ──┤
                  └─ macvtap ── eth8 ─────┘
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench.counts import Counts
from bench.results import Budget, Result
from tests.guests import qemu
from tests.guests.tiny import Nic, TinyGuest
from tests.lab.daemon import RUN_DIR, Daemon
from tests.lab.host import Host
from tests.lab.packets import checksum
from tests.lab.switch import Lan

__all__ = ["migrating"]

MAC = "52:54:00:00:00:01"
ADDRESS = "192.0.2.20"
INTERVAL = 0.005
LIMIT = 0.05
ROUNDS = 5
BRIDGE = "<network><name>red</name><forward mode='bridge'/><bridge name='br0'/></network>"
MACVTAP = """
<network><name>red</name><forward mode='bridge'><interface dev='eth8'/></forward></network>
"""


def migrating(counts: Counts) -> Iterator[Result]:
    """Move a guest there, once with taps made by hand and once by us; take turns."""
    work = "live migration: blackout beyond QEMU's own, from a bridge to a macvtap"
    reason = qemu.skip_reason()
    if reason is not None:
        yield Result(work=work, unit="ms", note=reason)
        return
    own: list[float] = []
    ours: list[float] = []
    for _ in range(min(counts.rounds, ROUNDS)):
        own.append(_blackout(by_us=False))
        ours.append(_blackout(by_us=True))
    beyond = (statistics.median(ours) - statistics.median(own)) * 1000
    yield Result(
        work=work,
        unit="ms",
        count=len(ours),
        ours=statistics.median(ours) * 1000,
        raw=statistics.median(own) * 1000,
        budgets=(Budget(text="≤ raw + 50 ms", measured=beyond, limit=LIMIT * 1000),),
        note=f"longest pause between answers to pings every {INTERVAL * 1000:.0f} ms; raw is "
        "between two taps made by hand",
    )


def _blackout(*, by_us: bool) -> float:
    """Return the seconds for which a guest does not answer while it moves."""
    with contextlib.ExitStack() as stack:
        lan = stack.enter_context(Lan())
        outside = stack.enter_context(lan.outside("192.0.2.1/24"))
        first, second = (stack.enter_context(Host(name)) for name in ("first", "second"))
        _bridge(lan, first)
        if by_us:
            lan.plug(second, "eth8")
            for host, document in ((first, BRIDGE), (second, MACVTAP)):
                daemon = stack.enter_context(Daemon(host))
                daemon.cli("apply", daemon.document(document))
        else:
            _bridge(lan, second)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="jf-"))
        uri = f"unix:{Path(folder, 'move')}"
        here = stack.enter_context(_guest(first, by_us=by_us))
        here.up(f"{ADDRESS}/24")
        there = stack.enter_context(_guest(second, by_us=by_us, incoming=uri))
        with outside.entered():
            pinger = Pinger()
        with pinger:
            here.migrate(uri)
            there.wait_arrived()
            pinger.wait(1.0)
        there.close()
        return pinger.longest


def _bridge(lan: Lan, host: Host) -> None:
    """Make a host's bridge on the LAN."""
    lan.plug(host, "eth1")
    host.run(["ip", "link", "add", "br0", "up", "type", "bridge", "stp_state", "0"])
    host.run(["ip", "link", "set", "eth1", "master", "br0"])


def _guest(host: Host, *, by_us: bool, incoming: str | None = None) -> TinyGuest:
    """Start a guest on a host, or what waits for it there."""
    if by_us:
        words = ("run", "--nic", f"network=red,mac={MAC}", "--run-dir", RUN_DIR, "--")
        return TinyGuest(
            host,
            prefix=[sys.executable, "-m", "jackfield.cli.main", *words],
            arguments=["-global", "virtio-net-pci.romfile="],
            incoming=incoming,
        )
    host.run(["ip", "tuntap", "add", "tap0", "mode", "tap", "vnet_hdr"])
    host.run(["ip", "link", "set", "tap0", "master", "br0", "up"])
    return TinyGuest(host, Nic.tap(MAC, name="tap0"), incoming=incoming)


class Pinger:
    """Pings the guest every ``INTERVAL`` seconds; knows the longest time without an answer."""

    def __init__(self) -> None:
        """Open the socket, in the network namespace of the caller."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setblocking(False)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        #: Seconds.
        self.longest = 0.0

    def __enter__(self) -> Pinger:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._end.set()
        self._thread.join()
        self._socket.close()

    def wait(self, seconds: float) -> None:
        """Go on for as long."""
        self._end.wait(seconds)

    def _run(self) -> None:
        identity = os.getpid() & 0xFFFF
        number = 0
        answered = time.monotonic()
        due = answered
        while not self._end.is_set():
            head = struct.pack("!HH", identity, number & 0xFFFF)
            request = struct.pack("!BBH", 8, 0, checksum(struct.pack("!BBH", 8, 0, 0) + head))
            with contextlib.suppress(OSError):
                self._socket.sendto(request + head, (ADDRESS, 0))
            number += 1
            due += INTERVAL
            while (left := due - time.monotonic()) > 0:
                if not select.select([self._socket], [], [], left)[0]:
                    break
                packet = self._socket.recv(2000)
                if packet[20] == 0 and packet[24:26] == head[:2]:
                    now = time.monotonic()
                    self.longest = max(self.longest, now - answered)
                    answered = now
        self.longest = max(self.longest, time.monotonic() - answered)
