"""Ports of Open vSwitch: a tap that we make and join, beside ovs-vsctl joining one of others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from bench.counts import Counts
from bench.hosts import Jackfield
from bench.results import Result, median, milliseconds
from tests.lab import openvswitch as stock
from tests.lab.openvswitch import OpenVSwitch

__all__ = ["openvswitch"]

TAP = "bench-tap"
READY = "bench-ready"
PLACE = Path("/run/openvswitch")
NETWORK = """
<network>
  <name>bench</name>
  <forward mode='bridge'/>
  <bridge name='br0'/>
  <virtualport type='openvswitch'/>
  <vlan><tag id='42'/></vlan>
</network>
"""


def openvswitch(counts: Counts) -> Iterator[Result]:
    """Attach and detach taps on a bridge of Open vSwitch, until ovs-vswitchd has done it.

    The datapath is the one in user space.  ovs-vsctl, which libvirt's QEMU driver calls, has its
    tap before the clock starts, keeps no record, and guards nothing.
    """
    reason = stock.skip_reason()
    if reason is not None:
        yield Result(work="a port of Open vSwitch", unit="ms", note=reason)
        return
    attach, detach, theirs = [], [], []
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Jackfield())
        place = ours.host.file(PLACE)
        switch = stack.enter_context(OpenVSwitch(ours.host, PLACE, place))
        switch.vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
        ours.define(NETWORK)
        ours.start("bench")
        ours.host.run(["ip", "tuntap", "add", READY, "mode", "tap"])
        for _ in range(counts.rounds):
            attach.append(ours.attach_tap("bench", TAP))
            detach.append(ours.detach(TAP))
            begin = time.perf_counter()
            switch.vsctl("add-port", "br0", READY, "tag=42")
            switch.vsctl("--no-wait", "del-port", "br0", READY)
            theirs.append(time.perf_counter() - begin)
    both = [one + other for one, other in zip(attach, detach, strict=True)]
    middle = median(both)
    yield Result(
        work="attach + detach, tap on Open vSwitch",
        unit="ms",
        count=counts.rounds,
        ours=milliseconds(both),
        raw=milliseconds(theirs),
        note=""
        if middle is None
        else f"{1 / middle:.0f} a second; raw is two calls of ovs-vsctl for a tap that is there",
    )
    yield Result(work="of this, attach", unit="ms", count=counts.rounds, ours=milliseconds(attach))
    yield Result(work="of this, detach", unit="ms", count=counts.rounds, ours=milliseconds(detach))
