"""What is refused of a network before anything is made."""

from __future__ import annotations

import pytest

from jackfield.document.reader import read_network
from jackfield.errors import InvalidRequest
from jackfield.plan.network import plan_network

RED = """
<network>
  <name>red</name><uuid>6a1c0f6e-1f0c-4b8e-9a57-0d3f6f1b2c3d</uuid>
  <mtu size='{mtu}'/>
  <bridge name='virbr0'/>
  <ip family='{family}' address='{address}' prefix='{prefix}'/>
</network>
"""


def test_ipv6_needs_its_mtu() -> None:
    """Below 1280 bytes the kernel drops IPv6, and dnsmasq refuses to advertise it."""
    six = {"family": "ipv6", "address": "fd00::1", "prefix": "64"}
    with pytest.raises(InvalidRequest, match="an MTU of 1280 bytes at least"):
        plan_network(read_network(RED.format(mtu=1279, **six)))
    assert plan_network(read_network(RED.format(mtu=1280, **six)))
    four = {"family": "ipv4", "address": "10.0.0.1", "prefix": "24"}
    assert plan_network(read_network(RED.format(mtu=68, **four)))
