"""Ports as rows: limits in the units of Open vSwitch."""

from __future__ import annotations

from typing import Any

import pytest

from jackfield.host.openvswitch.rows import Names, insert_rows, rate_of, same_policing
from jackfield.host.openvswitch.values import as_map
from jackfield.model.bandwidth import Rate
from jackfield.model.values import InterfaceName
from jackfield.state.openvswitch import OvsPort

QUEUE = "q"


def rows(*, inbound: Rate | None = None, outbound: Rate | None = None) -> dict[str, dict[str, Any]]:
    """Return the rows of a port by table."""
    port = OvsPort(
        link=InterfaceName("v0"),
        bridge=InterfaceName("br0"),
        alias="jackfield:port:x",
        inbound=inbound,
        outbound=outbound,
    )
    return {item["table"]: item["row"] for item in insert_rows(port, "mine", Names(0))}


def test_without_limits_there_are_no_rows_of_them() -> None:
    """And policing is off."""
    found = rows()
    assert {"Interface", "Port"} == found.keys()
    assert ["set", []] == found["Port"]["qos"]
    assert (0, 0) == (
        found["Interface"]["ingress_policing_rate"],
        found["Interface"]["ingress_policing_burst"],
    )


@pytest.mark.parametrize(
    ("rate", "rate_kbit", "burst_kbit"),
    [(Rate(average=1000), 8192, 0), (Rate(average=1, burst=1), 9, 9)],
)
def test_what_a_guest_sends_is_policed(rate: Rate, rate_kbit: int, burst_kbit: int) -> None:
    """KiB/s become kbit/s of a thousand bits, rounded up so that nobody gets less."""
    row = rows(outbound=rate)["Interface"]
    assert (rate_kbit, burst_kbit) == (row["ingress_policing_rate"], row["ingress_policing_burst"])
    assert rate == same_policing(rate, row, row)
    assert same_policing(rate, row, {**row, "ingress_policing_rate": 5}) is not None


@pytest.mark.parametrize(
    "rate",
    [
        Rate(average=1000),
        Rate(average=1000, peak=5000),
        Rate(average=1000, peak=10, burst=64),
    ],
)
def test_what_a_guest_gets_is_read_back(rate: Rate) -> None:
    """As it was written; another value is told apart, and what nobody of us made as well."""
    found = rows(inbound=rate)
    qos = {**found["QoS"], "queues": ["map", [[0, ["uuid", QUEUE]]]]}
    queues = {QUEUE: found["Queue"]}
    assert rate == rate_of(rate, qos, queues)
    assert Rate(average=7) != rate_of(Rate(average=7), qos, queues)
    assert rate != rate_of(rate, {**qos, "type": "linux-hfsc"}, queues)
    assert rate != rate_of(rate, qos, {})
    assert rate != rate_of(rate, {**qos, "other_config": as_map({"max-rate": "many"})}, queues)
    assert rate_of(rate, None, queues) is None
