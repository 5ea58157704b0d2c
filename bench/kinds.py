"""Ports of each kind that we make: how many a second, recorded, and many removed at once."""

from __future__ import annotations

from collections.abc import Iterator

from bench.counts import Counts
from bench.hosts import Jackfield
from bench.networks import nat_network
from bench.results import Result, median, milliseconds

__all__ = ["kinds"]

MACVTAP = """
<network><name>lan</name><forward mode='bridge'><interface dev='eth8'/></forward></network>
"""


def kinds(counts: Counts) -> Iterator[Result]:
    """Attach and detach a tap, a veth, a macvtap and a macvlan; then remove many taps at once.

    Each is recorded so that it survives the daemon's death.  The kernel takes a grace period of
    its own to delete a device, which is most of a detachment.
    """
    with Jackfield() as ours:
        ours.host.run(["ip", "link", "add", "eth8", "type", "veth", "peer", "name", "cable"])
        for link in ("eth8", "cable"):
            ours.host.run(["ip", "link", "set", link, "up"])
        ours.host.guest("guest")
        for document, name in ((nat_network(1), "bench-1"), (MACVTAP, "lan")):
            ours.define(document)
            ours.start(name)
        inside = {"netns": "guest", "ifname": "eth0"}
        bodies = (
            ("tap", "bench-1", {"tap": "t0"}),
            ("veth into a namespace", "bench-1", inside),
            ("macvtap", "lan", {"tap": "t0"}),
            ("macvlan into a namespace", "lan", inside),
        )
        made: list[tuple[str, list[float], list[float]]] = [(kind, [], []) for kind, _, _ in bodies]
        for _ in range(counts.rounds):
            for (_, network, body), (_, attached, detached) in zip(bodies, made, strict=True):
                named = {**body, "name": "bench"}
                attached.append(ours.timed("POST", f"/v1/networks/{network}/ports", named))
                detached.append(ours.timed("DELETE", "/v1/ports/bench"))
        for kind, attached, detached in made:
            both = [one + other for one, other in zip(attached, detached, strict=True)]
            middle = median(both)
            yield Result(
                work=f"attach + detach, {kind}",
                unit="ms",
                count=counts.rounds,
                ours=milliseconds(both),
                note="" if middle is None else f"{1 / middle:.0f} a second, one after the other",
            )
        for number in range(counts.others):
            ours.attach_tap("bench-1", f"t{number}")
        took = ours.timed("DELETE", "/v1/networks/bench-1/ports")
        yield Result(
            work=f"detach {counts.others} taps at once",
            unit="ms",
            count=1,
            ours=took * 1000,
            note=f"{took / counts.others * 1000:.2f} ms each",
        )
