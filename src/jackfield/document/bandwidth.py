"""Bandwidth: ``<bandwidth>`` of networks, portgroups, ports and guest interfaces."""

from __future__ import annotations

from jackfield.document.xml import Element, fail, integer
from jackfield.model.bandwidth import Bandwidth, Rate

__all__ = ["read_bandwidth", "write_bandwidth"]

# libvirt refuses what tc could not hold: rates in bit/s and bursts in bytes fit 64 bits.
_MAX_RATE = (1 << 64) // (1024 * 8) - 1


def _read_rate(element: Element | None, *, floor: bool) -> Rate | None:
    if element is None:
        return None
    average = integer(element, "average", 0, _MAX_RATE)
    guaranteed = integer(element, "floor", 0, _MAX_RATE)
    peak = integer(element, "peak", 0, _MAX_RATE)
    burst = integer(element, "burst", 0, _MAX_RATE)
    if average is None and guaranteed is None:
        fail(element, "needs an average or a floor" if floor else "needs an average")
    if guaranteed is not None and not floor:
        fail(
            element,
            f"has floor='{guaranteed}'",
            hint="a floor is for the <inbound> of a guest interface or port",
        )
    if average is None and (peak is not None or burst is not None):
        fail(element, "has a peak or a burst without an average")
    # Zeros mean "no limit", and a direction without limits says nothing, as in libvirt.
    if not average and not guaranteed:
        return None
    return Rate(
        average=average or None, peak=peak or None, floor=guaranteed or None, burst=burst or None
    )


def read_bandwidth(element: Element, *, floor: bool = False) -> Bandwidth | None:
    """Read a ``<bandwidth>``; ``floor`` says whether guarantees are allowed in it."""
    bandwidth = Bandwidth(
        inbound=_read_rate(element.find("inbound"), floor=floor),
        outbound=_read_rate(element.find("outbound"), floor=False),
        class_id=integer(element, "classID") or None,
    )
    return bandwidth if bandwidth.inbound or bandwidth.outbound else None


def write_bandwidth(out: list[str], indent: str, bandwidth: Bandwidth) -> None:
    """Append the ``<bandwidth>`` of ``bandwidth``."""
    class_id = "" if bandwidth.class_id is None else f" classID='{bandwidth.class_id}'"
    out.append(f"{indent}<bandwidth{class_id}>\n")
    for name, rate in (("inbound", bandwidth.inbound), ("outbound", bandwidth.outbound)):
        if rate is None:
            continue
        text = f"{indent}  <{name}"
        if rate.average is not None:
            text += f" average='{rate.average}'"
        if rate.peak is not None:
            text += f" peak='{rate.peak}'"
        if rate.floor is not None:
            text += f" floor='{rate.floor}'"
        if rate.burst is not None:
            text += f" burst='{rate.burst}'"
        out.append(text + "/>\n")
    out.append(f"{indent}</bandwidth>\n")
